"""Read what was applied to a node, in the order in which KATO got it: from the archive and from the store."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice, takewhile
from typing import Any

from kato_tasks.api.history import PAGE, check_range
from kato_tasks.bootstrap import runtime
from kato_tasks.domain.events import check_session_id
from kato_tasks.domain.ids import lane_of, node_id_of
from kato_tasks.domain.log_entry import Logged
from kato_tasks.errors import HistoryIncomplete, InvalidEvent
from kato_tasks.ports.archive import Archive
from kato_tasks.ports.sessions import Sessions


@dataclass(frozen=True, slots=True)
class _Applied:
    """An event at its place in a lane's order. ``node`` is empty where it has to be looked up."""

    order: int
    session: str
    node: str
    entry: Logged


def events_by_node(node_id: str, after: int = 0, limit: int | None = None) -> Iterator[dict[str, Any]]:
    """Iterate over the events of all sessions of a node, in the order in which they were applied to KATO.

    Args:
        node_id: The node, or a session that has a node of its own.
        after: Begin after this place in the order, which is the ``lane_order`` of an event that was read before.
        limit: Return at most so many events; None is no limit.

    Returns:
        An iterator over the events that are applied when the iteration begins, in the form of ``kato_tasks.history``.
        Each also has ``lane_order``, its place. These numbers rise; some are left out where another node has the same
        name in KATO, or where a session was erased from the archive.

    Raises:
        InvalidEvent: An argument is wrong, and ``field`` names it.
        ConfigurationError: A setting cannot work.

    The iterator raises what that of ``kato_tasks.history`` raises.
    """
    check_node(node_id)
    first, most = check_range(after, limit)
    rt = runtime()
    return islice(node_events(rt.sessions, rt.archive, node_id, first), most)


def check_node(node_id: Any) -> str:
    """Return a name that a node may have. Raises InvalidEvent for anything else."""
    try:
        return check_session_id(node_id)
    except InvalidEvent as exc:
        raise InvalidEvent("node_id", exc.reason) from None


def node_as_told(sessions: Sessions, node_id: str) -> str:
    """Return a node as KATO is told it. For a session that has a node of its own, it is that node."""
    node = sessions.node_of(node_id)
    return node if node is not None and node_id_of(node_id, node) == node_id else node_id


def node_events(sessions: Sessions, archive: Archive | None, node_id: str, after: int = 0) -> Iterator[dict[str, Any]]:
    """Iterate over a node's events, as ``events_by_node`` does."""
    node = node_as_told(sessions, node_id)
    for one in _applied(sessions, archive, lane_of(node), after):
        if one.node == node:
            event = one.entry.event(one.session, node_id_of(one.session, node))
            yield {**event, "lane_order": one.order}


def _applied(sessions: Sessions, archive: Archive | None, lane: str, after: int) -> Iterator[_Applied]:
    """Iterate over what was applied in a lane, up to its last place as it is when this begins.

    Where the archive does not hold a place that the store has given up, the event was erased. Without an archive that
    is a HistoryIncomplete.
    """
    last, at = sessions.lane_head(lane), after
    while at < last:
        page = _stored(sessions, lane, at, min(PAGE, last - at))
        until = min(page[0].order - 1, last) if page else last
        if until > at:
            if archive is None:
                raise HistoryIncomplete(
                    f"places {at + 1} to {until} in the order of lane {lane!r} are not in the store any more, and no "
                    "archive is set; set ARCHIVE_URL to the archive that this store was emptied into, or "
                    f"after={until} reads what follows"
                )
            page = _archived(archive, lane, at, until) or page
        if not page:
            return
        for one in page:
            at = one.order
            yield one


def _stored(sessions: Sessions, lane: str, after: int, most: int) -> list[_Applied]:
    found = sessions.lane_events(lane, after, most)
    nodes = sessions.nodes({one.session for one in found})
    return [_Applied(one.order, one.session, nodes.get(one.session, ""), one.entry) for one in found]


def _archived(archive: Archive, lane: str, after: int, until: int) -> list[_Applied]:
    rows = takewhile(lambda row: row.lane_order <= until, archive.of_lane(lane, after, min(PAGE, until - after)))
    return [_Applied(row.lane_order, row.session, row.node, Logged.parse(row.position, row.entry)) for row in rows]


__all__ = ["check_node", "events_by_node", "node_as_told", "node_events"]
