"""What KATO predicts, and in what form."""

from typing import Any

import pytest

from tests.contract.kato.client import QUIET, Kato, KatoSession, body_of
from tests.waiting import wait_until

FIELDS = [
    "type",
    "name",
    "frequency",
    "emotives",
    "matches",
    "past",
    "present",
    "missing",
    "extras",
    "anomalies",
    "potential",
    "evidence",
    "similarity",
    "fragmentation",
    "snr",
    "confluence",
    "predictive_information",
    "sequence",
    "future",
    "confidence",
]


def seen(session: KatoSession, *names: str) -> list[dict[str, Any]]:
    """The predictions, once all the patterns of these names are among them."""

    def all_there() -> list[dict[str, Any]] | None:
        found = session.predictions()
        have = {"PTRN|" + prediction["name"] for prediction in found}
        return found if set(names) <= have else None

    found = wait_until(all_there, 5, f"{names} are predicted")
    assert found is not None
    return found


def test_a_prediction_is_as_measured(session: KatoSession) -> None:
    name = session.learned(["a"], ["b"], ["c"], ["d"])
    session.sequence(["a"], ["b"])
    (prediction,) = seen(session, name)
    assert set(FIELDS) <= set(prediction)
    exact = {
        "type": "prototypical",
        "name": name.removeprefix("PTRN|"),
        "frequency": 1,
        "emotives": {},
        "matches": ["a", "b"],
        "past": [],
        "present": [["a"], ["b"]],
        "missing": [[], []],
        "extras": [[], []],
        "anomalies": [],
        "sequence": [["a"], ["b"], ["c"], ["d"]],
        "future": [["c"], ["d"]],
        "potential": 3.5,
        "evidence": 0.5,
        "fragmentation": 0.0,
        "snr": 1.0,
        "confluence": 0.0,
        "confidence": 1.0,
    }
    assert {field: prediction[field] for field in exact} == exact
    assert prediction["similarity"] == pytest.approx(2 / 3, abs=1e-3)
    assert prediction["predictive_information"] == pytest.approx(2 / 3, abs=1e-3)


def test_the_answer_around_the_predictions_is_as_measured(session: KatoSession) -> None:
    name = session.learned(["a"], ["b"], ["c"], ["d"])
    session.sequence(["a"], ["b"])
    seen(session, name)
    answer = body_of(session.ask("GET", "predictions"))
    (future,) = answer["future_potentials"]
    assert future["total_weighted_frequency"] == pytest.approx(2 / 3, abs=1e-3)
    assert {key: future[key] for key in ("future", "aggregate_potential", "supporting_patterns")} == {
        "future": [["c"], ["d"]],
        "aggregate_potential": 1.0,
        "supporting_patterns": 1,
    }
    rest = {key: answer[key] for key in ("session_id", "processor_id", "count", "time", "unique_id")}
    assert rest == {
        "session_id": session.id,
        "processor_id": None,
        "count": 1,
        "time": None,
        "unique_id": None,
    }


def test_past_present_and_future_are_whole_events(session: KatoSession) -> None:
    name = session.learned(["a"], ["b", "x"], ["c"], ["d"])
    session.sequence(["b"], ["c"])
    (prediction,) = seen(session, name)
    assert prediction["past"] == [["a"]]
    assert prediction["present"] == [["b", "x"], ["c"]]
    assert prediction["future"] == [["d"]]
    assert prediction["missing"] == [["x"], []]


def test_what_was_observed_and_not_expected_is_extra(session: KatoSession) -> None:
    name = session.learned(["a"], ["b"], ["c"])
    session.sequence(["a"], ["z"], ["b"])
    (prediction,) = seen(session, name)
    assert prediction["matches"] == ["a", "b"]
    assert prediction["extras"] == [[], ["z"], []]
    assert prediction["future"] == [["c"]]


def test_a_prediction_shows_how_often_its_pattern_was_learned(session: KatoSession) -> None:
    session.learned(["a"], ["b"], ["c"])
    name = session.learned(["a"], ["b"], ["c"])
    session.sequence(["a"], ["b"])
    wait_until(lambda: seen(session, name)[0]["frequency"] == 2, 5, "the frequency is 2")


def test_an_empty_stm_has_no_predictions(session: KatoSession) -> None:
    session.learned(["a"], ["b"])
    answer = body_of(session.ask("GET", "predictions"))
    assert (answer["predictions"], answer["count"]) == ([], 0)


def test_an_stm_that_resembles_nothing_has_no_predictions(session: KatoSession) -> None:
    session.learned(["a"], ["b"])
    session.sequence(["y"], ["z"])
    assert session.predictions() == []


def test_one_symbol_is_answered_by_patterns_that_start_with_it(session: KatoSession) -> None:
    starts = session.learned(["b"], ["c"])
    session.learned(["a"], ["b"])
    session.observe("b")
    assert ["PTRN|" + prediction["name"] for prediction in seen(session, starts)] == [starts]


def test_more_alike_comes_first(session: KatoSession) -> None:
    names = [
        session.learned(["a"], ["b"], ["c"]),
        session.learned(["a"], ["x"], ["y"], ["z"], ["w"]),
    ]
    session.sequence(["a"], ["b"])
    found = seen(session, *names)
    assert ["PTRN|" + prediction["name"] for prediction in found] == names
    potentials = [prediction["potential"] for prediction in found]
    assert potentials == sorted(potentials, reverse=True)


def test_a_recall_threshold_leaves_out_what_is_less_alike(kato: Kato, session: KatoSession) -> None:
    near = session.learned(["a"], ["b"], ["c"])
    far = session.learned(["a"], ["x"], ["y"], ["z"], ["w"])
    session.sequence(["a"], ["b"])
    seen(session, near, far)
    strict = kato.session(session.node, config={**QUIET, "recall_threshold": 0.6})
    strict.sequence(["a"], ["b"])
    assert ["PTRN|" + prediction["name"] for prediction in strict.predictions()] == [near]


def test_max_predictions_is_a_limit(kato: Kato, session: KatoSession) -> None:
    names = [session.learned(["a"], ["b"], [str(number)]) for number in range(4)]
    session.sequence(["a"], ["b"])
    seen(session, *names)
    few = kato.session(session.node, config={**QUIET, "max_predictions": 2})
    few.sequence(["a"], ["b"])
    assert len(few.predictions()) == 2


def test_a_new_pattern_is_seen_within_a_second(session: KatoSession) -> None:
    session.sequence(["a"], ["b"], ["c"])
    session.learn()
    session.sequence(["a"], ["b"])
    wait_until(session.predictions, 1, "the new pattern is predicted")


def test_with_predictions_on_an_observe_leaves_them_in_cognition_data(kato: Kato) -> None:
    session = kato.session(config={"process_predictions": True})
    session.learned(["a"], ["b"], ["c"])
    session.sequence(["a"], ["b"])
    assert [prediction["future"] for prediction in session.cognition()["predictions"]] == [[["c"]]]
