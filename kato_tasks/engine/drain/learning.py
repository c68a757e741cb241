"""learn and clear_stm: a learn acts on the node, so its outcome is settled by its pattern's frequency.

1. Read time and STM; not what the log says: fence. Intent: the pattern's name and its frequency.
2. learn; then clear-stm as an intent of its own, so that no emotive leaks into the next pattern.
3. Outcome unknown: ``settling``.
"""

from __future__ import annotations

import logging
from dataclasses import replace

from kato_tasks.domain.kato_session import Binding, Intent
from kato_tasks.domain.results import Applied, Learned
from kato_tasks.domain.stm import Stm, expected_stm, pattern_name
from kato_tasks.engine.drain import kato_api
from kato_tasks.engine.drain.context import LEARNED_LATELY_MS, LaneContext, new_call_id, result_json, send_together
from kato_tasks.engine.drain.familiar import Known, leaves_nothing
from kato_tasks.engine.drain.kato_session import Mismatch, bound, has_stm, verified
from kato_tasks.engine.drain.observing import buried, unsent
from kato_tasks.errors import (
    GatewayAnswered,
    KatoMisdirected,
    KatoRejected,
    KatoSessionGone,
    KatoUnavailable,
    OutcomeUnknown,
)
from kato_tasks.ports.effects import Step, ask
from kato_tasks.ports.lanes import (
    ALL_UNSURE,
    UNSURE,
    CertainFrequency,
    Commit,
    Count,
    Defer,
    IsParked,
    KnownPattern,
    LearnedLately,
    MarkNode,
    Proceeded,
    ReadSession,
    UnsettledLearn,
    Work,
    WriteIntent,
)
from kato_tasks.telemetry.log_events import say

log = logging.getLogger(__name__)
UNSETTLED_WAIT_MS = 500
FORBIDDEN = 403


def learn(lane: LaneContext, work: Work) -> Step[Proceeded]:
    """Learn the session's STM as a pattern of its node, once."""
    if work.cursor <= work.mark or (work.binding is None and not (yield from has_stm(work))):
        return (yield from nothing_to_learn(lane, work))
    known = lane.familiar.take(work.lane)
    binding, new = yield from bound(lane, work)
    if binding != work.binding:
        known = None  # it had expired
    made_of = known.whole_stm(work, lane.store_run()) if known is not None else ()
    if made_of:
        # One call made it, on an empty STM: it is all there, or nothing is, and then KATO refuses to learn it.
        stm: Stm = [event or [] for event in expected_stm(made_of, {})]
    else:
        stm = yield from verified(replace(work, binding=binding), binding)
    if not stm:
        return (yield from nothing_to_learn(lane, replace(work, binding=binding)))
    name = pattern_name(stm)
    since_ms = known.since_ms if known is not None and known.fits(work, lane.store_run()) else -1
    found = yield from baseline(lane, work, binding, name, since_ms)
    if isinstance(found, Proceeded):
        return found
    frequency, certain = found
    position = work.entries[0].position
    intent = Intent(
        call=new_call_id(),
        kind="learn",
        first=position,
        last=position,
        time=binding.time,
        stm_length=binding.stm_length,
        pattern=name,
        frequency=frequency,
    )
    yield from ask(WriteIntent(lane.held, work.session, work.cursor, intent, binding if new else None))
    try:
        learned = yield from kato_api.learn(binding.url, binding.kato_session)
    except KatoUnavailable as exc:
        if isinstance(exc, KatoMisdirected) and exc.status == FORBIDDEN:
            # A filter that reads answers, too, forbids one that KATO has given: the learn may have counted.
            raise GatewayAnswered(str(exc)) from exc
        return (yield from unsent(lane, work, exc, withdraw=intent.call))
    except KatoRejected as exc:
        # The STM was not empty a moment ago, so the session is not what it was.
        raise Mismatch(f"learn: {exc}") from exc
    if learned != name:
        say(log, logging.WARNING, "learn.unknown", session=work.session, lane=work.lane, pattern=learned)
        yield from send_together((Count(work.lane, "learns_unknown"), MarkNode(work.lane)))
    work = replace(work, binding=binding)
    if made_of and learned == name and leaves_nothing(made_of):
        empty: Binding | None = replace(binding, stm_length=0, base=binding.time, before=binding.time)
        done = _learned(lane, work, intent, empty)
    else:
        intent = yield from about_to_clear(lane, work, intent)
        done = _learned(lane, work, intent, (yield from cleared(binding)))
    # Of another pattern than the one that was due nobody knows how often it is counted now.
    sure = ALL_UNSURE if learned != name else lane.store_run() if certain else UNSURE
    proceeded = yield from ask(replace(done, certain=sure))
    if learned == name:
        _note(lane, work, known, done.binding)
    return proceeded


