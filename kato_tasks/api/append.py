"""Append events in bulk, as HTTP batches, listeners and imports do. The events do not travel in Celery messages."""

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
from kato_tasks.engine.appended import AppendResult
from kato_tasks.errors import InvalidEvent
from kato_tasks.telemetry.log_events import log_event

log = logging.getLogger(__name__)


def append_events(events: Iterable[Event | Mapping[str, Any]]) -> list[Appended]:
    """Append events in their order, and return what became of each once the store has them all.

    No Celery message carries an event, and no task waits for it: this is the way for many events.

    Args:
        events: Events in the form of the standard event, as mappings or ``kato_tasks.Event``. An observation needs
            ``session_id`` and ``observation``; ``event_type`` may also be ``learn`` or ``clear_stm``. ``node_id``,
            ``timestamp`` (ISO 8601; the time of the append by default), ``metadata`` and ``event_id`` may be absent.
            The same ``event_id`` in the same session within 7 days (``DEDUPE_DAYS``) is the same event. An event
            without one gets a random id, so only events with ids of their own may be sent again.

    Returns:
        For each event, in order, an ``Appended``: its ``event_id``, ``session_id`` and ``position`` in the session's
        log, and whether it is a ``duplicate``. An event whose id the session knows with another body is refused and
        kept as a dead letter: it has no ``position``, and ``error`` says why.

    Raises:
        InvalidEvent, NodeConflict: A field is wrong; ``field`` names the event's index and the field. Nothing was
            appended.
        StoreUnavailable: The store cannot be reached. Of each session the events before some point may have been
            appended: repeat the call with the same ids. ``StoreFull``: the store has no room.
        StoreFailed: The store refuses the operation, and would again.
        ConfigurationError: A setting cannot work.
    """
    check_events(events)
    limits = runtime().settings.limits
    entries = [read_event(index, raw, limits) for index, raw in enumerate(events)]
    return append_entries(runtime(), entries) if entries else []


def read_event(index: int, raw: Event | Mapping[str, Any], limits: Limits) -> Entry:
    """Return the log entry of one event among several. Raises InvalidEvent, which names its index and the field."""
    try:
        event = parse_event(raw, limits)
        return entry_of(event, event_id=event.event_id or uuid.uuid4().hex, limits=limits)
    except InvalidEvent as exc:
        raise exc.under(f"events[{index}]") from None


def append_entries(
    rt: Runtime, entries: Sequence[Entry], *, source: str = "", offsets: Sequence[int] = ()
) -> list[Appended]:
    """Append entries that are valid already, wake their lanes, and return what became of each, in order.

    ``source`` and ``offsets`` are described at ``Mailbox.append``. Raises StoreUnavailable, StoreFull or StoreFailed.
    """
    posted = rt.mailbox.append(entries, source=source, offsets=offsets)
    finish_append(rt, posted)
    return [placed.appended for placed in posted.placed]


def finish_append(rt: Runtime, posted: AppendResult) -> None:
    """Wake the lanes of what was appended, and warn of node ids that share a lane's name. Raises StoreUnavailable."""
    warn_of_shared_names(posted.shared_names)
    rt.wake(posted.wake)


def warn_of_shared_names(lanes: frozenset[str]) -> None:
    """Log a warning for each of these lanes, because KATO takes two of its node ids for one node."""
    for lane in lanes:
        log_event(log, logging.WARNING, "node.shared", lane=lane, meaning="KATO gives these node ids one memory")
