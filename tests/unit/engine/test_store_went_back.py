"""A store that went back in time: KATO's own state says how far the session really is."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kato_tasks import ports
from kato_tasks.domain.kato_session import Intent, IntentKind
from kato_tasks.domain.log_entry import Entry, Logged
from kato_tasks.domain.stm import STM_CAP, expected_stm, pattern_name
from kato_tasks.engine.drain.kato_api import ReadBack
from kato_tasks.engine.drain.restored_state import MatchingPosition, find_matching_positions
from tests.unit.engine.world import (
    GONE,
    LOST,
    OK,
    World,
    bound_at,
    context,
    created,
    forgotten,
    frequency,
    holds,
    learned,
    letters,
    logged,
    observed,
    plain,
    sequence,
    stm_of,
)

NEW_RUN = "run-2"
NAME = pattern_name(stm_of("ab"))


def state_at(log: list[Logged], position: int) -> tuple[set[int], int, list[Logged]]:
    """KATO's time, the mark and the STM's entries after this position: a model of its own, the slow way.

    After a learn of what has no emotives the time counts on, or begins at 0 again: it may have been cleared or not.
    """
    run: list[Logged] = []
    times, mark = {0}, 0
    for entry in log[:position]:
        if entry.kind == "o":
            times = {time + 1 for time in times}
            run.append(entry)
        else:
            felt = any("joy" in seen.body for seen in run)
            times = {0} if felt or entry.kind == "c" else {0} | times
            mark, run = entry.position, []
    return times, mark, run


def events(kinds: list[str]) -> list[Entry]:
    out = []
    for i, kind in enumerate(kinds, 1):
        if kind == "e":
            out.append(observed(f"e{i}", emotives={"joy": 1.0}))
        elif kind in ("learn", "clear_stm"):
            out.append(plain(kind, f"e{i}"))
        else:
            out.append(observed(f"e{i}", kind))
    return out


KINDS = st.lists(st.sampled_from(["a", "a", "b", "b", "e", "learn", "clear_stm"]), min_size=1, max_size=40)


@given(KINDS, st.data())
def test_the_places_that_are_found_are_all_at_which_kato_would_be_as_it_is(
    kinds: list[str], data: st.DataObject
) -> None:
    log = logged(events(kinds))
    cursor = data.draw(st.integers(0, len(log)))
    real = data.draw(st.integers(cursor, len(log)))
    _, mark, earlier = state_at(log, cursor)
    # What is before the cursor's mark is known: time counts from there.
    since = log[mark:]
    times, _, run = state_at(since, real - mark)
    seen = ReadBack(data.draw(st.sampled_from(sorted(times))), [event or [] for event in expected_stm(run, {})])
    (before,) = state_at(since, cursor - mark)[0]
    found = find_matching_positions(earlier, log[cursor:], {}, MatchingPosition(cursor, mark), before, seen)
    alike = []
    for position in range(cursor, len(log) + 1):
        at, mark_there, there = state_at(since, position - mark)
        if seen.time in at and [e or [] for e in expected_stm(there, {})] == seen.stm:
            alike.append(MatchingPosition(position, mark_there or mark))
    assert found == alike
    assert real in [place.position for place in found]


@given(KINDS, st.data())
def test_a_state_that_the_log_never_leads_to_has_no_place(kinds: list[str], data: st.DataObject) -> None:
    log = logged(events(kinds))
    cursor = data.draw(st.integers(0, len(log)))
    (*_, before), mark, earlier = state_at(log, cursor)
    seen = ReadBack(data.draw(st.integers(0, 50)), [["foreign"]])
    assert find_matching_positions(earlier, log[cursor:], {}, MatchingPosition(cursor, mark), before, seen) == []


def test_a_place_is_found_beyond_the_stms_cap() -> None:
    log = logged(events([f"s{i}" for i in range(STM_CAP + 50)]))
    run = log[: STM_CAP + 20]
    seen = ReadBack(len(run), [e or [] for e in expected_stm(run, {})])
    assert sum(e.counts for e in run) > len(seen.stm) == STM_CAP
    assert find_matching_positions(log[:10], log[10:], {}, MatchingPosition(10, 0), 10, seen) == [
        MatchingPosition(STM_CAP + 20, 0)
    ]


def test_a_kato_that_is_at_the_cursor_is_bound_again_under_the_new_run_and_goes_on() -> None:
    world = World(logged(letters("abc")), bound_at(2), cursor=2).kato("cognition-data", holds(stm_of("ab")))
    world.kato("observe-sequence", sequence(1, time=3, stm_length=3))
    world.turn(context(run=NEW_RUN))
    assert world.trace == ["cognition-data old", "bind old", "intent observe", "observe-sequence old", "commit 3"]
    assert world.binding is not None
    assert world.binding.run == NEW_RUN
    assert world.counts == {"verified": 1}


def test_a_kato_that_is_ahead_moves_the_cursor_and_nothing_is_sent_again() -> None:
    """Invariant 3. Falls when drain.attempt does not ask whether the store went back."""
    world = World(logged(letters("abcd", wanted=True)), bound_at(1), cursor=1)
    world.kato("cognition-data", holds(stm_of("abc")))
    world.turn(context(run=NEW_RUN))
    assert world.trace == ["cognition-data old", "commit 3"]
    assert [json.loads(text)["time"] for _, text in world.the(ports.Commit).results] == [2, 3]
    assert world.counts == {"verified": 1, "caught_up": 2}
    assert world.binding is not None
    assert (world.binding.time, world.binding.run) == (3, NEW_RUN)


def test_learns_that_kato_went_past_are_neither_sent_again_nor_in_doubt() -> None:
    log = logged([*letters("ab"), plain("learn", "e3"), observed("e4", "c")])
    world = World(log, bound_at(1), cursor=1).kato("cognition-data", holds([["c"]], time=1))
    world.kato("pattern", frequency(1))
    world.turn(context(run=NEW_RUN))
    assert world.trace[-1] == "commit 4"
    assert world.mark == 3
    assert "learns_in_doubt" not in world.counts
    kinds = [json.loads(text)["status"] for _, text in world.the(ports.Commit).results]
    assert kinds == ["learned"]


def test_an_observe_that_was_never_saved_is_not_taken_for_the_learn_that_follows() -> None:
    """KATO is empty because a 200 was not saved, and knows the pattern from another session.

    Falls when `compare_after_restore` does not compare KATO's time with the binding's `before`.
    """
    log = logged([*letters("ab"), plain("learn", "e3")])
    world = World(log, bound_at(2, before=0), cursor=2).kato("cognition-data", holds([]))
    fenced_when_nothing_can_land(world, "ab", frequency(5))
    assert world.mark == 0
    assert world.trace[-1] == "defer"
    assert world.counts["learns_in_doubt"] == 1


def test_an_observe_that_was_never_saved_is_not_taken_for_the_same_words_after_a_learn() -> None:
    """KATO holds `a` because `b` was not saved, and after the learn `a` comes again."""
    log = logged([*letters("ab"), plain("learn", "e3"), observed("e4", "a"), observed("e5", "b")])
    world = World(log, bound_at(2, before=1), cursor=2).kato("cognition-data", holds(stm_of("a")))
    fenced_when_nothing_can_land(world, "ab", frequency(5))
    assert world.trace[-1] == "defer"


def test_a_dead_letter_behind_the_cursor_is_no_event_of_the_stm() -> None:
    """A learn of nothing became a dead letter.

    Falls when `find_matching_positions` counts entries that never reached KATO.
    """
    log = logged([plain("learn", "e1"), plain("learn", "e2"), *letters("ab"), plain("learn", "e9")])
    world = World(log, bound_at(0), cursor=2, mark=1).kato("cognition-data", holds([])).kato("pattern", forgotten())
    world.kato("observe-sequence", sequence(2, time=2, stm_length=2))
    world.turn(context(run=NEW_RUN))
    assert world.trace[-1] == "commit 4"


@pytest.mark.parametrize(("known", "in_doubt"), [(frequency(1), 1), (forgotten(), None)])
def test_a_learn_that_leads_back_to_the_same_state_may_be_repeated_and_is_never_silent(
    known: ports.KatoReply, in_doubt: int | None
) -> None:
    """After clear_stm, and after `xy` was learned, KATO's state is one and the same."""
    log = logged([plain("clear_stm", "e1"), observed("e2", "x", "y"), plain("learn", "e3")])
    world = World(log, bound_at(0), cursor=1, mark=1).kato("cognition-data", holds([])).kato("pattern", known)
    world.kato("observe-sequence", sequence(1, time=1, stm_length=1))
    world.turn(context(run=NEW_RUN))
    assert world.trace[-2:] == ["observe-sequence old", "commit 2"]
    assert world.counts.get("learns_in_doubt") == in_doubt


