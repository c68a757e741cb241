"""Fixtures of several files of the integration tests."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from kato_tasks.testing.services import RedisServer


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A broker of the module's own: it can be killed, or outlive what the store forgets."""
    server = RedisServer(tmp_path_factory.mktemp("broker"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """A session of the test's own."""
    return f"{request.node.name} {time.monotonic_ns()}"
