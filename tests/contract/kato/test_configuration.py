"""A session's configuration: what KATO keeps of it, drops, refuses and ignores."""

from typing import Any

import pytest

from tests.contract.kato.client import QUIET, Kato, KatoSession, body_of, fresh_node

DEFAULTS = {
    "max_pattern_length": 0,
    "persistence": 5,
    "recall_threshold": 0.1,
    "indexer_type": "VI",
    "max_predictions": 100,
    "sort_symbols": True,
    "process_predictions": True,
    "use_token_matching": True,
    "stm_mode": "CLEAR",
    "rank_sort_algo": "potential",
    "filter_pipeline": [],
    "length_min_ratio": 0.5,
    "length_max_ratio": 2.0,
    "jaccard_threshold": 0.3,
    "jaccard_min_overlap": 2,
    "minhash_threshold": 0.7,
    "minhash_bands": 20,
    "minhash_rows": 5,
    "minhash_num_hashes": 100,
    "bloom_false_positive_rate": 0.01,
    "max_candidates_per_stage": 100000,
    "enable_filter_metrics": True,
}
RANKINGS = [
    "potential",
    "similarity",
    "evidence",
    "confidence",
    "snr",
    "fragmentation",
    "frequency",
    "normalized_entropy",
    "global_normalized_entropy",
    "itfdf_similarity",
    "confluence",
    "predictive_information",
    "bayesian_posterior",
    "bayesian_prior",
    "bayesian_likelihood",
    "tfidf_score",
    "weighted_similarity",
    "weighted_evidence",
    "weighted_confidence",
    "weighted_snr",
]
NUMBER, WHOLE = "Must be a number between 0.0 and 1.0", "Must be a non-negative integer"
BOOLEAN = "Must be a boolean (true/false)"
NODE = fresh_node()
"""One for all: a node's first call costs a real KATO's processes more than a test here."""


@pytest.fixture
def session(kato: Kato) -> KatoSession:
    return kato.session(NODE)


def shown(session: KatoSession) -> dict[str, Any]:
    config: dict[str, Any] = body_of(session.ask("GET", "config"))["config"]
    assert body_of(session.ask("GET"))["session_config"] == config
    return config


def test_a_session_that_asks_for_nothing_has_the_defaults(kato: Kato) -> None:
    nothing: list[dict[str, Any] | None] = [{}, None]
    for asked in nothing:
        session = kato.session(config=asked)
        assert session.created["session_config"] == DEFAULTS
        assert shown(session) == DEFAULTS


def test_two_keys_are_shown_only_where_they_were_asked_for(kato: Kato) -> None:
    asked = {"fuzzy_token_threshold": 0.5, "affinity_emotive": "joy"}
    session = kato.session(config={**QUIET, **asked})
    assert session.created["session_config"] == {**DEFAULTS, **QUIET, **asked}
    body_of(session.ask("POST", "config", json={"config": dict.fromkeys(asked)}))
    assert shown(session) == {**DEFAULTS, **QUIET}


@pytest.mark.parametrize(
    "asked",
    [
        {"max_predictions": 7.0, "process_predictions": "yes"},
        {"max_pattern_length": True, "persistence": 2.5, "recall_threshold": True},
        {"sort_symbols": "no", "use_token_matching": [], "enable_filter_metrics": 5, "affinity_emotive": {"a": 1}},
        {"filter_pipeline": ["length", "rapidfuzz"], "length_max_ratio": 1e300, "jaccard_min_overlap": 1.5},
        {"filter_pipeline": "", "max_candidates_per_stage": 100, "bloom_false_positive_rate": 0.1},
        {"filter_pipeline": {"bloom": 1}, "minhash_num_hashes": 256, "minhash_rows": 1, "minhash_bands": 100},
        {"use_token_matching": False},
    ],
)
def test_a_creation_keeps_what_compares_whatever_its_type(kato: Kato, asked: dict[str, Any]) -> None:
    session = kato.session(config={**asked, "unknown": 1, "indexer_type": None})
    assert session.created["session_config"] == {**DEFAULTS, **asked}
    assert shown(session) == {**DEFAULTS, **asked}


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_predictions": 0},
        {"max_predictions": "7"},
        {"max_pattern_length": -1},
        {"max_pattern_length": []},
        {"recall_threshold": 1.01},
        {"recall_threshold": {}},
        {"persistence": False},
        {"persistence": 101},
        {"indexer_type": "vi"},
        {"rank_sort_algo": "entropy"},
        {"rank_sort_algo": ["potential"]},
        {"filter_pipeline": ["nope"]},
        {"filter_pipeline": "length"},
        {"filter_pipeline": 1},
        {"fuzzy_token_threshold": -0.1},
        {"length_min_ratio": 2},
        {"length_max_ratio": 0.5},
        {"jaccard_min_overlap": 0},
        {"minhash_bands": 0},
        {"minhash_rows": 21},
        {"minhash_num_hashes": 9},
        {"bloom_false_positive_rate": 0},
        {"max_candidates_per_stage": 99},
    ],
)
def test_a_creation_drops_everything_for_one_value(kato: Kato, wrong: dict[str, Any]) -> None:
    session = kato.session(config={"max_predictions": 3, "sort_symbols": False, **wrong})
    assert session.created["session_config"] == DEFAULTS


@pytest.mark.parametrize("ranking", RANKINGS)
def test_each_ranking_is_accepted(kato: Kato, ranking: str) -> None:
    session = kato.session(config={**QUIET, "rank_sort_algo": ranking})
    assert session.created["session_config"]["rank_sort_algo"] == ranking
    body_of(session.ask("POST", "config", json={"config": {"rank_sort_algo": ranking}}))


