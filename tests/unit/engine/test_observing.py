"""observe: every row of the reconcile protocol for an observe-sequence, driven by hand."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from kato_tasks import ports
from kato_tasks.domain.kato_session import Intent
from kato_tasks.domain.stm import pattern_name
from kato_tasks.engine.drain.retry import RetryPolicy
from kato_tasks.errors import KatoCircuitOpen, LeaseLost
from tests.unit.engine.world import (
    BAD,
    BUSY,
    ERROR,
    GONE,
    LOST,
    NOW_MS,
    OK,
    REFUSED,
    Answer,
    World,
    bound_at,
    context,
    created,
    forgotten,
    holds,
    learned,
    letters,
    logged,
    observed,
    plain,
    sequence,
    stm_of,
)


def test_an_intent_is_written_before_the_call_and_closed_by_one_commit() -> None:
    world = World(logged(letters("ab", wanted=True)), bound_at(0)).kato(
        "observe-sequence", sequence(2, time=2, stm_length=2)
    )
    world.turn()
    assert world.trace == ["intent observe", "observe-sequence old", "commit 2"]
    intent, commit = world.the(ports.WriteIntent).intent, world.the(ports.Commit)
    assert (intent.first, intent.last, intent.time, intent.stm_length) == (1, 2, 0, 0)
    assert commit.call_id == intent.call
    assert [json.loads(text)["time"] for _, text in commit.results] == [1, 2]


def test_a_session_without_a_kato_session_gets_one_that_the_intent_carries() -> None:
    world = (
        World(logged(letters("a")))
        .kato("sessions", created())
        .kato("observe-sequence", sequence(1, time=1, stm_length=1))
    )
    world.turn()
    assert world.trace == ["sessions", "intent observe", "observe-sequence new", "commit 1"]
    assert world.the(ports.WriteIntent).binding is not None


@pytest.mark.parametrize(
    "wrong",
    [
        sequence(2, time=3, stm_length=2),
        sequence(2, time=2, stm_length=3),
        sequence(1, time=1, stm_length=1),
        ports.KatoReply(200, b"{}"),
        ports.KatoReply(200, b"not json"),
    ],
)
def test_an_answer_with_the_wrong_time_is_fenced_and_nothing_is_sent_again_before_the_delete(
    wrong: ports.KatoReply,
) -> None:
    """Invariant 3. Falls when observing.observe does not compare the answer with `after`."""
    world = World(logged(letters("xab")), bound_at(1), cursor=1)
    world.kato("observe-sequence", wrong).kato("cognition-data", holds(stm_of("xQab")))
    world.kato("delete", OK).kato("sessions", created())
    world.kato("observe-sequence", sequence(1, time=1, stm_length=1)).kato("cognition-data", holds(stm_of("x")))
    world.turn()
    assert world.trace == [
        "intent observe",
        "observe-sequence old",
        "cognition-data old",
        "intent fence",
        "delete old",
        "sessions",
        "observe-sequence new",
        "cognition-data new",
        "bind new",
        "defer",
    ]
    assert (world.cursor, world.intent) == (1, None)
    assert world.counts == {"rebuilt": 1, "fenced": 1}


@pytest.mark.parametrize("unknown", [LOST, ERROR, ports.KatoReply(502, b"")])
def test_an_unknown_outcome_that_reads_back_as_applied_is_committed_and_never_sent_again(unknown: Answer) -> None:
    world = World(logged(letters("xab", wanted=True)), bound_at(1), cursor=1)
    world.kato("observe-sequence", unknown).kato("cognition-data", holds(stm_of("xab")))
    world.turn()
    assert world.trace == ["intent observe", "observe-sequence old", "cognition-data old", "commit 3"]
    commit = world.the(ports.Commit)
    assert commit.call_id == world.the(ports.WriteIntent).intent.call
    assert [json.loads(text)["time"] for _, text in commit.results] == [2, 3]
    assert world.binding is not None
    assert (world.binding.time, world.binding.stm_length) == (3, 3)


@pytest.mark.parametrize(
    "seen",
    [
        pytest.param(holds(stm_of("x")), id="as before: it may still land"),
        pytest.param(holds(stm_of("xa")), id="half of it"),
        pytest.param(holds(stm_of("xaQ"), time=3), id="another content of the right size"),
        pytest.param(holds(stm_of("xabab"), time=5), id="applied twice"),
    ],
)
def test_an_unknown_outcome_that_reads_back_as_anything_else_is_fenced(seen: ports.KatoReply) -> None:
    """Invariant 2 and 3. Falls when an unchanged `time` counts as proof that nothing was applied."""
    world = World(logged(letters("xab")), bound_at(1), cursor=1)
    world.kato("observe-sequence", LOST).kato("cognition-data", seen)
    world.kato("delete", OK).kato("sessions", created())
    world.kato("observe-sequence", sequence(1, time=1, stm_length=1)).kato("cognition-data", holds(stm_of("x")))
    world.turn()
    assert world.trace[3:] == [
        "intent fence",
        "delete old",
        "sessions",
        "observe-sequence new",
        "cognition-data new",
        "bind new",
        "defer",
    ]


def test_a_call_of_emotives_alone_shows_in_time_and_nowhere_else() -> None:
    """Falls when reconcile_observe does not look at `time`."""
    log = logged([observed("e1", "x"), observed("e2", emotives={"joy": 1.0})])
    world = World(log, bound_at(1), cursor=1)
    world.kato("observe-sequence", LOST).kato("cognition-data", holds(stm_of("x"))).kato("delete", OK)
    world.kato("sessions", created()).kato("observe-sequence", sequence(1, time=1, stm_length=1))
    world.kato("cognition-data", holds(stm_of("x")))
    world.turn()
    assert (world.trace[-2:], world.cursor) == (["bind new", "defer"], 1)


def test_an_emotive_that_was_never_sent_is_not_taken_for_applied_where_a_clear_was_not_saved() -> None:
    """Invariant 3. KATO's time of 1 is that of before the clear, or of this call: nobody can tell."""
    entry = logged([observed("e1", emotives={"joy": 1.0})])
    world = World(entry, bound_at(0, time=0, before=1), Intent("c", "observe", 1, 1))
    world.kato("cognition-data", holds([], time=1)).kato("delete", OK)
    world.turn()
    assert world.trace == ["cognition-data old", "intent fence", "delete old", "bind none", "defer"]


