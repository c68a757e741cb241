"""What makes no progress though KATO answers ends parked, with its reason; a KATO that is ill is waited for."""

import json
import random

import pytest

from kato_tasks import ports
from kato_tasks.domain.kato_session import Intent
from kato_tasks.domain.stm import pattern_name
from kato_tasks.engine.drain.context import LaneContext
from kato_tasks.engine.drain.endings import weigh_plain_answer
from kato_tasks.engine.drain.kato_session import UNREAD
from kato_tasks.engine.drain.retry import RetryPolicy
from tests.unit.engine.world import (
    BAD,
    ERROR,
    GONE,
    LOST,
    NOW_MS,
    OK,
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
    plain,
    sequence,
    stm_of,
)


def lane(max_rebuilds: int = 3) -> LaneContext:
    return context(retry=RetryPolicy(max_rebuilds=max_rebuilds, max_retries=2, rng=random.Random(1)))


def before_a_learn() -> World:
    return World(logged([*letters("ab"), plain("learn", "l")]), bound_at(2), cursor=2)


def rebuilt(world: World) -> World:
    world.kato("sessions", created("old")).kato("observe-sequence", sequence(2, time=2, stm_length=2))
    return world.kato("cognition-data", holds(stm_of("ab")))


def why(world: World) -> str:
    assert world.trace[-1] == "park", world.trace
    return str(json.loads(world.the(ports.Park).why)["reason"])


@pytest.mark.parametrize("seen", [holds(stm_of("ax")), ERROR], ids=["something else", "an error"])
def test_a_session_whose_kato_session_reads_as_something_else_after_every_rebuild_is_parked(seen: Answer) -> None:
    """Falls when only rebuilds that fail are counted: here each one succeeds, and nothing else does."""
    world = before_a_learn()
    world.unsent = UNREAD
    for _ in range(3):
        rebuilt(world.kato("cognition-data", seen).kato("delete", OK)).turn(lane())
        assert world.trace[-2:] == ["bind old", "defer"]
    world.kato("cognition-data", seen).turn(lane())
    assert "not what the log says" in why(world)


def test_a_session_that_kato_forgets_after_every_rebuild_is_parked() -> None:
    world = before_a_learn()
    for _ in range(3):
        rebuilt(world.kato("cognition-data", GONE).kato("delete", GONE)).kato("delete", GONE).turn(lane())
        assert world.trace[-1] == "defer"
    world.kato("cognition-data", GONE).turn(lane())
    assert "was gone" in why(world)


def test_progress_forgets_what_was_in_vain_before() -> None:
    world = before_a_learn()
    rebuilt(world.kato("cognition-data", GONE).kato("delete", GONE)).kato("delete", GONE).turn(lane())
    assert world.rebuilds == 1
    world.kato("cognition-data", holds(stm_of("ab"))).kato("pattern", frequency(1))
    world.kato("learn", learned("any")).kato("clear-stm", OK).turn(lane())
    assert world.cursor == 3


def test_a_call_whose_outcome_cannot_be_read_because_kato_cannot_read_that_session_is_fenced() -> None:
    intent = Intent("c", "observe", 2, 2, time=1, stm_length=1)
    world = World(logged(letters("ab")), bound_at(1), intent, cursor=1)
    world.kato("cognition-data", ERROR).kato("delete", OK).kato("sessions", created())
    world.kato("observe-sequence", sequence(1, time=1, stm_length=1)).kato("cognition-data", holds(stm_of("a")))
    world.turn(lane())
    assert world.trace[-2:] == ["bind new", "defer"]


@pytest.mark.parametrize("answer", [ERROR, BAD], ids=["500", "refused"])
def test_a_learn_that_kato_answers_with_an_error_every_time_is_parked(answer: Answer) -> None:
    """Falls when the second learn's failure begins the settling again: it would never end."""
    world = before_a_learn()
    world.intent = Intent("c", "settle", 3, 3, pattern=pattern_name(stm_of("ab")), frequency=0)
    world.otherwise = {"predictions": OK, "pattern": forgotten(), "delete": OK}
    for _ in range(3):
        rebuilt(world).kato("learn", answer).turn(lane())
        assert world.trace[-1] == "defer"
        world.turn(lane())
        assert world.intent is not None
        assert world.intent.kind == "settle"
    rebuilt(world).kato("learn", answer).turn(lane())
    assert "its learn" in why(world)


@pytest.mark.parametrize("answer", [ERROR, LOST], ids=["500", "time-out"])
def test_a_learn_is_settled_though_kato_cannot_predict_for_its_stm(answer: Answer) -> None:
    """Falls when predictions alone say that ClickHouse answers: of a large node's they can take too long each time."""
    world = before_a_learn()
    world.intent = Intent("c", "settle", 3, 3, pattern=pattern_name(stm_of("ab")), frequency=0)
    world.known = "PTRN|known"
    rebuilt(world).kato("predictions", answer).kato("pattern", frequency(7)).kato("pattern", frequency(1))
    world.kato("delete", OK).turn(lane())
    assert world.cursor == 3


def test_a_session_for_which_kato_refuses_a_new_one_is_parked() -> None:
    world = World(logged(letters("a")), None)
    for _ in range(3):
        world.kato("sessions", BAD).turn(lane())
        assert world.trace[-1] == "defer"
    world.kato("sessions", BAD).turn(lane())
    assert "refused" in why(world)


def test_a_kato_that_fails_whatever_it_is_asked_parks_no_session() -> None:
    world = World(logged(letters("a")), None)
    for _ in range(20):
        world.kato("sessions", ERROR).turn(lane())
    assert world.of(ports.Park) == []
    assert world.rebuilds == 0


def test_a_plain_answer_counts_as_a_tenth_of_all_tries() -> None:
    assert [weigh_plain_answer(lane(most)) for most in (1, 9, 50)] == [1, 1, 5]


def test_a_learn_does_not_wait_for_another_sessions_that_is_only_written_down_as_open() -> None:
    """Falls when the lane's list of open learns is believed: nobody would ever take the row off it."""
    world = before_a_learn()
    world.unsettled, world.others_open = "another", False
    world.kato("cognition-data", holds(stm_of("ab"))).kato("pattern", frequency(1))
    world.kato("learn", learned(pattern_name(stm_of("ab")))).kato("clear-stm", OK).turn(lane())
    assert (world.cursor, world.counts.get("learns_in_doubt")) == (3, None)


def test_a_kato_session_that_kato_does_not_extend_expires_and_its_session_goes_on() -> None:
    world = World(logged(letters("a")), bound_at(1, expires_ms=NOW_MS + 1_000), cursor=1)
    world.kato("extend", BAD).turn(lane())
    assert world.trace[-1] == "commit 1"
    assert world.binding is not None
    assert world.binding.expires_ms == NOW_MS + 1_000
