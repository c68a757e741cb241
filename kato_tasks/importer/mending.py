"""Imports a mended rejects file: each row counts as the row of the source that was rejected."""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kato_tasks.domain.observations import Limits
from kato_tasks.importer.comparing import Changed, has_own_id
from kato_tasks.importer.errors import BadInput, Undecided
from kato_tasks.importer.identity import (
    content_check,
    content_key,
    id_key,
    mended_key,
    metadata_check,
    nth,
)
from kato_tasks.importer.intake import Append, Intake, Raw, Summary
from kato_tasks.importer.mapping import Columns
from kato_tasks.importer.reading import Reader
from kato_tasks.importer.record import SourceRecord
from kato_tasks.importer.records import Record
from kato_tasks.importer.rejects import RejectedRow, Rejects, rejected_rows
from kato_tasks.ports.imports import Imports, Row
from kato_tasks.ports.sessions import Sessions


@dataclass(slots=True)
class MendedImporter:
    """Imports a rejects file, which says itself how its rows are mapped and where they come from. See ``Importer``."""

    append: Append
    imports: Imports
    sessions: Sessions
    rejects: Rejects
    limits: Limits
    learn: bool = False
    changed: Changed | None = None
    undisturbed: Callable[[], AbstractContextManager[object]] = nullcontext
    summary: Summary = field(default_factory=Summary)
    _readers: dict[str, Reader] = field(default_factory=dict)
    _here: set[int] = field(default_factory=set)

    def run(self, path: Path) -> Summary:
        """Import everything, and return what became of the rows.

        Raises BadInput, Undecided (before anything is appended) or StoreUnavailable.
        """
        began = time.monotonic()
        rows = [(row, *self._mapped(row)) for row in rejected_rows(path)]
        names = {row.of.get("source") for row, _, _ in rows}
        if len(names) > 1:
            listed = " and ".join(repr(name) for name in sorted(map(str, names))[:2])
            raise BadInput(
                f"{path} holds rows of several sources ({listed}); make a file of each and import them apart"
            )
        name = names.pop() if names else None
        record = SourceRecord(self.imports, name) if isinstance(name, str) else None
        self.summary.source = name
        learned = record is not None and record.known.any_learned and not record.known.any_unlearned
        self.summary.relearned = record is not None and record.known.any_learned
        intake = Intake(
            self.append, self.sessions, self.rejects, self.limits, self.summary, record, self.learn, self.undisturbed
        )
        # The rows are gone through twice, because nothing may be appended if one of them cannot be decided.
        keys = [self._key(row, event, record, path) for row, event, _ in rows]
        if record is not None:
            record.begin("", counted=False)
        try:
            for (row, event, reason), (key, known) in zip(rows, keys, strict=True):
                self.summary.rows += 1
                self.summary.line = row.number
                self._take(intake, row, event, reason, key, known)
            if record is not None:
                intake.finish(learn=self.learn, all_learned=learned)
            else:
                intake.finish(learn=self.learn)
        finally:
            self.summary.seconds = time.monotonic() - began
            self.rejects.flush()
        return self.summary

    def _take(
        self, intake: Intake, row: RejectedRow, event: dict[str, Any] | None, reason: str | None, key: int, known: bool
    ) -> None:
        raw = ([row.raw.encode("utf-8", "surrogatepass")], 0, 0)
        if event is None:
            intake.reject(row.line, reason or "", raw, row.of)
        elif has_own_id(event):
            self._with_own_id(intake, row, event, raw)
        elif known:
            intake.pass_over(event, "", learned=True)
        elif not key:
            self.summary.skipped += 1
        else:
            record = intake.record
            assert record is not None
            self.rejects.of = row.of
            place = Row(key, metadata_check(event), row.line)
            intake.take(event, record.event_id(key), "m", place, raw, by_body=False, was=row.was or None)

    def _with_own_id(self, intake: Intake, row: RejectedRow, event: dict[str, Any], raw: Raw) -> None:
        event_id, record = event["event_id"], intake.record
        key, check = id_key(event.get("session_id"), event_id), content_check(content_key(event))
        place = record.known.find(key) if record is not None else -1
        if record is not None and place >= 0 and record.known.check(place) == check:
            intake.pass_over(event, event_id, learned=True)
        elif place >= 0:
            intake.reject(row.line, f"event_id {event_id!r} is known with another body", raw, row.of)
        else:
            self.rejects.of = row.of
            intake.take(event, event_id, "i", Row(key, check, row.line), raw)

    def _key(
        self, row: RejectedRow, event: dict[str, Any] | None, record: SourceRecord | None, path: Path
    ) -> tuple[int, bool]:
        """Return the key of a mended row (0 if it must be passed over), and whether it is known. Raises Undecided."""
        if event is None or has_own_id(event):
            return 0, False
        if record is None:
            raise BadInput(f"line {row.number} of {path} does not say of which source it is; import the source itself")
        content, known = content_key(event), record.known
        if known.mended_at(content, row.line) >= 0:
            return 0, True
        number = 1
        while (place := known.find(nth(content, number))) >= 0:
            if known.line(place) == row.line:
                return 0, True
            if known.run(place) >= _number(row.of.get("run")) + 1 and self.changed != "add":
                if self.changed == "skip":
                    return 0, False
                raise Undecided(
                    f"line {row.number} of {path} is line {row.line} of {record.name}, mended, and a row with this "
                    f"content was imported since then from line {known.line(place)}; if it is the same row, --changed "
                    "skip passes over it, and if it is another event, --changed add appends it; nothing was appended"
                )
            number += 1
        number = 1
        while known.find(mended_key(content, number)) >= 0 or mended_key(content, number) in self._here:
            number += 1
        self._here.add(mended_key(content, number))
        return mended_key(content, number), False

    def _mapped(self, row: RejectedRow) -> tuple[dict[str, Any] | None, str | None]:
        if row.cut:
            return None, "is cut off in the rejects file; mend it in its source and import that"
        reader = self._reader(row)
        try:
            if reader.form == "jsonl":
                value = json.loads(row.raw)
            else:
                lines = [f"{line}\n" for line in row.raw.split("\n")]
                (value,) = csv.reader(lines, delimiter=reader.delimiter or ",", strict=True)
        except RecursionError:
            return None, "is no JSON: nested too deep"
        except csv.Error as exc:
            return None, f"is no CSV: {exc}"
        except ValueError as exc:
            return None, f"is no {'JSON: ' + str(exc) if reader.form == 'jsonl' else 'single row'}"
        _, _, event, reason = reader.mapped(Record(0, 0, value))
        return event, reason

    def _reader(self, row: RejectedRow) -> Reader:
        of = {name: value for name, value in row.of.items() if name != "run"}
        name = json.dumps(of, sort_keys=True)
        if name not in self._readers:
            try:
                columns = _columns(of.get("columns", {}))
                reader = Reader(columns, "csv" if of["format"] == "csv" else "jsonl", of.get("delimiter"))
                reader.begin_with(of.get("header"), "the header in it")
            except (KeyError, TypeError, ValueError):
                raise BadInput(
                    f"line {row.number} does not say correctly how its row is read (of); leave it as it was written"
                ) from None
            self._readers[name] = reader
        return self._readers[name]


def _columns(plain: Mapping[str, Any]) -> Columns:
    """Return the mapping options from JSON, which has no tuples."""
    made: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in plain.items()}
    if "emotives" in made:
        made["emotives"] = tuple((str(name), str(column)) for name, column in plain["emotives"])
    return Columns(**made)


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0
