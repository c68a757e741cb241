"""The first call of a process whose store hangs, or is away for a moment."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from kato_tasks import Settings, app, bootstrap, make_app
from kato_tasks.errors import StoreUnavailable
from kato_tasks.testing.services import RedisServer
from kato_tasks.testing.waiting import wait_until

THREADS = 12


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    """The store of this process, which has not spoken to it yet."""
    server = RedisServer(tmp_path)
    server.start()
    app.close()
    with make_app(Settings(store_url=server.url)):
        yield server
    server.stop()


def refused(_: int) -> float:
    """How long a call took to learn that the store does not answer."""
    began = time.monotonic()
    with pytest.raises(StoreUnavailable, match="Redis does not answer"):
        bootstrap.runtime()
    return time.monotonic() - began


def test_threads_whose_store_hangs_share_one_wait(server: RedisServer) -> None:
    """Each would wait its own 5 s after the others'."""
    server.pause()
    try:
        with ThreadPoolExecutor(THREADS) as pool:
            took = list(pool.map(refused, range(THREADS)))
        assert max(took) < 10, took
        assert refused(0) < 1, "and who comes right after it is told at once"
    finally:
        server.resume()


def test_a_store_that_is_back_is_found_within_seconds(server: RedisServer) -> None:
    server.kill()
    refused(0)
    server.start()

    def there() -> bool:
        try:
            return bool(bootstrap.runtime().redis.ping())
        except StoreUnavailable:
            return False

    wait_until(there, 5)
