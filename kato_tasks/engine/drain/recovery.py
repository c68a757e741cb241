"""A store that went back in time: find out from KATO how far the session really is.

After a power cut or a failover to a lagging replica the store may have forgotten commits (and intents) whose
calls KATO carried out. KATO's ``time`` and STM then are what the log predicts for a later position: the cursor
moves there, and nothing is applied twice. Where several positions look alike the first is taken; and the cursor never
moves past a learn when KATO is where it was before the last call, for that is how a 200 that was not saved looks. So
nothing is lost. The learns that may be done twice by this are counted in ``learns_in_doubt``, unless the first is
unknown to KATO: then none of them was done.

A learn may also still be running inside KATO, sent by a holder whose intent the store forgot. So where a learn is next
the KATO session is not kept, and the learn is settled as one of unknown outcome (``suspected``); and where KATO's state
has no place, learns are looked for only once nothing can land any more (``awaited``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from kato_tasks.domain.json_text import dumps
from kato_tasks.domain.kato_session import Binding, Intent
from kato_tasks.domain.log_entry import Logged
from kato_tasks.domain.results import Applied, Learned
from kato_tasks.domain.stm import Stm, Symbols, expected_stm, matches, pattern_name
from kato_tasks.engine.drain import kato_api
from kato_tasks.engine.drain.context import LaneContext, new_call_id, result_json
from kato_tasks.engine.drain.familiar import leaves_nothing
from kato_tasks.engine.drain.kato_session import history
from kato_tasks.engine.drain.learning import baseline
from kato_tasks.engine.drain.observing import observed_results
from kato_tasks.engine.drain.reading import ahead
from kato_tasks.engine.drain.settling import settle
from kato_tasks.ports.effects import Step, ask
from kato_tasks.ports.lanes import Commit, Count, Defer, Proceeded, ReadSymbols, Work, WriteIntent

LOOK_AHEAD = 2_000
LOOK_AHEAD_BYTES = 64_000_000


@dataclass(frozen=True, slots=True)
class Place:
    """A position (the cursor, or a later one) at which KATO would be as it is, and the mark there."""

    position: int
    mark: int


def places(
    earlier: Sequence[Logged],
    following: Sequence[Logged],
    symbols: Symbols,
    start: Place,
    time: int,
    seen: kato_api.ReadBack,
) -> list[Place]:
    """Every place from ``start`` (the cursor) on whose predicted time and STM are ``seen``. Pure.

    ``earlier`` are the entries behind the STM at the cursor, ``time`` KATO's count there.
    """
    run, here, found = list(earlier), start, []
    times = {time}
    for entry in (None, *following):
        if entry is not None:
            if entry.kind == "o":
                run.append(entry)
                times = {time + 1 for time in times}
                here = Place(entry.position, here.mark)
            else:
                # Both end with an empty STM; and with time 0, but for a learn that was not followed by clear-stm.
                times = {0, *times} if entry.kind == "l" and leaves_nothing(run) else {0}
                run, here = [], Place(entry.position, entry.position)
        if seen.time in times and matches(seen.stm, expected_stm(run, symbols)):
            found.append(here)
    return found


def caught_up(lane: LaneContext, work: Work, binding: Binding) -> Step[Proceeded | Binding | None]:
    """Compare KATO with the log after the store's restart.

    Returns the binding (as it was, of this run of the store) when KATO is at the cursor; the commit that moved
    the cursor when KATO is ahead; None when it is neither (fence). Where a learn is next the binding stays one of the
    old run, until ``suspected`` has seen to it.
    """
    yield from ask(Count(work.lane, "verified"))
    earlier, symbols = yield from history(work)
    seen = yield from kato_api.read_back(binding.url, binding.kato_session)
    following = yield from _following(work)
    found = places(earlier, following, symbols, Place(work.cursor, work.mark), binding.time, seen)
    current = replace(binding, run=lane.store_run(), shared=False)
    if may_serve_another(binding, earlier, following, seen):
        # It is looked at, and not kept (``drain.attempt``).
        current = binding
        end = _own_until(binding, following)
        found = [place for place in found if place.position < end]
    if not found:
        return None
    place = found[0]
    learn_next = bool(seen.stm) and next((e.kind for e in following if e.position > place.position), "") == "l"
    if learn_next:
        current = replace(current, run=binding.run)
    passed = [e for e in following if e.position <= place.position]
    if any(e.kind == "l" for e in passed) and (
        seen.time == binding.before or not (yield from learned_first(work, binding.url, earlier, passed, symbols))
    ):
        # KATO may be behind the cursor instead: the last call was answered 200 and not saved, and by chance (words
        # that come again, an empty session) that looks like a later place. A learn that is done twice is counted;
        # one that is passed over would be lost.
        return None
    between = [e for e in following if place.position < e.position <= found[-1].position]
    behind = [e for e in (*earlier, *passed) if e.position > place.mark]
    if place.position == work.cursor:
        yield from count_in_doubt(work, binding.url, behind, between, symbols)
        if learn_next and work.intent is None and not work.asked:
            return (yield from suspected(lane, work, binding, following[0], seen.stm))
        return current
    in_doubt = sum(e.kind == "l" for e in between)
    if in_doubt:
        yield from ask(Count(work.lane, "learns_in_doubt", in_doubt))
    yield from ask(Count(work.lane, "caught_up", len(passed)))
    return (
        yield from ask(
            Commit(
                lane.held,
                work.session,
                work.intent.call if work.intent else new_call_id(),
                work.cursor,
                place.position,
                replace(
                    current, time=seen.time, stm_length=len(seen.stm), base=_base(work, binding, passed, place, seen)
                ),
                mark=place.mark if place.mark != work.mark else None,
                results=_results(work, binding, earlier, passed, symbols),
                symbols=_symbols(passed, place.mark, seen),
                go_on=lane.go_on,
            )
        )
    )


def may_serve_another(
    binding: Binding, earlier: Sequence[Logged], following: Sequence[Logged], seen: kato_api.ReadBack
) -> bool:
    """Whether another session may have come to be served by this KATO session, in what the store forgot.

    It is passed on when all in its session's log is applied and learned, and only while nothing ever put KATO's time
    back, neither before nor after (``learning.cleared``). So that takes a first learn that puts nothing back, and a
    time that is at least what the observations before that make.
    """
    if not binding.shared:
        return False
    if not binding.stm_length and not earlier:
        return True
    end = next((i for i, entry in enumerate(following) if entry.kind != "o"), len(following))
    if end < len(following) and (following[end].kind == "c" or not leaves_nothing([*earlier, *following[:end]])):
        return False
    due = binding.time + end
    return seen.time > due or (seen.time == due and not seen.stm)


def _own_until(binding: Binding, following: Sequence[Logged]) -> float:
    """The position of the first learn that KATO's state tells nothing of, where other sessions may have been served.

    What looks like this session's later learn may be one of theirs. Only the STM that it had is its own for certain,
    and so the learn that emptied it.
    """
    ends = [entry for entry in following if entry.kind in ("l", "c")]
    if binding.stm_length and ends and ends[0].kind == "l":
        del ends[0]
    return next((entry.position for entry in ends if entry.kind == "l"), float("inf"))


def suspected(lane: LaneContext, work: Work, binding: Binding, entry: Logged, stm: Stm) -> Step[Proceeded]:
    """The learn that is next may have been sent by a holder whose intent the store forgot: settle it.

    It is written down as if it had been sent now. The KATO session is deleted, and once nothing can land any more the
    pattern's frequency decides: one more than now, it was learned; the same, it is learned now (and counted as in doubt
    if KATO knew the pattern before, for it may have been counted by then).
    """
    name = pattern_name(stm)
    found = yield from baseline(lane, work, binding, name)
    if isinstance(found, Proceeded):
        return found
    before, _ = found
    intent = Intent(
        call=new_call_id(),
        kind="learn",
        first=entry.position,
        last=entry.position,
        time=-1,
        stm_length=binding.stm_length,
        pattern=name,
        frequency=before,
    )
    now = replace(binding, run=lane.store_run())
    yield from ask(WriteIntent(lane.held, work.session, work.cursor, intent, now))
    return (yield from settle(lane, replace(work, binding=now, intent=intent, entries=(entry,)), intent))


def awaited(lane: LaneContext, work: Work, binding: Binding) -> Step[Proceeded | None]:
    """Where learns follow: delete the KATO session and wait until no learn can land there; the fence stays open."""
    if all(entry.kind != "l" for entry in (yield from _following(work))):
        return None
    marker = Intent(call=new_call_id(), kind="fence", first=work.cursor + 1, last=work.cursor)
    follows = work.intent.call if work.intent else ""
    yield from ask(WriteIntent(lane.held, work.session, work.cursor, marker, follows=follows))
    yield from kato_api.delete_session(binding.url, binding.kato_session)
    why = "KATO holds something else than the log says; waiting until nothing can land any more"
    return (
        yield from ask(
            Defer(lane.held, work.session, lane.terms.settle_ms, work.attempts, work.unsent, why, go_on=lane.go_on)
        )
    )


def noted(lane: LaneContext, work: Work, intent: Intent) -> Step[Work]:
    """The open intent is older than what the store forgot: learns that follow it may be in KATO's patterns already."""
    assert work.binding is not None
    later = [entry for entry in (yield from _following(work)) if entry.position > intent.last]
    yield from count_in_doubt(work, work.binding.url, [], later, (yield from ask(ReadSymbols(work.lane, work.session))))
    now = replace(work.binding, run=lane.store_run())
    same = replace(intent, call=new_call_id())
    yield from ask(WriteIntent(lane.held, work.session, work.cursor, same, now, follows=intent.call))
    return replace(work, binding=now, intent=same)


