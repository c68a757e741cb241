"""Compares a file with what was imported from it, before anything is appended: what is new, gone or different."""

from __future__ import annotations

import json
from array import array
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from kato_tasks.errors import UnreadableRow
from kato_tasks.importer.errors import Undecided
from kato_tasks.importer.identity import Occurrences, content_key, mended_key, metadata_check, nth
from kato_tasks.importer.reading import Reader, all_rows
from kato_tasks.importer.record import SourceRecord
from kato_tasks.importer.source import Source
from kato_tasks.ports.imports import About, Row
from kato_tasks.ports.sessions import Sessions

Changed = Literal["add", "skip"]
SHOWN_CHARS = 200
LOOKED_THROUGH = 2_000
"""How many events from a session's beginning are searched for the one that is to be shown."""
ContentOf = Callable[[str, str], str | None]
"""Takes a session and an event_id, and returns what the log holds of that event."""
_MASK = (1 << 64) - 1


def has_own_id(event: Mapping[str, Any]) -> bool:
    """Return whether a mapped row has an id of its own."""
    return isinstance(event.get("event_id"), str)


@dataclass(slots=True)
class Gap:
    """The lines of unknown rows between two known ones, which are given by the lines from which they were imported."""

    after: int
    before: int | None = None
    lines: array[int] = field(default_factory=lambda: array("I"))


@dataclass(slots=True)
class Comparison:
    """What a file has and lacks, compared with its record. ``unknown`` counts the rows that the record lacks."""

    missing: list[Row] = field(default_factory=list)
    unknown: int = 0
    other_metadata: list[int] = field(default_factory=list)
    moved: list[int] = field(default_factory=list)
    """Unknown lines with the content of a row that was imported from a rejects file for another line."""
    gaps: list[Gap] = field(default_factory=list)
    sorted: bool = True
    texts: dict[int, tuple[str, str]] = field(default_factory=dict)
    """Session and raw text of the first unknown rows, by their lines."""

    @property
    def clear(self) -> bool:
        """Whether every imported row is still there as it was."""
        return not self.missing and not self.other_metadata and not self.moved

    def stand_ins(self) -> set[int] | None:
        """Return the lines of unknown rows in the places of missing ones; None if the order does not tell."""
        found = set(self.moved)
        if not self.sorted:
            if self.unknown == len(self.missing) + len(found):
                return {line for gap in self.gaps for line in gap.lines}
            return None if self.missing and self.unknown > len(found) else found
        gone = [row.line for row in self.missing]
        for gap in self.gaps:
            room = sum(gap.after <= line and (gap.before is None or line <= gap.before) for line in gone)
            found.update(gap.lines[:room])
        return found


def compare(reader: Reader, source: Source, record: SourceRecord, *, metadata: bool) -> Comparison:
    """Read all of the source and compare it with its record.

    ``metadata`` says whether the rows' metadata can be compared with what was imported.
    """
    found = Comparison()
    known, pending = record.known, record.pending
    occurrences = Occurrences()
    last, gap = 0, None
    moved: list[tuple[int, int]] = []
    with source.from_its_beginning():
        for block, (first, end, event, _) in all_rows(reader, source):
            if event is None or has_own_id(event):
                continue
            key = content_key(event)
            line = block.number + first
            if known.mended and (mended := known.mended_at(key, line)) >= 0:
                known.meet(mended)
                continue
            row = nth(key, occurrences.number(key))
            place = known.find(row)
            if place >= 0:
                known.meet(place)
                if metadata and known.check(place) not in (0, metadata_check(event)):
                    found.other_metadata.append(line)
                was = known.line(place)
                found.sorted = found.sorted and was >= last
                last = was
                if gap is not None:
                    gap.before, gap = was, None
            elif (there := pending.find(row)) >= 0:
                pending.meet(there)
            else:
                found.unknown += 1
                if gap is None:
                    gap = Gap(last)
                    found.gaps.append(gap)
                gap.lines.append(line)
                if known.mended and known.find(mended_key(key, 1)) >= 0:
                    moved.append((line, key))
                if len(found.texts) < 1_000:
                    raw = b"\n".join(block.lines[first : end + 1]).decode("utf-8", "backslashreplace")
                    found.texts[line] = (str(event.get("session_id")), raw[:SHOWN_CHARS])
    found.moved = [line for line, key in moved if known.mended_left(key)]
    found.missing = sorted(known.missing() + pending.missing(), key=lambda row: row.line)
    return found


def content_in_log(sessions: Sessions, session: str, event_id: str) -> str | None:
    """What the log holds of an event, shortened; None where it is not found, or cannot be read."""
    node = sessions.node_of(session)
    try:
        entries = [] if node is None else sessions.events(session, node, limit=LOOKED_THROUGH)
    except UnreadableRow:
        return None
    for entry in entries:
        if entry.event_id == event_id:
            seen = entry.as_appended(session).get("observation", {})
            shown = {name: seen[name] for name in ("strings", "emotives", "vectors") if seen.get(name)}
            return json.dumps(shown, ensure_ascii=False)[:SHOWN_CHARS]
    return None


