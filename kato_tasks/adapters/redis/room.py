"""Whether the store has room for more events."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from kato_tasks.adapters.redis.answers import no_answer
from kato_tasks.errors import StoreFull

LOOK_SECONDS = 1.0
"""How old the figures may be: a busy process asks once in that time, not once for each append."""


class Share:
    """How much of its memory the store uses, as it said last. ``check`` refuses what makes it grow above ``share``.

    The memory above that share is for the drains, which need some to carry out and remove what waits. A store without
    ``maxmemory`` has no limit. The object is thread-safe.
    """

    def __init__(self, share: float) -> None:
        self._share = share
        self._looked = float("-inf")
        self._used = self._limit = 0

    @property
    def is_old(self) -> bool:
        """Tell whether the store is to be asked again."""
        return time.monotonic() - self._looked > LOOK_SECONDS

    def note(self, memory: Mapping[str, Any]) -> None:
        """Note what the store said of its memory (``INFO memory``), which is empty when it may not be asked."""
        # Redis counts it likewise: what is yet to be sent to replicas and to the append-only file is not data.
        self._used = int(memory.get("used_memory", 0)) - int(memory.get("mem_not_counted_for_evict", 0))
        self._limit = int(memory.get("maxmemory", 0))
        self._looked = time.monotonic()

    def check(self) -> None:
        """Raise StoreFull when there is no room."""
        if self._limit and self._used > self._share * self._limit:
            raise StoreFull(
                f"the store uses {self._used / 1e6:,.1f} MB of its maxmemory of {self._limit / 1e6:,.1f} MB, and above "
                f"{self._share:.0%} (STORE_FULL_SHARE) events are refused so that those it has can be applied; "
                "nothing was accepted: try again later, or give Redis more memory"
            )


class Room:
    """Ask the store for its memory when that is necessary, and refuse what does not fit. Thread-safe."""

    def __init__(self, client: redis.Redis, share: float) -> None:
        self._redis = client
        self._share = Share(share)

    def check(self) -> None:
        """Raise StoreFull when there is no room, and StoreUnavailable when the store does not answer."""
        if self._share.is_old:
            self._look()
        self._share.check()

    def _look(self) -> None:
        try:
            memory = self._redis.info("memory")
        except (RedisConnectionError, RedisTimeoutError) as exc:
            raise no_answer(exc) from exc
        except RedisError:
            memory = {}  # It may not be asked; Redis itself refuses what does not fit.
        self._share.note(memory)
