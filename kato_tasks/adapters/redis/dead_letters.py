"""The port ``DeadLetters`` on Redis."""

from __future__ import annotations

from collections.abc import Iterator

import redis

from kato_tasks.adapters.redis.answers import redis_errors
from kato_tasks.adapters.redis.keys import prefix
from kato_tasks.domain.ids import PARTITIONS
from kato_tasks.domain.log_entry import Logged
from kato_tasks.domain.refusals import BuriedEvent
from kato_tasks.ports.dead_letters import DeadLetterRow


class RedisDeadLetters:
    """Read dead letters, one partition at a time."""

    def __init__(self, client: redis.Redis) -> None:
        self._redis = client

    def rows(self) -> Iterator[DeadLetterRow]:
        """See ``DeadLetters.rows``."""
        for partition in range(PARTITIONS):
            with redis_errors():
                kept = list(self._redis.hscan_iter(f"{prefix(partition)}dead", count=500))
            letters = [_row(str(name), str(text)) for name, text in kept]
            yield from sorted(letters, key=lambda one: (one.session, one.position or 0, one.last_ms))


def _row(kept_as: str, text: str) -> DeadLetterRow:
    kept = BuriedEvent.load(text)
    event, refusal = kept.event, kept.refusal
    if kept.message is not None:
        event = {}
    elif event is None:
        standard = Logged.parse(0, kept.raw).as_appended(kept.session_id, kept.node_id)
        event = {name: value for name, value in standard.items() if name != "position"}
    return DeadLetterRow(
        kept_as=kept_as,
        session=kept.session_id,
        node=kept.node_id,
        lane=kept.lane,
        position=refusal.position,
        reason=refusal.reason,
        last_answer=refusal.last_answer,
        attempts=refusal.attempts,
        first_ms=refusal.first_ms,
        last_ms=refusal.last_ms,
        event=event,
        event_id=refusal.event_id if kept.message is not None else str(event.get("event_id", "")),
        message=kept.message,
    )