@pytest.mark.parametrize("mode", ["rolling", "nope", 5, ["ROLLING"]])
def test_a_mode_of_the_stm_that_is_none_means_clear(kato: Kato, mode: Any) -> None:
    session = kato.session(config={**QUIET, "stm_mode": mode, "max_predictions": 3})
    assert session.created["session_config"] == {**DEFAULTS, **QUIET, "max_predictions": 3}
    body_of(session.ask("POST", "config", json={"config": {"stm_mode": "ROLLING"}}))
    body_of(session.ask("POST", "config", json={"config": {"stm_mode": "rolling"}}))
    assert shown(session)["stm_mode"] == "CLEAR"


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"recall_threshold": None}, {"recall_threshold": NUMBER}),
        ({"recall_threshold": "0.5"}, {"recall_threshold": NUMBER}),
        ({"max_pattern_length": 7.0}, {"max_pattern_length": WHOLE}),
        ({"max_predictions": 7.0}, {"max_predictions": "Must be an integer between 1 and 10000"}),
        ({"persistence": 0}, {"persistence": "Must be an integer between 1 and 100"}),
        ({"indexer_type": "x"}, {"indexer_type": "Must be one of: VI, LSH, ANNOY, FAISS"}),
        ({"rank_sort_algo": None}, {"rank_sort_algo": f"Must be one of: {', '.join(RANKINGS)}"}),
        ({"stm_mode": 5}, {"stm_mode": "Must be a string"}),
        ({"process_predictions": 1}, {"process_predictions": BOOLEAN}),
        ({"use_token_matching": "yes"}, {"use_token_matching": BOOLEAN}),
        ({"sort": 3}, {"sort": BOOLEAN}),
        (
            {"max_pattern_length": -1, "recall_threshold": 2, "max_predictions": 3},
            {"recall_threshold": NUMBER, "max_pattern_length": WHOLE},
        ),
    ],
)
def test_a_change_names_each_key_that_is_wrong_and_changes_nothing(
    session: KatoSession, changes: dict[str, Any], told: dict[str, str]
) -> None:
    for body in ({"config": changes}, changes):
        refused = session.ask("POST", "config", json=body)
        assert refused.status_code == 400
        assert refused.json() == {
            "detail": {"error": "Configuration validation failed", "validation_errors": told},
        }
    assert shown(session) == {**DEFAULTS, **QUIET}


@pytest.mark.parametrize(
    "changes",
    [
        {"filter_pipeline": ["nope"], "fuzzy_token_threshold": 1.5},
        {"sort_symbols": "no", "length_min_ratio": "x", "length_max_ratio": -1},
        {"max_pattern_length": True, "recall_threshold": False, "enable_filter_metrics": []},
        {"affinity_emotive": 5, "minhash_rows": {}, "bloom_false_positive_rate": 1e308},
    ],
)
def test_a_change_of_what_nobody_looks_at_is_kept_as_it_is(session: KatoSession, changes: dict[str, Any]) -> None:
    answer = session.ask("POST", "config", json={"config": {**changes, "unknown": 1, "sort": True}})
    assert answer.json() == {"status": "okay", "message": "Configuration updated", "session_id": session.id}
    assert shown(session) == {**DEFAULTS, **QUIET, **changes}
    checked = ("max_pattern_length", "recall_threshold")
    nulls: dict[str, None] = {key: None for key in changes if key not in checked}
    body_of(session.ask("POST", "config", json=nulls))
    left = {key: changes[key] for key in checked if key in changes}
    assert shown(session) == {**DEFAULTS, **QUIET, **left}


def test_token_matching_takes_sorting_with_it_at_a_change_and_not_at_a_creation(kato: Kato) -> None:
    session = kato.session(config={**QUIET, "use_token_matching": False})
    assert shown(session)["sort_symbols"] is True
    body_of(session.ask("POST", "config", json={"config": {"use_token_matching": False}}))
    assert shown(session)["sort_symbols"] is False
    body_of(session.ask("POST", "config", json={"config": {"use_token_matching": True, "sort_symbols": False}}))
    assert (shown(session)["use_token_matching"], shown(session)["sort_symbols"]) == (True, False)


def test_strings_are_sorted_whatever_the_configuration_says(kato: Kato) -> None:
    session = kato.session(config={**QUIET, "sort_symbols": False, "use_token_matching": False})
    assert session.created["session_config"]["sort_symbols"] is False
    session.observe("b", "a")
    assert session.stm() == [["a", "b"]]


@pytest.mark.parametrize("changes", [None, 1, True, "", "abc", [], ["recall_threshold"]])
def test_a_change_that_is_no_object_answers_500(session: KatoSession, changes: Any) -> None:
    answer = session.ask("POST", "config", json={"config": changes})
    assert (answer.status_code, answer.text) == (500, "Internal Server Error")
    assert shown(session) == {**DEFAULTS, **QUIET}


@pytest.mark.parametrize("body", [1, True, "abc", []])
def test_a_body_of_a_change_that_is_no_object_answers_422(session: KatoSession, body: Any) -> None:
    answer = session.ask("POST", "config", json=body)
    assert answer.status_code == 422
    message = "Input should be a valid dictionary"
    assert answer.json() == {"detail": [{"type": "dict_type", "loc": ["body"], "msg": message, "input": body}]}
