"""learn and clear_stm: the pattern's name and frequency decide; each changing call is an intent of its own."""

from __future__ import annotations

import json

import pytest

from kato_tasks import ports
from kato_tasks.domain.kato_session import Intent
from kato_tasks.domain.stm import pattern_name
from kato_tasks.errors import KatoCircuitOpen
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

NAME = pattern_name(stm_of("ab"))


def about_to_learn(**more: object) -> World:
    """`a`, `b` are applied; the learn at position 3 is the session's head event."""
    log = logged([*letters("ab"), plain("learn", "e3")])
    return World(log, bound_at(2), cursor=2, **more)  # type: ignore[arg-type]


def read_and_asked(world: World, before: Answer) -> World:
    """What KATO is asked before each learn."""
    return world.kato("cognition-data", holds(stm_of("ab"))).kato("pattern", before)


def settling(world: World, *, before: int = 4) -> World:
    """The learn's outcome is unknown, its KATO session deleted, and its settling time over."""
    world.intent = Intent("settling", "settle", 3, 3, 2, 2, NAME, before)
    world.kato("sessions", created()).kato("observe-sequence", sequence(2, time=2, stm_length=2))
    return world.kato("cognition-data", holds(stm_of("ab")))


def test_a_learn_is_two_calls_with_an_intent_each_and_one_commit() -> None:
    world = read_and_asked(about_to_learn(), frequency(4)).kato("learn", learned(NAME)).kato("clear-stm", OK)
    world.turn()
    assert world.trace == [
        "cognition-data old",
        "pattern",
        "intent learn",
        "learn old",
        "intent clear_after_learn",
        "clear-stm old",
        "commit 3",
    ]
    first, second = (w.intent for w in world.of(ports.WriteIntent))
    assert (first.pattern, first.frequency, second.pattern, second.frequency) == (NAME, 4, NAME, 4)
    commit = world.the(ports.Commit)
    assert (commit.call_id, commit.stm_start, commit.learned) == (second.call, 3, (NAME, 5))
    assert json.loads(commit.results[0][1])["pattern_name"] == NAME
    assert world.binding is not None
    assert (world.binding.time, world.binding.stm_length, world.binding.kato_session) == (0, 0, "old")


@pytest.mark.parametrize("seen", [holds(stm_of("a"), time=1), holds(stm_of("ab"), time=3), holds([]), GONE])
def test_kato_is_read_back_before_a_learn_and_fenced_when_it_holds_something_else(seen: ports.KatoReply) -> None:
    """Invariant 3: KATO can answer 200 and not have saved. Falls without `read_verified_stm` in learning.learn."""
    world = about_to_learn().kato("cognition-data", seen).kato("delete", OK).kato("sessions", created())
    world.kato("observe-sequence", sequence(2, time=2, stm_length=2)).kato("cognition-data", holds(stm_of("ab")))
    world.turn()
    assert world.trace == [
        "cognition-data old",
        "intent fence",
        "delete old",
        "sessions",
        "observe-sequence new",
        "cognition-data new",
        "bind new",
        "defer",
    ]


def test_an_unknown_pattern_is_believed_from_a_kato_that_knows_another() -> None:
    """A failing ClickHouse answers as if nothing was ever learned; falls without `certain_frequency`."""
    world = read_and_asked(about_to_learn(known="PTRN|other"), forgotten()).kato("pattern", frequency(3))
    world.kato("pattern", frequency(1)).kato("learn", learned(NAME)).kato("clear-stm", OK)
    world.turn()
    assert [w.intent.frequency for w in world.of(ports.WriteIntent)] == [1, 1]


@pytest.mark.parametrize("known", [None, NAME, "PTRN|other"])
def test_without_another_known_pattern_predictions_tell_whether_clickhouse_answers(known: str | None) -> None:
    world = read_and_asked(about_to_learn(known=known), forgotten())
    if known == "PTRN|other":
        world.kato("pattern", forgotten())
    world.kato("predictions", ERROR)
    world.turn()
    assert world.trace[-2:] == ["predictions old", "defer"]
    assert world.intent is None


