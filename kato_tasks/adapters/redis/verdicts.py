"""Keep what all workers share about session configs: a few keys for each KATO instance, all of which expire."""

from __future__ import annotations

import logging

import redis

from kato_tasks.telemetry.log_events import log_event

log = logging.getLogger(__name__)


class RedisVerdicts:
    """Keeps what ``engine.drain.config_check.Verdicts`` describes.

    While the store does not answer, there is no verdict and no worker asks.
    """

    def __init__(self, client: redis.Redis) -> None:
        self._redis = client

    def read_verdict(self, url: str, digest: str) -> str | None:
        """Return why KATO does not take the config, '' if it does, or None if there is no verdict."""
        try:
            found = self._redis.get(_key("verdict", url, digest))
        except redis.RedisError:
            return None
        return None if found is None else str(found)

    def keep_verdict(self, url: str, digest: str, why: str, seconds: float) -> None:
        """Keep a verdict for ``seconds``. If the store cannot keep it, only a warning is logged."""
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

    def read_refusal(self, url: str) -> str | None:
        """Return why this instance last refused a config, or None if it took the last one or was not asked."""
        try:
            found = self._redis.get(_key("told", url))
        except redis.RedisError:
            return None
        return None if found is None else str(found)

    def drop_verdict(self, url: str, digest: str) -> None:
        """Forget a verdict, so that KATO is asked again. If the store cannot do that, only a warning is logged."""
        try:
            self._redis.delete(_key("verdict", url, digest))
        except redis.RedisError as exc:
            log_event(log, logging.WARNING, "verdict.unshared", url=url, error=exc)

    def may_ask(self, url: str, digest: str, seconds: float) -> bool:
        """Return True for one caller, until it calls ``end_asking`` or ``seconds`` have passed."""
        try:
            return bool(self._redis.set(_key("asking", url, digest), "1", nx=True, px=int(seconds * 1000)))
        except redis.RedisError:
            return False

    def end_asking(self, url: str, digest: str) -> None:
        """Let another caller ask from now on. If the store does not answer, that waits until the time has passed."""
        try:
            self._redis.delete(_key("asking", url, digest))
        except redis.RedisError as exc:
            log_event(log, logging.WARNING, "verdict.unshared", url=url, error=exc)


def _key(what: str, url: str, digest: str = "") -> str:
    return f"kt:{{breaker}}:config:{what}:{digest}:{url}"
