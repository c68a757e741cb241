"""Which session configs are refused: those that break the protocol, and keys that KATO takes and ignores. Pure.

What only a running KATO can tell is asked of KATO (``engine/drain/config_check.py``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kato_tasks.domain.known_names import UnknownKeys, nearest, shown

_WANTED: dict[str, tuple[Any, str]] = {
    "process_predictions": (
        False,
        "predictions during observes freeze KATO when two sessions of a node observe; `predict` asks for them",
    ),
    "max_pattern_length": (
        0,
        "KATO would learn by itself in the middle of a call, which can neither be told from a failure nor undone",
    ),
    "sort_symbols": (
        True,
        "KATO's server sorts (its SORT_SYMBOLS) whatever a session says, and a rebuilt session stands on that",
    ),
    "use_token_matching": (True, "without it KATO may not sort symbols, and a rebuilt session sends them sorted"),
}
_OF_THE_SERVER = {
    "rank_sort_algo": "RANK_SORT_ALGO",
    "persistence": "PERSISTENCE",
    "indexer_type": "INDEXER_TYPE",
    "sort_symbols": "SORT_SYMBOLS",
}
"""Keys that KATO takes and shows in a session without any effect, and the variable in the environment of KATO's server
that has the effect (measured on KATO 3.10.1)."""
KNOWN = frozenset(
    {
        "max_pattern_length",
        "persistence",
        "recall_threshold",
        "indexer_type",
        "max_predictions",
        "sort_symbols",
        "process_predictions",
        "use_token_matching",
        "stm_mode",
        "rank_sort_algo",
        "fuzzy_token_threshold",
        "affinity_emotive",
        "filter_pipeline",
        "length_min_ratio",
        "length_max_ratio",
        "jaccard_threshold",
        "jaccard_min_overlap",
        "minhash_threshold",
        "minhash_bands",
        "minhash_rows",
        "minhash_num_hashes",
        "bloom_false_positive_rate",
        "max_candidates_per_stage",
        "enable_filter_metrics",
    }
)
"""The keys that KATO 3.10.1 knows. It leaves out others silently."""
_WHOLE = frozenset(
    {
        "max_predictions",
        "jaccard_min_overlap",
        "minhash_bands",
        "minhash_rows",
        "minhash_num_hashes",
        "max_candidates_per_stage",
    }
)
"""Keys whose value must be a whole number. KATO keeps a fraction, and then every prediction fails or finds nothing."""


def breach(config: Mapping[str, Any], unknown: UnknownKeys = "refuse") -> str:
    """Return why this session config cannot work, with the key and the remedy; '' where nothing speaks against it.

    ``unknown`` says what becomes of a key that KATO 3.10.1 does not know, and a later KATO may.
    """
    for name in config if unknown == "refuse" else ():
        if name not in KNOWN:
            meant = nearest(name, KNOWN)
            advice = f"did you mean {meant}?" if meant else "a KATO that knows it needs KATO_TASKS_UNKNOWN_KEYS=pass"
            return f"{shown(name)} is no key of KATO's session config; {advice}"
    for name, (wanted, why) in _WANTED.items():
        if name in config and (type(config[name]) is not type(wanted) or config[name] != wanted):
            return f"{name} must stay {str(wanted).lower()}: {why}; leave it out"
    for name, value in config.items():
        if name == "stm_mode":
            return "stm_mode is about learning by itself (max_pattern_length), which must stay off; leave it out"
        if value is None:
            return f"{name} is null, which asks KATO for nothing; leave it out"
        if name in _OF_THE_SERVER:
            return (
                f"{name} does nothing in a session's config: KATO goes by what its server was started with; "
                f"set {_OF_THE_SERVER[name]}={_shown(value)} in the environment of KATO's server instead; leave it out"
            )
        if name in _WHOLE and type(value) is not int:
            return f"{name} must be a whole number: with {value!r} KATO's predictions fail; write {_whole(value)}"
        if name == "affinity_emotive" and not isinstance(value, str):
            return "affinity_emotive must be the name of one emotive: with anything else KATO's predictions fail"
    return ""


def _shown(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _whole(value: Any) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() else "one"
