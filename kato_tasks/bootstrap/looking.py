"""Let a process look at the store without opening any of the other pieces, as a health check does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from kato_tasks.adapters.redis.figures import RedisFigures
from kato_tasks.adapters.redis.store import connect
from kato_tasks.ports.figures import Figures


@contextmanager
def figures_of(store_url: str, timeout_seconds: float) -> Iterator[Figures]:
    """Open the figures of a store, each of whose answers may take ``timeout_seconds``.

    Raises ConfigurationError if ``store_url`` is not the address of a Redis.
    """
    with connect(store_url, timeout=timeout_seconds) as client:
        yield RedisFigures(client)