@pytest.mark.parametrize("route", ["cognition-data", "pattern"])
def test_a_read_before_a_learn_that_kato_fails_is_not_the_learns_attempt(route: str) -> None:
    world = about_to_learn(attempts=99)
    if route == "pattern":
        world.kato("cognition-data", holds(stm_of("ab")))
    world.kato(route, ERROR)
    world.turn()
    assert world.trace[-1] == "defer"
    assert (world.attempts, world.intent) == (99, None)


def test_the_frequency_of_the_lanes_last_learn_is_not_asked_again_within_a_second() -> None:
    world = about_to_learn(lately=(7, NOW_MS - 500)).kato("cognition-data", holds(stm_of("ab")))
    world.kato("learn", learned(NAME)).kato("clear-stm", OK)
    world.turn()
    assert world.of(ports.WriteIntent)[0].intent.frequency == 7
    assert world.the(ports.Commit).learned == (NAME, 8)


def test_the_frequency_is_asked_again_when_the_lanes_last_learn_is_older_than_a_second() -> None:
    world = read_and_asked(about_to_learn(lately=(7, NOW_MS - 1_001)), frequency(9))
    world.kato("learn", learned(NAME)).kato("clear-stm", OK)
    world.turn()
    assert world.of(ports.WriteIntent)[0].intent.frequency == 9


def test_a_parked_session_with_an_unsettled_learn_holds_nobody_up_and_the_learn_is_counted_as_in_doubt() -> None:
    """Invariant 5. Falls when `read_baseline` does not ask whether the other session is parked."""
    world = about_to_learn(unsettled="another", parked=True).kato("cognition-data", holds(stm_of("ab")))
    world.kato("pattern", frequency(4)).kato("learn", learned(NAME)).kato("clear-stm", OK)
    world.turn()
    assert world.trace[-1] == "commit 3"
    assert world.counts == {"learns_in_doubt": 1}


def test_nobody_learns_a_pattern_whose_learn_by_another_session_is_unsettled() -> None:
    world = about_to_learn(unsettled="another").kato("cognition-data", holds(stm_of("ab")))
    world.turn()
    assert world.trace == ["cognition-data old", "defer"]
    assert world.the(ports.Defer).attempts == 0


def test_a_learn_of_one_symbol_stores_nothing_and_needs_no_frequency() -> None:
    log = logged([observed("e1", "a"), plain("learn", "e2")])
    world = World(log, bound_at(1), cursor=1).kato("cognition-data", holds([["a"]]))
    world.kato("learn", learned("")).kato("clear-stm", OK)
    world.turn()
    assert world.trace[-1] == "commit 2"
    assert world.the(ports.Commit).learned is None


@pytest.mark.parametrize("applied", ["", "c"])
def test_a_learn_of_nothing_is_never_sent(applied: str) -> None:
    log = logged([plain("clear_stm" if applied else "learn", "e1"), plain("learn", "e2")])
    world = World(log, bound_at(0), cursor=1, mark=1)
    world.turn()
    assert world.trace == ["commit 2"]
    assert len(world.the(ports.Commit).dead) == 1


# ----------------------------------------------------------------- the learn call itself


@pytest.mark.parametrize("never", [REFUSED, BUSY, KatoCircuitOpen("open")])
def test_a_learn_that_was_never_sent_withdraws_its_intent(never: Answer) -> None:
    world = read_and_asked(about_to_learn(), frequency(4)).kato("learn", never)
    world.turn()
    assert world.trace[-2:] == ["learn old", "defer"]
    assert world.intent is None