def test_a_session_without_an_stm_is_fenced_by_the_delete_alone() -> None:
    world = World(logged(letters("ab")), bound_at(0))
    world.kato("observe-sequence", LOST).kato("cognition-data", holds([])).kato("delete", OK)
    world.turn()
    assert world.trace[3:] == ["intent fence", "delete old", "bind none", "defer"]
    assert world.binding is None


def test_an_open_intent_of_a_dead_worker_is_read_back_before_anything_is_sent() -> None:
    """Invariant 3. Falls when drain.attempt does not look at `work.intent`."""
    dead = Intent("call-of-the-dead", "observe", 2, 3, 1, 1)
    world = World(logged(letters("xabc", wanted=True)), bound_at(1), dead, cursor=1)
    world.kato("cognition-data", holds(stm_of("xab")))
    world.turn()
    assert world.trace == ["cognition-data old", "commit 3"]
    assert world.the(ports.Commit).call_id == "call-of-the-dead"


def test_an_open_intent_of_a_dead_worker_that_was_not_applied_is_fenced_without_a_second_try() -> None:
    dead = Intent("call-of-the-dead", "observe", 2, 3, 1, 1)
    world = World(logged(letters("xab")), bound_at(1), dead, cursor=1)
    world.kato("cognition-data", holds(stm_of("x"))).kato("delete", OK).kato("sessions", created())
    world.kato("observe-sequence", sequence(1, time=1, stm_length=1)).kato("cognition-data", holds(stm_of("x")))
    world.turn()
    assert world.trace[:3] == ["cognition-data old", "intent fence", "delete old"]
    assert world.the(ports.WriteIntent).replaces_call == "call-of-the-dead"


# --------------------------------------------------------------------------- never sent


@pytest.mark.parametrize("never", [REFUSED, BUSY, KatoCircuitOpen("open")])
def test_a_call_that_was_never_sent_withdraws_its_own_intent(never: Answer) -> None:
    world = World(logged(letters("ab")), bound_at(0), attempts=2).kato("observe-sequence", never)
    world.turn()
    assert world.trace == ["intent observe", "observe-sequence old", "defer"]
    assert world.intent is None
    assert world.attempts == 2, "it is no attempt"


