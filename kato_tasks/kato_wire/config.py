"""Check a session's configuration as KATO does, at a creation and at a change, and say which keys and defaults it has.

The two checks differ. A creation only compares values, by Python's rules: ``true`` is 1, and ``7.0`` is 7. One value
that fails drops the whole configuration silently. A change checks types too, says what is wrong, and never looks at the
filters.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kato_tasks.kato_wire.answers import ServerError

RANKINGS = (
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
)
FILTERS = ("minhash", "length", "jaccard", "bloom", "rapidfuzz")
_INDEXERS = ("VI", "LSH", "ANNOY", "FAISS")
_STM_MODES = ("CLEAR", "ROLLING")

DEFAULTS: dict[str, Any] = {
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
IN_FORCE: dict[str, Any] = {**DEFAULTS, "fuzzy_token_threshold": 0.0, "affinity_emotive": None}
"""Every key that a session keeps, and the value that holds if the session sets none.

The last two keys are shown only if the session sets them."""

Fits = Callable[[Any], bool]


def _from_to(low: float, high: float) -> Fits:
    return lambda value: bool(low <= value <= high)


def _not_below(low: float) -> Fits:
    return lambda value: not value < low


def _in(choices: tuple[str, ...]) -> Fits:
    return lambda value: any(value == choice for choice in choices)


_AT_CREATION: dict[str, Fits] = {
    "recall_threshold": _from_to(0.0, 1.0),
    "persistence": _from_to(1, 100),
    "max_pattern_length": _not_below(0),
    "max_predictions": _from_to(1, 10000),
    "fuzzy_token_threshold": _from_to(0.0, 1.0),
    "indexer_type": _in(_INDEXERS),
    "rank_sort_algo": _in(RANKINGS),
    # KATO iterates over whatever can be iterated: over the characters of a text, and over the keys of an object.
    "filter_pipeline": lambda value: all(map(_in(FILTERS), value)),
    "length_min_ratio": _from_to(0.0, 1.0),
    "length_max_ratio": _not_below(1.0),
    "jaccard_threshold": _from_to(0.0, 1.0),
    "jaccard_min_overlap": _not_below(1),
    "minhash_threshold": _from_to(0.0, 1.0),
    "minhash_bands": _from_to(1, 100),
    "minhash_rows": _from_to(1, 20),
    "minhash_num_hashes": _from_to(10, 256),
    "bloom_false_positive_rate": _from_to(0.0001, 0.1),
    "max_candidates_per_stage": _not_below(100),
}


def at_creation(given: dict[str, Any]) -> dict[str, Any]:
    """Return what a new session keeps of ``given``. One value that is out of its range makes this nothing at all."""
    kept = {key: value for key, value in given.items() if key in IN_FORCE and value is not None}
    try:
        if not all(_AT_CREATION[key](value) for key, value in kept.items() if key in _AT_CREATION):
            return {}
    except TypeError:
        return {}
    if "stm_mode" in kept and not _in(_STM_MODES)(kept["stm_mode"]):
        kept["stm_mode"] = "CLEAR"
    return kept


def _number(low: float, high: float) -> tuple[Fits, str]:
    fits = _from_to(low, high)
    return (lambda value: isinstance(value, (int, float)) and fits(value)), f"Must be a number between {low} and {high}"


def _whole(low: int, high: int) -> tuple[Fits, str]:
    fits = _from_to(low, high)
    return (lambda value: isinstance(value, int) and fits(value)), f"Must be an integer between {low} and {high}"


def _one_of(choices: tuple[str, ...]) -> tuple[Fits, str]:
    return _in(choices), f"Must be one of: {', '.join(choices)}"


def _boolean(value: Any) -> bool:
    return isinstance(value, bool)


_TRUE_OR_FALSE = "Must be a boolean (true/false)"
_AT_CHANGE: dict[str, tuple[Fits, str]] = {
    "recall_threshold": _number(0.0, 1.0),
    "persistence": _whole(1, 100),
    "max_pattern_length": (lambda value: isinstance(value, int) and value >= 0, "Must be a non-negative integer"),
    "max_predictions": _whole(1, 10000),
    "indexer_type": _one_of(_INDEXERS),
    "stm_mode": (lambda value: isinstance(value, str), "Must be a string"),
    # This is no key of a session, but KATO checks it all the same.
    "sort": (_boolean, _TRUE_OR_FALSE),
    "process_predictions": (_boolean, _TRUE_OR_FALSE),
    "use_token_matching": (_boolean, _TRUE_OR_FALSE),
    "rank_sort_algo": _one_of(RANKINGS),
}


def refusals(changes: Any) -> dict[str, str]:
    """Return what is wrong in ``changes``, by key. A null is wrong. Unknown keys and the filters are not checked.

    Raises ``ServerError`` if ``changes`` is not an object.
    """
    if type(changes) is not dict:
        raise ServerError("KATO asks anything for its items")
    return {key: message for key, (fits, message) in _AT_CHANGE.items() if key in changes and not fits(changes[key])}


def changed(config: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Return ``config`` with ``changes``, in which ``refusals`` found nothing wrong. A null restores the default."""
    changes = dict(changes)
    if "use_token_matching" in changes:
        changes.setdefault("sort_symbols", changes["use_token_matching"])
    if changes.get("stm_mode", "CLEAR") not in _STM_MODES:
        changes["stm_mode"] = "CLEAR"
    return {**config, **{key: value for key, value in changes.items() if key in IN_FORCE}}


def shown(config: dict[str, Any]) -> dict[str, Any]:
    """Return a session's configuration as KATO shows it: the session's own values, and defaults for the rest."""
    if None in config.values():
        config = {key: value for key, value in config.items() if value is not None}
    return DEFAULTS | config