@pytest.mark.parametrize("never", [REFUSED, BUSY, KatoCircuitOpen("open")])
def test_a_clear_after_a_learn_that_was_never_sent_does_not_undo_the_learn(never: Answer) -> None:
    """Invariant 3. Falls when the learn's intent is withdrawn for the clear-stm that failed."""
    world = read_and_asked(about_to_learn(), frequency(4)).kato("learn", learned(NAME)).kato("clear-stm", never)
    world.turn()
    assert world.intent is not None
    assert world.intent.kind == "clear_after_learn"
    world.kato("delete", OK)
    world.turn()
    assert world.trace[-2:] == ["delete old", "commit 3"]
    assert world.sent("learn") == [""], "learned once"


@pytest.mark.parametrize("unknown", [LOST, ERROR, GONE, BAD])
def test_a_clear_after_a_learn_of_unknown_outcome_is_as_good_as_a_deleted_session(unknown: Answer) -> None:
    world = read_and_asked(about_to_learn(), frequency(4)).kato("learn", learned(NAME))
    world.kato("clear-stm", unknown).kato("delete", OK)
    world.turn()
    assert world.trace[-3:] == ["clear-stm old", "delete old", "commit 3"]
    assert world.binding is None


def test_a_404_of_the_learn_means_that_nothing_was_learned() -> None:
    """KATO reads the session first (KATO_API.md, learn)."""
    world = read_and_asked(about_to_learn(), frequency(4)).kato("learn", GONE)
    world.kato("delete", GONE).kato("sessions", created())
    world.kato("observe-sequence", sequence(2, time=2, stm_length=2)).kato("cognition-data", holds(stm_of("ab")))
    world.kato("delete", GONE)
    world.turn()
    assert world.trace[-2:] == ["bind new", "defer"]
    assert (world.intent, world.cursor) == (None, 2)


# -------------------------------------------------------------- a learn of unknown outcome


@pytest.mark.parametrize("unknown", [LOST, ERROR, ports.KatoReply(200, b"garbage")])
def test_a_learn_of_unknown_outcome_is_deleted_first_and_waits_out_its_settling_time(unknown: Answer) -> None:
    world = read_and_asked(about_to_learn(), frequency(4)).kato("learn", unknown).kato("delete", OK)
    world.turn(context(settle_ms=1_500))
    assert world.trace[2:] == ["intent learn", "learn old", "delete old", "intent settle", "defer"]
    assert world.the(ports.Defer).wait_ms == 1_500
    assert world.intent is not None
    assert (world.intent.pattern, world.intent.frequency) == (NAME, 4)


def test_an_open_learn_of_a_dead_worker_is_settled_and_not_sent_again() -> None:
    world = about_to_learn(intent=Intent("dead", "learn", 3, 3, 2, 2, NAME, 4)).kato("delete", OK)
    world.turn()
    assert world.trace == ["delete old", "intent settle", "defer"]


def test_a_404_to_the_delete_is_believed_only_from_a_kato_that_can_create_a_session() -> None:
    """KATO answers 404 while its Redis fails; falls when `deleted` in binding.py returns after the first DELETE."""
    world = about_to_learn(intent=Intent("dead", "learn", 3, 3, 2, 2, NAME, 4)).kato("delete", GONE)
    world.kato("sessions", created("probe")).kato("delete", OK).kato("delete", OK)
    world.turn()
    assert world.trace == ["delete old", "sessions", "delete old", "delete probe", "intent settle", "defer"]


def test_a_frequency_of_one_more_means_learned() -> None:
    world = settling(about_to_learn()).kato("predictions", OK).kato("pattern", frequency(5)).kato("delete", OK)
    world.turn()
    assert world.trace[-4:] == ["predictions new", "pattern", "delete new", "commit 3"]
    assert world.counts == {"rebuilt": 1}
    assert world.the(ports.Commit).learned == (NAME, 5)


