"""How a piece of work ends that could not be applied: its session waits, is fenced and waits, or waits for a person.

Only the failed call of one event counts as that event's attempt. Everything else that fails is counted for the session:
how often in a row it waited (``Work.unsent``), and how often it made no progress though KATO answered
(``Work.rebuilds``).
"""

from __future__ import annotations

import logging
from dataclasses import replace

from kato_tasks.domain.refusals import BuriedEvent
from kato_tasks.engine.drain import predicting
from kato_tasks.engine.drain.context import MOST_UNSENT, LaneContext, error_json, refuse_head
from kato_tasks.engine.drain.kato_session import NotLearned, RebuildFailed, fence
from kato_tasks.engine.drain.misdirection import MISDIRECTIONS
from kato_tasks.engine.drain.session_view import read_again
from kato_tasks.errors import (
    ConfigNotTaken,
    GatewayAnswered,
    KatoCircuitOpen,
    KatoError,
    KatoRejected,
    KatoUnavailable,
    OutcomeUnknown,
)
from kato_tasks.ports.effects import Program, perform
from kato_tasks.ports.lanes import NextWork, Work
from kato_tasks.telemetry.log_events import log_event

log = logging.getLogger(__name__)


def wait_unsent(lane: LaneContext, work: Work, exc: KatoUnavailable, *, withdraw: str = "") -> Program[NextWork]:
    """Wait, because a call certainly never reached KATO. It is asked again as often as it takes.

    ``withdraw`` is the call id of the intent that was written for this very call. Without it an open intent stays: it
    is another call's.
    """
    refused = isinstance(exc, KatoCircuitOpen | ConfigNotTaken)
    told = MISDIRECTIONS.describe(lane.url(work)) if refused else ""
    return (
        yield from perform(
            lane.defer(
                work,
                lane.retry.circuit_ms() if refused else lane.retry.wait_ms(work.unsent_in_a_row, exc.retry_after),
                f"{exc} ({told})" if told else str(exc),
                unsent=work.unsent_in_a_row if refused else _count_wait(work),
                withdraw=withdraw,
            )
        )
    )


def back_off(lane: LaneContext, work: Work, exc: KatoError) -> Program[NextWork]:
    """Wait, because a read or the reconciling itself failed. Nothing was decided, so nothing is lost by waiting.

    A KATO that does not answer, or fails whatever it is asked, is waited for as long as it takes. But a session that
    makes no progress though KATO answers is parked in the end, and a predict, which holds up the events behind it, is
    refused after a while, unless a sink is owed its answer.
    """
    why, weight = "", 0
    if isinstance(exc, RebuildFailed):
        why, weight = "its KATO session could not be rebuilt", weigh_plain_answer(lane) if exc.mismatch else 1
    elif isinstance(exc, NotLearned):
        why, weight = "KATO answered its learn with an error", 1
    elif isinstance(exc, KatoRejected):
        why, weight = "KATO refused a call that its next event needs", weigh_plain_answer(lane)
    rebuilds = work.rebuilds + weight
    if weight and rebuilds > lane.retry.max_rebuilds:
        return (yield from park(lane, work, f"{why}, again and again", str(exc)))
    wait = lane.retry.wait_ms(work.unsent_in_a_row, exc.retry_after if isinstance(exc, OutcomeUnknown) else None)
    attempts = work.attempts
    if work.predict_id and not work.sink and work.intent is None and not isinstance(exc, GatewayAnswered):
        left = predicting.patience_ms(lane, work)
        if left <= 0 or work.attempts + 1 > lane.retry.max_retries:
            return (yield from predicting.refuse(lane, work, str(exc)))
        wait, attempts = min(wait, left), work.attempts + 1
    return (
        yield from perform(
            lane.defer(work, wait, str(exc), attempts=attempts, unsent=_count_wait(work), rebuilds=rebuilds)
        )
    )