def _following(work: Work) -> Step[list[Logged]]:
    if work.head <= work.cursor:
        return []
    last = min(work.head, work.cursor + LOOK_AHEAD)
    return (yield from ahead(work, work.cursor + 1, last, LOOK_AHEAD_BYTES))


def lost_track(lane: LaneContext, work: Work) -> Step[None]:
    """KATO does not say how far the session was: any learn that follows may be in its patterns already."""
    following = yield from _following(work)
    if any(entry.kind == "l" for entry in following):
        earlier, symbols = yield from history(work)
        yield from count_in_doubt(work, lane.url(work), earlier, following, symbols)


def count_in_doubt(
    work: Work, url: str, behind: Sequence[Logged], entries: Sequence[Logged], symbols: Symbols
) -> Step[None]:
    """Count the learns among ``entries`` that may be learned twice; none if the first left no trace at KATO.

    ``behind``: what the STM holds before them.
    """
    learns = sum(entry.kind == "l" for entry in entries)
    if learns and (yield from learned_first(work, url, behind, entries, symbols)):
        yield from ask(Count(work.lane, "learns_in_doubt", learns))


def learned_first(
    work: Work, url: str, behind: Sequence[Logged], entries: Sequence[Logged], symbols: Symbols
) -> Step[bool]:
    """Whether the first learn among ``entries`` may be at KATO: its pattern is there.

    Learns are sent in order, so no later one is there without it. True when there is none, or no name to ask for.
    """
    run = list(behind)
    for entry in entries:
        if entry.kind == "o":
            run.append(entry)
            continue
        stm, run = expected_stm(run, symbols), []
        name = "" if entry.kind != "l" or None in stm else pattern_name([event or [] for event in stm])
        if name:
            return (yield from kato_api.frequency(url, work.node, name)) > 0
    return True


