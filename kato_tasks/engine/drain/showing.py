"""Read at KATO what a client of KATO's own API asks of a session: its STM, its state, its last observation.

Each is asked for as a predict is, so it takes its turn in the lane and shows every event that was accepted before it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from kato_tasks.engine.drain import kato_api
from kato_tasks.engine.drain.context import LaneContext
from kato_tasks.engine.drain.kato_session import create_kato_session, discard, ensure_bound, read_verified_stm
from kato_tasks.ports.effects import Program
from kato_tasks.ports.lanes import Work

STM, COGNITION, PERCEPT, FINALIZE = "stm", "cognition-data", "percept-data", "finalize-training"
READS = (STM, COGNITION, PERCEPT, FINALIZE)


def show(lane: LaneContext, work: Work) -> Program[dict[str, Any]]:
    """Return what ``work.read`` names, as KATO answers it; ``time`` counts since the STM was last emptied.

    Raises KatoError where KATO cannot be asked.
    """
    if work.read == FINALIZE:
        return (yield from _finalize(lane, work))
    if work.cursor <= work.stm_start:
        # Nothing was observed since the STM was emptied, and the session may have no KATO session any more.
        return {"stm": [], "time": 0, "data": {}}
    binding, _ = yield from ensure_bound(lane, work)
    work = replace(work, binding=binding)
    stm = yield from read_verified_stm(work, binding)
    told: dict[str, Any] = {"stm": stm, "time": binding.time - binding.base, "data": {}}
    if work.read != STM:
        told["data"] = yield from kato_api.read_data(binding.url, binding.kato_session, work.read)
    return told


def _finalize(lane: LaneContext, work: Work) -> Program[dict[str, Any]]:
    """Have KATO compute the figures of the node's patterns. It may be done again, so a lost answer does not matter.

    It is asked through a KATO session of its own: the session's own one may serve another session by now.
    """
    url = lane.url(work)
    kato_session = yield from create_kato_session(lane, work, url)
    try:
        return {"data": (yield from kato_api.finalize_training(url, kato_session))}
    finally:
        yield from discard(work, url, kato_session)