def test_a_read_that_was_never_sent_leaves_the_intent_of_the_call_before_it_open() -> None:
    """Invariant 3. Falls when wait_unsent withdraws the open intent."""
    world = World(logged(letters("ab")), bound_at(0))
    world.kato("observe-sequence", LOST).kato("cognition-data", REFUSED)
    world.turn()
    assert world.trace == ["intent observe", "observe-sequence old", "cognition-data old", "defer"]
    assert world.intent is not None
    assert world.intent.kind == "observe"
    assert world.the(ports.Defer).withdraw == ""


def test_a_delete_that_was_never_sent_leaves_the_fence_open() -> None:
    world = World(logged(letters("ab")), bound_at(0))
    world.kato("observe-sequence", LOST).kato("cognition-data", holds([])).kato("delete", REFUSED)
    world.turn()
    assert world.intent is not None
    assert world.intent.kind == "fence"
    world.kato("delete", GONE).kato("sessions", created()).kato("delete", GONE)
    world.turn()
    assert world.cursor == 0
    assert world.trace[-2:] == ["bind new", "defer"]


def test_retry_after_is_honoured() -> None:
    world = World(logged(letters("a")), bound_at(0)).kato("observe-sequence", replace(BUSY, retry_after=7.0))
    world.turn()
    assert world.the(ports.Defer).wait_ms >= 7_000


def test_waiting_for_a_kato_that_is_away_grows_and_never_gives_up() -> None:
    world = World(logged(letters("a")), bound_at(0))
    for _ in range(50):
        world.kato("observe-sequence", REFUSED)
        world.turn(context(retry=RetryPolicy(max_retries=2)))
    assert "park" not in world.trace
    assert max(d.wait_ms for d in world.of(ports.Defer)) <= 60_000
    assert max(d.wait_ms for d in world.of(ports.Defer)) > 5_000


# -------------------------------------------------------------------------------- gone


def test_a_404_is_gone_when_a_session_can_be_created_and_rebuilt() -> None:
    world = World(logged(letters("xy")), bound_at(1), cursor=1)
    world.kato("observe-sequence", GONE).kato("delete", GONE).kato("sessions", created())
    world.kato("observe-sequence", sequence(1, time=1, stm_length=1)).kato("cognition-data", holds(stm_of("x")))
    world.kato("delete", GONE)
    world.turn()
    assert world.trace == [
        "intent observe",
        "observe-sequence old",
        "intent fence",
        "delete old",
        "sessions",
        "observe-sequence new",
        "cognition-data new",
        "delete old",
        "bind new",
        "defer",
    ]
    assert world.the(ports.Bind).ltm_lost, "gone well before its time"
    assert world.binding is not None
    assert world.binding.epoch == 2


def test_a_404_while_no_session_can_be_created_backs_off_with_the_fence_open() -> None:
    """A 404 is also what KATO says while its Redis is down. Falls when the fence binds before the create."""
    world = World(logged(letters("xy")), bound_at(1), cursor=1)
    world.kato("observe-sequence", GONE).kato("delete", GONE).kato("sessions", ERROR)
    world.turn()
    assert world.trace == ["intent observe", "observe-sequence old", "intent fence", "delete old", "sessions", "defer"]
    assert world.intent is not None
    assert world.intent.kind == "fence"
    assert world.binding is not None
    assert world.binding.kato_session == "old"


def test_a_session_whose_time_is_over_is_fenced_before_anything_is_sent() -> None:
    world = World(logged(letters("xy")), bound_at(1, expires_ms=NOW_MS), cursor=1)
    world.kato("delete", GONE).kato("sessions", created())
    world.kato("observe-sequence", sequence(1, time=1, stm_length=1)).kato("cognition-data", holds(stm_of("x")))
    world.kato("delete", GONE)
    world.kato("observe-sequence", sequence(1, time=2, stm_length=2))
    world.turn()
    assert world.trace[:2] == ["intent fence", "delete old"]
    assert world.trace[-4:] == ["bind new", "intent observe", "observe-sequence new", "commit 2"]
    assert not world.the(ports.Bind).ltm_lost


# ------------------------------------------------------------------------------- fence


