"""A sequence of KATO's API as events of ours, and what KATO would answer of each."""

from __future__ import annotations

import random
from typing import Any

import pytest

from kato_tasks.embedded.kato.kato import Kato
from kato_tasks.embedded.kato.options import Options
from kato_tasks.http_server.kato_front.sequence import Step, steps_of, tell_steps
from kato_tasks.http_server.kato_front.waiting import Names
from kato_tasks.kato_wire.bodies import Observation, Sequence

NAMES = Names("k", "t", given=True)


def sequence(*texts: str, each: bool = False, end: bool = False, between: bool = False) -> Sequence:
    seen = [Observation(list(text), [], {"joy": 1.0}, {}, f"u{index}") for index, text in enumerate(texts)]
    return Sequence(seen, each, end, between)


def shown(steps: list[Step]) -> list[str]:
    return [f"{one.event_type[0]}{one.index}" for one in steps]


@pytest.mark.parametrize(
    ("given", "empty", "expected"),
    [
        (sequence("a", "b"), True, "o0 o1"),
        (sequence("a", "b", end=True), True, "o0 o1 l1"),
        (sequence("a", "b", each=True), True, "o0 l0 o1 l1"),
        (sequence("a", "b", each=True, end=True), True, "o0 l0 o1 l1"),
        (sequence("a", "", each=True), True, "o0 l0 o1"),
        (sequence("", "a", each=True), True, "o0 o1 l1"),
        (sequence("", "a", each=True), False, "o0 l0 o1 l1"),
        (sequence("a", "b", between=True), True, "o0 c0 o1"),
        (sequence("a", "b", between=True, end=True), True, "o0 c0 o1 l1"),
        (sequence("a", "b", between=True, each=True), True, "o0 l0 o1 l1"),
        (sequence("", end=True), True, "o0"),
    ],
)
def test_learns_and_clears_stand_where_kato_would_make_them(given: Sequence, empty: bool, expected: str) -> None:
    assert shown(steps_of(given, NAMES, empty=empty)) == expected.split()


def test_the_same_request_names_its_events_the_same() -> None:
    steps = steps_of(sequence("a", "b", each=True, between=True), NAMES, empty=True)
    assert [one.event_id for one in steps] == ["k/0", "k/0/learn", "k/1", "k/1/learn"]
    assert [one.wanted for one in steps] == [True, True, False, True]


def test_what_is_told_of_a_sequence_is_what_kato_answers() -> None:
    """For random flags and lengths, beside the embedded KATO. Seeds are printed by the failing assertion."""
    for seed in range(300):
        rng = random.Random(seed)
        kato = Kato(Options())
        session = kato.sessions.create("n", None, {"process_predictions": False}, {})
        before = rng.randrange(3)
        for number in range(before):
            kato.brain.observe(session, Observation([str(number)], [], {}, {}, None))
        flags = {name: rng.random() < 0.4 for name in ("learn_after_each", "learn_at_end", "clear_stm_between")}
        seen = [
            Observation(list("ab"[: rng.randrange(3)]), [], {"joy": 1.0}, {}, f"u{i}")
            for i in range(rng.randrange(1, 6))
        ]
        given = Sequence(seen, flags["learn_after_each"], flags["learn_at_end"], flags["clear_stm_between"])
        steps = steps_of(given, NAMES, empty=before == 0)
        results: dict[str, dict[str, Any]] = {}
        length = before
        names = iter(learned_names(kato, session, given))
        for step in steps:
            if step.event_type == "observation":
                length += step.counts
                results[step.event_id] = {"stm_length": length, "time": before + step.index + 1}
            else:
                length = 0
                if step.event_type == "learn":
                    results[step.event_id] = {"pattern_name": next(names)}
        told = tell_steps(steps, given, results)
        expected = results_of(kato, session, given)
        assert (told.before, told.learned, told.final) == (before, expected[1], expected[2]), seed
        assert [(row["stm_length"], row["unique_id"]) for row in told.rows] == expected[0], seed


def learned_names(kato: Kato, session: Any, given: Sequence) -> list[str]:
    _, learned, _ = kato.brain.sequence(copy_of(kato, session), given)
    return list(learned)


def results_of(kato: Kato, session: Any, given: Sequence) -> tuple[list[tuple[int, str]], list[str], str | None]:
    results, learned, final = kato.brain.sequence(copy_of(kato, session), given)
    return [(length, unique_id) for length, _, unique_id, _ in results], list(learned), final


def copy_of(kato: Kato, session: Any) -> Any:
    """A session that holds the same, since a sequence is saved."""
    copy = kato.sessions.create("n", None, {"process_predictions": False}, {})
    copy.stm, copy.time = list(session.stm), session.time
    return copy


def test_what_an_expired_result_would_say_is_null_and_no_guess() -> None:
    given = sequence("a", "b", "c", end=True)
    told = tell_steps(steps_of(given, NAMES, empty=True), given, {"k/2/learn": {"pattern_name": "PTRN|x"}})
    assert (told.before, told.final) == (None, "PTRN|x")
    assert [(row["stm_length"], row["time"]) for row in told.rows] == [(None, None)] * 3