def fence_and_defer(
    lane: LaneContext,
    work: Work,
    error: str,
    *,
    gone: bool = False,
    blame: bool = True,
    gateway: GatewayAnswered | None = None,
    wrong: bool = False,
) -> Program[NextWork]:
    """Fence the session's KATO session, then let the session try again. Raises what ``fence`` raises.

    ``error`` is what its last try met. ``blame`` says that the failed call speaks of its own event or events: a batch
    is halved and tried at once, which ends in calls of one event; the call of one event counts as that event's attempt,
    and from its second attempt on the session waits.

    A KATO session that was ``gone``, or that held something else than the log says (``wrong``), is no event's attempt.
    If that happens again and again the waits grow, and in the end the session is parked; where it was ``wrong`` sooner.
    Nor is it an attempt what a ``gateway`` answered: the session waits, and at least as long as that asked for.
    """
    own = blame and not gone and work.intent is not None and work.intent.kind in ("observe", "learn")
    tried = len(work.entries)
    futile = 0
    if not own and gateway is None:
        futile = work.rebuilds + (weigh_plain_answer(lane) if wrong else 1)
        if futile > lane.retry.max_rebuilds:
            why = "its KATO session was gone, or not what the log says, again and again"
            return (yield from park(lane, work, why, error))
    yield from fence(lane, work, halve=tried // 2 if own and tried > 1 else 0, gone=gone)
    work = replace(work, intent=None)
    if own and tried == 1:
        if work.attempts + 1 > lane.retry.max_retries:
            return (yield from give_up_head(lane, work, error))
        wait = lane.retry.wait_ms(work.attempts) if work.attempts else 0
        return (yield from perform(lane.defer(work, wait, error, attempts=work.attempts + 1, unsent=0)))
    if own:
        return (yield from perform(lane.defer(work, 0, error, unsent=0)))
    retry_after = gateway.retry_after if gateway is not None else None
    wait = lane.retry.wait_ms(work.unsent_in_a_row, retry_after) if work.unsent_in_a_row or gateway is not None else 0
    return (yield from perform(lane.defer(work, wait, error, unsent=_count_wait(work), rebuilds=futile)))


def give_up_head(lane: LaneContext, work: Work, error: str) -> Program[NextWork]:
    """Give up the head event, whose own call failed too often: park its session, or bury it; by ``on_exhausted``."""
    if work.predict_id:
        return (yield from predicting.refuse(lane, work, error))
    reason = f"failed {work.attempts + 1} times"
    if lane.on_exhausted == "park":
        return (yield from park(lane, work, reason, error))
    work = yield from read_again(lane, work)
    return (yield from bury(lane, work, reason, error))


def park(lane: LaneContext, work: Work, reason: str, answer: str) -> Program[NextWork]:
    """Let the session wait for a person at its head event. ``answer`` is KATO's last answer."""
    return (yield from perform(lane.park(work, refuse_head(work, reason, answer))))


def park_unreadable(lane: LaneContext, work: Work, reason: str) -> Program[NextWork]:
    """Park a session of which the store holds something that this version cannot use.

    An open intent stays as it is, and is reconciled when the session goes on. The lane's other sessions go on.
    """
    log_event(log, logging.ERROR, "session.unreadable", session=work.session, lane=work.lane, reason=reason)
    return (yield from park(lane, work, f"what the store holds of it cannot be read: {reason}", ""))


def bury(lane: LaneContext, work: Work, reason: str, answer: str) -> Program[NextWork]:
    """Make the head event a dead letter and go on. It certainly is not in KATO."""
    entry = work.entries[0]
    refusal = refuse_head(work, reason, answer)
    letter = BuriedEvent(work.session, work.node_id, work.lane, refusal, entry.as_appended(work.session, work.node_id))
    return (
        yield from perform(
            lane.commit(
                work,
                work.binding,
                to=entry.position,
                results=[(entry.event_id, error_json("EventRefused", f"{reason}: {answer}"))],
                symbols=[(entry.position, "null")] if entry.kind == "o" else (),
                dead=[(f"{work.session}\n{entry.position}", letter.dump())],
            )
        )
    )


def weigh_plain_answer(lane: LaneContext) -> int:
    """Return as how many failures one counts to which KATO gave a plain answer: it will hardly give another."""
    return max(1, lane.retry.max_rebuilds // 10)


def _count_wait(work: Work) -> int:
    return min(work.unsent_in_a_row + 1, MOST_UNSENT)
