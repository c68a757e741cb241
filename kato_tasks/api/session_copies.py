"""Erase the copies of a session that replays made, and the records of replays that name it."""

from __future__ import annotations

from kato_tasks.api.replays.cleaning import clean_lane, clean_replay
from kato_tasks.bootstrap import Runtime
from kato_tasks.domain.generations import shadow_session
from kato_tasks.domain.replays import Replay
from kato_tasks.engine.store_retry import execute_with_retry, raise_errors
from kato_tasks.errors import SessionBusy
from kato_tasks.ports.forgetting import ForgetNode

CLEANING_SECONDS = 30.0


def erase_copies(rt: Runtime, session: str, lane: str) -> None:
    """Erase what ended replays of this lane hold of a session. None of them has the lane any more.

    A replay that did not switch cannot go on once a session of it is forgotten, so it goes as a whole, with the nodes
    that it filled and its record. Raises SessionBusy if that takes long; what is erased stays so. Raises KatoError.
    """
    for replay in rt.replays.all():
        mine = [one for one in rt.replays.all_lanes(replay.id) if one.lane == lane]
        if not mine:
            continue
        raise_errors(execute_with_retry(rt.store, [ForgetNode(shadow_session(replay.id, session))]))
        if replay.state == "done" and replay.request.mode == "rebuild" and not _names(replay, session):
            for one in mine:
                clean_lane(rt, replay, one, nodes=False)
        elif clean_replay(rt, replay.id, CLEANING_SECONDS, nodes=True):
            rt.replays.retire(replay.id, 0)
        else:
            raise SessionBusy(f"what replay {replay.id} left is still being erased; forget session {session!r} again")


def _names(replay: Replay, session: str) -> bool:
    return replay.request.session_id == session or session in replay.sessions
