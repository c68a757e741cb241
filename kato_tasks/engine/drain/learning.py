"""Learns and clears. A learn acts on the node, so only its pattern's frequency tells whether it was carried out.

1. KATO's time and STM are read; where they are not what the log says the KATO session is fenced. Then the intent is
   written, with the pattern's name and its frequency.
2. ``learn`` is sent, and then ``clear-stm`` as an intent of its own, so that no emotive leaks into the next pattern.
3. Where the outcome of the learn is unknown, ``settling`` finds it out.
"""

from __future__ import annotations

import logging
from dataclasses import replace

from kato_tasks.domain.kato_session import Binding, Intent
from kato_tasks.domain.results import Applied, Learned
from kato_tasks.domain.stm import Stm, expected_stm, pattern_name
from kato_tasks.engine.drain import kato_api
from kato_tasks.engine.drain.context import LEARNED_LATELY_MS, LaneContext, new_call_id, result_json, send_together
from kato_tasks.engine.drain.endings import bury, wait_unsent
from kato_tasks.engine.drain.kato_session import Mismatch, ensure_bound, has_stm, read_verified_stm
from kato_tasks.engine.drain.known_sessions import KnownSession, leaves_nothing
from kato_tasks.errors import (
    GatewayAnswered,
    KatoMisdirected,
    KatoRejected,
    KatoSessionGone,
    KatoUnavailable,
    OutcomeUnknown,
)
from kato_tasks.ports.effects import Program, perform
from kato_tasks.ports.lanes import (
    ALL_UNSURE,
    UNSURE,
    CertainFrequency,
    Commit,
    Count,
    FlagNodeForRebuild,
    IsParked,
    KnownPattern,
    LearnedLately,
    NextWork,
    ReadSession,
    UnsettledLearn,
    Work,
    WriteIntent,
)
from kato_tasks.telemetry.log_events import log_event

log = logging.getLogger(__name__)
UNSETTLED_WAIT_MS = 500
"""How long a learn waits before it looks again whether another session's learn of the same pattern is settled."""
FORBIDDEN = 403


def learn(lane: LaneContext, work: Work) -> Program[NextWork]:
    """Learn the session's STM as a pattern of its node, once.

    Raises OutcomeUnknown or KatoSessionGone with the intent open; ``intent_table`` says what is done then.
    """
    if work.cursor <= work.stm_start or (work.binding is None and not (yield from has_stm(work))):
        return (yield from refuse_empty_learn(lane, work))
    known = lane.known_sessions.take(work.lane)
    binding, new = yield from ensure_bound(lane, work)
    if binding != work.binding:
        known = None  # it had expired
    made_of = known.whole_stm(work, lane.store_run()) if known is not None else ()
    if made_of:
        # One call made it, on an empty STM: it is all there, or nothing is, and then KATO refuses to learn it.
        stm: Stm = [event or [] for event in expected_stm(made_of, {})]
    else:
        stm = yield from read_verified_stm(replace(work, binding=binding), binding)
    if not stm:
        return (yield from refuse_empty_learn(lane, replace(work, binding=binding)))
    name = pattern_name(stm)
    since_ms = known.since_ms if known is not None and known.fits(work, lane.store_run()) else -1
    found = yield from read_baseline(lane, work, binding, name, since_ms)
    if isinstance(found, NextWork):
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
    yield from perform(WriteIntent(lane.lease, work.session, work.cursor, intent, binding if new else None))
    try:
        learned = yield from kato_api.learn(binding.url, binding.kato_session)
    except KatoUnavailable as exc:
        if isinstance(exc, KatoMisdirected) and exc.status == FORBIDDEN:
            # A filter that reads answers, too, forbids one that KATO has given: the learn may have counted.
            raise GatewayAnswered(str(exc)) from exc
        return (yield from wait_unsent(lane, work, exc, withdraw=intent.call))
    except KatoRejected as exc:
        # The STM was not empty a moment ago, so the session is not what it was.
        raise Mismatch(f"learn: {exc}") from exc
    if learned != name:
        log_event(log, logging.WARNING, "learn.unknown", session=work.session, lane=work.lane, pattern=learned)
        yield from send_together((Count(work.lane, "learns_unknown"), FlagNodeForRebuild(work.lane)))
    work = replace(work, binding=binding)
    if made_of and learned == name and leaves_nothing(made_of):
        empty: Binding | None = replace(binding, stm_length=0, base=binding.time, before=binding.time)
        done = _build_learn_commit(lane, work, intent, empty)
    else:
        intent = yield from write_clear_intent(lane, work, intent)
        done = _build_learn_commit(lane, work, intent, (yield from clear_or_delete(binding)))
    # Where KATO learned another pattern than the one that was due, every frequency of the lane is uncertain.
    sure = ALL_UNSURE if learned != name else lane.store_run() if certain else UNSURE
    proceeded = yield from perform(replace(done, certain=sure))
    if learned == name:
        _remember(lane, work, known, done.binding)
    return proceeded


