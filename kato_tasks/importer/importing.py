"""The import itself: blocks of lines → valid events → the log, with a checkpoint after each block."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from kato_tasks.domain.entries import Entry, entry_of
from kato_tasks.domain.events import Event, parse_event
from kato_tasks.domain.ids import belongs, node_id_of
from kato_tasks.domain.observations import Limits
from kato_tasks.domain.results import Appended
from kato_tasks.errors import InvalidEvent, NodeConflict
from kato_tasks.importer.blocks import Block, Blocks
from kato_tasks.importer.errors import BadInput, RowRejected
from kato_tasks.importer.mapping import Columns, Mapper, cells_mapper, check_header, objects_mapper
from kato_tasks.importer.records import (
    Form,
    Record,
    Texts,
    csv_records,
    header_cells,
    json_records,
    not_utf8,
    sniff_delimiter,
)
from kato_tasks.importer.rejects import Rejects
from kato_tasks.importer.source import Source
from kato_tasks.importer.store import ImportStore, Known

SEND_ENTRIES = 5_000
SEND_CHARS = 4_000_000
Append = Callable[[Sequence[Entry]], list[Appended]]


@dataclass(slots=True)
class Summary:
    """What became of the rows: each is appended, a duplicate (known from before) or rejected.

    ``learns`` were appended at sessions' ends. ``line`` is the last line read. ``left_for_later``: how many lines
    were left for the next import (0 or 1: the last one, which had no line end).
    """

    rows: int = 0
    appended: int = 0
    duplicates: int = 0
    rejected: int = 0
    learns: int = 0
    line: int = 0
    left_for_later: int = 0
    seconds: float = 0.0

    def as_json(self) -> dict[str, Any]:
        rate = round(self.rows / self.seconds) if self.seconds > 0 else 0
        return {**asdict(self), "seconds": round(self.seconds, 3), "rows_per_second": rate}


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an import is: bytes of the file, and the rows so far."""

    position: int
    total: int | None
    summary: Summary


@dataclass(slots=True)
class _Row:
    """A row that is a valid event, on lines ``first`` to ``last`` of its block."""

    entry: Entry
    first: int
    last: int


@dataclass(slots=True)
class _Counts:
    rows: int = 0
    rejected: int = 0


@dataclass(frozen=True, slots=True)
class _Ending:
    """A session's last row: its learn's id is derived from it, so that each row is learned after once."""

    event_id: str
    node_id: str | None
    timestamp: datetime | None


