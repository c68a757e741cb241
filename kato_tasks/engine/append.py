"""The way in: valid entries to their lanes' logs, one store call per partition."""

from __future__ import annotations

import contextlib
import json
import time
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import TypeVar

from kato_tasks.domain.ids import belongs, default_node, lane_of, node_id_of, partition_of
from kato_tasks.domain.log_entry import Entry
from kato_tasks.domain.results import Appended
from kato_tasks.engine.asking import BREATH, BREATH_ENTRIES, Asks, carried_out
from kato_tasks.engine.store_retry import raise_errors
from kato_tasks.errors import NodeConflict, StoreFailed, StoreUnavailable, StoreWentBack
from kato_tasks.ports.log import Append, BindNodes, NodeOf
from kato_tasks.ports.operating import KeepDeadLetter
from kato_tasks.ports.store import Store

CHUNK = 1_000
"""Entries in one script call at most: a longer one would hold Redis up."""
KNOWN_NODES = 100_000
RUNS = 5
"""How many runs of the store may answer one call, each after the one before: it is restarted, or fails over."""
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Placed:
    """An appended entry and the lane that it went to."""

    appended: Appended
    lane: str
    conflict: bool = False
    too_many: bool = False
    """so many predicts of its session wait that it was not accepted"""


@dataclass(frozen=True, slots=True)
class Posted:
    """What became of a batch; ``wake``: partitions with a lane that waits for a wake-up."""

    placed: tuple[Placed, ...]
    wake: frozenset[int]
    shared_names: frozenset[str]
    """lanes that more than one node_id falls on"""


class AppendProtocol:
    """How entries are appended, as protocols for whoever carries them out (``engine.asking``). Thread-safe.

    Remembers the nodes of the sessions it saw last. They never change, unless the store goes back in time: then they
    are read (and written down) again, so that no two processes append one session to two lanes.
    ``current_run``: which run of the store is asked now.
    """

    def __init__(self, current_run: Callable[[], str]) -> None:
        self._current_run = current_run
        self._run = ""
        self._nodes: OrderedDict[str, str] = OrderedDict()
        self._lock = Lock()

    def nodes(self, entries: Sequence[Entry]) -> Asks[list[str]]:
        """See ``Mailbox.nodes``."""
        return self._on_one_run(lambda run: self._nodes_of(entries, run))

    def knows(self, session_id: str) -> Asks[bool]:
        """See ``Mailbox.knows``."""
        return self._on_one_run(lambda run: self._known(session_id, run))

    def append(self, entries: Sequence[Entry], *, source: str = "", offsets: Sequence[int] = ()) -> Asks[Posted]:
        """See ``Mailbox.append``."""
        return self._on_one_run(lambda run: self._appended(entries, source, offsets, run))

    def _on_one_run(self, ask: Callable[[str], Asks[T]]) -> Asks[T]:
        """What was asked of one run of the store from its beginning to its end; all of it may be asked again."""
        for _ in range(RUNS):
            run = self._current_run()
            with self._lock:
                if run != self._run:
                    self._nodes.clear()
                    self._run = run
            with contextlib.suppress(StoreWentBack):
                return (yield from ask(run))
        raise StoreUnavailable("the store is restarted or fails over again and again")

    def _nodes_of(self, entries: Sequence[Entry], run: str) -> Asks[list[str]]:
        with self._lock:
            known = {e.session_id: self._nodes.get(e.session_id) for e in entries}
        wanted: dict[str, str] = {}
        for entry in entries:
            if known[entry.session_id] is None and (entry.session_id not in wanted or entry.node_id):
                node_id = default_node(entry.session_id) if entry.node_id == entry.session_id else entry.node_id or ""
                wanted[entry.session_id] = wanted.get(entry.session_id) or node_id
        by_partition: dict[int, list[tuple[str, str, str]]] = defaultdict(list)
        for session, node in wanted.items():
            by_partition[partition_of(session)].append((session, node, default_node(session)))
        if by_partition:
            operations = [
                BindNodes(partition, rows[start : start + CHUNK], run)
                for partition, rows in by_partition.items()
                for start in range(0, len(rows), CHUNK)
            ]
            for operation, nodes in zip(operations, raise_errors((yield operations)), strict=True):
                for (session, _, _), node in zip(operation.sessions, nodes, strict=True):
                    known[session] = node
            self._remember({s: known[s] or "" for s in wanted}, run)
        out = []
        for index, entry in enumerate(entries):
            node = known[entry.session_id] or ""
            if not belongs(entry.session_id, entry.node_id, node):
                named = node_id_of(entry.session_id, node)
                where = "node_id" if len(entries) == 1 else f"events[{index}].node_id"
                raise NodeConflict(
                    where,
                    f"is {entry.node_id!r}, and session {entry.session_id!r} belongs to node {named!r} for life; "
                    "leave node_id out or use another session_id",
                )
            out.append(node)
            if len(out) % BREATH_ENTRIES == 0:
                yield BREATH
        return out

    def _known(self, session_id: str, run: str) -> Asks[bool]:
        with self._lock:
            if session_id in self._nodes:
                return True
        (node,) = raise_errors((yield [NodeOf(session_id)]))
        if node is not None:
            self._remember({session_id: node}, run)
        return node is not None

    def _remember(self, nodes: dict[str, str], run: str) -> None:
        with self._lock:
            if run == self._run:
                self._nodes.update(nodes)
            while len(self._nodes) > KNOWN_NODES:
                self._nodes.popitem(last=False)

    def _appended(self, entries: Sequence[Entry], source: str, offsets: Sequence[int], run: str) -> Asks[Posted]:
        nodes = yield from self._nodes_of(entries, run)
        groups: dict[int, list[int]] = defaultdict(list)
        lanes = []
        for index, node in enumerate(nodes):
            lane = lane_of(node)
            lanes.append(lane)
            groups[partition_of(lane)].append(index)
            if len(lanes) % BREATH_ENTRIES == 0:
                yield BREATH
        placed: list[Placed | None] = [None] * len(entries)
        wake, shared, conflicts = set(), set(), []
        # Chunk by chunk, the partitions side by side: a chunk is sent when the one before it is in the log. In one
        # pipeline each would succeed or fail for itself, and a session's later events could overtake.
        for calls in _rounds(groups, lanes, nodes, entries, offsets, source, run):
            answers = yield [call for _, call in calls]
            raise_errors(answers)
            for (part, call), batch in zip(calls, answers, strict=True):
                if batch.wake:
                    wake.add(call.partition)
                for i, status in zip(part, batch.statuses, strict=True):
                    if status.status == "e":
                        raise StoreFailed(f"what the store holds of session {entries[i].session_id!r} is broken")
                    placed[i] = _placed(entries[i], lanes[i], status.status, status.position)
                    if status.status == "a":
                        shared.add(lanes[i])
                    if status.status == "c":
                        conflicts.append(_conflict(entries[i], lanes[i], nodes[i], status.position))
                yield BREATH
        if conflicts:
            raise_errors((yield conflicts))
        return Posted(tuple(p for p in placed if p is not None), frozenset(wake), frozenset(shared))