def _remember(lane: LaneContext, work: Work, known: KnownSession | None, binding: Binding | None) -> None:
    """Note that this process still knows the session's KATO session, now that its STM is empty."""
    if known is not None and known.fits(work, lane.store_run()) and binding is not None:
        lane.known_sessions.note(work.lane, KnownSession(work.session, binding, known.since_ms))


def read_baseline(
    lane: LaneContext, work: Work, binding: Binding, pattern: str, since_ms: int = -1
) -> Program[tuple[int, bool] | NextWork]:
    """Return how often the pattern was learned before the learn that is next, and whether that is certain.

    Returns a NextWork where that cannot be said yet, because another session's learn of the same pattern is not
    settled: this session waits then. ``since_ms`` is since when KATO has kept its store for certain (-1: not known).
    Raises OutcomeUnknown where KATO's ClickHouse does not answer.
    """
    if not pattern:
        return 0, False
    certain, lately, unsettled = yield from send_together(
        (CertainFrequency(work.lane, pattern), LearnedLately(work.lane, pattern), UnsettledLearn(work.lane, pattern))
    )
    others = unsettled is not None and unsettled != work.session
    waits = others and not (yield from perform(IsParked(work.lane, str(unsettled))))
    if waits and not (yield from _is_open(work.lane, str(unsettled), pattern)):
        waits = others = False
    if waits:
        why = "another session's learn of the same pattern is not settled yet"
        return (yield from perform(lane.defer(work, UNSETTLED_WAIT_MS, why)))
    if certain is not None and not others and 0 <= since_ms <= certain[1] and certain[2] == lane.store_run():
        return int(certain[0]), True
    read = lately is None or work.now_ms - lately[1] >= LEARNED_LATELY_MS
    found = (yield from read_certain_frequency(work, binding, pattern)) if read or lately is None else int(lately[0])
    if others:
        # That session is parked and may wait for long, so this one goes on. The frequency cannot tell the two apart.
        yield from perform(Count(work.lane, "learns_in_doubt"))
    return found, read and not others


def _is_open(lane: str, session: str, pattern: str) -> Program[bool]:
    """Return whether a session's learn of a pattern is open. A note that was only left behind is no reason to wait."""
    _, intent = yield from perform(ReadSession(lane, session))
    return intent is not None and intent.pattern == pattern


def read_certain_frequency(work: Work, binding: Binding, pattern: str) -> Program[int]:
    """Return how often KATO counts a pattern, and believe a 0 only where KATO's ClickHouse answers.

    A failing ClickHouse looks like a pattern that was never learned (HTTP 200, measured on 3.10.1). What tells them
    apart is a pattern that is there for certain, or a call for predictions, which is 200 only with ClickHouse. Raises
    OutcomeUnknown where neither does.
    """
    found = yield from kato_api.read_frequency(binding.url, binding.node, pattern)
    if found:
        return found
    known = yield from perform(KnownPattern(work.lane))
    if not known or known == pattern or not (yield from kato_api.read_frequency(binding.url, binding.node, known)):
        yield from kato_api.read_predictions(binding.url, binding.kato_session)
    return (yield from kato_api.read_frequency(binding.url, binding.node, pattern))


def refuse_empty_learn(lane: LaneContext, work: Work) -> Program[NextWork]:
    """Make a learn of an empty STM a dead letter, and go on: KATO refuses it, and there was nothing to learn."""
    return (yield from bury(lane, work, "nothing to learn", "the session's STM is empty at this learn"))