@dataclass(slots=True)
class Importer:
    """Imports one source. Memory is bounded by a block; with ``learn`` it also keeps each session's last row.

    ``append`` puts entries into the log and says what became of each (``api.append_entries``); it raises
    NodeConflict (before it appended anything) and StoreUnavailable.
    """

    append: Append
    store: ImportStore
    rejects: Rejects
    limits: Limits
    columns: Columns
    form: Form
    delimiter: str | None = None
    learn: bool = False
    on_progress: Callable[[Progress], None] = lambda _: None
    summary: Summary = field(default_factory=Summary)
    _endings: dict[str, _Ending] = field(default_factory=dict)
    _last: tuple[str, str, Known] | None = None

    def run(self, source: Source) -> Summary:
        """Import everything; raises BadInput (the file cannot be imported) or StoreUnavailable (run it again)."""
        began = time.monotonic()
        self.columns.check()
        blocks = Blocks(source, self.columns.seed(self.form))
        mapper = self._mapper(blocks, source)
        first = True
        try:
            while block := blocks.read():
                self._block(blocks, block, mapper, source.name if first else None)
                first = False
                self.summary.seconds = time.monotonic() - began
                self.on_progress(Progress(source.position, source.total, self.summary))
            self.summary.left_for_later = int(source.left_for_later)
            # With a line to come, the file's end, and so its sessions' end, is not there yet.
            if self.learn and not source.left_for_later:
                self._learn()
        finally:
            self.summary.seconds = time.monotonic() - began
            self.rejects.flush()
        return self.summary

    def _mapper(self, blocks: Blocks, source: Source) -> Mapper:
        if self.form == "jsonl":
            return objects_mapper(self.columns)
        if not self.columns.mapped:
            raise BadInput("which column is the session is not said; add --session COLUMN")
        line = blocks.header()
        if line is None:
            raise BadInput(f"{source.name} is empty; a CSV file begins with its column names")
        try:
            text = line.decode()
        except UnicodeDecodeError:
            raise not_utf8(source.name, line, 0, 1) from None
        used = self.columns.used()
        self.delimiter = self.delimiter or sniff_delimiter(text, used)
        header = header_cells(text, self.delimiter)
        check_header(self.columns, header, source.name)
        self.summary.line = 1
        return cells_mapper(self.columns, header)

    def _block(self, blocks: Blocks, block: Block, mapper: Mapper, unread: str | None) -> None:
        """One block: pass over what is known, send the rest, write the checkpoint."""
        natural = len(block.lines)
        known, learned = self._known(blocks, block, natural)
        done = known.lines if known else 0
        counts = _Counts(known.rows, known.rejected) if known else _Counts()
        if learned:
            self._endings.clear()
        if known:
            self.summary.rows += known.rows
            self.summary.rejected += known.rejected
            self.summary.duplicates += known.rows - known.rejected
            if self.learn and learned < done:
                for record in self._records(Texts(block.head(done)), learned, lambda: False):
                    self._remember(block, record, mapper)
        if done < len(block.lines):
            texts = Texts(block)
            if unread is not None and not done:
                texts.check_all(unread)
            self._send_rows(block, self._records(texts, done, lambda: blocks.lengthen(block, natural)), mapper, counts)
        blocks.close(block)
        self.summary.line = block.number + len(block.lines) - 1
        if known and known.lines == len(block.lines):
            self._last = (block.start, block.end, known)
        else:
            checkpoint = Known(len(block.lines), counts.rows, counts.rejected)
            self.rejects.flush()
            self.store.write(block.start, block.end, checkpoint)
            self._last = (block.start, block.end, checkpoint)

    def _known(self, blocks: Blocks, block: Block, natural: int) -> tuple[Known | None, int]:
        """How much of this block's beginning is in the store, and how many lines of it are learned after."""
        candidates = self.store.known(block.start)
        longest = max((lines for lines, _ in candidates), default=0)
        while len(block.lines) < longest and blocks.lengthen(block, natural):
            pass
        found: Known | None = None
        learned = 0
        for (lines, end), known in candidates.items():
            if lines <= len(block.lines) and block.chains[lines - 1].hex() == end:
                if found is None or lines > found.lines:
                    found = known
                if known.learned:
                    learned = max(learned, lines)
        # Another file's block with the same first line may have been the longer one.
        blocks.give_back(block, max(natural, found.lines if found else 0))
        return found, learned

    def _send_rows(self, block: Block, records: Iterator[Record], mapper: Mapper, counts: _Counts) -> None:
        batch: list[_Row] = []
        chars = 0
        for record in records:
            row = self._row(block, record, mapper, counts)
            if row is not None:
                batch.append(row)
                chars += len(row.entry.text)
            if len(batch) >= SEND_ENTRIES or chars >= SEND_CHARS:
                self._send(block, batch, counts)
                batch, chars = [], 0
        self._send(block, batch, counts)

    def _records(self, texts: Texts, first: int, lengthen: Callable[[], bool]) -> Iterator[Record]:
        if self.form == "csv":
            return csv_records(texts, first, lengthen, self.delimiter or ",")
        return json_records(texts, first)

    def _row(self, block: Block, record: Record, mapper: Mapper, counts: _Counts) -> _Row | None:
        self.summary.rows += 1
        counts.rows += 1
        try:
            event = self._event(record, mapper)
            event_id = event.event_id or _row_id(block, record)
            entry = entry_of(event, event_id=event_id, limits=self.limits)
        except (RowRejected, InvalidEvent) as exc:
            self._reject(block, record.first, record.last, str(exc), counts)
            return None
        if self.learn:
            self._ended(event, event_id)
        return _Row(entry, record.first, record.last)

    def _event(self, record: Record, mapper: Mapper) -> Event:
        if record.reason is not None:
            raise RowRejected(record.reason)
        return parse_event(mapper(record.value), self.limits)

    def _remember(self, block: Block, record: Record, mapper: Mapper) -> None:
        """A row that is in the store already, but perhaps not learned after."""
        try:
            event = self._event(record, mapper)
        except (RowRejected, InvalidEvent):
            return
        self._ended(event, event.event_id or _row_id(block, record))

    def _ended(self, event: Event, event_id: str) -> None:
        """Note a session's last row; one after which there is nothing to learn (KATO refuses an empty STM) is none."""
        before = self._endings.pop(event.session_id, None)
        seen = event.observation
        if seen is not None and (before is not None or seen.strings or seen.vectors):
            self._endings[event.session_id] = _Ending(event_id, event.node_id, event.timestamp)

    def _reject(self, block: Block, first: int, last: int, reason: str, counts: _Counts) -> None:
        counts.rejected += 1
        self.summary.rejected += 1
        self.rejects.add(block.number + first, reason, b"\n".join(block.lines[first : last + 1]))

    def _send(self, block: Block, rows: Sequence[_Row], counts: _Counts) -> None:
        kept, refused = self._without_conflicts(rows)
        for row, reason in refused:
            self._reject(block, row.first, row.last, reason, counts)
        for row, appended in kept:
            if appended.error is not None:
                self._reject(block, row.first, row.last, appended.error, counts)
            elif appended.duplicate:
                self.summary.duplicates += 1
            else:
                self.summary.appended += 1

    def _without_conflicts(self, rows: Sequence[_Row]) -> tuple[list[tuple[_Row, Appended]], list[tuple[_Row, str]]]:
        """Append rows; those whose session belongs to another node are taken out (nothing is appended until then)."""
        refused: list[tuple[_Row, str]] = []
        while rows:
            try:
                answers = self.append([row.entry for row in rows])
            except NodeConflict:
                nodes = self.store.nodes({row.entry.session_id for row in rows})
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

    def _learn(self) -> None:
        """A learn for each session that had rows since its last one, in the order of their last rows."""
        batch: list[_Row] = []
        for session, ending in self._endings.items():
            event = Event(event_type="learn", session_id=session, node_id=ending.node_id, timestamp=ending.timestamp)
            entry = entry_of(event, event_id=f"{ending.event_id[:500]}-learn", limits=self.limits)
            batch.append(_Row(entry, 0, 0))
            if len(batch) >= SEND_ENTRIES:
                self._send_learns(batch)
                batch = []
        self._send_learns(batch)
        self._endings.clear()
        if self._last is not None and not self._last[2].learned:
            start, end, known = self._last
            self.store.write(start, end, Known(known.lines, known.rows, known.rejected, learned=True))

    def _send_learns(self, batch: Sequence[_Row]) -> None:
        # A session on another node had no row accepted, so there is nothing to learn after.
        kept, _ = self._without_conflicts(batch)
        self.summary.learns += sum(not appended.duplicate for _, appended in kept)


def _row_id(block: Block, record: Record) -> str:
    return block.chains[record.last][:12].hex()
