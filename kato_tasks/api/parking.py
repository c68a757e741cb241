"""List the sessions that wait for a person, let one of them go on, or park a session by hand."""

from __future__ import annotations

import json

from kato_tasks.api.sessions import session_status
from kato_tasks.bootstrap import Runtime
from kato_tasks.domain.ids import partition_of
from kato_tasks.domain.refusals import Refusal
from kato_tasks.engine.store_retry import raise_errors
from kato_tasks.ports.operating import ParkByHand, Resume


def parked_sessions(rt: Runtime) -> list[str]:
    """List the ids of the sessions that wait for a person, sorted. Raises StoreUnavailable."""
    return rt.sessions.parked()


def resume(rt: Runtime, session_id: str) -> bool:
    """Let a parked session go on at its head event, whose attempts are counted from zero again.

    Returns False if the session was not parked. Raises StoreUnavailable.
    """
    lane = rt.sessions.lane_of(session_id)
    (resumed,) = raise_errors(rt.store.execute([Resume(lane, session_id)]))
    if resumed:
        rt.wake({partition_of(lane)})
    return bool(resumed)


def park(rt: Runtime, session_id: str, reason: str) -> bool:
    """Park a session by hand, for ``reason``: what is under way is finished, and nothing more is begun.

    Returns False if the session was parked already. Raises StoreUnavailable.
    """
    status = session_status(session_id)
    position = status.cursor + 1 if status is not None else 1
    now = rt.figures.now_ms()
    why = json.dumps(Refusal(reason, position, attempts=0, first_ms=now, last_ms=now).as_parked())
    (parked,) = raise_errors(rt.store.execute([ParkByHand(rt.sessions.lane_of(session_id), session_id, why)]))
    return bool(parked)
