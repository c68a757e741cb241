"""What becomes of an archived event in a row of the table, and back.

PostgreSQL's text cannot hold U+0000, which a session id may contain. So U+0000 is written as U+0001 U+0001, and U+0001
as U+0001 U+0002. The escaped texts sort by bytes as the plain ones do, and no other text changes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from kato_tasks.domain.log_entry import TYPES
from kato_tasks.errors import UnreadableRow
from kato_tasks.ports.archive import ArchivedEvent

Row = tuple[Any, ...]
"""An event's values, in the order of ``tables.COLUMNS``."""
SESSION, POSITION, EVENT_ID = 0, 1, 7
"""Where these stand in a row."""
READ = ("session_id", "position", "node", "lane", "lane_order", "applied_ms", "entry", "dead", "time_ms")
"""The columns that are read; the last one says where the next page of a time range begins."""

_ESCAPES = str.maketrans({"\x00": "\x01\x01", "\x01": "\x01\x02"})
_ESCAPED = re.compile("\x01([\x01\x02])")
_APPENDED = re.compile(r"..(\d{1,18})")
_HEAD = re.compile(r'\{"v":(\d{1,9}),"ts":"([^"\\]+)"')
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MS = timedelta(milliseconds=1)


def escape(text: str) -> str:
    """Return a text as the table holds it."""
    return text.translate(_ESCAPES) if "\x00" in text or "\x01" in text else text


def unescape(text: str) -> str:
    """Return the text that ``escape`` was given."""
    return _ESCAPED.sub(lambda found: "\x00" if found[1] == "\x01" else "\x01", text) if "\x01" in text else text


def row_of(event: ArchivedEvent) -> Row:
    """Return an event's row. Raises UnreadableRow if its entry is broken."""
    try:
        flags, event_id, head, _ = event.entry.split("\n", 3)
        version, when = _version_and_time(head)
        kind = TYPES[flags[:1]]  # type: ignore[index]  # what is no kind is caught
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UnreadableRow(
            f"the entry of session {event.session!r} at position {event.position} is broken, and was not archived"
        ) from None
    appended = _APPENDED.match(flags)
    appended_ms = int(appended[1]) if appended else None
    if when is None:  # entries of an early version have no timestamp
        when = event.applied_ms if appended_ms is None else appended_ms
    return (
        escape(event.session),
        event.position,
        escape(event.node),
        escape(event.lane),
        event.lane_order,
        event.applied_ms,
        appended_ms,
        escape(event_id),
        kind,
        when,
        event.dead,
        version,
        escape(event.entry),
    )


def rows_of(events: Sequence[ArchivedEvent]) -> list[Row]:
    """Return the rows of events in the order of session and position, in which every writer takes its locks."""
    return sorted(map(row_of, events), key=lambda row: row[:2])


def event_of(row: Any) -> ArchivedEvent:
    """Return the event that a row with the columns ``READ`` holds."""
    session, position, node, lane, lane_order, applied_ms, entry, dead, _ = row
    return ArchivedEvent(
        unescape(session),
        position,
        unescape(node),
        unescape(lane),
        lane_order,
        applied_ms,
        unescape(entry),
        bool(dead),
    )


def _version_and_time(head: str) -> tuple[int, int | None]:
    """Return the schema version and the timestamp in ms of an entry's third line."""
    found = _HEAD.match(head)  # what entry_of writes; parsing all of it would take most of a write's time
    if found is not None:
        return int(found[1]), _ms_of(found[2])
    parsed = json.loads(head)
    when = parsed.get("ts")
    return int(parsed.get("v", 1)), None if when is None else _ms_of(when)


def _ms_of(text: str) -> int:
    moment = datetime.fromisoformat(text)
    return ((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - _EPOCH) // _MS


__all__ = ["EVENT_ID", "POSITION", "READ", "SESSION", "Row", "escape", "event_of", "row_of", "rows_of", "unescape"]
