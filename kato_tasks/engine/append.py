"""Append valid entries to the logs of their lanes, with one store call per partition."""

from __future__ import annotations

import contextlib
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from threading import Lock
from typing import TypeVar

from kato_tasks.domain.ids import belongs, default_node, lane_of, partition_of
from kato_tasks.domain.log_entry import Entry, predict_entry
from kato_tasks.engine.appended import (
    AppendedEntry,
    AppendResult,
    describe_appended,
    make_dead_letter,
    node_conflict,
    refused_node,
)
from kato_tasks.engine.store_protocol import BREATH, BREATH_ENTRIES, StoreProtocol, carry_out
from kato_tasks.engine.store_retry import raise_errors
from kato_tasks.errors import StoreFailed, StoreUnavailable, StoreWentBack
from kato_tasks.ports.log import Append, BindNodes, NodeOf
from kato_tasks.ports.store import Store

CHUNK = 1_000
"""How many entries one script call holds at most: a longer call would hold Redis up."""
KNOWN_NODES = 100_000
"""The number of sessions whose node a process remembers."""
RUNS = 5
"""How many times one call is begun again because the store was restarted, or failed over, in the middle of it."""
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Options:
    """What a call of ``append`` says of all its entries; see ``ports.Append``."""

    source: str = ""
    expected: int = -1
    sink: str = ""