def test_an_open_observe_intent_is_closed_by_the_commit_that_moves_the_cursor() -> None:
    world = World(logged(letters("abcd")), bound_at(1), Intent("open", "observe", 2, 2, 1, 1), cursor=1)
    world.kato("cognition-data", holds(stm_of("abcd")))
    world.turn(context(run=NEW_RUN))
    assert world.trace == ["cognition-data old", "commit 4"]
    assert world.the(ports.Commit).call_id == "open"


def test_a_kato_that_holds_what_the_log_never_said_is_fenced() -> None:
    world = World(logged(letters("abcd")), bound_at(1), cursor=1).kato("cognition-data", holds(stm_of("aQ")))
    world.kato("delete", OK).kato("sessions", created())
    world.kato("observe-sequence", sequence(1, time=1, stm_length=1)).kato("cognition-data", holds(stm_of("a")))
    world.turn(context(run=NEW_RUN))
    assert world.trace[-2:] == ["bind new", "defer"]
    assert world.cursor == 1


def test_a_learn_that_was_buried_or_a_dead_letter_behind_the_cursor_hides_no_place() -> None:
    """Found by the chaos harness: the learn at 2 had nothing to learn, and counts nowhere."""
    log = logged([plain("clear_stm", "e1"), plain("learn", "e2"), observed("e3", "x", "y"), plain("learn", "e4")])
    world = World(log, bound_at(0), cursor=2, mark=1).kato("cognition-data", holds([]))
    world.otherwise["pattern"] = forgotten()
    world.kato("observe-sequence", sequence(1, time=1, stm_length=1))
    world.turn(context(run=NEW_RUN))
    assert world.trace[-2:] == ["observe-sequence old", "commit 3"]


