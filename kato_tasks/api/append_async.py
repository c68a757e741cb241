"""The plain calls for an event loop, which goes on while the store works."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any

from kato_tasks.api.append import read_event, warn_of_shared_names
from kato_tasks.bootstrap.loops import loop_runtime
from kato_tasks.bootstrap.runtime import setting_marks
from kato_tasks.bootstrap.waking import waker
from kato_tasks.domain.events import Event, check_events
from kato_tasks.domain.log_entry import Entry
from kato_tasks.domain.results import Appended

READ_AT_ONCE = 100
"""After so many events the loop's other tasks get a turn: a few milliseconds."""


async def append_events_async(events: Iterable[Event | Mapping[str, Any]]) -> list[Appended]:
    """Append standard events in their order, as ``append_events`` does; the event loop goes on meanwhile.

    Returns what became of each, when the store has them all. Raises InvalidEvent or NodeConflict (the field is named,
    with the event's index) before anything is appended; StoreUnavailable when nothing is known to be accepted. A call
    that is cancelled has appended of each session's events those before some point: repeat it with the same
    ``event_id``s.
    """
    check_events(events)
    here = await loop_runtime()
    limits = here.settings.limits
    entries: list[Entry] = []
    for index, raw in enumerate(events):
        entries.append(read_event(index, raw, limits))
        if len(entries) % READ_AT_ONCE == 0:
            await asyncio.sleep(0)
    if not entries:
        return []
    posted = await here.ask(here.protocol.append(entries))
    warn_of_shared_names(posted.shared_names)
    if shards := await here.ask(setting_marks(posted.wake, here.settings.shards)):
        await waker().wake_from_loop(shards)
    return [placed.appended for placed in posted.placed]


__all__ = ["append_events_async"]
