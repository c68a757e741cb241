"""predict: it changes nothing, so the only dangers are asking KATO too early, about a gap, or about poison."""

from __future__ import annotations

import json
import random

import pytest

from kato_tasks import ports
from kato_tasks.engine.drain.retry import RetryPolicy
from kato_tasks.errors import KatoCircuitOpen
from tests.unit.engine.world import (
    BAD,
    BUSY,
    ERROR,
    LOST,
    NOW_MS,
    OK,
    REFUSED,
    Answer,
    World,
    bound_at,
    context,
    created,
    holds,
    letters,
    logged,
    observed,
    reply,
    sequence,
    stm_of,
)

SEEN = reply({"predictions": [{"name": "p"}], "future_potentials": [{"future": []}]})


def asking(text: str = "ab", **more: object) -> World:
    return World(logged(letters(text)), bound_at(len(text)), cursor=len(text), asked="q", **more)  # type: ignore[arg-type]


def result(world: World) -> dict[str, object]:
    ((name, text),) = world.the(ports.Commit).results
    assert (name, world.the(ports.Commit).predict_id) == ("q", "q")
    answer: dict[str, object] = json.loads(text)
    return answer


def test_a_predict_reads_back_before_it_asks_and_changes_neither_cursor_nor_binding() -> None:
    """Invariant 3. Falls without `verified` in predicting.predict."""
    world = asking().kato("cognition-data", holds(stm_of("ab"))).kato("predictions", SEEN)
    world.turn()
    assert world.trace == ["cognition-data old", "predictions old", "commit 2"]
    assert result(world)["predictions"] == [{"name": "p"}]
    assert world.the(ports.Commit).keep_binding


def test_a_predict_over_a_gap_is_fenced_first() -> None:
    world = asking().kato("cognition-data", holds(stm_of("a"), time=1)).kato("delete", OK).kato("sessions", created())
    world.kato("observe-sequence", sequence(2, time=2, stm_length=2)).kato("cognition-data", holds(stm_of("ab")))
    world.turn()
    assert world.trace[-2:] == ["bind new", "defer"]
    assert "predictions old" not in world.trace


@pytest.mark.parametrize("ago", [0, 1, 299])
def test_a_predict_waits_out_300_ms_after_the_learn_that_it_is_to_see(ago: int) -> None:
    world = asking(learned_ms=NOW_MS - ago)
    world.turn()
    assert world.trace == ["defer"]
    assert world.the(ports.Defer).wait_ms == 300 - ago


@pytest.mark.parametrize("ago", [300, -3_600_000])
def test_a_predict_does_not_wait_300_ms_after_a_learn_nor_for_a_clock_that_went_back(ago: int) -> None:
    world = asking(learned_ms=NOW_MS - ago)
    world.kato("cognition-data", holds(stm_of("ab"))).kato("predictions", SEEN)
    world.turn()
    assert world.trace[-1] == "commit 2"


@pytest.mark.parametrize("symbol", ["it's", "'", "a\\", 'say "x"'])
def test_kato_is_never_asked_about_one_symbol_with_a_quote_or_backslash(symbol: str) -> None:
    world = World(logged([observed("e1", symbol)]), bound_at(1), cursor=1, asked="q")
    world.kato("cognition-data", holds([[symbol]]))
    world.turn()
    assert world.trace == ["cognition-data old", "commit 1"]
    assert result(world)["predictions"] == []


def test_the_poison_of_a_single_symbol_is_harmless_among_others() -> None:
    world = World(logged([observed("e1", "it's"), observed("e2", "b")]), bound_at(2), cursor=2, asked="q")
    world.kato("cognition-data", holds([["it's"], ["b"]])).kato("predictions", SEEN)
    world.turn()
    assert world.trace[-1] == "commit 2"


@pytest.mark.parametrize("mark", [0, 2])
def test_an_empty_stm_predicts_nothing_and_kato_is_not_asked(mark: int) -> None:
    """KATO would answer another session's future_potentials (KATO_API.md, predictions)."""
    world = World(logged(letters("ab")), bound_at(0), cursor=mark, mark=mark, asked="q")
    world.turn()
    assert world.trace == [f"commit {mark}"]


