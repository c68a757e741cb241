"""A store, and a server before it."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from kato_tasks.testing.services import KatoServer, RedisServer
from tests.integration.http.server import HttpServer
from tests.integration.system import System


@pytest.fixture(scope="module")
def system(redis_server: RedisServer, kato: KatoServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    redis_server.start()
    kato.start()
    system = System(redis_server, redis_server, kato, tmp_path_factory.mktemp("http"), sweep_seconds="0.3")
    with system.here():
        system.empty()
        yield system


@pytest.fixture(scope="module")
def server(system: System) -> Iterator[HttpServer]:
    """One server for the tests of a file, which leave it as it was."""
    server = HttpServer(system.directory / "server", system.environment)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def client(server: HttpServer) -> Iterator[httpx.Client]:
    with server.client() as client:
        yield client
