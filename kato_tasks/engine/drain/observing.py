"""Observations: one intent, one observe-sequence, one commit; and how an observe of unknown outcome is read back."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from kato_tasks.domain.json_text import dumps
from kato_tasks.domain.kato_session import Binding, Intent
from kato_tasks.domain.log_entry import Logged, count_events, have_vectors
from kato_tasks.domain.results import Observed
from kato_tasks.domain.stm import STM_CAP, expected_stm, matches
from kato_tasks.engine.drain import kato_api
from kato_tasks.engine.drain.context import LaneContext, new_call_id, result_json
from kato_tasks.engine.drain.endings import bury, park, wait_unsent
from kato_tasks.engine.drain.kato_session import Mismatch, ensure_bound, fence, read_history
from kato_tasks.engine.drain.known_sessions import KnownSession, whole_stm_of_one_call
from kato_tasks.errors import KatoRejected, KatoUnavailable
from kato_tasks.ports.effects import Program, perform
from kato_tasks.ports.lanes import Bind, Commit, NextWork, Work, WriteIntent
from kato_tasks.ports.log import ReadLog


@dataclass(frozen=True, slots=True)
class StartedCall:
    """A call whose intent is written down.

    ``since_ms`` is as in ``KnownSession`` where this process knows the KATO session, else -1.
    """

    binding: Binding
    intent: Intent
    since_ms: int


def observe(lane: LaneContext, work: Work) -> Program[NextWork]:
    """Apply the run of observations after the cursor in one call.

    Raises OutcomeUnknown or KatoSessionGone with the intent open; ``intent_table`` says what is done then.
    """
    entries = work.entries
    known = lane.known_sessions.take(work.lane)
    started = (yield from borrow_kato_session(lane, work, known)) if known is not None else None
    borrowed = started is not None
    if started is None:
        binding, new = yield from ensure_bound(lane, work)
        intent = _make_intent(entries, binding)
        yield from perform(WriteIntent(lane.lease, work.session, work.cursor, intent, binding if new else None))
        same = known is not None and binding == work.binding and known.fits(work, lane.store_run())
        since_ms = work.now_ms if new else known.since_ms if known is not None and same else -1
        started = StartedCall(binding, intent, since_ms)
    binding, intent = started.binding, started.intent
    try:
        answer = yield from kato_api.observe_sequence(binding.url, binding.kato_session, [e.body for e in entries])
    except KatoUnavailable as exc:
        return (yield from wait_unsent(lane, work, exc, withdraw=intent.call))
    except KatoRejected as exc:
        return (yield from halve_or_refuse(lane, replace(work, binding=binding, intent=intent), exc))
    events, after = expect_after_call(lane, work, binding, entries)
    # KATO counts before it cuts its STM to the newest 1000 events, once, when it saves: 1000 and two are 1002 here.
    counted = binding.stm_length + events
    if (answer.processed, answer.time, answer.stm_length) != (len(entries), after.time, counted):
        raise Mismatch(
            f"observe-sequence: KATO counts time {answer.time} and {answer.stm_length} events, "
            f"{after.time} and {counted} were due"
        )
    stm = None
    if have_vectors(entries) or (lane.options.verify_last and entries[-1].position == work.head):
        # KATO names vectors itself, so the names are read back. What was answered 200 and not saved has none: the names
        # of the event before it would be taken for them. And behind a session's last event nothing comes for a long
        # time that would notice a 200 that was not saved.
        seen = yield from kato_api.read_back(binding.url, binding.kato_session)
        if (seen.time, len(seen.stm)) != (after.time, after.stm_length):
            raise Mismatch(f"observe-sequence: KATO answered time {after.time} and has {seen.time}")
        stm = seen.stm
    answered = time.monotonic()
    proceeded = yield from perform(_build_commit(lane, work, intent, entries, stm, binding, after, borrowed=borrowed))
    if started.since_ms >= 0:
        made_of = whole_stm_of_one_call(entries, binding)
        lane.known_sessions.note(work.lane, KnownSession(work.session, after, started.since_ms, made_of, answered))
    return proceeded


def borrow_kato_session(lane: LaneContext, work: Work, known: KnownSession) -> Program[StartedCall | None]:
    """Start the call on the KATO session that the lane's last session left empty.

    Returns None where that one cannot be had; nothing is written then.
    """
    binding = known.lent_to(work, lane.url(work), lane.store_run())
    if binding is None:
        return None
    intent = _make_intent(work.entries, binding)
    lender, lent = known.session, known.binding.dump()
    write = WriteIntent(lane.lease, work.session, work.cursor, intent, binding, lender=lender, lent=lent)
    return StartedCall(binding, intent, known.since_ms) if (yield from perform(write)) else None


def _make_intent(entries: Sequence[Logged], binding: Binding) -> Intent:
    return Intent(
        call=new_call_id(),
        kind="observe",
        first=entries[0].position,
        last=entries[-1].position,
        time=binding.time,
        stm_length=binding.stm_length,
    )


def expect_after_call(
    lane: LaneContext, work: Work, binding: Binding, entries: Sequence[Logged]
) -> tuple[int, Binding]:
    """Return how many STM events these observations make, and the binding once KATO has applied them."""
    events = count_events(entries)
    return events, replace(
        binding,
        time=binding.time + len(entries),
        stm_length=min(STM_CAP, binding.stm_length + events),
        before=binding.time,
        expires_ms=lane.expires(work),
    )


def commit_observations(
    lane: LaneContext, work: Work, intent: Intent, entries: Sequence[Logged], stm: list[list[str]] | None
) -> Program[NextWork]:
    """Commit observations that KATO has applied.

    ``stm`` is what KATO holds now. It may be None where none of the observations has vectors.
    """
    assert work.binding is not None
    _, after = expect_after_call(lane, work, work.binding, entries)
    return (yield from perform(_build_commit(lane, work, intent, entries, stm, work.binding, after)))


def _build_commit(
    lane: LaneContext,
    work: Work,
    intent: Intent,
    entries: Sequence[Logged],
    stm: list[list[str]] | None,
    before: Binding,
    after: Binding,
    *,
    borrowed: bool = False,
) -> Commit:
    symbols: list[tuple[int, str]] = []
    if have_vectors(entries):
        assert stm is not None
        made = [e for e in entries if e.counts]
        named = stm[-len(made) :]
        symbols = [(e.position, dumps(event)) for e, event in zip(made, named, strict=True) if e.has_vectors]
    results = []
    if any(e.wanted for e in entries):
        results = [(e.event_id, result_json(r)) for e, r in compute_results(work, before, entries) if e.wanted]
    return lane.commit(
        work,
        after,
        to=entries[-1].position,
        call=intent.call,
        results=results,
        symbols=symbols,
        borrowed=borrowed,
    )


def compute_results(work: Work, before: Binding, entries: Sequence[Logged]) -> list[tuple[Logged, Observed]]:
    """Return what the callers of these observations are told, applied one after another on ``before``."""
    told, length = before.time - before.base, before.stm_length
    out = []
    for entry in entries:
        told += 1
        length = min(STM_CAP, length + entry.counts)
        result = Observed(
            status="okay",
            session_id=work.session,
            node_id=work.node_id,
            event_id=entry.event_id,
            position=entry.position,
            stm_length=length,
            time=told,
            unique_id=entry.event_id,
        )
        out.append((entry, result))
    return out


def halve_or_refuse(lane: LaneContext, work: Work, exc: KatoRejected) -> Program[NextWork]:
    """Handle a definite refusal, which left nothing behind.

    A batch does not name its culprit, so it is sent again in halves. An event alone is the culprit: by ``on_rejected``
    its session is parked, or the event becomes a dead letter.
    """
    assert work.intent is not None
    if len(work.entries) > 1:
        half = max(1, len(work.entries) // 2)
        again = lane.defer(work, 1, str(exc), unsent=0, withdraw=work.intent.call, events_at_most=half)
        return (yield from perform(again))
    if lane.on_rejected == "park":
        return (yield from park(lane, work, "KATO refuses the event", str(exc)))
    return (yield from bury(lane, work, "KATO refuses the event", str(exc)))


def keep_alive(lane: LaneContext, work: Work) -> Program[NextWork]:
    """Write to a KATO session that would expire though its session is in use. There is nothing else to do for it.

    One on the node of another generation may expire: another is built when something comes. One that counts as expired
    already was unbound by a replay of its STM, which is rebuilt now.
    """
    binding = work.binding
    if binding is not None and binding.expires_ms == 0:
        binding = yield from fence(lane, work)
    elif binding is not None and not work.bound_elsewhere:
        if binding.shared:
            # Of this write nothing is kept, so a process that knows the KATO session must not trust it any more.
            binding = replace(binding, shared=False)
            yield from perform(Bind(lane.lease, work.session, work.cursor, binding))
        try:
            yield from kato_api.keep_alive(binding.url, binding.kato_session, lane.options.ttl_seconds)
            binding = replace(binding, expires_ms=lane.expires(work))
        except KatoRejected:
            pass  # then it expires, and is rebuilt when something comes
    return (yield from perform(lane.commit(work, binding)))


def excuse(lane: LaneContext, work: Work, intent: Intent) -> Program[None]:
    """Note on the open intent that a gateway answered: if the call was not applied, that is no event's attempt."""
    noted = replace(intent, call=new_call_id(), again=True)
    yield from perform(WriteIntent(lane.lease, work.session, work.cursor, noted, replaces_call=intent.call))


def reconcile_observe(lane: LaneContext, work: Work, intent: Intent) -> Program[NextWork | None]:
    """Read KATO back, and commit what was applied as intended. Returns None for anything else, which is to be fenced.

    An unchanged ``time`` proves nothing: the call may still be running inside KATO and land later.
    """
    assert work.binding is not None
    binding = work.binding
    entries = yield from perform(ReadLog(work.lane, work.session, intent.first, intent.last))
    seen = yield from kato_api.read_back(binding.url, binding.kato_session)
    _, after = expect_after_call(lane, work, binding, entries)
    if seen.time != after.time or len(seen.stm) != after.stm_length:
        return None
    if seen.time == binding.before:
        # A clear-stm that was answered 200 and not saved leaves KATO there, too, with nothing of this call applied.
        return None
    earlier, symbols = yield from read_history(work)
    if not matches(seen.stm, expected_stm([*earlier, *entries], symbols)):
        return None
    return (yield from commit_observations(lane, work, intent, entries, seen.stm))