class AppendProtocol:
    """How entries are appended, as protocols for a thread or an event loop (``store_protocol``). Thread-safe.

    It remembers the nodes of the sessions that it saw last. These never change, unless the store is restored to an
    earlier state: then they are read, and written down, again, so that no two processes append one session to two
    lanes. A session that was forgotten since is noticed when its next event is appended, and begins again.
    ``current_run`` returns which run of the store is asked now.
    """

    def __init__(self, current_run: Callable[[], str]) -> None:
        self._current_run = current_run
        self._run = ""
        self._nodes: OrderedDict[str, str] = OrderedDict()
        self._logged: set[str] = set()
        self._lock = Lock()

    def nodes(self, entries: Sequence[Entry]) -> StoreProtocol[list[str]]:
        """See ``Mailbox.nodes``."""
        return self._on_one_run(lambda run: self._bind_nodes(entries, run))

    def knows(self, session_id: str) -> StoreProtocol[bool]:
        """See ``Mailbox.knows``."""
        return self._on_one_run(lambda run: self._knows(session_id, run))

    def node_of(self, session_id: str) -> StoreProtocol[str | None]:
        """Return the node that a session belongs to for life, as KATO is told it; None if it does not exist."""
        return self._on_one_run(lambda run: self._node_of(session_id, run))

    def node_for(self, session_id: str, node_id: str | None) -> StoreProtocol[str]:
        """Return the node of a session, which belongs to ``node_id`` for life if it is new (None: one of its own).

        Raises NodeConflict where it belongs to another node.
        """
        named = replace(predict_entry(session_id, "-"), node_id=node_id)
        (node,) = yield from self.nodes([named])
        return node

    def append(
        self,
        entries: Sequence[Entry],
        *,
        source: str = "",
        offsets: Sequence[int] = (),
        expected: int | None = None,
        sink: str = "",
    ) -> StoreProtocol[AppendResult]:
        """See ``Mailbox.append``."""
        options = _Options(source, -1 if expected is None else expected, sink)
        return self._on_one_run(lambda run: self._append(entries, offsets, options, run))

    def append_each(
        self, entries: Sequence[Entry], *, source: str = "", offsets: Sequence[int] = (), sink: str = ""
    ) -> StoreProtocol[AppendResult]:
        """Append entries of callers who know nothing of each other.

        An entry that names another node than its session's is told so in its place (``other_node``), and the others are
        appended. ``source``, ``offsets`` and ``sink``: see ``append``, and what it raises of the store.
        """
        return self._on_one_run(lambda run: self._append_each(entries, offsets, _Options(source, sink=sink), run))

    def _on_one_run(self, ask: Callable[[str], StoreProtocol[T]]) -> StoreProtocol[T]:
        """Ask all of it of one run of the store. It is asked again from its beginning where another run answers.

        Raises StoreUnavailable after ``RUNS`` times.
        """
        for _ in range(RUNS):
            run = self._current_run()
            with self._lock:
                if run != self._run:
                    self._nodes.clear()
                    self._logged.clear()
                    self._run = run
            with contextlib.suppress(StoreWentBack):
                return (yield from ask(run))
        raise StoreUnavailable("the store is restarted or fails over again and again")

    def _bind_nodes(self, entries: Sequence[Entry], run: str) -> StoreProtocol[list[str]]:
        nodes = yield from self._nodes_of(entries, run)
        out = []
        for index, entry in enumerate(entries):
            node = nodes[entry.session_id]
            if not belongs(entry.session_id, entry.node_id, node):
                raise node_conflict(entry, node, "node_id" if len(entries) == 1 else f"events[{index}].node_id")
            out.append(node)
            if len(out) % BREATH_ENTRIES == 0:
                yield BREATH
        return out

    def _nodes_of(self, entries: Sequence[Entry], run: str) -> StoreProtocol[dict[str, str]]:
        """Return the node of each session, and write it down for life where it is new."""
        with self._lock:
            known = {e.session_id: self._nodes.get(e.session_id) for e in entries}
        for e in entries:
            node = known[e.session_id]
            if node is not None and not belongs(e.session_id, e.node_id, node):
                known[e.session_id] = None  # The session may have been forgotten, and belong to another node now.
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
        return {session: node or "" for session, node in known.items()}

    def _knows(self, session_id: str, run: str) -> StoreProtocol[bool]:
        return (yield from self._node_of(session_id, run)) is not None

    def _node_of(self, session_id: str, run: str) -> StoreProtocol[str | None]:
        with self._lock:
            known = self._nodes.get(session_id)
        if known is not None:
            return known
        found: str | None
        (found,) = raise_errors((yield [NodeOf(session_id)]))
        if found is not None:
            self._remember({session_id: found}, run)
        return found

    def _remember(self, nodes: dict[str, str], run: str) -> None:
        with self._lock:
            if run == self._run:
                self._nodes.update(nodes)
            while len(self._nodes) > KNOWN_NODES:
                self._logged.discard(self._nodes.popitem(last=False)[0])

    def _forget(self, sessions: set[str]) -> None:
        with self._lock:
            for session in sessions:
                self._nodes.pop(session, None)
            self._logged -= sessions

    def _append_each(
        self, entries: Sequence[Entry], offsets: Sequence[int], options: _Options, run: str
    ) -> StoreProtocol[AppendResult]:
        nodes = yield from self._nodes_of(entries, run)
        told: dict[int, AppendedEntry] = {}
        for index, entry in enumerate(entries):
            node = nodes[entry.session_id]
            if not belongs(entry.session_id, entry.node_id, node):
                told[index] = refused_node(entry, lane_of(node), node_conflict(entry, node, "node_id"))
        if not told:
            return (yield from self._append(entries, offsets, options, run))
        others = [index for index in range(len(entries)) if index not in told]
        theirs = [offsets[index] for index in others] if options.source else ()
        done = yield from self._append([entries[index] for index in others], theirs, options, run)
        placed = iter(done.placed)
        return replace(done, placed=tuple(told.get(index) or next(placed) for index in range(len(entries))))

    def _append(
        self, entries: Sequence[Entry], offsets: Sequence[int], options: _Options, run: str
    ) -> StoreProtocol[AppendResult]:
        nodes = yield from self._bind_nodes(entries, run)
        groups: dict[int, list[int]] = defaultdict(list)
        lanes = []
        for index, node in enumerate(nodes):
            lane = lane_of(node)
            lanes.append(lane)
            groups[partition_of(lane)].append(index)
            if len(lanes) % BREATH_ENTRIES == 0:
                yield BREATH
        # The script needs the node only of a session that has no log yet.
        told = ["" if entry.session_id in self._logged else node for entry, node in zip(entries, nodes, strict=True)]
        placed: list[AppendedEntry | None] = [None] * len(entries)
        wake, shared, conflicts = set(), set(), []
        # The partitions go side by side, and each chunk of one is sent when the chunk before it is in the log. In one
        # pipeline each would succeed or fail by itself, and later events of a session could overtake earlier ones.
        for calls in _make_rounds(groups, lanes, told, entries, offsets, options, run):
            answers = yield [call for _, call in calls]
            raise_errors(answers)
            gone: list[int] = []
            for (part, call), batch in zip(calls, answers, strict=True):
                if batch.wake:
                    wake.add(call.partition)
                for i, status in zip(part, batch.statuses, strict=True):
                    if status.status == "e":
                        raise StoreFailed(f"what the store holds of session {entries[i].session_id!r} is broken")
                    if status.status == "g":
                        gone.append(i)
                        continue
                    placed[i] = describe_appended(entries[i], lanes[i], status.status, status.position)
                    if status.status == "a":
                        shared.add(lanes[i])
                    if status.status == "c":
                        conflicts.append(make_dead_letter(entries[i], lanes[i], nodes[i], status.position))
                yield BREATH
            if gone:
                self._forget({entries[i].session_id for i in gone})
                some = [offsets[i] for i in gone] if options.source else ()
                again = yield from self._append([entries[i] for i in gone], some, options, run)
                wake |= again.wake
                shared |= again.shared_names
                for i, its in zip(gone, again.placed, strict=True):
                    placed[i] = its
        if conflicts:
            raise_errors((yield conflicts))
        with self._lock:
            if run == self._run:
                self._logged |= {entry.session_id for entry in entries if entry.session_id in self._nodes}
        return AppendResult(tuple(p for p in placed if p is not None), frozenset(wake), frozenset(shared))