def test_an_observation_that_was_not_saved_does_not_look_like_the_learn_after_it() -> None:
    """Found by the chaos harness: KATO is behind the cursor, and empty, as it would be after a later learn."""
    log = logged([plain("clear_stm", "e1"), observed("e2", "a"), observed("e3", "x", "y"), plain("learn", "e4")])
    world = World(log, bound_at(1), cursor=2, mark=1).kato("cognition-data", holds([]))
    world.kato("pattern", forgotten())
    fenced_when_nothing_can_land(world, "a", forgotten())
    assert (world.trace[-2:], world.cursor) == (["bind new", "defer"], 2)


def test_learns_that_may_be_counted_again_because_no_place_was_found_are_never_silent() -> None:
    log = logged([*letters("ab"), plain("learn", "e3"), observed("e4", "c")])
    world = World(log, bound_at(1), cursor=1).kato("cognition-data", holds(stm_of("aQ")))
    fenced_when_nothing_can_land(world, "a", frequency(1))
    assert world.trace[-2:] == ["bind new", "defer"]
    assert world.counts.get("learns_in_doubt") == 1


def test_learns_that_may_be_counted_again_because_their_kato_session_is_gone_are_never_silent() -> None:
    log = logged([*letters("ab"), plain("learn", "e3"), observed("e4", "c")])
    world = World(log, bound_at(1), cursor=1).kato("cognition-data", GONE).kato("pattern", frequency(1))
    world.kato("delete", GONE).kato("sessions", created())
    world.kato("observe-sequence", sequence(1, time=1, stm_length=1)).kato("cognition-data", holds(stm_of("a")))
    world.kato("delete", GONE)
    world.turn(context(run=NEW_RUN))
    assert world.trace[-2:] == ["bind new", "defer"]
    assert world.counts.get("learns_in_doubt") == 1


@pytest.mark.parametrize(
    ("before", "after", "sent", "counts"),
    [
        (0, 1, 0, {}),
        (4, 5, 0, {}),
        (0, 0, 1, {}),
        (4, 4, 1, {"learns_in_doubt": 1}),
        (4, 6, 0, {"learns_unknown": 1}),
    ],
)
def test_a_learn_that_a_forgotten_holder_may_have_sent_is_settled_and_never_sent_into_the_same_session(
    before: int, after: int, sent: int, counts: dict[str, int]
) -> None:
    """Invariant 3. KATO is as the cursor says, and the learn that is next is under way in it.

    Falls when `compare_after_restore` keeps the KATO session though a learn is next.
    """
    world = World(logged([*letters("ab"), plain("learn", "e3")]), bound_at(2), cursor=2, known="PTRN|known")
    world.kato("cognition-data", holds(stm_of("ab")))
    told = frequency(before) if before else forgotten()
    world.kato("pattern", told)
    if not before:
        world.kato("pattern", frequency(1)).kato("pattern", told)
    world.kato("delete", OK)
    world.turn(context(run=NEW_RUN))
    assert world.trace[-4:] == ["intent learn", "delete old", "intent settle", "defer"]
    assert world.the(ports.Defer).wait_ms == 1_000
    world.kato("sessions", created()).kato("observe-sequence", sequence(2, time=2, stm_length=2))
    world.kato("cognition-data", holds(stm_of("ab"))).kato("predictions", OK)
    world.kato("pattern", frequency(after) if after else forgotten())
    world.kato("learn", learned(NAME)) if sent else world.kato("delete", OK)
    world.turn(context(run=NEW_RUN))
    assert len(world.sent("learn")) == sent
    assert {name: n for name, n in world.counts.items() if name.startswith("learns")} == counts
    if not sent:
        assert (world.cursor, world.intent) == (3, None)
    else:
        assert world.intent is not None
        assert world.intent.kind == "verify"