def test_the_fence_is_written_down_before_the_delete_is_sent() -> None:
    """Invariant 2: a DELETE of unknown outcome may land later, so nobody may keep that KATO session.

    Falls when binding.fence sends the DELETE without the marker intent.
    """
    world = World(logged(letters("ab")), bound_at(0))
    world.kato("observe-sequence", LOST).kato("cognition-data", holds([])).kato("delete", LOST)
    world.turn()
    assert world.trace[-3:] == ["intent fence", "delete old", "defer"]
    assert world.intent is not None
    assert world.intent.kind == "fence"


def test_whoever_finds_an_open_fence_does_not_read_the_old_session_but_deletes_it() -> None:
    world = World(logged(letters("xab")), bound_at(1), Intent("f", "fence", 2, 1), cursor=1)
    world.kato("delete", OK).kato("sessions", created())
    world.kato("observe-sequence", sequence(1, time=1, stm_length=1)).kato("cognition-data", holds(stm_of("x")))
    world.turn()
    assert world.trace[:2] == ["delete old", "sessions"]
    assert world.trace[-2:] == ["bind new", "defer"]
    assert world.the(ports.Bind).closes_call == "f"


def test_a_holder_that_lost_its_lease_sends_no_delete() -> None:
    """Invariant 2: the DELETE would hit what the next holder may have bound. Falls without the marker intent."""
    world = World(logged(letters("ab")), bound_at(0))
    world.kato("observe-sequence", LOST).kato("cognition-data", holds([]))
    intents: list[str] = []

    def turn() -> None:
        real = world._written

        def written(effect: ports.Effect[object]) -> object:
            if intents:
                raise LeaseLost("the lane's lease passed to another worker")
            intents.append("written")
            return real(effect)

        world._written = written  # type: ignore[method-assign]
        world.turn()

    with pytest.raises(LeaseLost):
        turn()
    assert world.trace == ["intent observe", "observe-sequence old", "cognition-data old"]


@pytest.mark.parametrize("seen", [holds(stm_of("Q")), holds(stm_of("x"), time=2), holds([])])
def test_a_rebuild_that_does_not_hold_what_was_sent_is_deleted_and_never_bound(seen: ports.KatoReply) -> None:
    world = World(logged(letters("xab")), bound_at(1), Intent("f", "fence", 2, 1), cursor=1)
    world.kato("delete", OK).kato("sessions", created())
    world.kato("observe-sequence", sequence(1, time=1, stm_length=1)).kato("cognition-data", seen)
    world.kato("delete", OK)
    world.turn()
    assert world.trace[-2:] == ["delete new", "defer"]
    assert world.intent is not None
    assert "leftovers" not in world.counts


def test_a_rebuilt_session_that_cannot_be_deleted_is_counted() -> None:
    world = World(logged(letters("xab")), bound_at(1), Intent("f", "fence", 2, 1), cursor=1)
    world.kato("delete", OK).kato("sessions", created()).kato("observe-sequence", LOST).kato("delete", LOST)
    world.turn()
    assert world.counts == {"leftovers": 1}


@pytest.mark.parametrize("never", [BUSY, KatoCircuitOpen("open")])
def test_a_rebuild_that_is_cut_short_by_an_unavailable_kato_leaves_nothing_uncounted(never: Answer) -> None:
    world = World(logged(letters("xab")), bound_at(1), Intent("f", "fence", 2, 1), cursor=1)
    world.kato("delete", OK).kato("sessions", created()).kato("observe-sequence", never).kato("delete", never)
    world.turn()
    assert world.counts == {"leftovers": 1}
    assert world.intent is not None


def test_a_create_whose_answer_is_lost_is_counted_as_a_leftover() -> None:
    world = World(logged(letters("ab"))).kato("sessions", LOST)
    world.turn()
    assert world.counts["leftovers"] == 1


def test_a_create_that_kato_answered_500_left_nothing_behind_and_is_not_counted() -> None:
    world = World(logged(letters("ab"))).kato("sessions", ERROR)
    world.turn()
    assert (world.trace, world.counts) == (["sessions", "defer"], {})


