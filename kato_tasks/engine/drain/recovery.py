"""Find out from KATO how far a session really is, after the store was restored to an earlier state.

After a power cut, or a failover to a replica that lags behind, the store may have forgotten commits and intents whose
calls KATO carried out. KATO's time and STM then are what the log predicts for a later position, and the cursor moves
there, so nothing is applied twice. Three rules keep anything from being lost:

- Of several positions that match, the earliest is taken.
- The cursor does not move past a learn where KATO's time is what it was before the last call (``Binding.before``): a
  call that was answered 200 and not saved looks the same.
- Learns between the earliest and the last match may be done twice. They are counted in ``learns_in_doubt``, unless KATO
  does not know the first one's pattern: learns are sent in order, so then none of them was done.

A learn may also be running inside KATO still, sent by a holder whose intent the store forgot. Where a learn is next,
the KATO session is therefore not kept, and the learn is settled as one of unknown outcome (``settle_suspected_learn``).
Where no position matches, learns are looked for only when no call can land any more (``wait_for_late_learns``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from kato_tasks.domain.kato_session import Binding, Intent
from kato_tasks.domain.log_entry import Logged
from kato_tasks.domain.stm import Stm, Symbols, expected_stm, pattern_name
from kato_tasks.engine.drain import kato_api
from kato_tasks.engine.drain.context import LaneContext, new_call_id
from kato_tasks.engine.drain.kato_session import read_history
from kato_tasks.engine.drain.learning import read_baseline
from kato_tasks.engine.drain.reading import read_ahead
from kato_tasks.engine.drain.restored_state import (
    MatchingPosition,
    base_at,
    end_of_own_history,
    find_matching_positions,
    may_serve_another,
    results_of,
    symbols_at,
)
from kato_tasks.engine.drain.settling import settle
from kato_tasks.ports.effects import Program, perform
from kato_tasks.ports.lanes import Count, NextWork, ReadSymbols, Work, WriteIntent

LOOK_AHEAD = 2_000
"""How many events after the cursor are compared with KATO at most."""
LOOK_AHEAD_BYTES = 64_000_000


def compare_after_restore(lane: LaneContext, work: Work, binding: Binding) -> Program[NextWork | Binding | None]:
    """Compare KATO with the log, for a session that was last confirmed under another run of the store.

    Returns a NextWork where KATO is ahead (the cursor was moved there) or where a learn is settled; the binding, as
    one of this run of the store, where KATO is at the cursor; and None where no position matches: fence. Where a learn
    is next the binding stays one of the old run, so that it is compared again before that learn. A binding that is
    still ``shared`` must be fenced, too: its KATO session may serve another session by now.
    """
    yield from perform(Count(work.lane, "verified"))
    earlier, symbols = yield from read_history(work)
    seen = yield from kato_api.read_back(binding.url, binding.kato_session)
    following = yield from _read_following(work)
    start = MatchingPosition(work.cursor, work.stm_start)
    found = find_matching_positions(earlier, following, symbols, start, binding.time, seen)
    current = replace(binding, run=lane.store_run(), shared=False)
    if may_serve_another(binding, earlier, following, seen):
        current = binding
        end = end_of_own_history(binding, following)
        found = [place for place in found if place.position < end]
    if not found:
        return None
    place = found[0]
    learn_next = bool(seen.stm) and next((e.kind for e in following if e.position > place.position), "") == "l"
    if learn_next:
        current = replace(current, run=binding.run)
    passed = [e for e in following if e.position <= place.position]
    if any(e.kind == "l" for e in passed) and (
        seen.time == binding.before
        or not (yield from may_know_first_learn(work, binding.url, earlier, passed, symbols))
    ):
        # KATO may be behind the cursor instead: the last call was answered 200 and not saved, and by chance (words
        # that come again, an empty session) that looks like a later position. A learn that is done twice is counted;
        # one that is passed over would be lost.
        return None
    between = [e for e in following if place.position < e.position <= found[-1].position]
    stm_entries = [e for e in (*earlier, *passed) if e.position > place.stm_start]
    if place.position == work.cursor:
        yield from count_in_doubt(work, binding.url, stm_entries, between, symbols)
        if learn_next and work.intent is None and not work.predict_id:
            return (yield from settle_suspected_learn(lane, work, binding, following[0], seen.stm))
        return current
    in_doubt = sum(e.kind == "l" for e in between)
    if in_doubt:
        yield from perform(Count(work.lane, "learns_in_doubt", in_doubt))
    yield from perform(Count(work.lane, "caught_up", len(passed)))
    base = base_at(work, binding, passed, place, seen)
    return (
        yield from perform(
            lane.commit(
                work,
                replace(current, time=seen.time, stm_length=len(seen.stm), base=base),
                to=place.position,
                stm_start=place.stm_start if place.stm_start != work.stm_start else None,
                results=results_of(work, binding, earlier, passed, symbols),
                symbols=symbols_at(passed, place.stm_start, seen),
            )
        )
    )


def settle_suspected_learn(
    lane: LaneContext, work: Work, binding: Binding, entry: Logged, stm: Stm
) -> Program[NextWork]:
    """Settle the learn that is next: a holder whose intent the store forgot may have sent it.

    It is written down as if it had been sent now. Its KATO session is deleted, and when no call can land any more the
    pattern's frequency decides. One more than now: it was learned. The same: it is learned now, and counted as in doubt
    if KATO knew the pattern before, for it may have been counted by then.
    """
    name = pattern_name(stm)
    found = yield from read_baseline(lane, work, binding, name)
    if isinstance(found, NextWork):
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
    yield from perform(WriteIntent(lane.lease, work.session, work.cursor, intent, now))
    return (yield from settle(lane, replace(work, binding=now, intent=intent, entries=(entry,)), intent))


def wait_for_late_learns(lane: LaneContext, work: Work, binding: Binding) -> Program[NextWork | None]:
    """Delete the KATO session, and wait until no learn can land there any more. The fence stays open meanwhile.

    Returns None, and does nothing, where the log has no learn after the cursor.
    """
    if all(entry.kind != "l" for entry in (yield from _read_following(work))):
        return None
    marker = Intent(call=new_call_id(), kind="fence", first=work.cursor + 1, last=work.cursor)
    follows = work.intent.call if work.intent else ""
    yield from perform(WriteIntent(lane.lease, work.session, work.cursor, marker, replaces_call=follows))
    yield from kato_api.delete_session(binding.url, binding.kato_session)
    why = "KATO holds something else than the log says; waiting until nothing can land any more"
    return (yield from perform(lane.defer(work, lane.options.settle_ms, why)))


def note_forgotten_learns(lane: LaneContext, work: Work, intent: Intent) -> Program[Work]:
    """Count the learns after an open intent that may be in KATO's patterns already, and write that down.

    The intent is older than what the store forgot. It is written again, with the binding as one of this run of the
    store, so that this is done once. Returns the work with both.
    """
    assert work.binding is not None
    later = [entry for entry in (yield from _read_following(work)) if entry.position > intent.last]
    yield from count_in_doubt(
        work, work.binding.url, [], later, (yield from perform(ReadSymbols(work.lane, work.session)))
    )
    now = replace(work.binding, run=lane.store_run())
    same = replace(intent, call=new_call_id())
    yield from perform(WriteIntent(lane.lease, work.session, work.cursor, same, now, replaces_call=intent.call))
    return replace(work, binding=now, intent=same)


def count_possible_repeats(lane: LaneContext, work: Work) -> Program[None]:
    """Count every learn after the cursor as in doubt: KATO does not say how far the session was."""
    following = yield from _read_following(work)
    if any(entry.kind == "l" for entry in following):
        earlier, symbols = yield from read_history(work)
        yield from count_in_doubt(work, lane.url(work), earlier, following, symbols)


def count_in_doubt(
    work: Work, url: str, stm_entries: Sequence[Logged], entries: Sequence[Logged], symbols: Symbols
) -> Program[None]:
    """Count the learns among ``entries`` that may be learned twice. None is, if the first left no trace at KATO.

    ``stm_entries`` are the entries that the STM is made of before them.
    """
    learns = sum(entry.kind == "l" for entry in entries)
    if learns and (yield from may_know_first_learn(work, url, stm_entries, entries, symbols)):
        yield from perform(Count(work.lane, "learns_in_doubt", learns))


def may_know_first_learn(
    work: Work, url: str, stm_entries: Sequence[Logged], entries: Sequence[Logged], symbols: Symbols
) -> Program[bool]:
    """Return whether KATO may have carried out the first learn among ``entries``: it knows its pattern.

    Learns are sent in order, so no later one was carried out without it. True where there is no learn, or where its
    pattern has no name to ask for.
    """
    run = list(stm_entries)
    for entry in entries:
        if entry.kind == "o":
            run.append(entry)
            continue
        stm, run = expected_stm(run, symbols), []
        name = "" if entry.kind != "l" or None in stm else pattern_name([event or [] for event in stm])
        if name:
            return (yield from kato_api.read_frequency(url, work.kato_node, name)) > 0
    return True


def _read_following(work: Work) -> Program[list[Logged]]:
    """Read the entries after the cursor, as far as is looked ahead."""
    if work.head <= work.cursor:
        return []
    last = min(work.head, work.cursor + LOOK_AHEAD)
    return (yield from read_ahead(work, work.cursor + 1, last, LOOK_AHEAD_BYTES))
