"""Read what was applied to a node, in the order in which KATO got it: from the archive and from the store."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

from kato_tasks.api.history import PAGE, check_range
from kato_tasks.bootstrap import Runtime, runtime
from kato_tasks.domain.events import check_session_id
from kato_tasks.domain.ids import lane_of, node_id_of
from kato_tasks.domain.log_entry import Logged
from kato_tasks.engine.replay.history import LaneHistory
from kato_tasks.errors import HistoryIncomplete, InvalidEvent
from kato_tasks.ports.archive import ArchivedEvent
from kato_tasks.ports.sessions import Sessions


def events_by_node(node_id: str, after: int = 0, limit: int | None = None) -> Iterator[dict[str, Any]]:
    """Iterate over the events of all sessions of a node, in the order in which they were applied to KATO.

    Args:
        node_id: The node, or a session that has a node of its own.
        after: Begin after this place in the order, which is the ``lane_order`` of an event that was read before.
        limit: Return at most this many events; None sets no limit.

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
    return islice(node_events(runtime(), node_id, first), most)


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


def node_events(rt: Runtime, node_id: str, after: int = 0) -> Iterator[dict[str, Any]]:
    """Iterate over a node's events, as ``events_by_node`` does."""
    node = node_as_told(rt.sessions, node_id)
    history = LaneHistory(rt.store, rt.archive, patience_seconds=0.0)
    for one in _applied(history, lane_of(node), after):
        if one.node == node:
            event = Logged.parse(one.position, one.entry).event(one.session, node_id_of(one.session, node))
            yield {**event, "lane_order": one.lane_order}


def _applied(history: LaneHistory, lane: str, after: int) -> Iterator[ArchivedEvent]:
    """Iterate over what was applied in a lane, up to its last place as it is when this begins.

    A place that neither the store nor the archive holds belonged to a session that was forgotten. Without an archive,
    places that the store has given up are a HistoryIncomplete.
    """
    last, at = after + 1, after
    while at < last:
        page = history.page(lane, at, PAGE, last if at > after else 0)
        if at == after:
            last = page.applied
        if page.given_up and not history.has_archive:
            raise HistoryIncomplete(
                f"places {at + 1} to {page.given_up} in the order of lane {lane!r} are not in the store any more, and "
                f"no archive is set; set ARCHIVE_URL to the archive that this store was emptied into, or "
                f"after={page.given_up} reads what follows"
            )
        yield from (one for one in page.events if one.lane_order <= last)
        if page.reached <= at:
            return
        at = page.reached


__all__ = ["check_node", "events_by_node", "node_as_told", "node_events"]
