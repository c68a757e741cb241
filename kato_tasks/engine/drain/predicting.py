"""Predicts: KATO's predictions as of every event that was accepted before. They change nothing and are no history."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from kato_tasks.domain.stm import poisonous_to_predict
from kato_tasks.engine.drain import kato_api
from kato_tasks.engine.drain.context import PREDICT_AFTER_LEARN_MS, LaneContext, error_json, result_json
from kato_tasks.engine.drain.kato_session import ensure_bound, read_verified_stm
from kato_tasks.engine.drain.showing import READS, show
from kato_tasks.errors import KatoRejected
from kato_tasks.ports.effects import Program, perform
from kato_tasks.ports.lanes import NextWork, Work

HANDED_OUT_AT_MOST = 5
"""How many workers may end one after the other while they have a predict, before it counts as what ends them."""


def predict(lane: LaneContext, work: Work) -> Program[NextWork]:
    """Answer the predict that is due at the cursor, refuse it, or wait until KATO shows what was learned last.

    Raises KatoError where KATO cannot be asked; ``endings.back_off`` says how long that is tried.
    """
    if work.predict_until_ms and work.now_ms >= work.predict_until_ms:
        return (yield from refuse(lane, work, "its time to expire passed while it waited"))
    if work.predict_tries >= HANDED_OUT_AT_MOST:
        return (yield from refuse(lane, work, f"{work.predict_tries} workers ended while they asked KATO for it"))
    if work.read:
        return (yield from _show(lane, work))
    if work.cursor <= work.stm_start:
        # An empty STM predicts nothing, and KATO might show another session's future_potentials.
        return (yield from answer(lane, work, {}))
    learned_ago = work.now_ms - work.learned_ms
    # A learn that lies ahead was written down before the store's clock went back: it is no reason to wait for hours.
    if 0 <= learned_ago < PREDICT_AFTER_LEARN_MS:
        wait = PREDICT_AFTER_LEARN_MS - learned_ago
        why = "waiting until KATO shows the pattern that a session of this node has just learned"
        return (yield from perform(lane.defer(work, wait, why)))
    # There is an STM to keep, so a session without a live KATO session is rebuilt and bound here.
    binding, _ = yield from ensure_bound(lane, work)
    work = replace(work, binding=binding)
    stm = yield from read_verified_stm(work, binding)
    if not stm or poisonous_to_predict(stm):
        return (yield from answer(lane, work, {}))
    try:
        seen = yield from kato_api.read_predictions(binding.url, binding.kato_session)
    except KatoRejected as exc:
        return (yield from refuse(lane, work, str(exc)))
    return (yield from answer(lane, work, seen))


def _show(lane: LaneContext, work: Work) -> Program[NextWork]:
    """Answer a predict that reads something else at KATO than its predictions."""
    if work.read not in READS:
        return (yield from refuse(lane, work, f"this worker's version does not know how to read {work.read}"))
    try:
        seen = yield from show(lane, work)
    except KatoRejected as exc:
        return (yield from refuse(lane, work, str(exc)))
    told = {"session_id": work.session, "node_id": work.node_id, "event_id": work.predict_id, "after": work.cursor}
    return (yield from _commit(lane, work, result_json({**told, "read": work.read, **seen})))


def patience_ms(lane: LaneContext, work: Work) -> int:
    """Return for how many ms more a predict that fails may hold up the events behind it."""
    since = work.first_failed_ms or work.now_ms
    return since + int(lane.retry.predict_seconds * 1000) - work.now_ms


def answer(lane: LaneContext, work: Work, seen: Mapping[str, Any]) -> Program[NextWork]:
    """Give the predict's caller what KATO answered (``seen``), and go on.

    It is kept as KATO answered it, for callers that want that; ``domain.predictions`` makes a ``Predicted`` of it when
    it is told. It is not built through a model, because answers of 100 KB are usual.
    """
    answer = {
        "session_id": work.session,
        "node_id": work.node_id,
        "event_id": work.predict_id,
        "after": work.cursor,
        "predictions": seen.get("predictions") or [],
        "future_potentials": seen.get("future_potentials") or [],
    }
    return (yield from _commit(lane, work, result_json(answer)))


def refuse(lane: LaneContext, work: Work, why: str) -> Program[NextWork]:
    """Give the predict's caller an error, and go on: nothing in the session's history depends on a predict."""
    return (yield from _commit(lane, work, error_json("EventRefused", f"predict failed: {why}")))


def _commit(lane: LaneContext, work: Work, result: str) -> Program[NextWork]:
    done = lane.commit(
        work,
        None,
        keep_binding=True,
        results=() if work.sink else [(work.predict_id, result)],
        predict_id=work.predict_id,
        sink=work.sink,
        prediction=result if work.sink else "",
    )
    return (yield from perform(done))
