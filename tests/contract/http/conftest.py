"""Both clients of the port; each gives every place back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

import pytest

from kato_tasks.adapters.kato_http.httpx_pool import HttpxKato
from kato_tasks.adapters.kato_http.pool import HttpKato
from kato_tasks.ports.kato import KatoTransport
from kato_tasks.testing.waiting import wait_until


class Client(KatoTransport, Protocol):
    """A transport, and what tells that nothing of it leaks."""

    @property
    def in_use(self) -> int: ...

    def close(self) -> None: ...


Opens = Callable[..., Client]
CLIENTS: dict[str, Opens] = {"fast": HttpKato, "httpx": HttpxKato}


@pytest.fixture(params=CLIENTS)
def make(request: pytest.FixtureRequest) -> Opens:
    """What opens a client: each test runs with both."""
    return CLIENTS[request.param]


@pytest.fixture
def kato(make: Opens) -> Iterator[Client]:
    kato = make(connections=8, timeout_seconds=5.0, connect_timeout_seconds=2.0)
    yield kato
    wait_until(lambda: kato.in_use == 0, 10)  # every connection was given back
    kato.close()


@pytest.fixture
def fast() -> Iterator[HttpKato]:
    """The fast client alone, where a test is about a detail of it."""
    kato = HttpKato(connections=8, timeout_seconds=5.0, connect_timeout_seconds=2.0)
    yield kato
    assert kato.in_use == 0
    kato.close()
