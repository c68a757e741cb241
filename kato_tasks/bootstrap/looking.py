"""A look at the store by a process that opens none of the other pieces, such as a health check."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from kato_tasks.adapters.redis.figures import RedisFigures
from kato_tasks.adapters.redis.store import connect
from kato_tasks.ports.figures import Figures


@contextmanager
def figures_of(store_url: str, timeout_seconds: float) -> Iterator[Figures]:
    """Read the figures of a store that answers within ``timeout_seconds``. Raises ConfigurationError for no address."""
    with connect(store_url, timeout=timeout_seconds) as client:
        yield RedisFigures(client)
