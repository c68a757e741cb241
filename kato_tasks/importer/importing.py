"""The import itself: turns lines into rows, and appends those that are not known yet to the log."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

from kato_tasks.domain.observations import Limits
from kato_tasks.importer.before import Before, chain_id
from kato_tasks.importer.blocks import Block, Blocks
from kato_tasks.importer.comparing import Changed, check_changed, check_others, compare, content_in_log, has_own_id
from kato_tasks.importer.errors import Undecided
from kato_tasks.importer.identity import (
    Occurrences,
    changed,
    content_check,
    content_key,
    id_key,
    metadata_check,
    nth,
)
from kato_tasks.importer.intake import Append, Intake, Raw, Summary
from kato_tasks.importer.mapping import Columns
from kato_tasks.importer.reading import MappedRow, Reader
from kato_tasks.importer.record import SourceRecord
from kato_tasks.importer.records import Form, Texts
from kato_tasks.importer.rejects import FORM, Rejects
from kato_tasks.importer.source import Source
from kato_tasks.ports.imports import Imports, Row
from kato_tasks.ports.sessions import Sessions

_MASK = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an import is: bytes of the file (``total`` is None if unknown), and the rows so far."""

    position: int
    total: int | None
    summary: Summary


@dataclass(slots=True)
class Importer:
    """Imports one file.

    ``name`` is the source's name, by which its rows are recognised later; None stands for the file's own path.
    ``changed`` says what to do where the file can be understood in two ways; without it, such an import raises
    Undecided before it appends anything. ``guessed`` says that the user did not give the form. For the other fields
    see ``Intake``.
    """

    append: Append
    imports: Imports
    sessions: Sessions
    rejects: Rejects
    limits: Limits
    columns: Columns
    form: Form
    delimiter: str | None = None
    learn: bool = False
    name: str | None = None
    changed: Changed | None = None
    guessed: bool = False
    on_progress: Callable[[Progress], None] = lambda _: None
    undisturbed: Callable[[], AbstractContextManager[object]] = nullcontext
    summary: Summary = field(default_factory=Summary)
    _reader: Reader = field(init=False)
    _intake: Intake = field(init=False)
    _record: SourceRecord | None = None
    _before: Before | None = None
    _occurrences: Occurrences = field(default_factory=Occurrences)
    _skipped: set[int] = field(default_factory=set)
    _missing: list[Row] = field(default_factory=list)
    _first: int = 0
    _count: int = 0
    _total: int = 0
    _comparable: bool = True
    """Whether rows have the metadata columns of the source's first import."""

    def run(self, source: Source) -> Summary:
        """Import everything, and return what became of the rows.

        Raises BadInput (the file cannot be imported) or StoreUnavailable (run the same import again).
        """
        began = time.monotonic()
        self.columns.check()
        self._reader = Reader(self.columns, self.form, self.delimiter, self.guessed)
        name = self.name or (own_name(source) if source.path is not None else None)
        if name is None and self.columns.mapped and self.columns.event_id is None:
            raise nameless(source.name)
        self._record = SourceRecord(self.imports, name) if name is not None else None
        self.summary.source = name
        self._intake = Intake(
            self.append,
            self.sessions,
            self.rejects,
            self.limits,
            self.summary,
            self._record,
            self.learn,
            self.undisturbed,
            self._read,
        )
        try:
            if self._record is not None and self._record.exists:
                self._compare(self._record, source)
            blocks = Blocks(source, self.columns.seed(self.form) if self._chained() else None)
            self._reader.begin(blocks, source)
            self.rejects.of = self._of()
            unread = True
            while block := blocks.read():
                if unread:
                    self._begin(blocks, block, source)
                self._block(blocks, block, source.name if unread else None)
                unread = False
                self.summary.seconds = time.monotonic() - began
                self.on_progress(Progress(source.position, source.total, self.summary))
            self.summary.left_for_later = int(source.left_for_later)
            # While a line is still to come, the file has not ended, and neither have its sessions.
            if not unread:
                self._forget_missing()
                self._intake.finish(learn=self.learn and not source.left_for_later)
        finally:
            self.summary.seconds = time.monotonic() - began
            self.rejects.flush()
        return self.summary

    def _compare(self, record: SourceRecord, source: Source) -> None:
        """Compare the file with what was imported from it. Raises Undecided."""
        self.summary.relearned = record.known.any_learned
        self._comparable = record.about.metadata == self._metadata()
        if self.columns.event_id is not None:
            return
        source.keep()
        reader = Reader(self.columns, self.form, self.delimiter)
        found = compare(reader, source, record, metadata=self._comparable)
        self._skipped = check_changed(found, record, source.name, self.changed, partial(content_in_log, self.sessions))
        self._missing = found.missing

    def _forget_missing(self) -> None:
        """Record that missing rows were decided about, so that the user is not asked about them again."""
        for row in self._missing:
            self._intake.keep("g", row)

    def _chained(self) -> bool:
        """Whether the version before may have imported this file."""
        return self._record is not None and (not self._record.exists or self._record.about.before)

    def _begin(self, blocks: Blocks, block: Block, source: Source) -> None:
        """Find out from which source these rows come: read the first lines, and append nothing."""
        self._reader.check_form(block, source.name)
        record = self._record
        if record is None:
            return
        if not self._chained():
            record.begin(self._metadata())
            return
        before = Before(self.imports, record, source.name, self.name is not None)
        first = self._first_row(block)
        ids = first is not None and self.sessions.remembers(str(first[2].get("session_id")), chain_id(block, first[1]))
        adopted_by_another = record.adopter(block.start) not in (None, record.digest)
        if before.applies(block) or (ids and not adopted_by_another):
            self._before = before
            before.known(blocks, block, len(block.lines))
            record.begin(self._metadata(), before=True)
            return
        blocks.stop_chain()
        if self.name is None and first is not None and not has_own_id(first[2]):
            others = record.others_that_begin(content_key(first[2]))
            reader = Reader(self.columns, self.form, self.delimiter)
            check_others(reader, source, others, source.name, own_name(source))
        record.begin(self._metadata())

    def _first_row(self, block: Block) -> MappedRow | None:
        texts = Texts(block)
        return next((row for row in self._reader.rows(texts, 0, lambda: False) if row[2] is not None), None)

    def _block(self, blocks: Blocks, block: Block, unread: str | None) -> None:
        natural = len(block.lines)
        done, learned = self._before.known(blocks, block, natural) if self._before is not None else (0, 0)
        texts = Texts(block)
        if unread is not None and not done:
            texts.check_all(unread)
        for first, last, event, reason in self._reader.rows(texts, 0, lambda: blocks.lengthen(block, natural)):
            self.summary.rows += 1
            if event is None:
                self._intake.reject(block.number + first, reason or "", (block.lines, first, last))
            elif has_own_id(event):
                self._with_own_id(event, block.number + first, (block.lines, first, last), last < done)
            else:
                self._by_content(event, block, first, last, done, learned)
        blocks.close(block)
        self.summary.line = block.number + len(block.lines) - 1

    def _with_own_id(self, event: dict[str, Any], line: int, raw: Raw, done: bool) -> None:
        """Take a row that has its own id in its session."""
        event_id, session = event["event_id"], event.get("session_id")
        key, check = id_key(session, event_id), content_check(content_key(event))
        record = self._record
        place = record.known.find(key) if record is not None else -1
        if record is None or place < 0:
            row = Row(key, check, line)
            if done:
                self._intake.keep("i", row)
                self._intake.pass_over(event, event_id, learned=False)
            else:
                self._intake.take(event, event_id, "i", row, raw)
        elif record.known.check(place) == check:
            self._intake.pass_over(event, event_id, learned=record.known.learned(place))
        else:
            self._intake.reject(
                line,
                f"event_id {event_id!r} is known in session {session!r} with another body (imported from line "
                f"{record.known.line(place)}); give a new fact a new event_id",
                raw,
            )

    def _by_content(self, event: dict[str, Any], block: Block, first: int, last: int, done: int, learned: int) -> None:
        """Take a row that is identified by its source and content; the version before imported lines up to ``done``."""
        record, line, key = self._record, block.number + first, content_key(event)
        if record is None:
            raise nameless("standard input", line)
        if not self._count:
            self._first = key
        self._count += 1
        self._total += key
        known = record.known
        if known.mended and (place := known.mended_at(key, line)) >= 0:
            self._intake.pass_over(event, record.event_id(known.key(place)), learned=known.learned(place))
            return
        row = nth(key, self._occurrences.number(key))
        check = metadata_check(event)
        place = -1 if known.empty else known.find(row)
        if place >= 0:
            self._known_row(event, Row(row, check, line), place, self._event_id(block, last, row), block, (first, last))
        elif line in self._skipped:
            self.summary.skipped += 1
            self._intake.keep("r", Row(row, check, line), learned=True)
        elif last < done:
            self.summary.relearned = self.summary.relearned or last < learned
            self._intake.keep("r", Row(row, check, line), learned=last < learned)
            self._intake.pass_over(event, self._event_id(block, last, row), learned=last < learned)
        else:
            kept = Row(row, check if self._comparable else 0, line)
            event_id = self._event_id(block, last, row)
            by_body = self._before is not None
            self._intake.take(event, event_id, "r", kept, (block.lines, first, last), by_body=by_body)

    def _known_row(
        self, event: dict[str, Any], row: Row, place: int, event_id: str, block: Block, lines: tuple[int, int]
    ) -> None:
        """Take a row that is an event already; if its metadata is different now, the options say what to do."""
        record = self._record
        assert record is not None
        known = record.known
        if not self._comparable or self.changed is None or known.check(place) in (0, row.check):
            self._intake.pass_over(event, event_id, learned=known.learned(place))
            return
        self._intake.keep("r", row, learned=known.learned(place))
        if self.changed == "skip":
            self.summary.skipped += 1
            return
        other = changed(row.key, row.check)
        raw = (block.lines, *lines)
        self._intake.take(event, record.event_id(other), "m", row._replace(key=other), raw)

    def _event_id(self, block: Block, last: int, row: int) -> str:
        assert self._record is not None
        return chain_id(block, last) if self._before is not None else self._record.event_id(row)

    def _read(self) -> tuple[int, int, int] | None:
        return (self._first, self._count, self._total & _MASK) if self._count else None

    def _metadata(self) -> str:
        """Return a text that is equal for two imports whose metadata can be compared."""
        return "\n".join(sorted(self.columns.metadata)) if self.columns.mapped else "*"

    def _of(self) -> dict[str, Any]:
        """Return how rejected rows are read and mapped, for the import of the mended rows."""
        plain = {name: value for name, value in asdict(self.columns).items() if value not in (None, (), False)}
        about = {
            "version": FORM,
            "source": self.summary.source,
            "run": self._record.about.runs + 1 if self._record is not None else 0,
            "format": self.form,
            "header": self._reader.header,
            "delimiter": self._reader.delimiter,
            "columns": plain,
        }
        return {name: value for name, value in about.items() if value is not None}


def own_name(source: Source) -> str:
    """Return the name of a file's source when none is given: its path, without .gz."""
    assert source.path is not None
    return str(source.path.resolve()).removesuffix(".gz")


def nameless(name: str, line: int | None = None) -> Undecided:
    """Return the error for rows that cannot be recognised later: they have no id, and their source has no name."""
    why = f" (line {line} has no event_id, and is the first that was not imported)" if line is not None else ""
    return Undecided(
        f"{name} has no name by which its rows can be recognized{why}; add --source NAME, and give the same name when "
        "the same rows come again, or --event-id COLUMN when they have ids"
    )
