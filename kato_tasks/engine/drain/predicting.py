"""predict: KATO's predictions as of every event accepted before it. It changes nothing and is no history."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from kato_tasks.domain.stm import poisonous_to_predict
from kato_tasks.engine.drain import kato_api
from kato_tasks.engine.drain.context import PREDICT_AFTER_LEARN_MS, LaneContext, error_json, new_call_id, result_json
from kato_tasks.engine.drain.kato_session import bound, verified
from kato_tasks.errors import KatoRejected
from kato_tasks.ports.effects import Step, ask
from kato_tasks.ports.lanes import Commit, Defer, Proceeded, Work

HANDED_OUT_AT_MOST = 5
"""Workers that may end one after the other while they have a predict, before it counts as what ends them."""


def predict(lane: LaneContext, work: Work) -> Step[Proceeded]:
    """Answer the predict that is due at the cursor, or refuse it."""
    if work.asked_until_ms and work.now_ms >= work.asked_until_ms:
        return (yield from refused(lane, work, "its time to expire passed while it waited"))
    if work.asked_before >= HANDED_OUT_AT_MOST:
        return (yield from refused(lane, work, f"{work.asked_before} workers ended while they asked KATO for it"))
    if work.cursor <= work.mark:
        # An empty STM predicts nothing, and KATO might show another session's future_potentials.
        return (yield from answered(lane, work, {}))
    learned_ago = work.now_ms - work.learned_ms
    # A learn that lies ahead was written down before the store's clock went back: it is no reason to wait for hours.
    if 0 <= learned_ago < PREDICT_AFTER_LEARN_MS:
        wait = PREDICT_AFTER_LEARN_MS - learned_ago
        why = "waiting until KATO shows the pattern that a session of this node has just learned"
        return (yield from ask(Defer(lane.held, work.session, wait, work.attempts, work.unsent, why, go_on=lane.go_on)))
    # There is an STM to keep, so a session without a live KATO session is rebuilt and bound here.
    binding, _ = yield from bound(lane, work)
    work = replace(work, binding=binding)
    stm = yield from verified(work, binding)
    if not stm or poisonous_to_predict(stm):
        return (yield from answered(lane, work, {}))
    try:
        seen = yield from kato_api.predictions(binding.url, binding.kato_session)
    except KatoRejected as exc:
        return (yield from refused(lane, work, str(exc)))
    return (yield from answered(lane, work, seen))


def patience_ms(lane: LaneContext, work: Work) -> int:
    """How long the events behind a predict that fails are still held up by it."""
    since = work.first_failed_ms or work.now_ms
    return since + int(lane.retry.predict_seconds * 1000) - work.now_ms


def answered(lane: LaneContext, work: Work, seen: Mapping[str, Any]) -> Step[Proceeded]:
    # Kept as KATO answered it, for callers that want that; ``domain.predictions`` makes ``Predicted`` of it when it is
    # told. Not built through a model, for answers of 100 KB are usual.
    answer = {
        "session_id": work.session,
        "node_id": work.node_id,
        "event_id": work.asked,
        "after": work.cursor,
        "predictions": seen.get("predictions") or [],
        "future_potentials": seen.get("future_potentials") or [],
    }
    return (yield from _commit(lane, work, result_json(answer)))


def refused(lane: LaneContext, work: Work, why: str) -> Step[Proceeded]:
    """The caller gets an error and the session goes on: nothing in its history depends on a predict."""
    return (yield from _commit(lane, work, error_json("EventRefused", f"predict failed: {why}")))


def _commit(lane: LaneContext, work: Work, result: str) -> Step[Proceeded]:
    return (
        yield from ask(
            Commit(
                lane.held,
                work.session,
                new_call_id(),
                work.cursor,
                work.cursor,
                None,
                keep_binding=True,
                results=[(work.asked, result)],
                answers=work.asked,
                go_on=lane.go_on,
            )
        )
    )