class Mailbox:
    """Appends entries to a store. Thread-safe."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.protocol = AppendProtocol(store.run)

    def nodes(self, entries: Sequence[Entry]) -> list[str]:
        """The node of each entry's session for life, as KATO is told it, written down where it is new.

        Raises NodeConflict (naming the index when there are several) before anything is appended.
        """
        return carried_out(self._store, self.protocol.nodes(entries))

    def knows(self, session_id: str) -> bool:
        """Whether a session exists; asking makes none. Raises StoreUnavailable."""
        return carried_out(self._store, self.protocol.knows(session_id))

    def append(self, entries: Sequence[Entry], *, source: str = "", offsets: Sequence[int] = ()) -> Posted:
        """Give each entry its position, once. When this returns, the store has them.

        ``source`` with rising ``offsets`` is remembered as a high-water mark instead of single ids. An entry
        whose id is known with another body becomes a dead letter. Raises NodeConflict, StoreUnavailable, StoreFailed;
        of each session's entries those before some point may then be in the store, and none after it.
        """
        return carried_out(self._store, self.protocol.append(entries, source=source, offsets=offsets))


def _rounds(
    groups: dict[int, list[int]],
    lanes: Sequence[str],
    nodes: Sequence[str],
    entries: Sequence[Entry],
    offsets: Sequence[int],
    source: str,
    run: str,
) -> Iterator[list[tuple[list[int], Append]]]:
    """The appends of each round, with the indices of their entries."""
    longest = max(map(len, groups.values()), default=0)
    for start in range(0, longest, CHUNK):
        calls = []
        for partition, members in groups.items():
            if part := members[start : start + CHUNK]:
                rows = [(lanes[i], nodes[i], entries[i], offsets[i] if source else 0) for i in part]
                calls.append((part, Append(partition, rows, source, run)))
        yield calls


def _placed(entry: Entry, lane: str, status: str, position: int) -> Placed:
    if status == "c":
        error = (
            f"event_id {entry.event_id!r} is known in session {entry.session_id!r} with another body "
            f"(position {position}); it was kept as a dead letter: give a new fact a new event_id"
        )
        return Placed(
            Appended(event_id=entry.event_id, session_id=entry.session_id, position=None, duplicate=False, error=error),
            lane,
            conflict=True,
        )
    if status == "w":
        error = (
            f"as many predicts of session {entry.session_id!r} wait already as may (MAX_WAITING_PREDICTS); "
            "ask again when some are answered"
        )
        return Placed(
            Appended(event_id=entry.event_id, session_id=entry.session_id, position=None, duplicate=False, error=error),
            lane,
            too_many=True,
        )
    appended = Appended(
        event_id=entry.event_id,
        session_id=entry.session_id,
        position=None if status == "m" else position,
        duplicate=status in ("d", "m"),
    )
    return Placed(appended, lane)


def _conflict(entry: Entry, lane: str, node: str, position: int) -> KeepDeadLetter:
    now_ms = int(time.time() * 1000)
    letter = {
        "session_id": entry.session_id,
        "node_id": node_id_of(entry.session_id, node),
        "lane": lane,
        "position": None,
        "raw": entry.text,
        "reason": f"event_id {entry.event_id!r} is known with another body at position {position}",
        "attempts": 0,
        "first_ms": now_ms,
        "last_ms": now_ms,
    }
    return KeepDeadLetter(lane, f"{entry.session_id}\n{entry.event_id} {entry.digest}", json.dumps(letter))
