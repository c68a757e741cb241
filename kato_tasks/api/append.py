"""Append events in bulk, as HTTP batches, listeners and imports do. No Celery message carries an event."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from kato_tasks.bootstrap import Runtime, runtime
from kato_tasks.domain.events import Event, check_events, parse_event
from kato_tasks.domain.log_entry import Entry, entry_of
from kato_tasks.domain.observations import Limits
from kato_tasks.domain.results import Appended
from kato_tasks.errors import InvalidEvent
from kato_tasks.telemetry.log_events import say

log = logging.getLogger(__name__)


def append_events(events: Iterable[Event | Mapping[str, Any]]) -> list[Appended]:
    """Append standard events in their order; returns what became of each, when the store has them all.

    An event without ``event_id`` gets a random one, so only events with their own ids may be sent again.
    Raises InvalidEvent or NodeConflict (the field is named, with the event's index) before anything is
    appended; StoreUnavailable when nothing is known to be accepted.
    """
    check_events(events)
    limits = runtime().settings.limits
    entries = [read_event(index, raw, limits) for index, raw in enumerate(events)]
    return append_entries(runtime(), entries) if entries else []


def read_event(index: int, raw: Event | Mapping[str, Any], limits: Limits) -> Entry:
    """The entry of one event among several. Raises InvalidEvent, which names its index and field."""
    try:
        event = parse_event(raw, limits)
        return entry_of(event, event_id=event.event_id or uuid.uuid4().hex, limits=limits)
    except InvalidEvent as exc:
        raise exc.under(f"events[{index}]") from None


def append_entries(
    rt: Runtime, entries: Sequence[Entry], *, source: str = "", offsets: Sequence[int] = ()
) -> list[Appended]:
    """Append entries that are valid already, and wake their lanes. ``source``: see ``Mailbox.append``."""
    posted = rt.mailbox.append(entries, source=source, offsets=offsets)
    warn_of_shared_names(posted.shared_names)
    rt.wake(posted.wake)
    return [placed.appended for placed in posted.placed]


def warn_of_shared_names(lanes: frozenset[str]) -> None:
    """Log a warning for each of these lanes, in which two node ids are one node to KATO."""
    for lane in lanes:
        say(log, logging.WARNING, "node.shared", lane=lane, meaning="KATO gives these node ids one memory")
