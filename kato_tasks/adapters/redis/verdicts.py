"""What all workers share about session configs: a few keys for each KATO instance, all of which expire."""

from __future__ import annotations

import logging

import redis

from kato_tasks.telemetry.log_events import log_event

log = logging.getLogger(__name__)


class RedisVerdicts:
    """See ``engine.config_check.Verdicts``. While the store does not answer, there is no verdict and no worker asks."""

    def __init__(self, client: redis.Redis) -> None:
        self._redis = client

    def verdict(self, url: str, digest: str) -> str | None:
        try:
            found = self._redis.get(_key("verdict", url, digest))
        except redis.RedisError:
            return None
        return None if found is None else str(found)

    def keep_verdict(self, url: str, digest: str, why: str, seconds: float) -> None:
        pipe = self._redis.pipeline(transaction=False)
        pipe.set(_key("verdict", url, digest), why, px=int(seconds * 1000))
        if why:
            pipe.set(_key("told", url), why, px=int(seconds * 1000))
        else:
            pipe.delete(_key("told", url))
        try:
            pipe.execute()
        except redis.RedisError as exc:
            log_event(log, logging.WARNING, "verdict.unshared", url=url, error=exc)

    def told(self, url: str) -> str | None:
        try:
            found = self._redis.get(_key("told", url))
        except redis.RedisError:
            return None
        return None if found is None else str(found)

    def drop_verdict(self, url: str, digest: str) -> None:
        try:
            self._redis.delete(_key("verdict", url, digest))
        except redis.RedisError as exc:
            log_event(log, logging.WARNING, "verdict.unshared", url=url, error=exc)

    def may_ask(self, url: str, digest: str, seconds: float) -> bool:
        try:
            return bool(self._redis.set(_key("asking", url, digest), "1", nx=True, px=int(seconds * 1000)))
        except redis.RedisError:
            return False

    def asked(self, url: str, digest: str) -> None:
        try:
            self._redis.delete(_key("asking", url, digest))
        except redis.RedisError as exc:
            log_event(log, logging.WARNING, "verdict.unshared", url=url, error=exc)


def _key(what: str, url: str, digest: str = "") -> str:
    return f"kt:{{breaker}}:config:{what}:{digest}:{url}"
