"""Write down what changed, so that a KATO that is killed and started again has the state that it had.

A session's observations are written piece by piece, so that a further one costs the same however many there are. From
time to time, and after the session was cleared, all of them are written as one piece.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import Any

from kato_tasks.embedded.kato.changes import Changes
from kato_tasks.embedded.kato.kato import Kato
from kato_tasks.embedded.kato.kept_file import Change, KeptFile
from kato_tasks.embedded.kato.patterns import Pattern
from kato_tasks.embedded.kato.sessions import Node, Session
from kato_tasks.embedded.kato.vectors import NodeVectors

PIECES = 64
"""After this many pieces, a session's observations are written again as one."""

Lists = tuple[list[Any], list[Any], list[Any]]
"""The STM, the emotives and the metadata of a session."""
Known = dict[str, Sequence[float]]


class Written:
    """Describes what the file holds of one session."""

    __slots__ = ("lists", "number", "pieces")

    def __init__(self, number: int, lists: Lists, pieces: int) -> None:
        self.number = number
        self.lists = lists
        self.pieces = pieces


class Keeper:
    """Keeps one KATO's state in a file."""

    def __init__(self, file: KeptFile) -> None:
        self._file = file
        self._sessions: dict[Session, Written] = {}
        self._vectors: dict[str, tuple[Known, Known, int | None]] = {}
        self._next = 1
        self._whole = False
        self._ill = ""

    def begin(self, sessions: Iterable[tuple[Session, int, int]], kato: Kato) -> None:
        """Take what was read from the file as written: each session with its number and its number of pieces."""
        for session, number, pieces in sessions:
            self._sessions[session] = Written(number, _lists(session), pieces)
            self._next = max(self._next, number + 1)
        for node in kato.brain.vectors.nodes():
            found = kato.brain.vectors.peek(node)
            if found is not None:
                self._vectors[node] = found.kept

    def keep(self, kato: Kato, changes: Changes) -> bool:
        """Write down ``changes``. Returns False, and says why on stderr, if that cannot be done now.

        The next call then writes everything.
        """
        if self._whole:
            _note_all(kato, changes)
        try:
            self._file.write(self._written(kato, changes))
        except OSError as exc:
            self._whole = True
            self._say(f"cannot be written: {exc.strerror}; calls are answered 500 until it can")
            return False
        changes.clear()
        if self._whole:
            self._whole = False
            self._say("can be written again")
        return True

    def close(self) -> None:
        """Close the file, and free its directory for another KATO."""
        self._file.close()

    def _say(self, what: str) -> None:
        if what != self._ill:
            self._ill = what
            sys.stderr.write(f"{self._file.path.parent} {what}\n")
            sys.stderr.flush()

    def _written(self, kato: Kato, changes: Changes) -> list[Change]:
        rows: list[Change] = []
        if changes.lost_all:
            rows.append(("forget all",))
            self._sessions.clear()
            self._vectors.clear()
        for session in changes.gone:
            written = self._sessions.pop(session, None)
            if written is not None:
                rows.append(("drop session", written.number))
        for session in changes.sessions:
            self._session(session, rows)
        for node in changes.nodes:
            _node(node, rows)
        for name in changes.vectors:
            self._vectors_of(name, kato.brain.vectors.peek(name), rows)
        return rows

    def _session(self, session: Session, rows: list[Change]) -> None:
        written, lists, state = self._sessions.get(session), _lists(session), _state(session)
        if written is None:
            written = self._sessions[session] = Written(self._next, ([], [], []), 0)
            self._next += 1
            made = [session.id, session.node_id, session.created, session.ttl, session.metadata]
            rows.append(("make session", written.number, made, state))
        else:
            rows.append(("session", written.number, state))
        old, written.lists = written.lists, lists
        added = [_added(old[0], lists[0]), _added(old[1], lists[1]), _added(old[2], lists[2])]
        if None in added or written.pieces >= PIECES:
            if written.pieces:
                rows.append(("forget observed", written.number))
            written.pieces, added = 0, list(lists)
        if any(added):
            rows.append(("observed", written.number, written.pieces, added))
            written.pieces += 1

    def _vectors_of(self, node: str, vectors: NodeVectors | None, rows: list[Change]) -> None:
        before = self._vectors.pop(node, None) or ({}, {}, None)
        now = vectors.kept if vectors is not None else ({}, {}, None)
        for learned, old, new in ((1, before[0], now[0]), (0, before[1], now[1])):
            rows += [("forget vector", node, learned, each) for each in old if each not in new]
            rows += [
                ("vector", node, learned, each, vector) for each, vector in new.items() if old.get(each) is not vector
            ]
        if now[2] != before[2]:
            rows.append(("vector size", node, now[2]))
        if any(now[:2]) or now[2] is not None:
            self._vectors[node] = now


