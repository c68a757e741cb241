"""Make log entries of a shadow session of a session's events. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime

from kato_tasks.domain.generations import shadow_session
from kato_tasks.domain.log_entry import KINDS, Entry
from kato_tasks.errors import UnreadableRow
from kato_tasks.ports.archive import ArchivedEvent


def source_of(replay_id: str) -> str:
    """Return the name of the source from which a replay's copies come, whose offsets are places in a lane's order."""
    return f"replay:{replay_id}"


def copies_of(events: Iterable[ArchivedEvent], replay_id: str, until_ms: int | None = None) -> list[tuple[Entry, int]]:
    """Return the entry of each event that KATO had, and its place in the lane's order.

    Dead letters are left out, and so are events whose timestamp is later than ``until_ms``. What KATO is sent stays as
    it was. No caller waits for a copy. Raises UnreadableRow.
    """
    return [
        (_copy(event, replay_id), event.lane_order)
        for event in events
        if not event.dead and (until_ms is None or timestamp_ms(event.entry) <= until_ms)
    ]


def _copy(event: ArchivedEvent, replay_id: str) -> Entry:
    flags, event_id, head, body = _lines(event)
    kind = flags[0]
    text = f"{kind}0{flags[2:].lstrip('0123456789')}\n{event_id}\n{head}\n{body}"
    return Entry(shadow_session(replay_id, event.session), None, event_id, kind, False, "", text)  # type: ignore[arg-type]


def _lines(event: ArchivedEvent) -> list[str]:
    lines = event.entry.split("\n", 3)
    if len(lines) != 4 or lines[0][:1] not in KINDS.values():
        raise UnreadableRow(f"the event at position {event.position} of session {event.session!r} is broken")
    return lines


def timestamp_ms(entry: str) -> int:
    """Return an entry's timestamp in milliseconds since 1970. Raises UnreadableRow."""
    try:
        when = datetime.fromisoformat(json.loads(entry.split("\n", 3)[2])["ts"])
    except (ValueError, KeyError, IndexError, TypeError) as exc:
        raise UnreadableRow(f"an event's timestamp cannot be read: {exc}") from None
    return int((when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp() * 1000)
