"""One form of prediction, made of real answers: KATO 3.10.1, recorded on 25 November 2026."""

from __future__ import annotations

import json
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

from kato_tasks.domain.predictions import in_one_form
from kato_tasks.domain.results import Predicted, Prediction

RECORDED = json.loads((Path(__file__).parent / "recorded" / "predictions.json").read_text())
ONE, TWO, ONE_UNKNOWN, TWO_UNKNOWN = RECORDED["answers"]
AROUND = {"session_id": "s", "node_id": "n", "event_id": "q", "after": 1}


def stored(recorded: dict[str, Any]) -> dict[str, Any]:
    """What the store keeps of a recorded answer."""
    body = recorded["body"]
    return {**AROUND, "predictions": body["predictions"], "future_potentials": body["future_potentials"]}


@pytest.mark.parametrize("recorded", RECORDED["answers"], ids=lambda recorded: str(recorded["stm"]))
def test_every_recorded_answer_becomes_the_documented_model(recorded: dict[str, Any]) -> None:
    told = in_one_form(stored(recorded))
    assert Predicted.model_validate(told, strict=True).model_dump() == told
    for prediction in told["predictions"]:
        assert set(Prediction.model_fields) <= set(prediction)
        assert prediction["past"] + prediction["present"] + prediction["future"] == prediction["sequence"]
        assert prediction["length"] == len(list(chain.from_iterable(prediction["sequence"])))
        assert len(prediction["missing"]) == len(prediction["present"])
        assert len(prediction["extras"]) == len(recorded["stm"])


def test_predictions_of_one_symbol_and_of_two_have_the_same_fields() -> None:
    (one, other), (two, _) = (in_one_form(stored(recorded))["predictions"] for recorded in (ONE, TWO))
    assert set(one) == set(other) == set(two)


def test_one_symbol_is_told_in_whole_events_of_the_pattern() -> None:
    assert [(p["present"], p["future"]) for p in ONE["body"]["predictions"]] == [
        (["a"], ["b", "c", "d"]),
        (["a"], ["x", "b", "c", "d"]),
    ]
    single, wide = in_one_form(stored(ONE))["predictions"]
    assert (single["past"], single["present"], single["future"]) == ([], [["a"]], [["b"], ["c"], ["d"]])
    assert (single["missing"], single["extras"]) == ([[]], [[]])
    assert (wide["past"], wide["present"], wide["future"]) == ([], [["a", "x"]], [["b"], ["c", "d"]])
    assert (wide["missing"], wide["extras"]) == ([["x"]], [[]])


def test_nothing_that_kato_said_of_one_symbol_is_dropped() -> None:
    in_events = {"past", "present", "future", "missing", "extras"}
    for given, told in zip(ONE["body"]["predictions"], in_one_form(stored(ONE))["predictions"], strict=True):
        assert told["sequence"] == given["pattern_data"]
        same = given.keys() - {"pattern_data"} - in_events
        assert {name: told[name] for name in same} == {name: given[name] for name in same}


def test_two_symbols_are_told_as_kato_said_them_with_the_patterns_length_beside() -> None:
    told = in_one_form(stored(TWO))
    assert told["future_potentials"] == TWO["body"]["future_potentials"]
    for given, prediction in zip(TWO["body"]["predictions"], told["predictions"], strict=True):
        assert {name: prediction[name] for name in given} == given
        assert prediction.keys() - given.keys() == {"length"}


def test_futures_of_an_earlier_question_are_not_told() -> None:
    """KATO 3.10.1 shows them beside an answer to one symbol, no matter who asked before."""
    assert ONE_UNKNOWN["body"]["predictions"] == []
    assert ONE_UNKNOWN["body"]["future_potentials"] == TWO["body"]["future_potentials"]
    assert in_one_form(stored(ONE_UNKNOWN))["future_potentials"] == []
    beside_one = {**stored(ONE), "future_potentials": TWO["body"]["future_potentials"]}
    assert in_one_form(beside_one)["future_potentials"] == []


def test_what_is_in_the_one_form_stays_as_it_is() -> None:
    for recorded in RECORDED["answers"]:
        told = in_one_form(stored(recorded))
        assert in_one_form(told) == told


def test_symbols_whose_events_cannot_be_told_become_events_of_their_own() -> None:
    """A KATO of another version whose lists do not add up to the pattern loses no symbol."""
    odd = {**ONE["body"]["predictions"][0], "past": [], "present": ["a"], "future": ["c", "d"]}
    (told,) = in_one_form({**AROUND, "predictions": [odd], "future_potentials": []})["predictions"]
    assert (told["past"], told["present"], told["future"]) == ([], [["a"]], [["c"], ["d"]])
    assert told["sequence"] == [["a"], ["b"], ["c"], ["d"]]
