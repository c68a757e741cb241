"""Follow the events of a session or of a node as they come, which is what a projection needs."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable, Iterator
from typing import Any

from kato_tasks.api.event_store import check_position
from kato_tasks.api.history import check_has_history, session_events
from kato_tasks.api.node_history import check_node, node_events
from kato_tasks.bootstrap import runtime
from kato_tasks.domain.known_names import shown
from kato_tasks.errors import ArchiveUnavailable, InvalidEvent, StoreUnavailable, StoreWentBack
from kato_tasks.telemetry.log_events import log_event

log = logging.getLogger(__name__)

MOST_SECONDS = 10.0
"""The longest pause before a store that does not answer is asked again."""
Read = Callable[[int], Iterator[dict[str, Any]]]
"""Reads the events after a place."""


def subscribe(
    session_id: str | None = None,
    *,
    node_id: str | None = None,
    after: int = 0,
    poll_seconds: float = 0.5,
    stop: threading.Event | None = None,
) -> Iterator[dict[str, Any]]:
    """Iterate over events from a place on, and wait for new ones: each once, in order, none left out.

    Give either a session or a node. A session's events come in the order of their positions, as soon as they are
    appended. A node's events come in the order in which they were applied to KATO, once they are.

    Args:
        session_id: The session to follow (of an event store: the aggregate). It need not exist yet.
        node_id: The node to follow, or a session that has a node of its own.
        after: Begin after this place: the ``position`` of a session's event, the ``lane_order`` of a node's. A
            projection keeps the place of the last event that it took in, and goes on from there.
        poll_seconds: How many seconds pass between two looks for more events.
        stop: When this is set, the iteration ends, after the event that is being worked on.

    Returns:
        An iterator that goes on until ``stop`` is set, over events in the form of ``kato_tasks.history`` and
        ``kato_tasks.events_by_node``. While the store or the archive cannot be reached, it waits and tries again.

    Raises:
        TypeError: Neither a session nor a node is given, or both are.
        InvalidEvent: An argument is wrong, and ``field`` names it.

    The iterator raises StoreWentBack if the store lost events that it has yielded and other events took their places:
    the projection has to begin again. It also raises ConfigurationError, HistoryIncomplete and UnreadableRow.
    """
    if (session_id is None) == (node_id is None):
        raise TypeError("subscribe() takes either session_id or node_id")
    place = check_position("after", after) or 0
    poll = _check_seconds(poll_seconds)
    ends = threading.Event() if stop is None else stop
    if session_id is not None:
        session = check_has_history(session_id)
        return _follow(lambda at: _of_session(session, at), "position", place, poll, ends)
    node = check_node(node_id)
    return _follow(lambda at: _of_node(node, at), "lane_order", place, poll, ends)


def _check_seconds(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise InvalidEvent("poll_seconds", f"must be a number of seconds above 0, not {shown(value)}")
    return float(value)


def _of_session(session: str, after: int) -> Iterator[dict[str, Any]]:
    rt = runtime()
    return session_events(rt.sessions, rt.archive, session, after)


def _of_node(node: str, after: int) -> Iterator[dict[str, Any]]:
    return node_events(runtime(), node, after)


def _follow(read: Read, place: str, at: int, poll: float, stop: threading.Event) -> Iterator[dict[str, Any]]:
    last: dict[str, Any] | None = None
    failures = 0
    while not stop.is_set():
        try:
            for event in _behind(read, place, at, last):
                if stop.is_set():
                    return
                yield event
                last, at = event, event[place]
            failures = 0
        except StoreWentBack:
            raise
        except (StoreUnavailable, ArchiveUnavailable) as exc:
            failures += 1
            if failures == 1:
                log_event(log, logging.WARNING, "subscription.interrupted", after=at, error=exc)
        stop.wait(min(poll * 2 ** min(failures, 16), max(poll, MOST_SECONDS)))


def _behind(read: Read, place: str, at: int, last: dict[str, Any] | None) -> Iterator[dict[str, Any]]:
    """Read the events behind the last one, which must still stand where it stood. Raises StoreWentBack."""
    fresh = read(at)
    first = next(fresh, None)
    if first is None:
        return
    if last is not None and next(read(at - 1))["event_id"] != last["event_id"]:
        raise StoreWentBack(
            f"the store lost events: {place} {at} was event {last['event_id']!r}, and is another one now; "
            "begin again, and read the history from its beginning"
        )
    yield first
    yield from fresh


__all__ = ["subscribe"]