def _note(lane: LaneContext, work: Work, known: Known | None, binding: Binding | None) -> None:
    """What was known of the session's KATO session is known of it still, now that its STM is empty."""
    if known is not None and known.fits(work, lane.store_run()) and binding is not None:
        lane.familiar.note(work.lane, Known(work.session, binding, known.since_ms))


def baseline(
    lane: LaneContext, work: Work, binding: Binding, pattern: str, since_ms: int = -1
) -> Step[tuple[int, bool] | Proceeded]:
    """How often the pattern was learned before the learn that is next, and whether that is certain.

    Or this session waits until it can be said. ``since_ms``: KATO has kept its store since then (-1: who knows).
    """
    if not pattern:
        return 0, False
    certain, lately, unsettled = yield from send_together(
        (CertainFrequency(work.lane, pattern), LearnedLately(work.lane, pattern), UnsettledLearn(work.lane, pattern))
    )
    others = unsettled is not None and unsettled != work.session
    waits = others and not (yield from ask(IsParked(work.lane, str(unsettled))))
    if waits and not (yield from _is_open(work.lane, str(unsettled), pattern)):
        waits = others = False
    if waits:
        why = "another session's learn of the same pattern is not settled yet"
        return (
            yield from ask(
                Defer(lane.held, work.session, UNSETTLED_WAIT_MS, work.attempts, work.unsent, why, go_on=lane.go_on)
            )
        )
    if certain is not None and not others and 0 <= since_ms <= certain[1] and certain[2] == lane.store_run():
        return int(certain[0]), True
    read = lately is None or work.now_ms - lately[1] >= LEARNED_LATELY_MS
    found = (yield from certain_frequency(work, binding, pattern)) if read or lately is None else int(lately[0])
    if others:
        # Nobody knows when a person resumes that session, so this one goes on; the frequency cannot tell the two apart.
        yield from ask(Count(work.lane, "learns_in_doubt"))
    return found, read and not others


def _is_open(lane: str, session: str, pattern: str) -> Step[bool]:
    """Whether a session's learn of a pattern is open: what is only left written down of one is nothing to wait for."""
    _, intent = yield from ask(ReadSession(lane, session))
    return intent is not None and intent.pattern == pattern


def certain_frequency(work: Work, binding: Binding, pattern: str) -> Step[int]:
    """How often KATO counts a pattern; its "unknown" is believed only from a KATO whose ClickHouse answers.

    A failing ClickHouse looks like a pattern that was never learned (HTTP 200, measured on 3.10.1). A pattern that
    is surely there tells them apart, or predictions, which are 200 only with ClickHouse. Raises OutcomeUnknown when
    neither does.
    """
    found = yield from kato_api.frequency(binding.url, binding.node, pattern)
    if found:
        return found
    known = yield from ask(KnownPattern(work.lane))
    if not known or known == pattern or not (yield from kato_api.frequency(binding.url, binding.node, known)):
        yield from kato_api.predictions(binding.url, binding.kato_session)
    return (yield from kato_api.frequency(binding.url, binding.node, pattern))


def nothing_to_learn(lane: LaneContext, work: Work) -> Step[Proceeded]:
    """KATO refuses to learn an empty STM, and going on is right: there was nothing."""
    return (yield from buried(lane, work, "nothing to learn", "the session's STM is empty at this learn"))


def clear_after_learn(lane: LaneContext, work: Work, learned: Intent, park: str = "") -> Step[Proceeded]:
    """The learn is done; empty what it left (emotives, metadata, time), then commit both."""
    assert work.binding is not None
    intent = yield from about_to_clear(lane, work, learned)
    binding = yield from cleared(work.binding)
    return (yield from learn_committed(lane, work, intent, binding, park))


