"""Observations: one intent, one observe-sequence, one commit; and what to do when the outcome is unknown."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from kato_tasks.domain.json_text import dumps
from kato_tasks.domain.kato_session import Binding, Intent
from kato_tasks.domain.log_entry import Logged
from kato_tasks.domain.results import Observed
from kato_tasks.domain.stm import STM_CAP, expected_stm, matches
from kato_tasks.engine.drain import kato_api
from kato_tasks.engine.drain.context import LaneContext, dead_letter_json, error_json, new_call_id, result_json
from kato_tasks.engine.drain.familiar import Known, in_one_call
from kato_tasks.engine.drain.kato_session import Mismatch, bound, history
from kato_tasks.engine.drain.misdirection import MISDIRECTIONS
from kato_tasks.errors import ConfigNotTaken, KatoCircuitOpen, KatoRejected, KatoUnavailable
from kato_tasks.ports.effects import Step, ask
from kato_tasks.ports.lanes import Bind, Commit, Defer, Park, Proceeded, Work, WriteIntent
from kato_tasks.ports.log import ReadLog


def observe(lane: LaneContext, work: Work) -> Step[Proceeded]:
    """Apply the run of observations after the cursor in one call.

    Raises OutcomeUnknown or KatoSessionGone with the intent open; the caller reconciles.
    """
    entries = work.entries
    known = lane.familiar.take(work.lane)
    begun = (yield from borrowed(lane, work, known)) if known is not None else None
    lent = begun is not None
    if begun is None:
        binding, new = yield from bound(lane, work)
        intent = _intent_of(entries, binding)
        yield from ask(WriteIntent(lane.held, work.session, work.cursor, intent, binding if new else None))
        since_ms = work.now_ms if new else known.since_ms if known and known.fits(work, lane.store_run()) else -1
        begun = Begun(binding, intent, since_ms)
    binding, intent = begun.binding, begun.intent
    try:
        answer = yield from kato_api.observe_sequence(binding.url, binding.kato_session, [e.body for e in entries])
    except KatoUnavailable as exc:
        return (yield from unsent(lane, work, exc, withdraw=intent.call))
    except KatoRejected as exc:
        return (yield from rejected(lane, replace(work, binding=binding, intent=intent), exc))
    events, after = after_call(lane, work, binding, entries)
    # KATO counts before it cuts its STM to the newest 1000 events, once, when it saves: 1000 and two are 1002 here.
    counted = binding.stm_length + events
    if (answer.processed, answer.time, answer.stm_length) != (len(entries), after.time, counted):
        raise Mismatch(
            f"observe-sequence: KATO counts time {answer.time} and {answer.stm_length} events, "
            f"{after.time} and {counted} were due"
        )
    stm = None
    if any(e.has_vectors for e in entries) or (lane.terms.verify_last and entries[-1].position == work.head):
        # The names of vectors are read back, and what was not saved despite the 200 has none: another event's would be
        # taken for them. And nothing may follow for long that would notice a 200 that was not saved.
        seen = yield from kato_api.read_back(binding.url, binding.kato_session)
        if (seen.time, len(seen.stm)) != (after.time, after.stm_length):
            raise Mismatch(f"observe-sequence: KATO answered time {after.time} and has {seen.time}")
        stm = seen.stm
    answered = time.monotonic()
    proceeded = yield from ask(_committed(lane, work, intent, entries, stm, binding, after, borrowed=lent))
    if begun.since_ms >= 0:
        made_of = in_one_call(entries, binding)
        lane.familiar.note(work.lane, Known(work.session, after, begun.since_ms, made_of, answered))
    return proceeded


@dataclass(frozen=True, slots=True)
class Begun:
    """A call whose intent is written. ``since_ms``: as ``Known``, if its KATO session is known (-1: it is not)."""

    binding: Binding
    intent: Intent
    since_ms: int


def borrowed(lane: LaneContext, work: Work, known: Known) -> Step[Begun | None]:
    """Begin on the KATO session that the lane's last session left empty; None: there is none to be had."""
    binding = known.lent_to(work, lane.url(work), lane.store_run())
    if binding is None:
        return None
    intent = _intent_of(work.entries, binding)
    lender, lent = known.session, known.binding.dump()
    write = WriteIntent(lane.held, work.session, work.cursor, intent, binding, lender=lender, lent=lent)
    return Begun(binding, intent, known.since_ms) if (yield from ask(write)) else None


