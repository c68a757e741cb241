"""What is sent to Redis for each store operation: a script with its arguments by name, or a plain command."""

from __future__ import annotations

from typing import Any

from kato_tasks import ports
from kato_tasks.adapters.redis.calls import Arg, Call, Command, ScriptCall
from kato_tasks.adapters.redis.operations import (
    appending,
    archiving,
    forgetting,
    generations,
    lanes,
    listening,
    looking,
    replaying,
    waiting_tasks,
)
from kato_tasks.adapters.redis.operations.building import Encode
from kato_tasks.adapters.redis.retention import DEDUPE_WINDOW_MS, Retention

ENCODERS: dict[type, Encode] = {
    **appending.ENCODERS,
    **archiving.ENCODERS,
    **forgetting.ENCODERS,
    **lanes.ENCODERS,
    **generations.ENCODERS,
    **waiting_tasks.ENCODERS,
    **listening.ENCODERS,
    **looking.ENCODERS,
    **replaying.ENCODERS,
}


def encode(op: ports.Effect[Any], keep: Retention) -> Call:
    """Return what is sent for a store operation."""
    return ENCODERS[type(op)](op, keep)


__all__ = ["DEDUPE_WINDOW_MS", "ENCODERS", "Arg", "Call", "Command", "Retention", "ScriptCall", "encode"]