def clear_after_learn(lane: LaneContext, work: Work, learned: Intent, park: str = "") -> Program[NextWork]:
    """Empty what a learn left (emotives, metadata, time), then commit both. ``park``: see ``commit_learn``."""
    assert work.binding is not None
    intent = yield from write_clear_intent(lane, work, learned)
    binding = yield from clear_or_delete(work.binding)
    return (yield from commit_learn(lane, work, intent, binding, park))


def write_clear_intent(lane: LaneContext, work: Work, learned: Intent) -> Program[Intent]:
    """Write the intent of the clear-stm that follows a learn, in the place of the learn's, and return it."""
    intent = replace(learned, call=new_call_id(), kind="clear_after_learn")
    yield from perform(WriteIntent(lane.lease, work.session, work.cursor, intent, replaces_call=learned.call))
    return intent


def clear_or_delete(binding: Binding) -> Program[Binding | None]:
    """Send clear-stm, and return the binding afterwards; None: the KATO session was deleted instead.

    Where the outcome of the clear is unknown, a deleted KATO session is as good as a cleared one. A clear puts KATO's
    time back. After the store was restored, time is what tells a session's own KATO session from one that came to serve
    another (``restored_state.may_serve_another``). So one that may have been passed on is deleted instead of cleared,
    and one that was cleared is not passed on any more.
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


def commit_learn(
    lane: LaneContext, work: Work, intent: Intent, binding: Binding | None, park: str = ""
) -> Program[NextWork]:
    """Commit the learn at the head, which is in KATO once, and bind the session to ``binding`` (None: to nothing).

    With ``park``, the JSON record of a refusal, the session waits for a person after it.
    """
    return (yield from perform(_build_learn_commit(lane, work, intent, binding, park)))


def _build_learn_commit(
    lane: LaneContext, work: Work, intent: Intent, binding: Binding | None, park: str = ""
) -> Commit:
    if binding is not None:
        binding = replace(binding, expires_ms=lane.expires(work))
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
    return lane.commit(
        work,
        binding,
        to=entry.position,
        call=intent.call,
        stm_start=entry.position,
        results=[(entry.event_id, result_json(result))] if entry.wanted else (),
        learned=lately,
        park_reason=park,
    )


def clear(lane: LaneContext, work: Work) -> Program[NextWork]:
    """Apply a clear_stm of the log: the STM is empty afterwards, whatever happens on the way."""
    binding = work.binding
    entry = work.entries[0]
    known = lane.known_sessions.take(work.lane)
    intent = Intent(call=new_call_id(), kind="clear", first=entry.position, last=entry.position)
    if binding is not None:
        yield from perform(WriteIntent(lane.lease, work.session, work.cursor, intent))
        if work.bound_elsewhere:
            yield from kato_api.delete_session(binding.url, binding.kato_session)
            binding = None  # the next one is made on the node as of now
        else:
            binding = yield from clear_or_delete(binding)
    done = _build_clear_commit(lane, work, intent, binding)
    proceeded = yield from perform(done)
    _remember(lane, work, known, done.binding)
    return proceeded


def commit_clear(lane: LaneContext, work: Work, intent: Intent, binding: Binding | None) -> Program[NextWork]:
    """Commit the clear at the head, and bind the session to ``binding`` (None: to nothing)."""
    return (yield from perform(_build_clear_commit(lane, work, intent, binding)))


def _build_clear_commit(lane: LaneContext, work: Work, intent: Intent, binding: Binding | None) -> Commit:
    entry = work.entries[0]
    if binding is not None:
        binding = replace(binding, expires_ms=lane.expires(work))
    result = Applied(
        status="cleared",
        session_id=work.session,
        node_id=work.node_id,
        event_id=entry.event_id,
        position=entry.position,
    )
    return lane.commit(
        work,
        binding,
        to=entry.position,
        call=intent.call,
        stm_start=entry.position,
        results=[(entry.event_id, result_json(result))] if entry.wanted else (),
    )


def reconcile_clear(lane: LaneContext, work: Work, intent: Intent) -> Program[NextWork]:
    """Delete the KATO session of a clear-stm of unknown outcome, without which the STM is empty, and commit."""
    if work.binding is not None:
        yield from kato_api.delete_session(work.binding.url, work.binding.kato_session)
    if intent.kind == "clear_after_learn":
        return (yield from commit_learn(lane, work, intent, None))
    return (yield from commit_clear(lane, work, intent, None))
