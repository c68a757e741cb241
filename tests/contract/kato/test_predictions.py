"""What KATO predicts, and in what form. Questions are such that no order or figure hangs on a tie."""

from typing import Any

import pytest

from kato_tasks.domain.predictions import in_one_form
from kato_tasks.domain.results import Predicted
from kato_tasks.testing.waiting import wait_until
from tests.contract.kato.client import QUIET, Kato, KatoSession, body_of

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
    "weighted_similarity",
    "weighted_evidence",
    "weighted_confidence",
    "weighted_snr",
    "entropy",
    "normalized_entropy",
    "global_normalized_entropy",
    "itfdf_similarity",
    "tfidf_score",
    "pattern_probability",
    "weighted_strength",
    "bayesian_posterior",
    "bayesian_prior",
    "bayesian_likelihood",
]
FIELDS_OF_ONE_SYMBOL = [
    "name",
    "pattern_data",
    "length",
    "frequency",
    "emotives",
    "matches",
    "missing",
    "present",
    "past",
    "future",
    "extras",
    "similarity",
    "evidence",
    "confidence",
    "snr",
    "fragmentation",
    "anomalies",
    "weighted_similarity",
    "weighted_evidence",
    "weighted_confidence",
    "weighted_snr",
    "potential",
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
    assert list(prediction) == FIELDS
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
    figures = {
        "similarity": 2 / 3,
        "predictive_information": 2 / 3,
        "entropy": 1.0,
        "normalized_entropy": 0.5,
        "global_normalized_entropy": 0.0,
        "itfdf_similarity": 1.0,
        "tfidf_score": 0.5,
        "pattern_probability": 1.0,
        "weighted_strength": 2 / 3,
        "bayesian_posterior": 1.0,
        "bayesian_prior": 1.0,
        "bayesian_likelihood": 2 / 3,
    }
    assert {field: prediction[field] for field in figures} == pytest.approx(figures, rel=1e-9)
    assert {prediction[field] for field in FIELDS if field.startswith("weighted_") and "strength" not in field} == {
        None
    }


def test_figures_that_compare_predictions_are_as_measured(session: KatoSession) -> None:
    """KATO 3.10.1, November 2026: one pattern learned twice, wide and long; one once, short; one that repeats."""
    wide = session.learned(["a", "x"], ["b"], ["c", "d"], ["e"])
    session.learned(["a", "x"], ["b"], ["c", "d"], ["e"])
    short = session.learned(["a"], ["b"], ["c"])
    repeats = session.learned(["a", "a"], ["a"])
    session.sequence(["a"], ["b"])
    seen(session, wide, short, repeats)
    found = {"PTRN|" + prediction["name"]: prediction for prediction in session.predictions()}
    figures = [
        "potential",
        "confluence",
        "predictive_information",
        "normalized_entropy",
        "global_normalized_entropy",
        "itfdf_similarity",
        "tfidf_score",
        "bayesian_posterior",
    ]
    measured = {
        short: [
            3.6666666666666665,
            0.11111111111111112,
            0.55,
            0.3868528072345416,
            0.15086292368727788,
            1.0,
            0.646240625180289,
            0.36363636363636365,
        ],
        wide: [
            2.4818120558297156,
            0.5185185185185185,
            0.55,
            0.6131471927654584,
            0.355245321275764,
            0.9818120558297159,
            0.574436111271368,
            0.45454545454545453,
        ],
        repeats: [2.2357903513622386, 0.0, 0.55, 0.0, 0.0, 0.9580125735844609, 1.0, 0.18181818181818182],
    }
    assert {name: [prediction[field] for field in figures] for name, prediction in found.items()} == {
        name: pytest.approx(expected, rel=1e-9, abs=1e-12) for name, expected in measured.items()
    }


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


def test_one_symbol_is_answered_in_symbols_instead_of_events(session: KatoSession) -> None:
    wide = session.learned(["a", "x"], ["b"], ["c", "d"])
    plain = session.learned(["a"], ["b"], ["c"])
    session.observe("a")
    answer = seen(session, wide, plain)
    assert [list(prediction) for prediction in answer] == [FIELDS_OF_ONE_SYMBOL] * 2
    exact = {
        "name": wide.removeprefix("PTRN|"),
        "pattern_data": [["a", "x"], ["b"], ["c", "d"]],
        "length": 5,
        "frequency": 1,
        "emotives": {},
        "matches": ["a"],
        "missing": [],
        "present": ["a"],
        "past": [],
        "future": ["x", "b", "c", "d"],
        "extras": [],
        "evidence": 0.2,
        "confidence": 1.0,
        "snr": 1.0,
        "fragmentation": 0,
        "anomalies": [],
        "weighted_similarity": None,
    }
    assert {field: answer[1][field] for field in exact} == exact
    assert [prediction["similarity"] for prediction in answer] == pytest.approx([0.5, 1 / 3], rel=1e-9)
    assert [prediction["potential"] for prediction in answer] == pytest.approx([7 / 3, 2.2], rel=1e-9)


def test_a_recall_threshold_says_nothing_to_one_symbol(kato: Kato, session: KatoSession) -> None:
    long = session.learned(["a"], *([str(number)] for number in range(9)))
    strict = kato.session(session.node, config={**QUIET, "recall_threshold": 0.9})
    strict.observe("a")
    (prediction,) = seen(strict, long)
    assert prediction["similarity"] == pytest.approx(2 / 11, rel=1e-9)


def test_both_forms_become_the_one_that_kato_tasks_tells(session: KatoSession) -> None:
    name = session.learned(["a", "x"], ["b"], ["c", "d"])
    keys = set()
    for stm, present in ((["a"], [["a", "x"]]), (["a", "b"], [["a", "x"], ["b"]])):
        session.clear()
        session.sequence(*([symbol] for symbol in stm))
        seen(session, name)
        answer = body_of(session.ask("GET", "predictions"))
        told = in_one_form({**answer, "node_id": session.node, "event_id": "q", "after": len(stm)})
        (prediction,) = Predicted.model_validate(told, strict=True).model_dump()["predictions"]
        whole = [["a", "x"], ["b"], ["c", "d"]]
        assert (prediction["present"], prediction["sequence"]) == (present, whole)
        assert prediction["past"] + prediction["present"] + prediction["future"] == whole
        assert prediction["missing"] == [["x"], [], []][: len(present)]
        assert prediction["extras"] == [[] for _ in stm]
        keys.add(frozenset(prediction))
    assert len(keys) == 1


@pytest.mark.parametrize(
    ("stm", "expected"),
    [
        # The pattern's order counts, and what the STM has more than once is no extra.
        (["b", "a", "b"], ([], [["a", "b"]], [["b"], ["c"]], [[]], [[], [], []])),
        # b and c match as the last two events; the event before them has a b too, so it is present.
        (["b", "c"], ([], [["a", "b"], ["b"], ["c"]], [], [["a"], [], []], [[], []])),
        # c and b do not match together: the first run that difflib finds is b in the first event.
        (["c", "b"], ([], [["a", "b"]], [["b"], ["c"]], [["a"]], [["c"], []])),
        (["c", "c"], ([["a", "b"], ["b"]], [["c"]], [], [[]], [[], []])),
    ],
)
def test_symbols_that_repeat_or_come_in_another_order(
    session: KatoSession, stm: list[str], expected: tuple[Any, ...]
) -> None:
    name = session.learned(["a", "b"], ["b"], ["c"])
    session.sequence(*([symbol] for symbol in stm))
    (prediction,) = seen(session, name)
    assert tuple(prediction[field] for field in ("past", "present", "future", "missing", "extras")) == expected


def test_a_recall_threshold_of_0_lets_in_what_has_nothing_in_common(kato: Kato, session: KatoSession) -> None:
    other = session.learned(["a"], ["b"])
    lax = kato.session(session.node, config={**QUIET, "recall_threshold": 0.0})
    lax.sequence(["y"], ["z"])
    (prediction,) = seen(lax, other)
    exact = {
        "matches": [],
        "past": [],
        "present": [["a"], ["b"]],
        "future": [],
        "missing": [["a"], ["b"]],
        "extras": [["y"], ["z"]],
        "similarity": 0.0,
        "evidence": 0.0,
        "fragmentation": -1.0,
        "snr": -1.0,
        "predictive_information": 0.0,
    }
    assert {field: prediction[field] for field in exact} == exact


def test_a_sessions_ranking_is_ignored(kato: Kato, session: KatoSession) -> None:
    """KATO's server ranks by its own RANK_SORT_ALGO, which is `potential` unless it was started with another."""
    rare = session.learned(["a"], ["b"], ["rare"])
    for _ in range(5):
        often = session.learned(["a"], ["b"], ["c"], ["d"], ["e"], ["often"])
    asking = kato.session(session.node, config={**QUIET, "rank_sort_algo": "frequency"})
    assert asking.created["session_config"]["rank_sort_algo"] == "frequency"
    asking.sequence(["a"], ["b"])
    assert ["PTRN|" + prediction["name"] for prediction in seen(asking, rare, often)] == [rare, often]


def test_finalize_training_fixes_figures_of_the_whole_pattern(session: KatoSession) -> None:
    name = session.learned(["a"], ["b"], ["c"], ["d"])
    assert body_of(session.ask("POST", "finalize-training"))["patterns_processed"] == 1
    session.sequence(["a"], ["b"])
    (prediction,) = seen(session, name)
    figures = ["entropy", "normalized_entropy", "global_normalized_entropy", "tfidf_score"]
    assert [prediction[figure] for figure in figures] == pytest.approx([2.0, 1.0, 0.0, 0.25], rel=1e-9)


def test_a_learn_leaves_the_predictions_of_the_last_observe_in_cognition_data(kato: Kato) -> None:
    session = kato.session(config={"process_predictions": True})
    name = session.learned(["a"], ["b"], ["c"])
    session.sequence(["a"], ["b"])
    before = session.cognition()["predictions"]
    assert ["PTRN|" + prediction["name"] for prediction in before] == [name]
    session.learn()
    assert session.cognition()["predictions"] == before


def test_an_affinity_emotive_weighs_symbols_by_what_was_felt(kato: Kato, session: KatoSession) -> None:
    session.clear()
    session.sequence(["a"], ["b"], ["c"])
    session.clear()
    for emotives, events in (({"joy": 1.0}, ["a", "b", "c"]), ({}, ["b", "d"])):
        for event in events:
            session.observe(event, emotives=emotives)
        name = session.learn()["pattern_name"]
        session.clear()
    asking = kato.session(session.node, config={**QUIET, "affinity_emotive": "joy"})
    asking.sequence(["a"], ["b"])
    found = {len(prediction["sequence"]): prediction for prediction in seen(asking, name)}
    # a was learned once with joy 1.0, b twice and once with it: 1.01 and 0.51; c is not in the STM and weighs nothing.
    assert found[3]["weighted_evidence"] == pytest.approx(1.0, rel=1e-9)
    assert found[2]["weighted_snr"] == pytest.approx(0.51 / 1.52, rel=1e-9)
    assert found[2]["weighted_similarity"] == pytest.approx(2 * 0.51 / (1.52 + 0.51), rel=1e-9)


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


@pytest.mark.parametrize("found", [["a"], ["a", "b"]])
@pytest.mark.parametrize("nothing", [["z"], ["z", "y"]])
def test_a_limit_that_is_no_whole_number_fails_only_where_something_is_found(
    kato: Kato, session: KatoSession, found: list[str], nothing: list[str]
) -> None:
    learned = session.learned(["a"], ["b"])
    session.sequence(["a"], ["b"])
    seen(session, learned)
    for strings, status in ((nothing, 200), (found, 500)):
        asking = kato.session(session.node, config={**QUIET, "max_predictions": 7.0})
        asking.sequence(*([string] for string in strings))
        assert asking.ask("GET", "predictions").status_code == status


@pytest.mark.parametrize("filters", [["nope"], "length", [5], {"nope": 1}])
def test_a_filter_that_kato_does_not_know_lets_no_pattern_through(session: KatoSession, filters: object) -> None:
    learned = session.learned(["a"], ["b"])
    session.sequence(["a"], ["b"])
    seen(session, learned)
    assert session.ask("POST", "config", json={"config": {"filter_pipeline": filters}}).status_code == 200
    assert session.predictions() == []


@pytest.mark.parametrize("filters", [5, True, [["length"]]])
def test_filters_that_are_no_list_of_names_fail_predictions(session: KatoSession, filters: object) -> None:
    session.sequence(["a"], ["b"])
    assert session.ask("POST", "config", json={"config": {"filter_pipeline": filters}}).status_code == 200
    assert session.ask("GET", "predictions").status_code == 500


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