def check_changed(
    found: Comparison, record: SourceRecord, name: str, changed: Changed | None, content: ContentOf
) -> set[int]:
    """Return the lines that must not be appended; raises Undecided if no option says how to treat the differences."""
    if found.clear:
        return set()
    if changed is None:
        raise Undecided(_differs(found, record, name, content))
    if changed == "add":
        return set()
    lines = found.stand_ins()
    if lines is None:
        raise Undecided(
            f"{name} lacks {_rows(len(found.missing))} that {_were(len(found.missing))} imported from it, has "
            f"{_rows(found.unknown)} that {_are(found.unknown)} not known, and its order is another, so that it cannot "
            "be told which stand for which; put them into the order in which they were imported, or give --changed "
            "add, which appends all that are not known; nothing was appended"
        )
    return lines


def _differs(found: Comparison, record: SourceRecord, name: str, content: ContentOf) -> str:
    gone, new = len(found.missing), found.unknown
    expected = record.known.expected + record.pending.expected
    if not gone and found.moved:
        line = found.moved[0]
        return (
            f"line {line} of {name} has the content of a row that was imported, mended, from a rejects file, but for "
            f"another line{_and_more(len(found.moved) - 1)}; if it is that row, --changed skip passes over it, and if "
            "it is another event, --changed add appends it; nothing was appended"
        )
    if not gone:
        line = found.other_metadata[0]
        return (
            f"line {line} of {name} was imported with other metadata"
            f"{_and_more(len(found.other_metadata) - 1)}, and an event in the log does not change; --changed skip "
            "leaves it as it is, --changed add appends the row as another event; nothing was appended"
        )
    if new and gone == expected > 1:
        return (
            f"none of the {_rows(gone)} that {_were(gone)} imported from {name} {_are(gone)} in it now; if it is "
            f"another file with the same name, import it with --source NAME, a name of its own; if it is the same "
            "and rows were mended or mapped otherwise, --changed skip leaves the log as it is and --changed add "
            "appends all rows as events of their own; nothing was appended"
        )
    first = found.missing[0]
    line = first.line if first.line in found.texts else next(iter(found.texts), 0)
    was = content(found.texts[line][0], record.event_id(first.key)) if line else None
    before = f"was imported as {was}" if was else "was imported with another content"
    said = (
        f"line {first.line} of {name} {before} and is now {found.texts[line][1]!r}"
        if line == first.line
        else f"the row that was imported from line {first.line} of {name}{f' ({was})' if was else ''} is not in it now"
    )
    shown = next(iter(found.texts), 0)
    unknown = f", {_rows(new)} {_are(new)} not known (first: line {shown}, {found.texts[shown][1]!r})" if new else ""
    mended = (
        "if rows were mended that are events already, --changed skip leaves those events as they are and appends "
        "only other new rows; if what is not known are other events, --changed add appends all of it"
        if new
        else "--changed skip goes on without them: events stay in the log"
    )
    return (
        f"{said}; in all {_rows(gone)} of {expected:,} {_are(gone)} gone{unknown}; {mended}; if it is "
        "another file with the same name, give it a name of its own with --source NAME; nothing was appended"
    )


def check_others(reader: Reader, source: Source, others: list[About], name: str, own: str) -> None:
    """Raise Undecided if the file begins with all rows of another source."""
    if not others:
        return
    wanted: dict[int, list[About]] = {}
    for about in others:
        wanted.setdefault(about.rows, []).append(about)
    count = total = 0
    same: About | None = None
    with source.from_its_beginning():
        for _, (_, _, event, _) in all_rows(reader, source):
            if event is None or has_own_id(event):
                continue
            total = (total + content_key(event)) & _MASK
            count += 1
            for about in wanted.get(count, ()):
                if about.total == total:
                    same = about
    if same is not None:
        more = count - same.rows
        has = f"begins with all {_rows(same.rows)} of" if more else "has the same rows as"
        raise Undecided(
            f"{name} {has} {same.name!r}, which was imported before; if it is that one under another name, import it "
            f"with --source {_quoted(same.name)}, and if its rows are other events, with --source {_quoted(own)}; "
            "nothing was appended"
        )


def _quoted(text: str) -> str:
    return text if text.replace("/", "").replace(".", "").replace("-", "").replace("_", "").isalnum() else repr(text)


def _rows(number: int) -> str:
    return f"{number:,} row{'' if number == 1 else 's'}"


def _are(number: int) -> str:
    return "is" if number == 1 else "are"


def _were(number: int) -> str:
    return "was" if number == 1 else "were"


def _and_more(number: int) -> str:
    return f" (and {number:,} more)" if number > 0 else ""
