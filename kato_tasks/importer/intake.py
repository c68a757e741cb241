"""Appends rows that are valid events to the log, and writes them into the record of their source."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from kato_tasks.domain.events import Event, body_digest, parse_event
from kato_tasks.domain.ids import belongs, node_id_of
from kato_tasks.domain.log_entry import Entry, entry_of
from kato_tasks.domain.observations import Limits
from kato_tasks.domain.results import Appended
from kato_tasks.errors import InvalidEvent, NodeConflict
from kato_tasks.importer.identity import raw_digest, rejected_key
from kato_tasks.importer.record import SourceRecord
from kato_tasks.importer.rejects import Rejects, as_text
from kato_tasks.ports.imports import Kind, Row
from kato_tasks.ports.sessions import Sessions

SEND_ENTRIES = 5_000
SEND_CHARS = 4_000_000
SESSIONS_WATCHED = 200_000
"""How many sessions' last times are kept, to notice time that runs backwards; the oldest are forgotten first."""
Raw = tuple[Sequence[bytes], int, int]
"""A row's text: the lines, and the indexes of its first and last one."""
Append = Callable[[Sequence[Entry]], list[Appended]]


@dataclass(slots=True)
class Summary:
    """What became of the rows: each is appended, a duplicate (known from before), skipped or rejected.

    - ``source``: the name by which the rows are recognised later.
    - ``skipped``: rows that stand for rows imported in another form, and were passed over as ``changed`` says.
    - ``learns``: how many learns were appended at sessions' ends.
    - ``relearned``: rows of this source had been learned before, so the new ones become patterns of their own.
    - ``backwards``: appended rows that are older than an earlier one of their session; the first is on line
      ``backwards_line``.
    - ``line``: the last line read.
    - ``left_for_later``: how many lines were left for the next import (0 or 1: a last line without a line end).
    """

    source: str | None = None
    rows: int = 0
    appended: int = 0
    duplicates: int = 0
    skipped: int = 0
    rejected: int = 0
    learns: int = 0
    relearned: bool = False
    backwards: int = 0
    backwards_line: int | None = None
    line: int = 0
    left_for_later: int = 0
    seconds: float = 0.0

    def as_json(self) -> dict[str, Any]:
        """Return the summary as plain JSON, with ``rows_per_second`` (0 if no time passed)."""
        rate = round(self.rows / self.seconds) if self.seconds > 0 else 0
        return {**asdict(self), "seconds": round(self.seconds, 3), "rows_per_second": rate}


@dataclass(slots=True)
class Sent:
    """A row that is a valid event, in the form in which it is sent and remembered."""

    entry: Entry
    kind: Kind
    row: Row
    raw: Raw
    was: str | None = None


@dataclass(frozen=True, slots=True)
class _Ending:
    """A session's last row. The id of its learn is derived from it, so that the same learn is appended once."""

    event_id: str
    node_id: str | None
    timestamp: datetime | None


