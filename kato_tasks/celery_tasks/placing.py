"""A call's event gets its place in the log: the protocol that callers and workers share, without input or output."""

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
    """The place of what is not appended (yet): in the lane that its session would have by itself."""
    node = entry.node_id or default_node(entry.session_id)
    return {"lane": lane_of(node), "position": 0, "event_id": entry.event_id}


def append_one(protocol: AppendProtocol, entry: Entry) -> StoreProtocol[Place]:
    """Append one event; returns its place. Raises EventConflict.

    No wake-up is sent beside the task's own message, which drains the lane on arrival: it would double what a
    ``.delay()`` costs. The message is not the lane's only chance, since the lane stands in the ready set and
    every worker's sweep looks there. A predict has a place in its session's order and no position of its own (0).
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
