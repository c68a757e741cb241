"""Append events from an event loop, which goes on running while the store works."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any

from kato_tasks.api.append import read_event, warn_of_shared_names
from kato_tasks.bootstrap.loops import LoopRuntime, loop_runtime
from kato_tasks.bootstrap.waking import waker
from kato_tasks.domain.events import Event, check_events
from kato_tasks.domain.log_entry import Entry
from kato_tasks.domain.results import Appended
from kato_tasks.engine.appended import AppendResult
from kato_tasks.engine.wakeup_marks import set_marks

READ_AT_ONCE = 100
"""After this many events, which take a few milliseconds to read, the loop's other tasks get a turn."""


async def append_events_async(events: Iterable[Event | Mapping[str, Any]]) -> list[Appended]:
    """Append events in their order, as ``append_events`` does, and let the event loop go on meanwhile.

    Args:
        events: As for ``append_events``.

    Returns:
        For each event, in order, an ``Appended``, once the store has them all.

    Raises:
        What ``append_events`` raises.

    A call that is cancelled has appended of each session the events before some point. Repeat it with the same ids.
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
    await finish_append(here, posted)
    return [placed.appended for placed in posted.placed]


async def finish_append(here: LoopRuntime, posted: AppendResult) -> None:
    """Wake the lanes of what was appended, and warn of node ids that share a lane's name. Raises StoreUnavailable."""
    warn_of_shared_names(posted.shared_names)
    if shards := await here.ask(set_marks(posted.wake, here.settings.shards)):
        await waker().wake_from_loop(shards)


__all__ = ["append_events_async", "finish_append"]