@dataclass(slots=True)
class Intake:
    """Takes rows in their order. It keeps one batch in memory and, with ``learn``, also each session's last row.

    ``append`` puts entries into the log and returns what became of each (``api.append_entries``); it raises
    NodeConflict (before it has appended anything) and StoreUnavailable. ``undisturbed`` holds off Ctrl-C while rows
    are under way, so that the counts match the log.
    """

    append: Append
    sessions: Sessions
    rejects: Rejects
    limits: Limits
    summary: Summary
    record: SourceRecord | None = None
    learn: bool = False
    undisturbed: Callable[[], AbstractContextManager[object]] = nullcontext
    read: Callable[[], tuple[int, int, int] | None] = lambda: None
    """Returns the first content, the number and the sum of the contents so far; see ``About``."""
    _batch: list[Sent] = field(default_factory=list)
    _chars: int = 0
    _kept: list[tuple[Kind, Row, bool]] = field(default_factory=list)
    _endings: dict[str, _Ending] = field(default_factory=dict)
    _times: dict[str, datetime] = field(default_factory=dict)

    def take(
        self,
        event: Mapping[str, Any],
        event_id: str,
        kind: Kind,
        row: Row,
        raw: Raw,
        *,
        by_body: bool = True,
        was: str | None = None,
    ) -> None:
        """Take a row that is not known. ``by_body`` says that the same event_id must come with the same metadata."""
        try:
            valid = parse_event(event, self.limits)
            entry = entry_of(valid, event_id=event_id, limits=self.limits)
        except InvalidEvent as exc:
            self.reject(row.line, str(exc), raw)
            return
        if not by_body and valid.observation is not None and valid.observation.metadata:
            bare = valid.observation.model_copy(update={"metadata": {}})
            entry = replace(entry, digest=body_digest(valid.event_type, bare.kato_json()))
        if valid.timestamp is not None:
            self._in_time(valid.session_id, valid.timestamp, row.line)
        if self.learn:
            self._note_ending(valid, event_id)
        self._batch.append(Sent(entry, kind, row, raw, was))
        self._chars += len(entry.text)
        if len(self._batch) >= SEND_ENTRIES or self._chars >= SEND_CHARS:
            self.send()

    def pass_over(self, event: Mapping[str, Any], event_id: str, *, learned: bool) -> None:
        """Take a row that is an event already; ``learned`` says that its session got its learn too."""
        self.summary.duplicates += 1
        when = event.get("timestamp")
        if isinstance(when, str):
            try:
                time = datetime.fromisoformat(when)
            except ValueError:
                pass
            else:
                session = str(event.get("session_id"))
                self._times[session] = time if time.tzinfo is not None else time.replace(tzinfo=UTC)
        if self.learn and not learned:
            try:
                self._note_ending(parse_event(event, self.limits), event_id)
            except InvalidEvent:
                return

    def keep(self, kind: Kind, row: Row, *, learned: bool = False) -> None:
        """Remember a row without sending it."""
        self._kept.append((kind, row, learned))
        if len(self._kept) >= SEND_ENTRIES:
            self.send()

    def reject(self, line: int, reason: str, raw: Raw, of: Mapping[str, Any] | None = None) -> None:
        """Reject a row that is not a valid event, unless it is known to have come, mended, from the rejects file."""
        lines, first, last = raw
        text = b"\n".join(lines[first : last + 1])
        if self.record is not None and self.record.known.mended:
            known = self.record.known.find(rejected_key(line, raw_digest(as_text(text))))
            if known >= 0:
                self.summary.duplicates += 1
                return
        self.summary.rejected += 1
        self.rejects.add(line, reason, text, of)

    def send(self) -> None:
        """Append the rows that were taken, and write into the record that they are in the log."""
        if not self._batch and not self._kept:
            return
        with self.undisturbed():
            batch, self._batch, self._chars = self._batch, [], 0
            kept, self._kept = self._kept, []
            if self.record is not None and (told := [one.row for one in batch if one.kind != "i"]):
                self.record.intend(batch[0].kind if batch[0].kind != "i" else "r", told)
            accepted = self._append(batch)
            self.rejects.flush()
            if self.record is not None:
                chunks: dict[tuple[Kind, bool], list[Row]] = {}
                for kind, row, learned in [*kept, *((one.kind, one.row, False) for one in accepted)]:
                    chunks.setdefault((kind, learned), []).append(row)
                for one in accepted:
                    if one.was is not None:
                        mended = Row(rejected_key(one.row.line, one.was), 0, one.row.line)
                        chunks.setdefault(("m", False), []).append(mended)
                self.record.keep([(kind, rows, learned) for (kind, learned), rows in chunks.items()], self.read())

    def finish(self, *, learn: bool, all_learned: bool = True) -> None:
        """Send the remaining rows and, with ``learn``, a learn for each session that had new ones.

        ``all_learned`` says that every row of the source is then followed by a learn.
        """
        self.send()
        if learn:
            self._learn()
        if self.record is not None:
            self.record.keep([], self.read())
            self.record.end(learned=learn and all_learned)

    def _append(self, batch: Sequence[Sent]) -> list[Sent]:
        kept, refused = self._without_conflicts(batch)
        for one, reason in refused:
            self.reject(one.row.line, reason, one.raw)
        accepted = []
        for one, appended in kept:
            if appended.error is not None:
                self.reject(one.row.line, appended.error, one.raw)
                continue
            accepted.append(one)
            if appended.duplicate:
                self.summary.duplicates += 1
            else:
                self.summary.appended += 1
        return accepted

    def _without_conflicts(self, rows: Sequence[Sent]) -> tuple[list[tuple[Sent, Appended]], list[tuple[Sent, str]]]:
        """Append rows without those whose session belongs to another node; nothing is appended before those are out."""
        refused: list[tuple[Sent, str]] = []
        while rows:
            try:
                answers = self.append([row.entry for row in rows])
            except NodeConflict:
                nodes = self.sessions.nodes({row.entry.session_id for row in rows})
                stay = []
                for row in rows:
                    wanted, there = row.entry.node_id, nodes.get(row.entry.session_id)
                    if there is None or belongs(row.entry.session_id, wanted, there):
                        stay.append(row)
                    else:
                        session = row.entry.session_id
                        named = node_id_of(session, there)
                        reason = f"node_id: is {wanted!r}, and session {session!r} belongs to node {named!r} for life"
                        refused.append((row, reason))
                if len(stay) == len(rows):
                    raise
                rows = stay
            else:
                return list(zip(rows, answers, strict=True)), refused
        return [], refused

    def _in_time(self, session: str, time: datetime, line: int) -> None:
        before = self._times.get(session)
        if before is not None and time < before:
            self.summary.backwards += 1
            if self.summary.backwards_line is None:
                self.summary.backwards_line = line
        self._times[session] = time
        if len(self._times) > SESSIONS_WATCHED:
            del self._times[next(iter(self._times))]

    def _note_ending(self, event: Event, event_id: str) -> None:
        """Note a session's last row that leaves something to learn, since KATO refuses to learn an empty STM."""
        before = self._endings.pop(event.session_id, None)
        seen = event.observation
        if seen is not None and (before is not None or seen.strings or seen.vectors):
            self._endings[event.session_id] = _Ending(event_id, event.node_id, event.timestamp)

    def _learn(self) -> None:
        """Append a learn for each session that had rows since its last one, in the order of their last rows."""
        batch: list[Sent] = []
        for session, ending in self._endings.items():
            event = Event(event_type="learn", session_id=session, node_id=ending.node_id, timestamp=ending.timestamp)
            entry = entry_of(event, event_id=f"{ending.event_id[:500]}-learn", limits=self.limits)
            batch.append(Sent(entry, "i", Row(0, 0, 0), ((), 0, 0)))
            if len(batch) >= SEND_ENTRIES:
                self._send_learns(batch)
                batch = []
        self._send_learns(batch)
        self._endings.clear()

    def _send_learns(self, batch: Sequence[Sent]) -> None:
        with self.undisturbed():
            # A session that belongs to another node had no row accepted, so it has nothing to learn.
            kept, _ = self._without_conflicts(batch)
            self.summary.learns += sum(not appended.duplicate for _, appended in kept)