def _note_all(kato: Kato, changes: Changes) -> None:
    changes.lost_all = True
    changes.sessions.update(kato.sessions.all())
    for node in kato.sessions.nodes():
        if node.patterns.changed is not None and node.patterns:
            node.patterns.changed.update(node.patterns.names())
            changes.nodes.add(node)
    changes.vectors.update(kato.brain.vectors.nodes())


def _lists(session: Session) -> Lists:
    # The last percept also has the emotives that the session itself has cut off.
    emotives = session.percept.emotives if session.percept is not None else session.emotives
    return session.stm, emotives, session.said


def _added(old: list[Any], new: list[Any]) -> list[Any] | None:
    """Return what was added at the end of ``old``, whose beginning may be gone; None if ``new`` is another list.

    An observation's parts are objects of their own, which a session never changes.
    """
    if old is new or not old:
        return [] if old is new else new
    if not new:
        return None
    first, last, gone = new[0], old[-1], 0
    while gone < len(old) and old[gone] is not first:
        gone += 1
    kept = len(old) - gone
    return new[kept:] if 0 < kept <= len(new) and new[kept - 1] is last else None


def _state(session: Session) -> list[Any]:
    stm, emotives, said = _lists(session)
    return [
        session.time,
        session.expires,
        session.kept_until,
        session.config,
        session.predictions,
        None if session.percept is None else tuple(session.percept.last),
        # These are the numbers of written items that still count, from the end.
        [len(stm), len(emotives), len(said), len(session.emotives)],
    ]


def _node(node: Node, rows: list[Change]) -> None:
    patterns, name = node.patterns, node.key
    changed = patterns.changed
    if changed is None:
        return
    if patterns.cleared:
        rows.append(("forget patterns", name))
        changed.update(patterns.names())
    symbols: dict[str, None] = {}
    # The patterns are written in the order in which they were learned.
    for each in [each for each in patterns.names() if each in changed] if len(changed) > 1 else changed:
        pattern = patterns.find(each)
        if pattern is not None:
            symbols.update(dict.fromkeys(pattern.symbols))
        rows.append(("pattern", name, each, patterns.counts.get(each), *_pattern(pattern)))
    statistics = patterns.statistics
    for symbol in symbols:
        # A pattern that came back after clear-all was counted before that, so its symbols may have no counts.
        if symbol in statistics.occurrences:
            felt = statistics.affinities.get(symbol)
            members, occurrences = statistics.members.get(symbol, 0), statistics.occurrences[symbol]
            rows.append(("symbol", name, symbol, members, occurrences, felt))
    rows.append(("patterns", name, statistics.patterns))
    changed.clear()
    patterns.cleared = False


def _pattern(pattern: Pattern | None) -> tuple[Any, ...]:
    if pattern is None:
        return None, None, None, None
    fixed = None if pattern.fixed is None else tuple(pattern.fixed)
    return pattern.events, pattern.emotives or None, pattern.metadata or None, fixed
