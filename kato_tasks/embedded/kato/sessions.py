"""Keep KATO's sessions and nodes in memory."""

from __future__ import annotations

import time
import uuid
from collections import deque
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from kato_tasks.embedded.kato.changes import Changes
from kato_tasks.embedded.kato.patterns import Event, Patterns
from kato_tasks.embedded.kato.statistics import means
from kato_tasks.kato_wire import config as configuration
from kato_tasks.kato_wire.answers import ServerError, quote
from kato_tasks.kato_wire.bodies import Observation
from kato_tasks.kato_wire.names import sanitised

DEFAULT_TTL = 3600


class Percept(NamedTuple):
    """Holds the last observation of a session, with all emotives that the session then held."""

    last: Observation
    emotives: list[dict[str, float]]

    def shown(self) -> dict[str, Any]:
        """Return the percept as percept-data shows it. Each emotive is the mean of all its values."""
        return {
            "strings": sorted(self.last.strings),
            "vectors": self.last.vectors,
            "emotives": means(self.emotives),
            "path": [],
            "metadata": self.last.metadata,
        }


class Node:
    """Represents one knowledge base, shared by all sessions whose node id has its sanitised name."""

    __slots__ = ("futures", "journal", "journal_dropped", "key", "patterns", "sessions")

    def __init__(self, key: str, journal: int, *, watched: bool = False) -> None:
        self.key = key
        self.patterns = Patterns(watched=watched)
        self.sessions = 0
        self.futures = "[]"
        self.journal: deque[tuple[str, str]] | None = deque(maxlen=journal) if journal else None
        self.journal_dropped = 0

    def write_down(self, session_id: str, unique_ids: list[str]) -> None:
        """Note observations that were applied, in order."""
        if self.journal is not None:
            over = len(self.journal) + len(unique_ids) - (self.journal.maxlen or 0)
            self.journal_dropped += max(over, 0)
            self.journal.extend((session_id, unique_id) for unique_id in unique_ids)


class Session:
    """Represents one session: its short-term memory and everything that KATO keeps beside it."""

    __slots__ = (
        "alive",
        "changes",
        "config",
        "created",
        "emotives",
        "expires",
        "history",
        "id",
        "kept_until",
        "metadata",
        "node",
        "node_id",
        "node_text",
        "percept",
        "predictions",
        "said",
        "stm",
        "time",
        "ttl",
    )

    def __init__(
        self,
        node: Node,
        node_id: str,
        *,
        ttl: int,
        config: dict[str, Any],
        metadata: dict[str, Any],
        history: int,
        changes: Changes | None = None,
    ) -> None:
        self.changes = changes
        self.created = time.time()
        self.id = f"session-{uuid.uuid4().hex}-{int(self.created * 1000)}"
        self.node = node
        self.node_id = node_id
        self.node_text = quote(node_id)
        self.ttl = ttl
        self.expires = self.kept_until = self.created + ttl
        self.config = config
        self.metadata = metadata
        self.stm: list[Event] = []
        self.time = 0
        self.emotives: list[dict[str, float]] = []
        self.said: list[dict[str, Any]] = []
        self.percept: Percept | None = None
        self.predictions = "[]"
        self.history: deque[str] = deque(maxlen=history)
        self.alive = True

    def setting(self, key: str) -> Any:
        """Return a configured value: the session's own, or else KATO's default."""
        value = self.config.get(key)
        return configuration.IN_FORCE[key] if value is None else value

    def saved(self, now: float) -> None:
        """Set the expiry by the session's own TTL, as a write does. This undoes an ``extend`` by another TTL."""
        self.expires = self.kept_until = now + self.ttl
        self.note()

    def note(self) -> None:
        """Note that the session's state differs from the one that is written down."""
        if self.changes is not None:
            self.changes.sessions.add(self)

    @property
    def ends(self) -> float:
        """Return the time at which the session is gone.

        KATO writes down when a session expires, but its store keeps the session for a time of its own.
        """
        return min(self.expires, self.kept_until)

    def clear(self) -> None:
        """Reset STM, emotives, metadata and time, as clear-stm does."""
        self.stm = []
        self.time = 0
        self.emotives = []
        self.said = []
        self.percept = None
        self.predictions = "[]"