def test_a_predict_of_a_session_without_a_kato_session_rebuilds_it() -> None:
    world = asking().kato("sessions", created()).kato("observe-sequence", sequence(2, time=2, stm_length=2))
    world.binding = None
    world.kato("cognition-data", holds(stm_of("ab")))
    world.kato("cognition-data", holds(stm_of("ab"))).kato("predictions", SEEN)
    world.turn()
    assert "bind new" in world.trace
    assert world.trace[-2:] == ["predictions new", "commit 2"]


def test_a_predict_that_kato_refuses_is_answered_with_the_reason() -> None:
    world = asking().kato("cognition-data", holds(stm_of("ab"))).kato("predictions", BAD)
    world.turn()
    assert result(world)["error"] == {
        "type": "EventRefused",
        "message": 'predict failed: KATO answered 400: {"detail": "no"}',
    }


@pytest.mark.parametrize("never", [REFUSED, BUSY, KatoCircuitOpen("open")])
def test_a_predict_that_was_never_sent_waits_as_long_as_it_takes(never: Answer) -> None:
    world = asking(attempts=99).kato("cognition-data", never)
    world.turn()
    assert world.trace[-1] == "defer"


@pytest.mark.parametrize("failing", [ERROR, LOST])
def test_a_predict_is_given_up_after_its_attempts_and_never_parks_its_session(failing: Answer) -> None:
    world = asking(attempts=3)
    world.kato("cognition-data", holds(stm_of("ab"))).kato("predictions", failing)
    world.turn(context(retry=RetryPolicy(max_retries=3)))
    assert result(world)["error"] is not None
    assert world.trace[-1] == "commit 2"


@pytest.mark.parametrize("failing", [ERROR, LOST])
def test_a_predict_that_fails_holds_up_the_events_behind_it_no_longer_than_its_patience(failing: Answer) -> None:
    """Invariant 5. Falls when a predict has as many attempts as an event, each after a longer wait."""
    waited = 0
    world = asking().kato("cognition-data", holds(stm_of("ab"))).kato("predictions", failing)
    lane = context(retry=RetryPolicy(base_seconds=60.0, predict_seconds=5.0, rng=random.Random(1)))
    world.turn(lane)
    while world.asked:
        waited += world.of(ports.Defer)[-1].wait_ms
        world.first_failed_ms, world.now_ms = NOW_MS, NOW_MS + waited
        world.kato("cognition-data", holds(stm_of("ab"))).kato("predictions", failing)
        world.turn(lane)
    assert waited == 5_000
    assert str(result(world)["error"]).startswith("{'type': 'EventRefused', 'message': 'predict failed")


def test_a_predict_whose_time_has_passed_is_refused_and_kato_is_not_asked() -> None:
    """Falls without the look at `asked_until_ms` in predicting.predict."""
    world = asking(asked_until_ms=NOW_MS)
    world.turn()
    assert world.trace == ["commit 2"]
    assert "expire" in str(result(world)["error"])
    world = asking(asked_until_ms=NOW_MS + 1).kato("cognition-data", holds(stm_of("ab"))).kato("predictions", SEEN)
    world.turn()
    assert world.trace[-1] == "commit 2"


def test_a_predict_that_ended_five_workers_is_refused_and_kato_is_not_asked() -> None:
    """Falls without the look at `asked_before` in predicting.predict: an answer that kills would come forever."""
    world = asking(asked_before=5)
    world.turn()
    assert world.trace == ["commit 2"]
    assert "5 workers ended" in str(result(world)["error"])


def test_predictions_are_read_up_to_16_mb() -> None:
    world = asking().kato("cognition-data", holds(stm_of("ab"))).kato("predictions", SEEN)
    world.turn()
    read, asked = world.of(ports.KatoRequest)
    assert (read.most_bytes, asked.most_bytes) == (ports.REPLY_BYTES, 16 * 1024 * 1024)
