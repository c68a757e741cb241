"""Keep the breaker's shared state: a few keys per KATO instance, all of which expire."""

from __future__ import annotations

import logging

import redis

from kato_tasks.adapters.redis.keys import OPEN_CIRCUIT
from kato_tasks.telemetry.log_events import log_event

log = logging.getLogger(__name__)
TROUBLE_MS = 300_000
"""Trouble that has not been met for this time is forgotten."""
SAID_MS = 30_000
"""Trouble that comes and goes is reported once in this time."""


class RedisBreakerState:
    """Keeps what ``engine.running.breaker.BreakerState`` describes.

    If the store does not answer, every breaker is closed.
    """

    def __init__(self, client: redis.Redis) -> None:
        self._redis = client

    def look(self, url: str) -> tuple[str | None, bool]:
        """Return the last failure and whether there is trouble; (None, False) if the store does not answer."""
        try:
            why, trouble = self._redis.mget(f"{OPEN_CIRCUIT}{url}", f"kt:{{breaker}}:trouble:{url}")
        except redis.RedisError:
            return None, False
        return None if why is None else str(why), trouble is not None

    def open(self, url: str, seconds: float, why: str) -> None:
        """Open the circuit for ``seconds``. If the store cannot keep that, only a warning is logged."""
        try:
            self._redis.set(f"{OPEN_CIRCUIT}{url}", why or "1", px=int(seconds * 1000))
        except redis.RedisError as exc:
            log_event(log, logging.WARNING, "breaker.unshared", url=url, error=exc)

    def close(self, url: str) -> None:
        """Close the circuit. If the store cannot keep that, only a warning is logged."""
        try:
            self._redis.delete(f"{OPEN_CIRCUIT}{url}")
        except redis.RedisError as exc:
            log_event(log, logging.WARNING, "breaker.unshared", url=url, error=exc)

    def may_probe(self, url: str, interval_seconds: float) -> bool:
        """Return True for one caller per interval; False for every caller if the store does not answer."""
        try:
            key = f"kt:{{breaker}}:probe:{url}"
            return bool(self._redis.set(key, "1", nx=True, px=int(interval_seconds * 1000)))
        except redis.RedisError:
            return False

    def trouble_goes_on(self, url: str, for_seconds: float, *, told: bool = False) -> bool:
        """Record trouble that has lasted for ``for_seconds``, and return whether the caller is to log it.

        Trouble is logged once, and at most once in ``SAID_MS`` if it comes and goes. If the store does not answer,
        the caller logs nothing.
        """
        trouble = f"kt:{{breaker}}:trouble:{url}"
        try:
            self._redis.set(trouble, f"{self._now_ms() - int(for_seconds * 1000)} 0", nx=True, px=TROUBLE_MS)
            since, _, said = str(self._redis.get(trouble) or "").partition(" ")
            if said == "1":
                self._redis.pexpire(trouble, TROUBLE_MS)
                return False
            if not told and not self._redis.set(f"kt:{{breaker}}:said:{url}", "1", nx=True, px=SAID_MS):
                return False
            self._redis.set(trouble, f"{since} 1", px=TROUBLE_MS)
        except redis.RedisError:
            return False
        return not told

    def trouble_ended(self, url: str) -> float | None:
        """Return, to one caller only, how many seconds the trouble lasted.

        The result is None for every other caller, for trouble that was not logged, and if the store does not answer.
        """
        try:
            found = str(self._redis.getdel(f"kt:{{breaker}}:trouble:{url}") or "")
            since, _, said = found.partition(" ")
            return max(0.0, (self._now_ms() - int(since)) / 1000) if said == "1" else None
        except (redis.RedisError, ValueError):
            return None

    def _now_ms(self) -> int:
        seconds, micros = self._redis.time()
        return int(seconds) * 1000 + int(micros) // 1000
