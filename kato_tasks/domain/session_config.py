"""What KATO's session config may not hold, because the protocol with KATO stands on it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_WANTED: dict[str, tuple[Any, str]] = {
    "process_predictions": (
        False,
        "predictions during observes freeze KATO when two sessions of a node observe; `predict` asks for them",
    ),
    "max_pattern_length": (
        0,
        "KATO would learn by itself in the middle of a call, which can neither be told from a failure nor undone",
    ),
    "sort_symbols": (True, "a rebuilt session sends its symbols sorted, so other patterns would be learned"),
    "use_token_matching": (True, "without it KATO does not sort symbols, and a rebuilt session sends them sorted"),
}


def breach(config: Mapping[str, Any]) -> str:
    """Why this session config cannot work, naming its key; '' when it can."""
    for name, (wanted, why) in _WANTED.items():
        if name in config and (type(config[name]) is not type(wanted) or config[name] != wanted):
            return f"{name} must stay {str(wanted).lower()}: {why}; leave it out"
    if "stm_mode" in config:
        return "stm_mode is about learning by itself (max_pattern_length), which must stay off; leave it out"
    return ""
