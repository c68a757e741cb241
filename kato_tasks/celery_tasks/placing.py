"""Give a call's event its place in the log. Callers and workers share this protocol; it does no I/O itself."""

from __future__ import annotations

from kato_tasks.api.append import warn_of_shared_names
from kato_tasks.celery_tasks.answers import (
    Place,
)
from kato_tasks.domain.ids import default_node, lane_of
from kato_tasks.domain.log_entry import Entry
from kato_tasks.engine.append import AppendProtocol
from kato_tasks.engine.store_protocol import StoreProtocol
from kato_tasks.errors import (
    EventConflict,
    TooManyPredicts,
)


def unplaced(entry: Entry) -> Place:
    """Return the place of an entry that is not appended (yet): position 0 of the lane of its own or default node."""
    node = entry.node_id or default_node(entry.session_id)
    return {"lane": lane_of(node), "position": 0, "event_id": entry.event_id}


def append_one(protocol: AppendProtocol, entry: Entry) -> StoreProtocol[Place]:
    """Append one event and return its place. Raises EventConflict or TooManyPredicts.

    No wake-up is sent beside the task's own message, which drains the lane when it arrives; a wake-up would double
    the cost of a ``.delay()``. The lane does not depend on that message alone: it stands in the ready set, and every
    worker's sweep looks there. A predict has a place in its session's order, but no position of its own (0).
    """
    posted = yield from protocol.append([entry])
    (placed,) = posted.placed
    if placed.conflict:
        raise EventConflict(placed.appended.error or "")
    if placed.too_many:
        raise TooManyPredicts(placed.appended.error or "")
    warn_of_shared_names(posted.shared_names)
    place: Place = {"lane": placed.lane, "position": placed.appended.position, "event_id": entry.event_id}
    if entry.kind == "p":
        return {**place, "position": 0, "known": placed.appended.duplicate}
    return place
