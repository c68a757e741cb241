"""A learn whose outcome is unknown: find out by its pattern's frequency, the only trace that it leaves.

``learn`` → its KATO session is deleted, so that a late learn gets 404 → ``settle``: when nothing can land any more
(a due time; no slot waits), rebuild, make sure that ClickHouse answers, read the frequency. One more than before:
done. Unchanged: learn again → ``verify``: read once more, since a learn that failed may have counted without
leaving a row. Anything else is counted in ``learns_unknown``, the node is marked for a rebuild, and the session
goes on or is parked, by policy. While an intent of these kinds is open no session of the lane learns that pattern.
"""

from __future__ import annotations

import logging
from dataclasses import replace

from kato_tasks.domain.json_text import dumps
from kato_tasks.domain.kato_session import Binding, Intent
from kato_tasks.domain.stm import pattern_name
from kato_tasks.engine.drain import kato_api
from kato_tasks.engine.drain.context import LaneContext, new_call_id, send_together
from kato_tasks.engine.drain.kato_session import NotLearned, Rebuilt, bind, deleted, discarded, rebuilt
from kato_tasks.engine.drain.learning import clear_after_learn, learn_committed
from kato_tasks.errors import KatoError, KatoFailed, KatoRejected, OutcomeUnknown
from kato_tasks.ports.effects import Step, ask
from kato_tasks.ports.lanes import Count, Defer, KnownPattern, MarkNode, Proceeded, Work, WriteIntent
from kato_tasks.telemetry.log_events import say

log = logging.getLogger(__name__)


def settle(lane: LaneContext, work: Work, intent: Intent) -> Step[Proceeded]:
    """Take the learn at the head one step further."""
    if intent.kind == "learn":
        assert work.binding is not None
        yield from deleted(lane, work, work.binding)
        return (yield from _wait(lane, work, intent, replace(intent, call=new_call_id(), kind="settle")))
    if intent.kind == "verify":
        return (yield from _verify(lane, work, intent))
    made = yield from rebuilt(lane, work)
    new = made.binding
    try:
        after = yield from _frequency(work, new, intent.pattern)
    except KatoError:
        yield from discarded(work, new.url, new.kato_session)
        raise
    before = intent.frequency or 0
    if intent.pattern and after == before:
        if intent.forgotten and before:
            # It may have been counted already when ``before`` was read, while KATO had not emptied the STM yet.
            yield from ask(Count(work.lane, "learns_in_doubt"))
        if pattern_name(made.stm) != intent.pattern:
            return (yield from _learn_anew(lane, work, intent, made))
        return (yield from _learn_again(lane, work, intent, new))
    park = ""
    if intent.pattern and after != before + 1:
        park = yield from _in_doubt(lane, work, before, after)
    yield from discarded(work, new.url, new.kato_session)
    return (yield from learn_committed(lane, work, intent, None, park))


def _wait(lane: LaneContext, work: Work, intent: Intent, waiting: Intent) -> Step[Proceeded]:
    yield from ask(WriteIntent(lane.held, work.session, work.cursor, waiting, follows=intent.call))
    why = "the outcome of a learn is unknown; waiting until it can be read"
    return (
        yield from ask(Defer(lane.held, work.session, lane.terms.settle_ms, work.attempts, 0, why, go_on=lane.go_on))
    )


def _frequency(work: Work, binding: Binding, pattern: str) -> Step[int]:
    if not pattern:
        return 0
    # ClickHouse must answer 200 here, or an unknown pattern would look like one never learned.
    try:
        yield from kato_api.predictions(binding.url, binding.kato_session)
    except OutcomeUnknown:
        # Or is it these that take too long? A pattern that is surely there tells.
        known = yield from ask(KnownPattern(work.lane))
        if not known or known == pattern or not (yield from kato_api.frequency(binding.url, binding.node, known)):
            raise
    return (yield from kato_api.frequency(binding.url, binding.node, pattern))


def _learn_again(lane: LaneContext, work: Work, intent: Intent, new: Binding) -> Step[Proceeded]:
    """The first learn left no trace. Whatever fails here leaves this intent open, and so begins anew."""
    again = replace(intent, call=new_call_id(), kind="learn", again=True)
    yield from ask(WriteIntent(lane.held, work.session, work.cursor, again, new, follows=intent.call))
    try:
        yield from kato_api.learn(new.url, new.kato_session)
    except (KatoFailed, KatoRejected) as exc:
        # A moment ago it answered all that a learn needs.
        raise NotLearned(str(exc)) from exc
    return (yield from _wait(lane, work, again, replace(again, call=new_call_id(), kind="verify")))


def _learn_anew(lane: LaneContext, work: Work, intent: Intent, made: Rebuilt) -> Step[Proceeded]:
    """The same as if nothing had been sent, where KATO holds the STM in another order, and so under another name.

    The first learn may have counted without leaving a row, and under this name nobody would see it.
    """
    yield from ask(Count(work.lane, "learns_in_doubt"))  # of the name it had
    yield from bind(lane, work, made, intent.call)
    why = "a learn left no trace, and the rebuilt STM has another name"
    return (yield from ask(Defer(lane.held, work.session, 0, work.attempts, work.unsent, why, go_on=lane.go_on)))


def _verify(lane: LaneContext, work: Work, intent: Intent) -> Step[Proceeded]:
    assert work.binding is not None
    after = yield from kato_api.frequency(work.binding.url, work.binding.node, intent.pattern)
    before = intent.frequency or 0
    park = "" if after == before + 1 else (yield from _in_doubt(lane, work, before, after))
    return (yield from clear_after_learn(lane, work, intent, park))


def _in_doubt(lane: LaneContext, work: Work, before: int, after: int) -> Step[str]:
    """Nobody can know any more; returns why the session is parked after this, or '' to go on."""
    counts = f"{before} before and {after} after"
    say(log, logging.WARNING, "learn.unknown", session=work.session, lane=work.lane, counted=counts)
    yield from send_together((Count(work.lane, "learns_unknown"), MarkNode(work.lane)))
    if lane.on_unknown_learn == "go_on":
        return ""
    why = {
        "reason": "the outcome of a learn cannot be known",
        "last_answer": f"the pattern's frequency was {before} before and is {after}",
        "position": work.entries[0].position,
        "event_id": work.entries[0].event_id,
        "attempts": work.attempts,
        "first_ms": work.first_failed_ms or work.now_ms,
        "last_ms": work.now_ms,
    }
    return dumps(why)