@pytest.mark.parametrize("answer", [ports.KatoReply(504, b"Gateway Time-out"), ports.KatoReply(500, b"<html>")])
def test_a_create_that_something_before_kato_answered_5xx_may_have_left_a_session_and_is_counted(
    answer: ports.KatoReply,
) -> None:
    world = World(logged(letters("ab"))).kato("sessions", answer)
    world.turn()
    assert world.counts == {"leftovers": 1}


def test_a_create_of_a_worker_that_died_is_counted_as_a_leftover() -> None:
    world = World(logged(letters("a")), create_lost=True).kato("sessions", created())
    world.kato("observe-sequence", sequence(1, time=1, stm_length=1))
    world.turn()
    assert world.counts == {"leftovers": 1}


def test_a_create_that_fails_is_nobodys_attempt() -> None:
    """Nothing was sent for any event: KATO is ill, and waiting never ends in a parked session."""
    world = World(logged(letters("ab")))
    for _ in range(12):
        world.kato("sessions", ERROR)
        world.turn(context(retry=RetryPolicy(max_retries=2)))
    assert "park" not in world.trace


# ------------------------------------------------------------------------ a definite no


def test_a_refused_batch_is_halved_and_its_intent_withdrawn() -> None:
    world = World(logged(letters("abcdefgh")), bound_at(0)).kato("observe-sequence", BAD)
    world.turn()
    defer = world.the(ports.Defer)
    assert (defer.events_at_most, defer.attempts, world.intent) == (4, 0, None)
    assert world.trace == ["intent observe", "observe-sequence old", "defer"]


def test_a_batch_of_unknown_outcome_is_fenced_and_halved() -> None:
    world = World(logged(letters("abcd")), bound_at(0))
    world.kato("observe-sequence", ERROR).kato("cognition-data", holds([])).kato("delete", OK)
    world.turn()
    assert world.the(ports.Bind).events_at_most == 2
    assert world.attempts == 0


def test_a_refused_event_alone_becomes_a_dead_letter_with_its_reason_and_the_session_goes_on() -> None:
    world = World(logged(letters("a", wanted=True)), bound_at(0)).kato("observe-sequence", BAD)
    world.turn()
    commit = world.the(ports.Commit)
    assert (commit.cursor_to, commit.call_id) == (1, world.the(ports.WriteIntent).intent.call)
    ((name, letter),) = commit.dead
    kept = json.loads(letter)
    assert name == "s\n1"
    assert (kept["position"], kept["event"]["event_id"], kept["attempts"]) == (1, "e1", 1)
    assert "400" in kept["last_answer"]
    assert json.loads(commit.results[0][1])["error"]["type"] == "EventRefused"
    assert commit.symbols == [(1, "null")], "a rebuild must leave it out"


def test_an_event_of_a_schema_version_from_the_future_is_sent_and_buried_as_any_other() -> None:
    """An older worker beside newer producers. Falls where it lifts what it buries: the session would not go on."""
    entry = logged(letters("a"))[0]
    assert entry.head.startswith('{"v":1,')
    entry.head = entry.head.replace('"v":1', '"v":99', 1)
    world = World([entry], bound_at(0)).kato("observe-sequence", BAD)
    world.turn()
    ((_, letter),) = world.the(ports.Commit).dead
    assert json.loads(letter)["event"]["schema_version"] == 99


def test_a_refused_event_alone_parks_its_session_where_the_policy_says_so() -> None:
    world = World(logged(letters("a")), bound_at(0)).kato("observe-sequence", BAD)
    world.turn(context(on_rejected="park"))
    assert world.trace[-1] == "park"
    why = json.loads(world.the(ports.Park).why)
    assert (why["position"], why["event_id"], why["attempts"]) == (1, "e1", 1)


def _fail_alone(world: World) -> None:
    world.kato("observe-sequence", ERROR).kato("cognition-data", holds([])).kato("delete", OK)
    if world.binding is None:
        world.script.insert(0, ("sessions", created("old")))


def test_an_event_alone_is_tried_max_retries_times_more_and_then_its_session_is_parked() -> None:
    world = World(logged(letters("a")), bound_at(0))
    for attempt in range(3):
        _fail_alone(world)
        world.turn(context(retry=RetryPolicy(max_retries=3)))
        assert world.attempts == attempt + 1
    _fail_alone(world)
    world.turn(context(retry=RetryPolicy(max_retries=3)))
    assert world.trace[-1] == "park"
    assert json.loads(world.the(ports.Park).why)["attempts"] == 4
    assert world.intent is None, "the fence was finished first: the event is certainly not in KATO"


