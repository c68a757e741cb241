"""A session config that breaks the protocol with KATO is refused at start, with the reason."""

from __future__ import annotations

import json
from typing import Any

import pytest

from kato_tasks.domain.session_config import breach
from kato_tasks.errors import ConfigurationError
from kato_tasks.settings import settings

BREAKING: list[tuple[str, Any]] = [
    *(("process_predictions", value) for value in (True, 1, 0, "no", None)),
    *(("max_pattern_length", value) for value in (3, -1, False, "0", None, 0.0)),
    *(("stm_mode", value) for value in ("CLEAR", "ROLLING", None)),
    *(("sort_symbols", value) for value in (False, 1, "yes", None)),
    *(("use_token_matching", value) for value in (False, 1, None)),
    ("recall_threshold", None),
    ("rank_sort_algo", "frequency"),
    ("persistence", 3),
    ("indexer_type", "LSH"),
    ("sort_symbols", True),
]


@pytest.mark.parametrize(("name", "value"), BREAKING)
def test_a_session_config_that_breaks_the_protocol_is_refused_at_start_with_the_reason(
    name: str, value: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Invariant 3. Falls when settings.py lets a session config through that makes KATO learn by itself."""
    monkeypatch.setenv("KATO_TASKS_KATO_SESSION_CONFIG", json.dumps({"recall_threshold": 0.3, name: value}))
    settings.cache_clear()
    try:
        with pytest.raises(ConfigurationError, match=f"^KATO_TASKS_KATO_SESSION_CONFIG: {name} .*; leave it out$"):
            settings()
    finally:
        settings.cache_clear()


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"recall_threshold": 0.3, "max_predictions": 20, "affinity_emotive": "joy", "filter_pipeline": ["length"]},
        {"process_predictions": False, "max_pattern_length": 0, "use_token_matching": True},
    ],
)
def test_what_leaves_the_protocol_alone_is_let_through(config: dict[str, Any]) -> None:
    assert breach(config) == ""


@pytest.mark.parametrize(
    ("name", "value", "variable"),
    [
        ("rank_sort_algo", "frequency", "RANK_SORT_ALGO=frequency"),
        ("persistence", 3, "PERSISTENCE=3"),
        ("indexer_type", "LSH", "INDEXER_TYPE=LSH"),
        ("sort_symbols", True, "SORT_SYMBOLS=true"),
    ],
)
def test_what_kato_takes_and_ignores_is_refused_with_the_way_that_works(name: str, value: Any, variable: str) -> None:
    """Measured on KATO 3.10.1: echoed in the session's config, and nothing else changes by it."""
    assert breach({name: value}) == (
        f"{name} does nothing in a session's config: KATO goes by what its server was started with; "
        f"set {variable} in the environment of KATO's server instead; leave it out"
    )


@pytest.mark.parametrize("value", [7.0, 7.5, True, "7"])
def test_a_number_that_kato_keeps_and_then_fails_every_prediction_with_is_refused(value: Any) -> None:
    """Measured on KATO 3.10.1: max_predictions 7.0 is taken at creation, and each GET of predictions answers 500."""
    assert breach({"max_predictions": value}).startswith("max_predictions must be a whole number")


def test_an_emotive_that_is_no_name_is_refused() -> None:
    """Measured on KATO 3.10.1: ["a"] is taken at creation, and each GET of predictions answers 500."""
    assert breach({"affinity_emotive": ["joy"]}).startswith("affinity_emotive must be the name of one emotive")
