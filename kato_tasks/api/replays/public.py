"""What applications call to replay: start one, look at it, and rebuild one aggregate's session to ask about it."""

from __future__ import annotations

import time as clock
from datetime import datetime

from kato_tasks.api.replays import calls
from kato_tasks.bootstrap import runtime
from kato_tasks.domain.events import check_session_id
from kato_tasks.domain.replays import ENDED, ReplayMode, ReplayRequest, ReplayStatus
from kato_tasks.domain.replays import time_ms as _ms
from kato_tasks.errors import ReplayFailed

POLL_SECONDS = 0.1


def start_replay(
    mode: ReplayMode,
    *,
    session_id: str | None = None,
    node_id: str | None = None,
    flagged: bool = False,
    position: int | None = None,
    time: datetime | str | None = None,
) -> ReplayStatus:
    """Start a replay, and return how it stands. Workers carry it out.

    Args:
        mode: ``stm`` rebuilds the short-term memory of one session. ``rebuild`` builds nodes again from their history,
            beside the live ones, and switches to them. ``as_of`` builds a node as it was, for you to ask.
        session_id: The session that modes ``stm`` and ``as_of`` are about.
        node_id: The node that mode ``rebuild`` is about; by default all nodes.
        flagged: With mode ``rebuild``, only the nodes whose patterns are in doubt or lost.
        position: With mode ``as_of``, the last event of the session that is replayed. Of the node's other sessions
            what was applied before it is replayed, too.
        time: With mode ``as_of``, a ``datetime`` or text in ISO 8601: events with a later timestamp are left out.

    Returns:
        A ``ReplayStatus``. Its ``id`` is what ``replay_status`` takes; ``sessions`` names the session to ask after
        mode ``as_of``.

    Raises:
        InvalidEvent: What was asked for does not exist or does not go together; ``field`` names it.
        ReplayBusy: Another replay of one of these nodes has not ended.
        StoreUnavailable, ArchiveUnavailable, BrokerUnavailable: A server cannot be reached.
    """
    rt = runtime()
    request = ReplayRequest(mode, session_id, node_id, flagged, position, _ms("time", time) if time else None)
    return calls.replay_status(rt, calls.start_replay(rt, request).id)


def replay_status(replay_id: str) -> ReplayStatus:
    """Return how far a replay is. Raises UnknownReplay if there is none of that id, and StoreUnavailable."""
    return calls.replay_status(runtime(), replay_id)


def replay_events(
    aggregate_id: str,
    *,
    position: int | None = None,
    time: datetime | str | None = None,
    timeout: float = 60.0,
) -> str:
    """Replay the events of an aggregate into a session of its own, and return that session, to be asked.

    The session is on a node of its own, into which the history of the aggregate's node was replayed, so that
    ``predict.delay(session)`` answers as KATO would have answered then. Nothing of the live node is touched.

    Args:
        aggregate_id: The aggregate, which is a session.
        position: Replay up to this event of the aggregate; by default all that is applied.
        time: Replay what is not later than this, a ``datetime`` or text in ISO 8601.
        timeout: How many seconds to wait for the workers.

    Returns:
        The session's id. ``kato-tasks replay clean`` erases it again; ``replay list`` shows the replay that made it.

    Raises:
        InvalidEvent: The aggregate has no events, or none up to that moment.
        ReplayBusy: Another replay of its node has not ended.
        ReplayFailed: It failed; the message says why.
        TimeoutError: It was not done in time. It goes on; ``replay_status`` tells how far it is.
        StoreUnavailable, ArchiveUnavailable, BrokerUnavailable: A server cannot be reached.
    """
    check_session_id(aggregate_id)
    status = start_replay("as_of", session_id=aggregate_id, position=position, time=time)
    until = clock.monotonic() + timeout
    while status.state not in ENDED:
        if clock.monotonic() > until:
            raise TimeoutError(f"replay {status.id} was not done after {timeout} s; it goes on")
        clock.sleep(POLL_SECONDS)
        status = replay_status(status.id)
    if status.state != "done":
        raise ReplayFailed(f"replay {status.id} {status.state}: {status.reason} {' '.join(status.differences)}".strip())
    return status.sessions[aggregate_id]
