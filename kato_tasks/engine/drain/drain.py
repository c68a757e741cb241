"""Drain one leased lane: piece of work by piece of work, and what to do when a piece fails.

A piece ends in exactly one of: commit, defer (a due time), park. Nothing that changes KATO is sent for a
session whose intent is open before it is reconciled.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace

from kato_tasks.engine.drain import learning, observing, predicting, recovery, settling
from kato_tasks.engine.drain.config_check import taken
from kato_tasks.engine.drain.context import LaneContext, send_together
from kato_tasks.engine.drain.kato_session import Mismatch, NotLearned, RebuildFailed, fence
from kato_tasks.errors import (
    ConfigurationError,
    GatewayAnswered,
    KatoError,
    KatoRejected,
    KatoSessionGone,
    KatoUnavailable,
    LeaseLost,
    OutcomeUnknown,
    StoreFailed,
)
from kato_tasks.ports.effects import Step, ask
from kato_tasks.ports.lanes import Bind, Defer, Parked, Proceeded, ReadSession, Renew, Work
from kato_tasks.ports.log import ReadLog
from kato_tasks.telemetry.log_events import say

log = logging.getLogger(__name__)
CHECK_MS = 100
CHECKED = "the session config is being checked at KATO"
"""A lane that comes while another asks KATO about the session config is due again after so long, for this reason."""


@dataclass(frozen=True, slots=True)
class Drained:
    """A lane was given back: when it is due again (ms; -1: idle), and the parked tasks whose results are there."""

    lane: str
    due_ms: int
    completed: tuple[Parked, ...]


def drain(lane: LaneContext, work: Work) -> Step[Drained]:
    """Apply what the lane holds until nothing is due or the slice is over. Raises LeaseLost."""
    completed: list[Parked] = []
    while True:
        proceeded = yield from one(lane, work)
        completed += proceeded.completed
        if proceeded.work is None:
            return Drained(work.lane, proceeded.due_ms, tuple(completed))
        work = proceeded.work


def one(lane: LaneContext, work: Work) -> Step[Proceeded]:
    """Carry out one piece of work; every failure of KATO ends in a due time, a dead letter or a parked session."""
    if work.unreadable:
        return (yield from unreadable(lane, work, work.unreadable))
    work = reachable(lane, work)
    try:
        try:
            if (yield from config_taken(lane, work)):
                return (yield from attempt(lane, work))
            return (yield from deferred(lane, work, CHECK_MS, CHECKED, attempts=work.attempts, unsent=work.unsent))
        except (KatoSessionGone, OutcomeUnknown) as exc:
            return (yield from unsettled(lane, work, exc))
    except StoreFailed as exc:
        return (yield from unreadable(lane, work, str(exc)))
    except KatoUnavailable as exc:
        return (yield from wait_unsent(lane, work, exc))
    except ConfigurationError as exc:
        if lane.check is not None:
            lane.check.forget(lane.url(work))
        return (yield from wait_unsent(lane, work, KatoUnavailable(str(exc), 5.0)))
    except KatoError as exc:
        # A read or the reconciling itself failed: the intent stays open and is taken up when due.
        return (yield from back_off(lane, work, exc))


def config_taken(lane: LaneContext, work: Work) -> Step[bool]:
    """Go on where KATO takes the session config; False: another lane is asking it. Raises ConfigNotTaken.

    A session that only is to be kept alive stays alive, with the config that it has.
    """
    if lane.check is None or not (work.entries or work.asked):
        return True
    return (yield from taken(lane.check, lane.url(work)))


def unreadable(lane: LaneContext, work: Work, reason: str) -> Step[Proceeded]:
    """What the store holds of this session cannot be used: it waits for a person (or another version of this).

    An open intent stays as it is, and is reconciled when the session goes on. The lane's other sessions go on.
    """
    say(log, logging.ERROR, "session.unreadable", session=work.session, lane=work.lane, reason=reason)
    return (yield from observing.parked(lane, work, f"what the store holds of it cannot be read: {reason}", ""))


def attempt(lane: LaneContext, work: Work) -> Step[Proceeded]:
    if work.gave_up_in not in ("", lane.store_run()) and work.intent is None:
        # What it was bound to afterwards may be forgotten, with all that was learned there.
        yield from recovery.lost_track(lane, work)
        yield from ask(Bind(lane.held, work.session, work.cursor, None))
    if recovery.went_back(lane, work) and (work.intent is None or work.intent.kind == "observe"):
        assert work.binding is not None
        found = yield from recovery.caught_up(lane, work, work.binding)
        if isinstance(found, Proceeded):
            return found
        if found is None:
            waiting = yield from recovery.awaited(lane, work, work.binding)
            if waiting is not None:
                return waiting
        if found is None and work.intent is None:
            return (
                yield from fenced(
                    lane, work, gone=False, error="KATO holds something else than the log says", blame=False
                )
            )
        if found is not None and found.shared and work.intent is None:
            # The store may have forgotten that another session came to be served by it, and what that one sends yet.
            yield from recovery.lost_track(lane, work)
            why = "its KATO session may have come to serve another session before the store went back"
            return (yield from fenced(lane, work, gone=False, error=why, blame=False))
        if found is not None and work.intent is None:
            yield from ask(Bind(lane.held, work.session, work.cursor, found))
            work = replace(work, binding=found)
    if work.intent is not None:
        return (yield from reconcile(lane, work))
    if work.asked:
        return (yield from predicting.predict(lane, work))
    if not work.entries:
        return (yield from observing.kept_alive(lane, work))
    kind = work.entries[0].kind
    if kind == "o":
        return (yield from observing.observe(lane, work))
    if kind == "l":
        return (yield from learning.learn(lane, work))
    return (yield from learning.clear(lane, work))


def reconcile(lane: LaneContext, work: Work) -> Step[Proceeded]:
    """An intent is open: its sender died, or its outcome stayed unknown. Find out, or make it not count."""
    intent = work.intent
    assert intent is not None
    if intent.kind == "observe":
        done = yield from observing.reconcile_observe(lane, work, intent)
        if done is not None:
            return done
        why = "the call had not been applied when it was read back"
        return (yield from fenced(lane, work, gone=False, error=why, blame=not intent.again))
    if intent.kind == "fence":
        if recovery.went_back(lane, work):
            yield from recovery.lost_track(lane, work)
        return (yield from fenced(lane, work, gone=False, error="a fence was not finished"))
    if intent.kind != "learn" and recovery.went_back(lane, work):
        work = yield from recovery.noted(lane, work, intent)
        intent = work.intent
        assert intent is not None
    if intent.kind in ("learn", "settle", "verify"):
        return (yield from settling.settle(lane, work, intent))
    return (yield from learning.reconcile_clear(lane, work, intent))


def unsettled(lane: LaneContext, work: Work, exc: KatoError) -> Step[Proceeded]:
    """A call ended with its outcome unknown, or its session is gone. The store knows whether an intent is open."""
    current = yield from fresh_view(lane, work)
    gone = isinstance(exc, KatoSessionGone)
    if current.intent is not None and current.intent.kind == "fence":
        raise exc
    wrong = isinstance(exc, Mismatch)
    if (gone or wrong) and recovery.went_back(lane, current):
        yield from recovery.lost_track(lane, current)
    if current.intent is None and not gone and not wrong:
        # A read or a create failed: no event's call was sent, and nothing says that the KATO session is wrong.
        raise exc
    if current.intent is None or current.intent.kind == "observe":
        nobodys = exc if isinstance(exc, GatewayAnswered) else None
        if current.intent is not None and not gone and work.intent is None:
            try:
                done = yield from observing.reconcile_observe(lane, current, current.intent)
            except KatoError:
                if nobodys is not None:
                    yield from observing.excused(lane, current, current.intent)
                raise
            if done is not None:
                return done
        blame = not wrong and nobodys is None
        why = str(exc)
        return (yield from fenced(lane, current, gone=gone, error=why, blame=blame, gateway=nobodys, wrong=wrong))
    if current.intent.kind == "learn" and gone and not current.intent.again:
        # 404 before anything was learned: KATO reads the session first.
        return (yield from fenced(lane, current, gone=True, error=str(exc)))
    if work.intent is not None:
        raise exc
    return (yield from reconcile(lane, current))


def fresh_view(lane: LaneContext, work: Work) -> Step[Work]:
    """The piece of work as the store has it now: binding and intent may have been written since it was read.

    Read under the token: what another holder wrote meanwhile must not be taken for our own.
    """
    held, (binding, intent) = yield from send_together((Renew(lane.held), ReadSession(work.lane, work.session)))
    if not held:
        raise LeaseLost("the lane's lease passed to another worker")
    entries = work.entries
    if (
        intent is not None
        and intent.kind != "fence"
        and (not entries or (entries[0].position, entries[-1].position) != (intent.first, intent.last))
    ):
        entries = tuple((yield from ask(ReadLog(work.lane, work.session, intent.first, intent.last))))
    return reachable(lane, replace(work, binding=binding, intent=intent, entries=entries))


def reachable(lane: LaneContext, work: Work) -> Work:
    """The same work, asked of its lane's instance where it was bound at another one (the list has changed).

    All instances share one set of stores, so the KATO session is there too. A session moves while it is idle: with an
    open intent it stays where the call was sent until that is reconciled, unless the instance is no longer configured;
    then it is reconciled at the new one, like any other unknown outcome.
    """
    url = lane.url(work)
    if work.binding is None or work.binding.url == url:
        return work
    if work.intent is not None and work.binding.url in lane.terms.urls:
        return work
    return replace(work, binding=replace(work.binding, url=url))


def fenced(
    lane: LaneContext,
    work: Work,
    *,
    gone: bool,
    error: str,
    blame: bool = True,
    gateway: GatewayAnswered | None = None,
    wrong: bool = False,
) -> Step[Proceeded]:
    """Fence, then let the session try again.

    Only the failed call of one event counts as that event's attempt (``blame``), and waits from its second on.
    A batch is halved and tried at once: halving ends the loop. A session that was gone or held something else
    is nobody's attempt; if that happens again and again, the waits grow, and in the end it waits for a person (sooner
    where it was bound, and ``wrong``). Nor is what a ``gateway`` answered: the session waits, at least as long as that
    asked.
    """
    own = blame and not gone and work.intent is not None and work.intent.kind in ("observe", "learn")
    tried = len(work.entries)
    futile = 0
    if not own and gateway is None:
        futile = work.rebuilds + (definite(lane) if wrong else 1)
        if futile > lane.retry.max_rebuilds:
            why = "its KATO session was gone, or not what the log says, again and again"
            return (yield from observing.parked(lane, work, why, error))
    yield from fence(lane, work, halve=tried // 2 if own and tried > 1 else 0, gone=gone)
    work = replace(work, intent=None)
    if own and tried == 1:
        if work.attempts + 1 > lane.retry.max_retries:
            return (yield from exhausted(lane, work, error))
        wait = lane.retry.wait_ms(work.attempts) if work.attempts else 0
        return (yield from deferred(lane, work, wait, error, attempts=work.attempts + 1, unsent=0))
    if own:
        return (yield from deferred(lane, work, 0, error, attempts=work.attempts, unsent=0))
    retry_after = gateway.retry_after if gateway is not None else None
    wait = lane.retry.wait_ms(work.unsent, retry_after) if work.unsent or gateway is not None else 0
    unsent = min(work.unsent + 1, 30)
    return (yield from deferred(lane, work, wait, error, attempts=work.attempts, unsent=unsent, rebuilds=futile))


def definite(lane: LaneContext) -> int:
    """As how many failures one counts that KATO gave a plain answer to: it will hardly give another."""
    return max(1, lane.retry.max_rebuilds // 10)


def deferred(
    lane: LaneContext, work: Work, wait_ms: int, error: str, *, attempts: int, unsent: int, rebuilds: int = 0
) -> Step[Proceeded]:
    """The session is due again after a while; its lane goes on."""
    wait = Defer(lane.held, work.session, wait_ms, attempts, unsent, error, go_on=lane.go_on, rebuilds=rebuilds)
    return (yield from ask(wait))


def exhausted(lane: LaneContext, work: Work, error: str) -> Step[Proceeded]:
    """The head event alone failed too often: park its session, or bury it and go on; by policy."""
    if work.asked:
        return (yield from predicting.refused(lane, work, error))
    reason = f"failed {work.attempts + 1} times"
    if lane.on_exhausted == "park":
        return (yield from observing.parked(lane, work, reason, error))
    work = yield from fresh_view(lane, work)
    return (yield from observing.buried(lane, work, reason, error))


def wait_unsent(lane: LaneContext, work: Work, exc: KatoUnavailable) -> Step[Proceeded]:
    """A call was never sent: wait, and ask again for ever. It is nobody's failed attempt.

    Whether an open intent is withdrawn was decided where its own call failed; here it stays as it is.
    """
    return (yield from observing.unsent(lane, work, exc, withdraw=""))


def back_off(lane: LaneContext, work: Work, exc: KatoError) -> Step[Proceeded]:
    """Reading or reconciling failed: KATO is ill. Nothing was decided, so nothing is lost by waiting.

    What can be lost is time: a predict holds up the events behind it, so it is refused after a while; and a session
    that makes no progress though KATO answers waits for a person in the end. A KATO that does not answer, or fails
    whatever it is asked, is waited for as long as it takes.
    """
    why, weight = "", 0
    if isinstance(exc, RebuildFailed):
        why, weight = "its KATO session could not be rebuilt", definite(lane) if exc.mismatch else 1
    elif isinstance(exc, NotLearned):
        why, weight = "KATO answered its learn with an error", 1
    elif isinstance(exc, KatoRejected):
        why, weight = "KATO refused a call that its next event needs", definite(lane)
    rebuilds = work.rebuilds + weight
    if weight and rebuilds > lane.retry.max_rebuilds:
        return (yield from observing.parked(lane, work, f"{why}, again and again", str(exc)))
    wait = lane.retry.wait_ms(work.unsent, exc.retry_after if isinstance(exc, OutcomeUnknown) else None)
    attempts = work.attempts
    if work.asked and work.intent is None and not isinstance(exc, GatewayAnswered):
        left = predicting.patience_ms(lane, work)
        if left <= 0 or work.attempts + 1 > lane.retry.max_retries:
            return (yield from predicting.refused(lane, work, str(exc)))
        wait, attempts = min(wait, left), work.attempts + 1
    unsent = min(work.unsent + 1, 30)
    return (yield from deferred(lane, work, wait, str(exc), attempts=attempts, unsent=unsent, rebuilds=rebuilds))
