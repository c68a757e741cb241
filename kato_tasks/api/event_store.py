"""Append to an event store: named events with data, to aggregates, with optimistic concurrency.

An aggregate is a session. KATO sees an event's name as the one string of an observation; its data stays in the history.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from kato_tasks.api.append import finish_append
from kato_tasks.bootstrap import runtime
from kato_tasks.domain.events import parse_event
from kato_tasks.domain.known_names import shown
from kato_tasks.domain.log_entry import Entry, entry_of
from kato_tasks.domain.observations import Limits
from kato_tasks.domain.results import Appended
from kato_tasks.domain.wording import kind_of, not_text
from kato_tasks.engine.appended import AppendResult
from kato_tasks.errors import EventConflict, InvalidEvent, PositionConflict

_CALLED = {"session_id": "aggregate_id", "observation.strings[0]": "event_type"}
"""Fields of the standard event by the names that a caller of ``append_event`` gave them."""


def append_event(
    aggregate_id: str,
    event_type: str,
    data: Mapping[str, Any] | None = None,
    *,
    expected_position: int | None = None,
    event_id: str | None = None,
    timestamp: datetime | str | None = None,
    node_id: str | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> Appended:
    """Append one event to the history of an aggregate, and return its position once the store has it.

    The aggregate is the session ``aggregate_id``, and the event an observation of it: KATO is sent
    ``strings: [event_type]`` in the session's order, and learns what usually follows what. ``kato_tasks.history`` reads
    the events back with their data.

    Args:
        aggregate_id: Your own name for the aggregate.
        event_type: What happened, such as ``"order_placed"``. A name has no special meaning: ``"learn"`` is an event
            of that name. ``kato_tasks.learn`` is what makes KATO learn.
        data: What belongs to the event, as plain JSON. It is kept in the history and never sent to KATO.
        expected_position: The position of the aggregate's last event that you know of, 0 for none. The event is
            appended only if no other was appended since. None appends it in any case.
        event_id: The same id in the same session within 7 days (``DEDUPE_DAYS``) is the same event, whatever its
            ``data``: only the first one's is kept. Give one if you repeat the call. By default it is random.
        timestamp: When it happened, as a ``datetime`` or ISO 8601 text, in UTC unless it has an offset; by default the
            time of the append.
        node_id: The node whose patterns the session shares, settled by its first event for life; by default a node of
            its own.
        metadata: Plain JSON about the event (who, why), kept as ``data`` is.

    Returns:
        An ``Appended``: ``position`` is the ``expected_position`` of the next append. A repeat of the same event is a
        ``duplicate`` at its own position, whatever the expected one.

    Raises:
        PositionConflict: The aggregate's last event is not at ``expected_position``; ``actual`` is where it is.
        EventConflict: This ``event_id`` is known in the session with another ``event_type``.
        InvalidEvent, NodeConflict: A field is wrong, and ``field`` names it.
        StoreUnavailable: The store cannot be reached; repeat the call with the same ``event_id``. ``StoreFull``: it has
            no room.
        StoreFailed: The store refuses the operation, and would again.
        ConfigurationError: A setting cannot work.
    """
    rt = runtime()
    expected = check_position("expected_position", expected_position)
    entry = named_event(
        rt.settings.limits, aggregate_id, event_type, data, event_id, timestamp=timestamp, node=node_id, meta=metadata
    )
    posted = rt.mailbox.append([entry], expected=expected)
    finish_append(rt, posted)
    return accepted(posted, expected)


def named_event(
    limits: Limits,
    aggregate_id: Any,
    event_type: Any,
    data: Any,
    event_id: str | None,
    *,
    timestamp: Any,
    node: str | None,
    meta: Any,
) -> Entry:
    """Return the log entry of a named event with data. Raises InvalidEvent, which names the caller's argument."""
    if not isinstance(event_type, str):
        raise InvalidEvent("event_type", not_text(event_type))
    if not event_type:
        raise InvalidEvent("event_type", "must not be empty")
    if data is not None and not isinstance(data, Mapping):
        raise InvalidEvent("data", f"must be an object, not {kind_of(data)}")
    raw = {
        "session_id": aggregate_id,
        "observation": {"strings": [event_type]},
        "data": {} if data is None else data,
        "node_id": node,
        "timestamp": timestamp,
        "metadata": meta,
        "event_id": event_id,
    }
    try:
        event = parse_event(raw, limits)
        return entry_of(event, event_id=event.event_id or uuid.uuid4().hex, limits=limits)
    except InvalidEvent as exc:
        raise InvalidEvent(_CALLED.get(exc.field, exc.field), exc.reason) from None


def accepted(posted: AppendResult, expected: int | None) -> Appended:
    """Return what became of the one event that was appended. Raises PositionConflict or EventConflict."""
    (placed,) = posted.placed
    if placed.stands_at is not None:
        raise PositionConflict(placed.appended.session_id, expected or 0, placed.stands_at)
    if placed.conflict:
        raise EventConflict(placed.appended.error or "")
    return placed.appended


def check_position(field: str, value: Any) -> int | None:
    """Return a position, which is a whole number from 0, or None. Raises InvalidEvent for anything else."""
    if value is None or (isinstance(value, int) and not isinstance(value, bool) and value >= 0):
        return value
    raise InvalidEvent(field, f"must be a whole number from 0, not {shown(value)}")


__all__ = ["accepted", "append_event", "check_position", "named_event"]