def _base(work: Work, binding: Binding, passed: Sequence[Logged], place: Place, seen: kato_api.ReadBack) -> int:
    """KATO's time when its STM was last emptied, at this place."""
    if place.mark == work.mark:
        return binding.base
    return max(0, seen.time - sum(e.kind == "o" and e.position > place.mark for e in passed))


def _symbols(passed: Sequence[Logged], mark: int, seen: kato_api.ReadBack) -> list[tuple[int, str]]:
    made = [e for e in passed if e.kind == "o" and e.position > mark and e.counts][-len(seen.stm) :]
    named = seen.stm[-len(made) :] if made else []
    return [(e.position, dumps(event)) for e, event in zip(made, named, strict=True) if e.has_vectors]


def _results(
    work: Work, binding: Binding, earlier: Sequence[Logged], passed: Sequence[Logged], symbols: Symbols
) -> list[tuple[str, str]]:
    """What the callers of the passed events are told: computed, as KATO's own answers are gone."""
    out: list[tuple[str, str]] = []
    run, at = list(earlier), binding
    for entry in passed:
        if entry.kind == "o":
            (_, observed), *_ = observed_results(work, at, [entry])
            answer: Applied = observed
            at = replace(at, time=at.time + 1, stm_length=observed.stm_length or 0)
            run.append(entry)
        else:
            common = {"session_id": work.session, "node_id": work.node_id, "event_id": entry.event_id}
            if entry.kind == "l":
                stm = [event or [] for event in expected_stm(run, symbols)]
                name = pattern_name(stm)
                status = Learned.status_of(name)
                answer = Learned(status=status, position=entry.position, pattern_name=name, **common)
            else:
                answer = Applied(status="cleared", position=entry.position, **common)
            run, at = [], replace(at, time=0, stm_length=0, base=0)
        if entry.wanted:
            out.append((entry.event_id, result_json(answer)))
    return out


def went_back(lane: LaneContext, work: Work) -> bool:
    """Whether this session's binding was last confirmed under another run of the store."""
    return work.binding is not None and work.binding.run != lane.store_run()