@pytest.mark.parametrize(("before", "after"), [(4, frequency(4)), (0, forgotten())])
def test_a_frequency_that_did_not_move_means_learn_again_in_the_rebuilt_session_and_read_again(
    before: int, after: ports.KatoReply
) -> None:
    world = settling(about_to_learn(), before=before).kato("predictions", OK).kato("pattern", after)
    world.kato("learn", learned(NAME))
    world.turn(context(settle_ms=1_500))
    assert world.trace[-4:] == ["intent learn", "learn new", "intent verify", "defer"]
    assert world.the(ports.Defer).wait_ms == 1_500
    assert (world.binding and world.binding.kato_session, world.cursor) == ("new", 2)
    world.kato("pattern", frequency(before + 1)).kato("clear-stm", OK)
    world.turn()
    assert world.trace[-4:] == ["pattern", "intent clear_after_learn", "clear-stm new", "commit 3"]
    assert "learns_unknown" not in world.counts
    assert world.sent("learn") == [""]


def test_a_learn_that_is_repeated_and_had_counted_without_a_trace_is_never_silent() -> None:
    """KATO counts before it writes the row, so a 500 can leave a count that nobody can read (KATO_API.md).

    Falls when the frequency is not read again after the second learn.
    """
    world = settling(about_to_learn(), before=0).kato("predictions", OK).kato("pattern", forgotten())
    world.kato("learn", learned(NAME))
    world.turn()
    world.kato("pattern", frequency(2)).kato("clear-stm", OK)
    world.turn()
    assert world.trace[-1] == "commit 3"
    assert (world.counts["learns_unknown"], world.marked) == (1, 1)


@pytest.mark.parametrize("failing", [LOST, ERROR, GONE, REFUSED, BAD])
def test_a_second_learn_that_fails_is_settled_like_the_first(failing: Answer) -> None:
    world = settling(about_to_learn()).kato("predictions", OK).kato("pattern", frequency(4)).kato("learn", failing)
    world.turn()
    assert world.intent is not None
    assert (world.intent.kind, world.intent.again, world.cursor) == ("learn", True, 2)
    world.kato("delete", OK)
    world.turn()
    assert world.trace[-3:] == ["delete new", "intent settle", "defer"]


@pytest.mark.parametrize("after", [6, 9])
@pytest.mark.parametrize(("policy", "end"), [("go_on", "commit 3"), ("park", "commit 3 and park")])
def test_a_frequency_of_two_more_is_counted_its_node_marked_and_the_policy_followed(
    after: int, policy: str, end: str
) -> None:
    world = settling(about_to_learn()).kato("predictions", OK).kato("pattern", frequency(after)).kato("delete", OK)
    world.turn(context(on_unknown_learn=policy))  # type: ignore[arg-type]
    assert world.trace[-1] == end
    assert (world.counts["learns_unknown"], world.marked) == (1, 1)


def test_a_frequency_that_went_back_is_counted_and_its_node_marked() -> None:
    world = settling(about_to_learn()).kato("predictions", OK).kato("pattern", forgotten()).kato("delete", OK)
    world.turn()
    assert world.trace[-1] == "commit 3"
    assert (world.counts["learns_unknown"], world.marked) == (1, 1)


@pytest.mark.parametrize("ill", [ERROR, LOST])
def test_a_clickhouse_that_does_not_answer_leaves_the_learn_unsettled_and_no_session_behind(ill: Answer) -> None:
    """An unknown pattern is also what a failing ClickHouse looks like, so predictions must answer 200 first.

    Falls when learning.settle reads the frequency without asking for predictions.
    """
    world = settling(about_to_learn()).kato("predictions", ill).kato("delete", OK)
    world.turn()
    assert "pattern" not in world.trace
    assert world.trace[-1] == "defer"
    assert world.trace[-2] == "delete new", "the rebuilt KATO session is bound to no session"
    assert world.intent is not None
    assert world.intent.kind == "settle"


def test_a_frequency_that_cannot_be_read_leaves_the_learn_unsettled_and_no_session_behind() -> None:
    world = settling(about_to_learn()).kato("predictions", OK).kato("pattern", ERROR).kato("delete", OK)
    world.turn()
    assert world.trace[-2:] == ["delete new", "defer"]
    assert world.intent is not None


