"""The breaker's shared state: two keys per KATO instance, both of which expire."""

from __future__ import annotations

import logging

import redis

from kato_tasks.instrumentation import say

log = logging.getLogger(__name__)


class RedisBreakerState:
    """See ``engine.breaker.BreakerState``. A store that does not answer leaves every breaker closed."""

    def __init__(self, client: redis.Redis) -> None:
        self._redis = client

    def opened_because(self, url: str) -> str | None:
        try:
            found = self._redis.get(f"kt:{{breaker}}:open:{url}")
        except redis.RedisError:
            return None
        return None if found is None else str(found)

    def open(self, url: str, seconds: float, why: str) -> None:
        try:
            self._redis.set(f"kt:{{breaker}}:open:{url}", why or "1", px=int(seconds * 1000))
        except redis.RedisError as exc:
            say(log, logging.WARNING, "breaker.unshared", url=url, error=exc)

    def close(self, url: str) -> None:
        try:
            self._redis.delete(f"kt:{{breaker}}:open:{url}")
        except redis.RedisError as exc:
            say(log, logging.WARNING, "breaker.unshared", url=url, error=exc)

    def may_probe(self, url: str, interval_seconds: float) -> bool:
        try:
            key = f"kt:{{breaker}}:probe:{url}"
            return bool(self._redis.set(key, "1", nx=True, px=int(interval_seconds * 1000)))
        except redis.RedisError:
            return False