def test_an_event_whose_attempts_are_used_up_is_buried_where_the_policy_says_so() -> None:
    world = World(logged(letters("ab")), bound_at(0), attempts=3)
    _fail_alone(world)
    world.turn(context(on_exhausted="dead_letter", retry=RetryPolicy(max_retries=3)), last=1)
    assert world.cursor == 1
    assert json.loads(world.the(ports.Commit).dead[0][1])["attempts"] == 4


def test_only_a_call_of_one_event_counts_as_its_attempt() -> None:
    world = World(logged(letters("ab")), bound_at(0), attempts=9)
    _fail_alone(world)
    world.turn(context(retry=RetryPolicy(max_retries=3)))
    assert "park" not in world.trace


def test_a_404_never_uses_up_an_events_attempts() -> None:
    world = World(logged(letters("a")), bound_at(0), attempts=9)
    world.kato("observe-sequence", GONE).kato("delete", GONE).kato("sessions", created()).kato("delete", GONE)
    world.turn(context(retry=RetryPolicy(max_retries=3)))
    assert world.trace[-1] == "defer"


# ------------------------------------------------------------------------ details of a call


def test_an_observation_without_string_counts_in_time_and_not_in_the_stm() -> None:
    entries = [observed("e1", "a"), observed("e2", emotives={"joy": 1.0}), observed("e3", "b")]
    world = World(logged(entries), bound_at(0)).kato("observe-sequence", sequence(3, time=3, stm_length=2))
    world.turn()
    assert world.binding is not None
    assert (world.binding.time, world.binding.stm_length) == (3, 2)


@pytest.mark.parametrize(
    ("before", "counted", "kept"), [(998, 1000, 1000), (999, 1001, 1000), (1000, 1002, 1000), (3, 5, 5)]
)
def test_kato_counts_events_beyond_the_1000_that_its_stm_keeps_and_callers_are_told_what_it_keeps(
    before: int, counted: int, kept: int
) -> None:
    """Measured on 3.10.1: a sequence counts on and the STM is cut when it is saved. No call is read back for that."""
    entries = [observed("e1", "a"), observed("e2", emotives={"joy": 1.0}), observed("e3", "b", wanted=True)]
    world = World(logged(entries), bound_at(before, time=5_000))
    world.kato("observe-sequence", sequence(3, time=5_003, stm_length=counted))
    world.turn()
    assert world.trace == ["intent observe", "observe-sequence old", "commit 3"]
    assert world.binding is not None
    assert (world.binding.time, world.binding.stm_length) == (5_003, kept)
    ((_, told),) = world.the(ports.Commit).results
    assert json.loads(told)["stm_length"] == kept


@pytest.mark.parametrize("counted", [999, 1000, 1001, 1003])
def test_any_other_count_of_a_long_stm_is_fenced(counted: int) -> None:
    past = [observed(f"p{i}", f"p{i}") for i in range(1_000)]
    world = World(logged([*past, *letters("ab")]), bound_at(1_000), cursor=1_000)
    held = [[f"p{i}"] for i in range(1_000)]
    world.kato("observe-sequence", sequence(2, time=1_002, stm_length=counted)).kato("cognition-data", holds(held))
    world.kato("delete", OK).kato("sessions", created())
    for so_far in (400, 800, 1_000):
        world.kato("observe-sequence", sequence(400, time=so_far, stm_length=so_far))
    world.kato("cognition-data", holds(held))
    world.turn()
    assert world.trace[-2:] == ["bind new", "defer"]
    assert (world.cursor, world.intent) == (1_000, None)


def test_an_unknown_outcome_of_a_long_stm_reads_back_as_its_newest_1000_events() -> None:
    past = [observed(f"p{i}", f"p{i}") for i in range(1_000)]
    world = World(logged([*past, *letters("ab")]), bound_at(1_000), cursor=1_000)
    held = [[f"p{i}"] for i in range(2, 1_000)] + stm_of("ab")
    world.kato("observe-sequence", LOST).kato("cognition-data", holds(held, time=1_002))
    world.turn()
    assert world.trace == ["intent observe", "observe-sequence old", "cognition-data old", "commit 1002"]


