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
        {"rank_sort_algo": "frequency", "recall_threshold": 0.3, "max_predictions": 20},
        {"process_predictions": False, "max_pattern_length": 0, "sort_symbols": True, "use_token_matching": True},
    ],
)
def test_what_leaves_the_protocol_alone_is_let_through(config: dict[str, Any]) -> None:
    assert breach(config) == ""