def _intent_of(entries: Sequence[Logged], binding: Binding) -> Intent:
    return Intent(
        call=new_call_id(),
        kind="observe",
        first=entries[0].position,
        last=entries[-1].position,
        time=binding.time,
        stm_length=binding.stm_length,
    )


def after_call(lane: LaneContext, work: Work, binding: Binding, entries: Sequence[Logged]) -> tuple[int, Binding]:
    """How many STM events these observations make, and the binding once they are applied."""
    events = sum([e.counts for e in entries])
    return events, replace(
        binding,
        time=binding.time + len(entries),
        stm_length=min(STM_CAP, binding.stm_length + events),
        before=binding.time,
        expires_ms=work.now_ms + lane.terms.ttl_seconds * 1000,
    )


def committed(
    lane: LaneContext, work: Work, intent: Intent, entries: Sequence[Logged], stm: list[list[str]] | None
) -> Step[Proceeded]:
    """Commit observations that KATO has applied. ``stm``: what it holds now; None only if there are no vectors."""
    assert work.binding is not None
    _, after = after_call(lane, work, work.binding, entries)
    return (yield from ask(_committed(lane, work, intent, entries, stm, work.binding, after)))


def _committed(
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
    if any(e.has_vectors for e in entries):
        assert stm is not None
        made = [e for e in entries if e.counts]
        named = stm[-len(made) :]
        symbols = [(e.position, dumps(event)) for e, event in zip(made, named, strict=True) if e.has_vectors]
    results = []
    if any(e.wanted for e in entries):
        results = [(e.event_id, result_json(r)) for e, r in observed_results(work, before, entries) if e.wanted]
    return Commit(
        lane.held,
        work.session,
        intent.call,
        work.cursor,
        entries[-1].position,
        after,
        results=results,
        symbols=symbols,
        borrowed=borrowed,
        go_on=lane.go_on,
    )


def observed_results(work: Work, before: Binding, entries: Sequence[Logged]) -> list[tuple[Logged, Observed]]:
    """What the callers of these observations are told, applied one after another on ``before``."""
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


def unsent(lane: LaneContext, work: Work, exc: KatoUnavailable, *, withdraw: str) -> Step[Proceeded]:
    """A call certainly never reached KATO: wait for its turn. ``withdraw``: the intent that was only for this call."""
    refused = isinstance(exc, KatoCircuitOpen | ConfigNotTaken)
    told = MISDIRECTIONS.told(lane.url(work)) if refused else ""
    return (
        yield from ask(
            Defer(
                lane.held,
                work.session,
                lane.retry.circuit_ms() if refused else lane.retry.wait_ms(work.unsent, exc.retry_after),
                work.attempts,
                work.unsent if refused else min(work.unsent + 1, 30),
                f"{exc} ({told})" if told else str(exc),
                withdraw=withdraw,
                go_on=lane.go_on,
            )
        )
    )


def rejected(lane: LaneContext, work: Work, exc: KatoRejected) -> Step[Proceeded]:
    """KATO definitely refused a call: nothing was left behind. One event alone is the culprit; more are halved."""
    assert work.intent is not None
    if len(work.entries) > 1:
        return (
            yield from ask(
                Defer(
                    lane.held,
                    work.session,
                    1,
                    work.attempts,
                    0,
                    str(exc),
                    withdraw=work.intent.call,
                    halve=max(1, len(work.entries) // 2),
                    go_on=lane.go_on,
                )
            )
        )
    if lane.on_rejected == "park":
        return (yield from parked(lane, work, "KATO refuses the event", str(exc)))
    return (yield from buried(lane, work, "KATO refuses the event", str(exc)))


def buried(lane: LaneContext, work: Work, reason: str, answer: str) -> Step[Proceeded]:
    """Make the head event a dead letter and go on; it certainly is not in KATO."""
    entry = work.entries[0]
    event = entry.event(work.session, work.node_id)
    return (
        yield from ask(
            Commit(
                lane.held,
                work.session,
                work.intent.call if work.intent else new_call_id(),
                work.cursor,
                entry.position,
                work.binding,
                results=[(entry.event_id, error_json("EventRefused", f"{reason}: {answer}"))],
                symbols=[(entry.position, "null")] if entry.kind == "o" else (),
                dead=[
                    (
                        f"{work.session}\n{entry.position}",
                        dead_letter_json(work, entry.position, event, reason, answer),
                    )
                ],
                go_on=lane.go_on,
            )
        )
    )


def kept_alive(lane: LaneContext, work: Work) -> Step[Proceeded]:
    """The session has nothing to do, and its KATO session would expire though it is in use: write to it."""
    binding = work.binding
    if binding is not None:
        if binding.shared:
            # Of this write nothing is kept, so whoever knows the KATO session must not trust it any more.
            binding = replace(binding, shared=False)
            yield from ask(Bind(lane.held, work.session, work.cursor, binding))
        try:
            yield from kato_api.keep_alive(binding.url, binding.kato_session, lane.terms.ttl_seconds)
            binding = replace(binding, expires_ms=work.now_ms + lane.terms.ttl_seconds * 1000)
        except KatoRejected:
            pass  # then it expires, and is rebuilt when something comes
    return (
        yield from ask(
            Commit(lane.held, work.session, new_call_id(), work.cursor, work.cursor, binding, go_on=lane.go_on)
        )
    )


def parked(lane: LaneContext, work: Work, reason: str, answer: str) -> Step[Proceeded]:
    """The session waits for a person at its head event."""
    entry = work.entries[0] if work.entries else None
    why = {
        "reason": reason,
        "last_answer": answer[:2000],
        "position": entry.position if entry else work.cursor + 1,
        "event_id": entry.event_id if entry else "",
        "attempts": work.attempts + 1,
        "first_ms": work.first_failed_ms or work.now_ms,
        "last_ms": work.now_ms,
    }
    return (yield from ask(Park(lane.held, work.session, dumps(why), go_on=lane.go_on)))


def excused(lane: LaneContext, work: Work, intent: Intent) -> Step[None]:
    """Note on the open intent that a gateway answered: should the call turn out not to be applied, nobody is blamed."""
    noted = replace(intent, call=new_call_id(), again=True)
    yield from ask(WriteIntent(lane.held, work.session, work.cursor, noted, follows=intent.call))


def reconcile_observe(lane: LaneContext, work: Work, intent: Intent) -> Step[Proceeded | None]:
    """Read KATO back: applied as intended → commit, and its result; anything else → None (fence).

    An unchanged ``time`` proves nothing: the call may still be running inside KATO and land later.
    """
    assert work.binding is not None
    binding = work.binding
    entries = yield from ask(ReadLog(work.lane, work.session, intent.first, intent.last))
    seen = yield from kato_api.read_back(binding.url, binding.kato_session)
    _, after = after_call(lane, work, binding, entries)
    if seen.time != after.time or len(seen.stm) != after.stm_length:
        return None
    if seen.time == binding.before:
        # A clear-stm that was not saved despite its 200 leaves KATO there, too, with nothing of this call applied.
        return None
    earlier, symbols = yield from history(work)
    if not matches(seen.stm, expected_stm([*earlier, *entries], symbols)):
        return None
    return (yield from committed(lane, work, intent, entries, seen.stm))
