"""Append to an event store from an event loop."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from kato_tasks.api.append_async import finish_append
from kato_tasks.api.event_store import accepted, check_position, named_event
from kato_tasks.bootstrap.loops import loop_runtime
from kato_tasks.domain.results import Appended


async def append_event_async(
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
    """Append one event to the history of an aggregate, as ``append_event`` does, and let the event loop go on.

    Args:
        aggregate_id, event_type, data, expected_position, event_id, timestamp, node_id, metadata: As for
            ``append_event``.

    Returns:
        An ``Appended``, once the store has the event.

    Raises:
        What ``append_event`` raises.

    A call that is cancelled has appended the event or not. Repeat it with the same ``event_id``.
    """
    here = await loop_runtime()
    expected = check_position("expected_position", expected_position)
    entry = named_event(
        here.settings.limits, aggregate_id, event_type, data, event_id, timestamp=timestamp, node=node_id, meta=metadata
    )
    posted = await here.ask(here.protocol.append([entry], expected=expected))
    await finish_append(here, posted)
    return accepted(posted, expected)


__all__ = ["append_event_async"]
