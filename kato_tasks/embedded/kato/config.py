"""A session's configuration: KATO's keys, defaults and ranges."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

RANKINGS = frozenset(
    {
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
    }
)
_FILTERS = frozenset(["length", "minhash", "jaccard", "bloom", "rapidfuzz"])
_INDEXERS = ("VI", "LSH", "ANNOY", "FAISS")

DEFAULTS: dict[str, Any] = {
    "max_pattern_length": 0,
    "persistence": 5,
    "recall_threshold": 0.1,
    "stm_mode": "CLEAR",
    "indexer_type": "VI",
    "max_predictions": 100,
    "sort_symbols": True,
    "process_predictions": True,
    "use_token_matching": True,
    "fuzzy_token_threshold": 0.0,
    "rank_sort_algo": "potential",
    "affinity_emotive": None,
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

Rule = tuple[Callable[[Any], bool], str]


def _number(low: float, high: float) -> Rule:
    def fits(value: Any) -> bool:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and low <= value <= high

    return fits, f"Must be a number between {low} and {high}"


def _whole(low: int, high: int | None = None) -> Rule:
    def fits(value: Any) -> bool:
        whole = isinstance(value, int) and not isinstance(value, bool)
        return whole and value >= low and (high is None or value <= high)

    if high is None:
        return fits, "Must be a non-negative integer" if low == 0 else f"Must be an integer of at least {low}"
    return fits, f"Must be an integer between {low} and {high}"


def _one_of(choices: tuple[str, ...] | frozenset[str]) -> Rule:
    return (lambda value: isinstance(value, str) and value in choices), f"Must be one of: {', '.join(choices)}"


_boolean: Rule = (lambda value: isinstance(value, bool)), "Must be a boolean (true/false)"

_RULES: dict[str, Rule] = {
    "max_pattern_length": _whole(0),
    "persistence": _whole(1, 100),
    "recall_threshold": _number(0.0, 1.0),
    # Any other text is taken as CLEAR, as KATO does.
    "stm_mode": ((lambda value: isinstance(value, str)), "Must be a string"),
    "indexer_type": _one_of(_INDEXERS),
    "max_predictions": _whole(1, 10000),
    "sort_symbols": _boolean,
    "process_predictions": _boolean,
    "use_token_matching": _boolean,
    "fuzzy_token_threshold": _number(0.0, 1.0),
    "rank_sort_algo": _one_of(tuple(sorted(RANKINGS))),
    "affinity_emotive": ((lambda value: isinstance(value, str)), "Must be a string"),
    "filter_pipeline": (
        (lambda value: isinstance(value, list) and all(isinstance(v, str) and v in _FILTERS for v in value)),
        "Must be a list of filter names",
    ),
    "length_min_ratio": _number(0.0, 1.0),
    "length_max_ratio": _number(1.0, 10.0),
    "jaccard_threshold": _number(0.0, 1.0),
    "jaccard_min_overlap": _whole(1),
    "minhash_threshold": _number(0.0, 1.0),
    "minhash_bands": _whole(1, 100),
    "minhash_rows": _whole(1, 20),
    "minhash_num_hashes": _whole(10, 256),
    "bloom_false_positive_rate": _number(0.0001, 0.1),
    "max_candidates_per_stage": _whole(100),
    "enable_filter_metrics": _boolean,
}


def refusals(changes: dict[str, Any]) -> dict[str, str]:
    """What is out of range in `changes`, by key. Unknown keys and nulls are not looked at."""
    return {
        key: _RULES[key][1]
        for key, value in changes.items()
        if key in _RULES and value is not None and not _RULES[key][0](value)
    }


def accepted(changes: dict[str, Any]) -> dict[str, Any]:
    """The known keys of `changes` that say something, ready to be kept in a session."""
    kept = {key: value for key, value in changes.items() if key in _RULES and value is not None}
    if kept.get("stm_mode", "CLEAR") != "ROLLING":
        kept.update({"stm_mode": "CLEAR"} if "stm_mode" in kept else {})
    if "use_token_matching" in kept and "sort_symbols" not in kept:
        kept["sort_symbols"] = kept["use_token_matching"]
    return kept
