"""Which sessions there are, by state."""

from __future__ import annotations

from collections.abc import Iterator

import redis

from kato_tasks.adapters.redis.keys import prefix
from kato_tasks.api import session_status
from kato_tasks.bootstrap import Runtime
from kato_tasks.domain.ids import PARTITIONS
from kato_tasks.domain.results import SessionStatus
from kato_tasks.errors import StoreUnavailable

STATES = ("idle", "pending", "running", "waiting", "parked")


def list_sessions(rt: Runtime, state: str | None, limit: int) -> list[SessionStatus]:
    """Up to ``limit`` sessions in this state (None: any), in no particular order. Raises StoreUnavailable."""
    found: list[SessionStatus] = []
    seen: set[str] = set()
    try:
        for session in _candidates(rt.redis, state):
            if len(found) >= limit:
                break
            if session in seen:
                continue
            seen.add(session)
            status = session_status(session)
            if status is not None and state in (None, status.state):
                found.append(status)
    except redis.RedisError as exc:
        raise StoreUnavailable(f"Redis does not answer: {exc}") from exc
    return found


def _candidates(client: redis.Redis, state: str | None) -> Iterator[str]:
    """Sessions that may be in this state: the parked ones, those with something unapplied, or all."""
    for partition in range(PARTITIONS):
        p = prefix(partition)
        if state == "parked":
            yield from client.sscan_iter(f"{p}parked", count=500)
        elif state in ("pending", "running", "waiting"):
            for lane in client.zrange(f"{p}ready", 0, -1):
                yield from (session for session, _ in client.zscan_iter(f"{p}pend:{lane!s}", count=500))
        else:
            yield from (session for session, _ in client.hscan_iter(f"{p}nodes", count=500))