def test_the_name_that_kato_gives_a_vector_is_read_back_once_and_kept() -> None:
    world = World(logged([observed("e1", "a", vectors=[[1.0]]), observed("e2", "b")]), bound_at(0))
    world.kato("observe-sequence", sequence(2, time=2, stm_length=2))
    world.kato("cognition-data", holds([["VCTR|1", "a"], ["b"]]))
    world.turn()
    assert world.the(ports.Commit).symbols == [(1, '["VCTR|1","a"]')]


def test_a_vector_that_was_not_saved_despite_the_200_does_not_get_the_name_of_the_event_before_it() -> None:
    """Invariants 3 and 6. The wrong name would pass every later comparison, and every learn would learn it."""
    world = World(logged([observed("e0", "a"), observed("e1", vectors=[[1.0]])]), bound_at(1), cursor=1)
    world.kato("observe-sequence", sequence(1, time=2, stm_length=2))
    world.kato("cognition-data", holds([["a"]])).kato("cognition-data", holds([["a"]])).kato("delete", OK)
    world.kato("sessions", created()).kato("observe-sequence", sequence(1, time=1, stm_length=1))
    world.kato("cognition-data", holds([["a"]]))
    world.turn()
    assert not [symbols for commit in world.of(ports.Commit) for symbols in commit.symbols]
    assert "fenced" in world.counts


def test_a_vector_is_not_lost_because_its_metadata_speaks_of_vectors_too() -> None:
    """Invariants 3 and 6. Falls when what an observation is is guessed from its text."""
    events = [observed("e1", vectors=[[0.1, 0.2]], metadata={"vectors": []}), observed("e2", "b")]
    world = World(logged([*events, plain("learn", "l")]), bound_at(0))
    world.kato("observe-sequence", sequence(2, time=2, stm_length=2))
    world.kato("cognition-data", holds([["VCTR|1"], ["b"]]))
    world.turn()
    assert world.the(ports.Commit).symbols == [(1, '["VCTR|1"]')]
    name = pattern_name([["VCTR|1"], ["b"]])
    world.kato("cognition-data", holds([["VCTR|1"], ["b"]], time=2)).kato("pattern", forgotten())
    world.kato("predictions", OK).kato("pattern", forgotten()).kato("learn", learned(name)).kato("clear-stm", OK)
    world.turn()
    assert world.trace[-1] == "commit 3", "learned as it was observed, without a fence"
    assert "fenced" not in world.counts


def test_verify_last_finds_a_200_that_was_not_saved_though_nothing_follows() -> None:
    world = World(logged(letters("a")), bound_at(0))
    world.kato("observe-sequence", sequence(1, time=1, stm_length=1)).kato("cognition-data", holds([]))
    world.kato("cognition-data", holds([])).kato("delete", OK)
    world.turn(context(verify_last=True))
    assert (world.cursor, world.trace[-1]) == (0, "defer")


def test_a_keep_alive_writes_to_the_kato_session_and_slides_its_expiry() -> None:
    world = World(logged(letters("a")), bound_at(1, expires_ms=NOW_MS + 5_000), cursor=1)
    world.kato("extend", OK)
    world.turn()
    assert world.trace == ["extend old", "commit 1"]
    assert world.binding is not None
    assert world.binding.expires_ms == NOW_MS + 3_600_000


@pytest.mark.parametrize("policy", ["park", "dead_letter"])
def test_a_keep_alive_that_fails_again_and_again_neither_parks_nor_breaks_an_idle_session(policy: str) -> None:
    world = World(logged(letters("a")), bound_at(1), cursor=1, attempts=99, unsent=30)
    world.kato("extend", ERROR)
    world.turn(context(on_exhausted=policy))  # type: ignore[arg-type]
    assert world.trace == ["extend old", "defer"]


def test_a_keep_alive_of_a_kato_session_that_is_gone_rebuilds_it() -> None:
    world = World(logged(letters("a")), bound_at(1), cursor=1)
    world.kato("extend", GONE).kato("delete", GONE).kato("sessions", created())
    world.kato("observe-sequence", sequence(1, time=1, stm_length=1)).kato("cognition-data", holds(stm_of("a")))
    world.kato("delete", GONE)
    world.turn()
    assert world.trace[-2:] == ["bind new", "defer"]
