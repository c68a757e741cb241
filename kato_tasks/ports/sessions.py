"""Read what is known of sessions: which sessions there are, how each stands, and what its log holds.

An adapter answers from the store. Another one in front of it can add what an archive holds. Nothing here changes
anything. Every method raises StoreUnavailable if the store does not answer.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from kato_tasks.domain.ids import default_node, lane_of, node_id_of
from kato_tasks.domain.kato_session import Binding
from kato_tasks.domain.log_entry import Logged

Which = Literal["all", "unapplied", "parked"]
"""Which sessions to look for: all, those with events that are not applied yet, or those that wait for a person."""
Nodes = Mapping[str, str]
"""Sessions, each mapped to its node as KATO is told it."""


@dataclass(frozen=True, slots=True)
class SessionRow:
    """A session as it stands.

    ``node`` is the node as KATO is told it. ``head`` counts the events in its log, ``cursor`` those that are applied.
    ``attempts`` counts the tries of its next event, and ``last_error`` says what the last one met, or why the rows of
    this session cannot be read. ``parked`` says why it waits for a person. ``reordered`` counts the events with vectors
    that KATO holds in another order than it made them in. ``due_in_seconds`` is below 0 for a session that is overdue,
    and None for one that has nothing to do; ``leased`` says whether a worker holds its lane. ``last_event_ms`` is when
    its last event was appended, in milliseconds since 1970; None where that is not known. ``generation`` is the node
    that KATO is told for the whole lane, if a replay switched it to one; otherwise it is ''.
    """

    session: str
    node: str
    head: int = 0
    cursor: int = 0
    binding: Binding | None = None
    attempts: int = 0
    last_error: str | None = None
    parked: Mapping[str, Any] | None = None
    reordered: int = 0
    due_in_seconds: float | None = None
    leased: bool = False
    last_event_ms: int | None = None
    generation: str = ""

    @property
    def node_id(self) -> str:
        """Return the session's node as callers know it."""
        return node_id_of(self.session, self.node)

    @property
    def lane(self) -> str:
        """Return the lane that the session belongs to."""
        return lane_of(self.node)


@dataclass(frozen=True, slots=True)
class KeptForLater:
    """An event that waits for its due time.

    ``due_ms`` is when it is due, in milliseconds since 1970. ``payload`` is the text that was kept of it; white space
    may come before that text.
    """

    due_ms: int
    payload: str


class Sessions(Protocol):
    """Reads sessions."""

    @abstractmethod
    def nodes(self, sessions: Iterable[str]) -> dict[str, str]:
        """Return the node of each session that is known, as KATO is told it. This takes one round trip."""

    def node_of(self, session: str) -> str | None:
        """Return the node that a session belongs to for life, as KATO is told it; None if the session is not known."""
        return self.nodes([session]).get(session)

    def lane_of(self, session: str) -> str:
        """Return the lane of a session. A session that is not known has the lane of its default node."""
        node = self.node_of(session)
        return lane_of(default_node(session) if node is None else node)

    @abstractmethod
    def pages(self, which: Which = "all", prefix: str = "", at_most: int = 500) -> Iterator[dict[str, str]]:
        """Iterate over the sessions with their nodes, in pages of up to ``at_most``, in no particular order.

        Only sessions whose ids begin with ``prefix`` are looked for. Every session that exists from the first page to
        the last is met at least once, perhaps twice. Pages are read as the iterator reaches them.
        """

    @abstractmethod
    def read(self, nodes: Nodes) -> list[SessionRow]:
        """Return how these sessions stand, in their order. This takes two round trips, however many sessions there are.

        For a session whose rows are broken, ``last_error`` says so; the other sessions are read all the same.
        """

    @abstractmethod
    def backlogs(self, nodes: Nodes) -> list[int]:
        """Return how many events of each session are not applied yet, in the order of ``nodes``.

        The number is 0 if it cannot be read. This takes one round trip.
        """

    @abstractmethod
    def last_event_times(self, nodes: Nodes) -> list[int | None]:
        """Return when the last event of each session was appended (milliseconds since 1970), None if that is not known.

        The times are in the order of ``nodes``. This takes one round trip.
        """

    @abstractmethod
    def events(self, session: str, node: str, after: int = 0, limit: int = 1_000) -> list[Logged]:
        """Return the entries of a session's log at the ``limit`` positions after ``after``.

        Those that are in the archive only are left out, so the first entry that is returned may have a later position.
        Raises UnreadableRow if an entry is broken.
        """

    @abstractmethod
    def heads(self, nodes: Nodes) -> list[int]:
        """Return the position of each session's last event, in the order of ``nodes``; 0 for one without events.

        This takes one round trip. Raises UnreadableRow if a head is no number.
        """

    @abstractmethod
    def parked(self) -> list[str]:
        """List the ids of the sessions that wait for a person, sorted. This takes one round trip."""

    @abstractmethod
    def scheduled(self, session: str | None = None) -> Iterator[KeptForLater]:
        """Iterate over the events that wait for their time, the next one due first.

        They are read as the iterator reaches them. ``session`` narrows the search to where events of that session can
        be kept; events of other sessions may be kept there too, and are returned as well.
        """

    @abstractmethod
    def remembers(self, session: str, event_id: str) -> bool:
        """Return whether this session knows the event id, so that appending it again would be a duplicate.

        Ids are known for at least DEDUPE_DAYS. This takes three round trips.
        """