def about_to_clear(lane: LaneContext, work: Work, learned: Intent) -> Step[Intent]:
    intent = replace(learned, call=new_call_id(), kind="clear_after_learn")
    yield from ask(WriteIntent(lane.held, work.session, work.cursor, intent, follows=learned.call))
    return intent


def cleared(binding: Binding) -> Step[Binding | None]:
    """clear-stm; where its outcome is unknown a deleted session is as good as a cleared one.

    It puts KATO's time back, by which a store that went back tells its session's own KATO session from one that came
    to serve another (``recovery``). So one that may have been passed on is deleted instead, and one that was cleared is
    not passed on any more.
    """
    if binding.base > 0:
        yield from kato_api.delete_session(binding.url, binding.kato_session)
        return None
    try:
        yield from kato_api.clear_stm(binding.url, binding.kato_session)
    except (OutcomeUnknown, KatoRejected, KatoSessionGone):
        yield from kato_api.delete_session(binding.url, binding.kato_session)
        return None
    return replace(binding, time=0, stm_length=0, before=binding.time, base=0, shared=False)


def learn_committed(
    lane: LaneContext, work: Work, intent: Intent, binding: Binding | None, park: str = ""
) -> Step[Proceeded]:
    """The learn at the head is in KATO once. ``park``: the session waits for a person after it (why, as JSON)."""
    return (yield from ask(_learned(lane, work, intent, binding, park)))


def _learned(lane: LaneContext, work: Work, intent: Intent, binding: Binding | None, park: str = "") -> Commit:
    if binding is not None:
        binding = replace(binding, expires_ms=work.now_ms + lane.terms.ttl_seconds * 1000)
    entry = work.entries[0]
    result = Learned(
        status=Learned.status_of(intent.pattern),
        session_id=work.session,
        node_id=work.node_id,
        event_id=entry.event_id,
        position=entry.position,
        pattern_name=intent.pattern,
    )
    lately = (intent.pattern, intent.frequency + 1) if intent.pattern and intent.frequency is not None else None
    return Commit(
        lane.held,
        work.session,
        intent.call,
        work.cursor,
        entry.position,
        binding,
        mark=entry.position,
        results=[(entry.event_id, result_json(result))] if entry.wanted else (),
        learned=lately,
        park=park,
        go_on=lane.go_on,
    )


def clear(lane: LaneContext, work: Work) -> Step[Proceeded]:
    """clear_stm as an event: the STM is empty afterwards, whatever happens on the way."""
    binding = work.binding
    entry = work.entries[0]
    known = lane.familiar.take(work.lane)
    intent = Intent(call=new_call_id(), kind="clear", first=entry.position, last=entry.position)
    if binding is not None:
        yield from ask(WriteIntent(lane.held, work.session, work.cursor, intent))
        binding = yield from cleared(binding)
    done = _cleared(lane, work, intent, binding)
    proceeded = yield from ask(done)
    _note(lane, work, known, done.binding)
    return proceeded


def clear_committed(lane: LaneContext, work: Work, intent: Intent, binding: Binding | None) -> Step[Proceeded]:
    return (yield from ask(_cleared(lane, work, intent, binding)))


def _cleared(lane: LaneContext, work: Work, intent: Intent, binding: Binding | None) -> Commit:
    entry = work.entries[0]
    if binding is not None:
        binding = replace(binding, expires_ms=work.now_ms + lane.terms.ttl_seconds * 1000)
    result = Applied(
        status="cleared",
        session_id=work.session,
        node_id=work.node_id,
        event_id=entry.event_id,
        position=entry.position,
    )
    return Commit(
        lane.held,
        work.session,
        intent.call,
        work.cursor,
        entry.position,
        binding,
        mark=entry.position,
        results=[(entry.event_id, result_json(result))] if entry.wanted else (),
        go_on=lane.go_on,
    )


def reconcile_clear(lane: LaneContext, work: Work, intent: Intent) -> Step[Proceeded]:
    """Whatever became of a clear-stm: without its KATO session the STM is empty."""
    if work.binding is not None:
        yield from kato_api.delete_session(work.binding.url, work.binding.kato_session)
    if intent.kind == "clear_after_learn":
        return (yield from learn_committed(lane, work, intent, None))
    return (yield from clear_committed(lane, work, intent, None))
