"""Events as the archive gets them, made as the store would hand them over."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from kato_tasks.domain.events import parse_event
from kato_tasks.domain.ids import lane_of
from kato_tasks.domain.log_entry import entry_of
from kato_tasks.ports.archive import ArchivedEvent

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
BEGIN_MS = int(BEGIN.timestamp() * 1000)


def archived(
    session: str,
    position: int,
    *,
    node: str = "n",
    order: int | None = None,
    seconds: float | None = None,
    event_id: str | None = None,
    applied_ms: int | None = None,
    dead: bool = False,
    text: str = "x",
) -> ArchivedEvent:
    """One observation whose timestamp is so many seconds after BEGIN (by default its position)."""
    when = BEGIN + timedelta(seconds=position if seconds is None else seconds)
    event = {
        "session_id": "s",
        "timestamp": when.isoformat(),
        "observation": {"strings": [text]},
    }
    entry = entry_of(parse_event(event), event_id=event_id or f"e{position}").text
    at = applied_ms if applied_ms is not None else BEGIN_MS + 1_000 * position
    return ArchivedEvent(session, position, node, lane_of(node), order or position, at, entry, dead)


def run(session: str, first: int, last: int, **more: Any) -> list[ArchivedEvent]:
    """The events of a session from one position to another."""
    return [archived(session, position, **more) for position in range(first, last + 1)]


def places(events: Iterable[ArchivedEvent]) -> list[tuple[str, int]]:
    """What of a session each event is."""
    return [(event.session, event.position) for event in events]