def test_a_kato_that_is_ahead_where_a_learn_is_next_is_looked_at_again_for_that_learn() -> None:
    """The holder that observed `b` may have sent the learn, too, and the store forgot both.

    Falls when the commit that moves the cursor makes the binding one of the new run.
    """
    world = World(logged([*letters("ab"), plain("learn", "e3")]), bound_at(1), cursor=1)
    world.kato("cognition-data", holds(stm_of("ab")))
    world.turn(context(run=NEW_RUN))
    assert world.trace[-1] == "commit 2"
    world.kato("cognition-data", holds(stm_of("ab"))).kato("pattern", frequency(4)).kato("delete", OK)
    world.turn(context(run=NEW_RUN))
    assert world.trace[-4:] == ["intent learn", "delete old", "intent settle", "defer"]


@pytest.mark.parametrize("kind", ["settle", "verify", "clear", "clear_after_learn"])
@pytest.mark.parametrize(("known", "in_doubt"), [(frequency(1), 1), (forgotten(), 0)])
def test_learns_after_an_intent_that_is_older_than_what_the_store_forgot_are_never_silent(
    kind: IntentKind, known: ports.KatoReply, in_doubt: int
) -> None:
    """Its holder had closed it and learned `cd`, too. Falls when `reconcile` does not note what follows the intent."""
    log = logged([*letters("ab"), plain("learn", "e3"), observed("e4", "c"), observed("e5", "d"), plain("learn", "e6")])
    intent = Intent("open", kind, 3, 3, 2, 2, NAME, 0)
    world = World(log, bound_at(2), intent, cursor=2).kato("pattern", known)
    if kind == "settle":
        world.kato("sessions", created()).kato("observe-sequence", sequence(2, time=2, stm_length=2))
        world.kato("cognition-data", holds(stm_of("ab"))).kato("predictions", OK)
    if kind in ("settle", "verify"):
        world.kato("pattern", frequency(1))
    world.kato("clear-stm" if kind == "verify" else "delete", OK)
    world.turn(context(run=NEW_RUN), last=3)
    assert (world.cursor, world.counts.get("learns_in_doubt", 0)) == (3, in_doubt)


def fenced_when_nothing_can_land(world: World, stm: str, known: ports.KatoReply) -> None:
    """No place was found and learns follow: the fence waits until none can land any more, then looks for them."""
    world.kato("delete", OK)
    world.turn(context(run=NEW_RUN))
    assert world.trace[-3:] == ["intent fence", "delete old", "defer"]
    assert "learns_in_doubt" not in world.counts
    assert world.the(ports.Defer).wait_ms == 1_000
    world.kato("pattern", known).kato("delete", GONE).kato("sessions", created())
    world.kato("observe-sequence", sequence(len(stm), time=len(stm), stm_length=len(stm)))
    world.kato("cognition-data", holds(stm_of(stm))).kato("delete", GONE)
    world.turn(context(run=NEW_RUN))


def test_a_read_that_fails_decides_nothing() -> None:
    world = World(logged(letters("abcd")), bound_at(1), cursor=1).kato("cognition-data", LOST)
    world.turn(context(run=NEW_RUN))
    assert (world.cursor, world.intent, world.trace[-1]) == (1, None, "defer")
    assert world.binding is not None
    assert world.binding.run != NEW_RUN, "asked again next time"


def test_an_open_fence_is_finished_whatever_the_run() -> None:
    world = World(logged(letters("xab")), bound_at(1), Intent("f", "fence", 2, 1), cursor=1)
    world.kato("delete", OK).kato("sessions", created())
    world.kato("observe-sequence", sequence(1, time=1, stm_length=1)).kato("cognition-data", holds(stm_of("x")))
    world.turn(context(run=NEW_RUN))
    assert world.trace[0] == "delete old"
    assert world.trace[-2:] == ["bind new", "defer"]
