"""The driver on real connections: whatever ends it, it gives them back."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import pytest

from kato_tasks.adapters.kato_http.pool import HttpKato
from kato_tasks.engine.running.background import Background
from kato_tasks.engine.running.driver import Driver, Finished
from kato_tasks.errors import StoreUnavailable
from kato_tasks.ports.effects import Effect, Program, perform
from kato_tasks.ports.kato import KatoReply, KatoRequest
from tests.contract.http.raw_server import Peer, serving, well


class Store:
    """Nothing is asked of it here."""

    def run(self) -> str:
        return "run"

    def execute(self, operations: Sequence[Effect[Any]]) -> list[Any]:
        raise AssertionError(operations)


def hang(peer: Peer) -> None:
    while True:
        peer.request()


def asks(url: str, ended: list[str], name: str) -> Program[KatoReply]:
    try:
        return (yield from perform(KatoRequest(url, "GET", "/", "r")))
    finally:
        ended.append(name)


def test_an_error_on_the_way_out_gives_every_connection_back() -> None:
    """The store went away while calls were in flight: each outage took connections, until the process ran on one."""
    kato = HttpKato(connections=4)
    with serving(hang) as server:
        for _ in range(3):
            ended: list[str] = []

            def more(in_flight: int) -> Sequence[tuple[str, Program[KatoReply]]]:
                raise StoreUnavailable("away")

            driver: Driver[KatoReply] = Driver(Store(), kato)
            with pytest.raises(StoreUnavailable):
                driver.run([(f"{i}", asks(server.url, ended, f"{i}")) for i in range(3)], more)
            assert kato.in_use == 0
            assert ended == ["0", "1", "2"], "each lane's drain was ended, so that nobody renews its lease"
    kato.close()


def test_a_driver_leaves_what_is_quiet_and_another_goes_on_with_it() -> None:
    kato = HttpKato(connections=4)
    go = threading.Event()

    def late(peer: Peer) -> None:
        peer.request()
        go.wait(10)  # and closes the connection without an answer

    with serving(late) as slow, serving(well) as quick:
        ended: list[str] = []
        first: Driver[KatoReply] = Driver(Store(), kato)
        finished = first.run(
            [("slow", asks(slow.url, ended, "slow")), ("quick", asks(quick.url, ended, "quick"))], quiet_seconds=0.2
        )
        assert [end.key for end in finished] == ["quick"]
        assert len(first) == 1
        second: Driver[KatoReply] = Driver(Store(), kato)
        later: list[Finished[KatoReply]] = []
        second.absorb(first, later.append)
        assert len(first) == 0
        go.set()
        while len(second):
            second.advance()
            second.wait(1)
            second.advance()
        assert [(end.key, type(end.error).__name__) for end in later] == [("slow", "OutcomeUnknown")]
        second.close()
    assert kato.in_use == 0
    kato.close()


def test_a_background_that_ends_lets_go_of_what_it_took_and_never_looked_at() -> None:
    """Its lanes' leases would be renewed for as long as the process lives."""
    kato = HttpKato(connections=4)
    with serving(hang) as server:
        ended: list[str] = []
        behind: Background[KatoReply] = Background(Store(), kato)
        own: Driver[KatoReply] = Driver(Store(), kato, wakeable=True)
        behind._driver = own  # and so no thread of its own
        first: Driver[KatoReply] = Driver(Store(), kato)
        first.run([("slow", asks(server.url, ended, "slow"))], quiet_seconds=0.1)
        behind.take(first, lambda _: None)
        assert behind.close(0.0) == 1
        behind._run(own)
        assert ended == ["slow"]
        assert kato.in_use == 0
    kato.close()