class Sessions:
    """Holds all sessions and nodes.

    A session that has expired is dropped when a call asks for it. Sessions that the store would have forgotten by now
    are dropped by a sweep; each creation of a session does a part of it.
    """

    def __init__(self, *, journal: int, history: int, changes: Changes | None = None) -> None:
        self.changes = changes
        self._journal = journal
        self._history = history
        self._live: dict[str, Session] = {}
        self._nodes: dict[str, Node] = {}
        self._sweep: deque[str] = deque()
        # The newest dead ones stay readable for tests.
        self._dead: deque[Session] = deque(maxlen=200)
        self.created = 0

    def create(
        self, node_id: str, ttl_seconds: int | None, config: dict[str, Any] | None, metadata: dict[str, Any]
    ) -> Session:
        """Return a new session. Raises ``ServerError`` for a TTL that is negative or that no date can express."""
        ttl = ttl_seconds or DEFAULT_TTL
        if ttl < 0:
            raise ServerError("a negative TTL")
        try:
            datetime.now(UTC) + timedelta(seconds=ttl)
        except OverflowError as exc:
            raise ServerError("a TTL beyond all dates") from exc
        given = config or {}
        # One value that is out of its range silently drops them all.
        kept = configuration.at_creation(given)
        session = self.begin(node_id, ttl=ttl, config=kept, metadata=metadata)
        self.enter(session)
        session.note()
        self.created += 1
        self._sweep_some()
        return session

    def begin(self, node_id: str, *, ttl: int, config: dict[str, Any], metadata: dict[str, Any]) -> Session:
        """Return a new session that ``find`` does not find yet; see ``enter``."""
        node = self.made_node(sanitised(node_id))
        return Session(
            node, node_id, ttl=ttl, config=config, metadata=metadata, history=self._history, changes=self.changes
        )

    def enter(self, session: Session) -> None:
        """Enter the session, so that it is found by its id from now on."""
        session.node.sessions += 1
        self._live[session.id] = session
        self._sweep.append(session.id)

    def made_node(self, key: str) -> Node:
        """Return the node of that name; make it if it does not exist."""
        node = self._nodes.get(key)
        if node is None:
            node = self._nodes[key] = Node(key, self._journal, watched=self.changes is not None)
        return node

    def find(self, session_id: str) -> Session | None:
        """Return the live session of that id, or None. An expired session is dropped here.

        The store keeps it for the session's own TTL from now on: an ``extend`` by more than that is undone.
        """
        session = self._live.get(session_id)
        if session is None:
            return None
        now = time.time()
        if session.ends <= now:
            self.drop(session)
            return None
        session.kept_until = now + session.ttl
        if session.kept_until < session.expires:
            session.note()
        return session

    def peek_live(self, session_id: str) -> Session | None:
        """Return the session of that id as it is kept, expired or not, without touching it."""
        return self._live.get(session_id)

    def peek(self, session_id: str) -> Session | None:
        """Return a session, live or lately dead, without touching it."""
        session = self._live.get(session_id)
        if session is not None:
            return session
        return next((dead for dead in reversed(self._dead) if dead.id == session_id), None)

    def node(self, key: str) -> Node | None:
        """Return the node of that sanitised name, or None."""
        return self._nodes.get(key)

    def drop(self, session: Session) -> None:
        """Forget a session, and its node when nothing else needs it."""
        if self._live.pop(session.id, None) is None:
            return
        session.alive = False
        self._dead.append(session)
        if self.changes is not None:
            self.changes.sessions.discard(session)
            self.changes.gone.add(session)
        node = session.node
        node.sessions -= 1
        if not node.sessions and not node.patterns and not node.journal:
            self.forget_node(node)

    def forget_node(self, node: Node) -> None:
        """Forget a node that nothing needs any more."""
        self._nodes.pop(node.key, None)

    def lose_all(self) -> None:
        """Forget every session and every pattern, as a KATO does that has lost its stores."""
        for session in self._live.values():
            session.alive = False
        self._dead.extend(self._live.values())
        self._live.clear()
        self._sweep.clear()
        if self.changes is not None:
            self.changes.lose_all()
        # A journal belongs to the test, not to KATO.
        journals = {key: node for key, node in self._nodes.items() if node.journal}
        for node in journals.values():
            node.patterns = Patterns(watched=self.changes is not None)
            node.sessions = 0
            node.futures = "[]"
        self._nodes = journals

    def all(self) -> list[Session]:
        """Return the sessions that are kept, expired or not, the oldest first."""
        return list(self._live.values())

    def nodes(self) -> list[Node]:
        """Return all nodes."""
        return list(self._nodes.values())

    def kept(self) -> int:
        """Return the number of sessions in memory, some of which may have expired."""
        return len(self._live)

    def live(self) -> int:
        """Return the number of sessions that have not expired."""
        now = time.time()
        return sum(session.ends > now for session in self._live.values())

    def _sweep_some(self) -> None:
        now = time.time()
        for _ in range(min(4, len(self._sweep))):
            session = self._live.get(self._sweep.popleft())
            if session is None:
                continue
            # A session that has expired but is still kept is reported as expired when a call asks for it.
            if session.kept_until <= now:
                self.drop(session)
            else:
                self._sweep.append(session.id)