class Mailbox:
    """Appends entries to a store. Thread-safe."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.protocol = AppendProtocol(store.run)

    def nodes(self, entries: Sequence[Entry]) -> list[str]:
        """Return the node of each entry's session as KATO is told it, and write it down for life where it is new.

        Raises NodeConflict where an entry names another node (with its index where there are several entries), and
        StoreUnavailable.
        """
        return carry_out(self._store, self.protocol.nodes(entries))

    def knows(self, session_id: str) -> bool:
        """Return whether a session exists. To ask makes none. Raises StoreUnavailable."""
        return carry_out(self._store, self.protocol.knows(session_id))

    def append(
        self,
        entries: Sequence[Entry],
        *,
        source: str = "",
        offsets: Sequence[int] = (),
        expected: int | None = None,
        sink: str = "",
    ) -> AppendResult:
        """Give each entry its position, once. When this returns, the store has them all.

        With ``source``, a name, and one rising offset for each entry, the last offset is remembered as a high-water
        mark instead of single ids. An entry whose id is known with another body becomes a dead letter. With
        ``expected``, a new entry is appended only if its session stands at that position, which is checked in the same
        step. ``sink`` is where the predictions go that entries ask for (``Entry.also``).

        Raises NodeConflict before anything is appended; StoreUnavailable and StoreFailed, with which of each session's
        entries those before some point may be in the store, and none after it.
        """
        asks = self.protocol.append(entries, source=source, offsets=offsets, expected=expected, sink=sink)
        return carry_out(self._store, asks)

    def append_each(
        self, entries: Sequence[Entry], *, source: str = "", offsets: Sequence[int] = (), sink: str = ""
    ) -> AppendResult:
        """See ``AppendProtocol.append_each``."""
        asks = self.protocol.append_each(entries, source=source, offsets=offsets, sink=sink)
        return carry_out(self._store, asks)


def _make_rounds(
    groups: dict[int, list[int]],
    lanes: Sequence[str],
    nodes: Sequence[str],
    entries: Sequence[Entry],
    offsets: Sequence[int],
    options: _Options,
    run: str,
) -> Iterator[list[tuple[list[int], Append]]]:
    """Yield the appends of each round, each with the indices of its entries."""
    longest = max(map(len, groups.values()), default=0)
    for start in range(0, longest, CHUNK):
        calls = []
        for partition, members in groups.items():
            if part := members[start : start + CHUNK]:
                rows = [(lanes[i], nodes[i], entries[i], offsets[i] if options.source else 0) for i in part]
                calls.append((part, Append(partition, rows, options.source, run, options.expected, options.sink)))
        yield calls
