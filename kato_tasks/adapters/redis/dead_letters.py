"""The port ``DeadLetters`` on Redis."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import redis

from kato_tasks.adapters.redis.answers import redis_errors
from kato_tasks.adapters.redis.keys import prefix
from kato_tasks.domain.ids import PARTITIONS
from kato_tasks.domain.log_entry import Logged
from kato_tasks.ports.dead_letters import DeadLetterRow


class RedisDeadLetters:
    """Reads a partition's letters at a time."""

    def __init__(self, client: redis.Redis) -> None:
        self._redis = client

    def rows(self) -> Iterator[DeadLetterRow]:
        """See ``DeadLetters.rows``."""
        for partition in range(PARTITIONS):
            with redis_errors():
                kept = list(self._redis.hscan_iter(f"{prefix(partition)}dead", count=500))
            letters = [_row(str(name), json.loads(text)) for name, text in kept]
            yield from sorted(letters, key=lambda one: (one.session, one.position or 0, one.last_ms))


def _row(kept_as: str, kept: Mapping[str, Any]) -> DeadLetterRow:
    event = kept.get("event")
    if event is None:
        event = Logged.parse(0, kept["raw"]).event(kept["session_id"], kept["node_id"])
        event.pop("position")
    return DeadLetterRow(
        kept_as=kept_as,
        session=kept["session_id"],
        node=kept["node_id"],
        lane=kept["lane"],
        position=kept.get("position"),
        reason=kept["reason"],
        last_answer=kept.get("last_answer", ""),
        attempts=kept["attempts"],
        first_ms=int(kept["first_ms"]),
        last_ms=int(kept["last_ms"]),
        event=event,
    )
