"""Embedded KATOs in threads, over real HTTP."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from kato_tasks.embedded import serve_in_thread
from tests.contract.kato.client import Kato, body_of, connected

Start = Callable[..., Kato]


def _starter(stack: ExitStack) -> Start:
    def start(**options: Any) -> Kato:
        url = stack.enter_context(serve_in_thread(**options))
        return Kato(stack.enter_context(connected(url, timeout=10)))

    return start


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts an embedded KATO of the test's own, with the given options."""
    with ExitStack() as stack:
        yield _starter(stack)


@pytest.fixture(scope="module")
def shared_kato() -> Iterator[Kato]:
    with ExitStack() as stack:
        yield _starter(stack)(visible_after=0.0, journal=10_000)


@pytest.fixture
def kato(shared_kato: Kato) -> Kato:
    """An embedded KATO as if just started, which shows new patterns at once and keeps a journal."""
    body_of(shared_kato.http.post("/_embedded/reset"))
    return shared_kato