# --------------------------------------------------------------------------------- clear


def test_clear_stm_is_an_intent_and_a_commit_that_moves_the_mark() -> None:
    world = World(logged([*letters("ab"), plain("clear_stm", "e3")]), bound_at(2), cursor=2).kato("clear-stm", OK)
    world.turn()
    assert world.trace == ["intent clear", "clear-stm old", "commit 3"]
    assert (world.mark, world.binding and world.binding.time) == (3, 0)


@pytest.mark.parametrize("unknown", [LOST, ERROR, GONE, BAD])
def test_a_clear_of_unknown_outcome_deletes_its_session_and_is_committed_without_one(unknown: Answer) -> None:
    world = World(logged([*letters("ab"), plain("clear_stm", "e3")]), bound_at(2), cursor=2)
    world.kato("clear-stm", unknown).kato("delete", GONE)
    world.turn()
    assert world.trace == ["intent clear", "clear-stm old", "delete old", "commit 3"]
    assert world.binding is None


def test_an_open_clear_of_a_dead_worker_ends_in_a_deleted_session() -> None:
    log = logged([*letters("ab"), plain("clear_stm", "e3")])
    world = World(log, bound_at(2), Intent("dead", "clear", 3, 3), cursor=2).kato("delete", OK)
    world.turn()
    assert world.trace == ["delete old", "commit 3"]
    assert world.the(ports.Commit).call_id == "dead"


@pytest.mark.parametrize("kind", ["clear", "clear_after_learn"])
def test_a_clear_whose_delete_is_unknown_too_stays_open(kind: str) -> None:
    entries = [*letters("ab"), plain("learn" if "learn" in kind else "clear_stm", "e3")]
    intent = Intent("dead", kind, 3, 3, pattern=NAME, frequency=0)  # type: ignore[arg-type]
    world = World(logged(entries), bound_at(2), intent, cursor=2).kato("delete", LOST)
    world.turn()
    assert world.trace[-1] == "defer"
    assert world.intent is not None
    assert world.intent.kind == kind


def test_a_session_without_a_kato_session_needs_no_call_to_be_cleared() -> None:
    world = World(logged([plain("clear_stm", "e1")]))
    world.turn()
    assert world.trace == ["commit 1"]


def test_another_learn_with_nothing_to_learn_asks_kato_for_nothing() -> None:
    """The one before it is a dead letter behind the cursor. Falls when that counts as something to rebuild."""
    log = logged([observed("e1", "a"), plain("clear_stm", "e2"), plain("learn", "e3"), plain("learn", "e4")])
    world = World(log, None, cursor=2, mark=2)
    world.turn(context())
    world.turn(context())
    assert (world.cursor, world.trace) == (4, ["commit 3", "commit 4"])
    assert not world.counts


def test_an_observation_after_a_learn_with_nothing_to_learn_is_no_rebuild() -> None:
    log = logged([observed("e1", "a"), plain("clear_stm", "e2"), plain("learn", "e3"), observed("e4", "b")])
    world = World(log, None, cursor=3, mark=2).kato("sessions", created())
    world.kato("observe-sequence", sequence(1, time=1, stm_length=1))
    world.turn(context())
    assert world.cursor == 4
    assert not world.counts


def test_a_learn_of_one_symbol_answers_that_it_was_too_short() -> None:
    """KATO answers "learned" with an empty name, empties the STM and stores nothing."""
    world = World(logged([*letters("a"), plain("learn", "e2")]), bound_at(1), cursor=1)
    world.kato("cognition-data", holds(stm_of("a"))).kato("learn", learned("")).kato("clear-stm", OK)
    world.turn(context())
    ((_, answer),) = world.the(ports.Commit).results
    told = json.loads(answer)
    assert (told["status"], told["pattern_name"]) == ("too_short", "")
