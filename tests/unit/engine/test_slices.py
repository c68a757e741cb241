"""A wake-up's slice: which lanes it takes, and what becomes of them when something fails in the middle."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Any

import pytest

from kato_tasks.adapters.kato_http.pool import HttpKato
from kato_tasks.domain.kato_session import Binding
from kato_tasks.domain.log_entry import Logged
from kato_tasks.engine.drain.context import KatoSessionOptions
from kato_tasks.engine.running import drainer as module
from kato_tasks.engine.running.breaker import CircuitBreaker
from kato_tasks.engine.running.breaker_transport import BreakerTransport
from kato_tasks.engine.running.drainer import Drainer
from kato_tasks.engine.running.lease_renewal import LeaseRenewer
from kato_tasks.engine.running.room import Room
from kato_tasks.engine.running.slices import DrainOptions, SliceResult
from kato_tasks.errors import StoreUnavailable
from kato_tasks.ports.effects import Effect
from kato_tasks.ports.lanes import AcquireLanes, Commit, Defer, NextWork, Renew, Work, WriteIntent
from kato_tasks.testing.waiting import wait_until
from tests.contract.http.raw_server import Peer, serving

BODY = '{"strings":["a"],"vectors":[],"emotives":{},"metadata":{},"unique_id":"e1"}'
ANSWER = b'{"observations_processed":1,"results":[{"time":1}],"final_stm_length":1}'


def work(url: str, lane: str) -> Work:
    return Work(
        lane=lane,
        session=lane,
        node=lane,
        head=1,
        cursor=0,
        stm_start=0,
        binding=Binding(url, "kato-session", lane, 0, 0, 1, 10**15, run="run"),
        intent=None,
        attempts=0,
        unsent_in_a_row=0,
        create_lost=False,
        predict_id="",
        now_ms=1_000,
        entries=(Logged(1, "o", False, "e1", "{}", BODY, "s"),),
    )


class Store:
    """Gives the lanes that it has, by partition, and remembers what was asked."""

    def __init__(self, lanes: dict[int, list[Work]]) -> None:
        self._lanes = lanes
        self.away = False
        self.leases: list[list[AcquireLanes]] = []
        self.committed: list[str] = []
        self.renewed: set[str] = set()

    def run(self) -> str:
        return "run"

    def execute(self, operations: Sequence[Effect[Any]]) -> list[Any]:
        leases = [op for op in operations if isinstance(op, AcquireLanes)]
        if leases:
            self.leases.append(leases)
            if self.away:
                raise StoreUnavailable("away")
        return [self._answer(operation) for operation in operations]

    def _answer(self, operation: Effect[Any]) -> Any:
        match operation:
            case AcquireLanes():
                due = self._lanes.get(operation.partition, [])
                given, self._lanes[operation.partition] = due[: operation.lanes], due[operation.lanes :]
                return given
            case Commit():
                self.committed.append(operation.lease.lane)
                return NextWork(-1, None)
            case Defer():
                return NextWork(-1, None)
            case Renew():
                self.renewed.add(operation.lease.lane)
                return True
            case WriteIntent():
                return None
        raise AssertionError(operation)


def drainer(store: Store, kato: HttpKato, url: str, **more: Any) -> Drainer:
    return Drainer(
        store, kato, LeaseRenewer(store, 0.02), DrainOptions(KatoSessionOptions((url,)), lease_ms=5_000, **more)
    )


def test_a_store_that_is_away_while_lanes_are_under_way_takes_none_of_them() -> None:
    """More lanes cannot be leased; the one whose call is in flight goes on, and commits when the store is back."""
    kato = HttpKato(connections=4)
    store: Store

    def answers(peer: Peer) -> None:
        while True:
            peer.request()
            time.sleep(0.05)
            peer.answer(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(ANSWER) + ANSWER)

    with serving(answers) as server:
        store = Store({0: [work(server.url, "lane")]})
        draining = drainer(store, kato, server.url, slice_seconds=10)
        first = store.execute

        def then_away(operations: Sequence[Effect[Any]]) -> list[Any]:
            done = first(operations)
            store.away = True
            return done

        store.execute = then_away  # type: ignore[method-assign]
        done = draining.drain_partitions([0])
        assert (done.lanes, store.committed) == (1, ["lane"])
    assert kato.in_use == 0
    kato.close()


def test_a_lease_is_renewed_from_the_moment_its_drain_begins() -> None:
    kato = HttpKato(connections=4)
    go = threading.Event()

    def answers(peer: Peer) -> None:
        peer.request()
        go.wait(10)
        peer.answer(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(ANSWER) + ANSWER)

    with serving(answers) as server:
        store = Store({0: [work(server.url, "lane")]})
        draining = drainer(store, kato, server.url)
        later: list[SliceResult] = []
        assert draining.drain_partitions([0], later=later.append).lanes == 0
        assert draining.in_background == 1
        wait_until(lambda: "lane" in store.renewed, 5, "the lease of a lane in the background is renewed")
        go.set()
        wait_until(lambda: later, 5, "what became of it is told")
        assert (later[0].lanes, store.committed) == (1, ["lane"])
        assert draining.close(5) == 0
    kato.close()


def test_a_wake_up_leases_no_more_lanes_at_once_than_its_setting_says_however_many_partitions_it_serves() -> None:
    kato = HttpKato()
    store = Store({})
    draining = drainer(store, kato, "http://127.0.0.1:1", lanes=64)
    for partitions in (16, 128, 256):
        store.leases.clear()
        assert draining.drain_partitions(range(partitions)).lanes == 0
        assert all(sum(lease.lanes for lease in together) <= 64 for together in store.leases)
        asked = [lease.partition for together in store.leases for lease in together]
        assert sorted(asked) == list(range(partitions)), "every partition is asked once before it gives up"
    kato.close()


def test_a_background_that_has_as_many_lanes_as_it_may_takes_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """Invariant 7: the task waits for its own call then."""
    monkeypatch.setattr(module, "BACKGROUND_LANES", 0)
    kato = HttpKato(connections=4)

    def answers(peer: Peer) -> None:
        while True:
            peer.request()
            time.sleep(0.3)
            peer.answer(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(ANSWER) + ANSWER)

    with serving(answers) as server:
        store = Store({0: [work(server.url, "lane")]})
        draining = drainer(store, kato, server.url)
        done = draining.drain_partitions([0], later=lambda _: None)
        assert (done.lanes, store.committed, draining.in_background) == (1, ["lane"], 0)
    kato.close()


def test_a_background_that_is_closed_ends_its_threads_and_gives_every_connection_back() -> None:
    """An application opens and closes its runtime more than once; what had no answer yet is abandoned."""
    kato = HttpKato(connections=4)

    def hang(peer: Peer) -> None:
        while True:
            peer.request()

    with serving(hang) as server:
        store = Store({0: [work(server.url, "lane")]})
        draining = drainer(store, kato, server.url)
        draining.drain_partitions([0], later=lambda _: None)
        assert draining.in_background == 1
        assert draining.close(0.1) == 1
        wait_until(lambda: kato.in_use == 0, 5, "the connection was given back")
        wait_until(lambda: not [t for t in threading.enumerate() if t.name.startswith("kato-background")], 5, "threads")
    kato.close()


def test_lanes_that_kato_has_no_room_for_stay_in_the_store_and_the_wake_up_says_so() -> None:
    """They would only wait for a connection, with their leases held, and in the end be given back unsent."""
    kato = HttpKato(connections=2)
    go = threading.Event()

    def answers(peer: Peer) -> None:
        while True:
            peer.request()
            go.wait(20)
            peer.answer(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(ANSWER) + ANSWER)

    with serving(answers) as server:
        store = Store({0: [work(server.url, f"lane{i}") for i in range(20)]})
        room = Room(4, 4, clock=lambda: 0.0)  # it does not hang, however long this takes
        breaker = CircuitBreaker(Closed())
        terms = DrainOptions(KatoSessionOptions((server.url,)), lease_ms=5_000, lanes=4)
        draining = Drainer(store, BreakerTransport(kato, breaker, room), LeaseRenewer(store, 0.02), terms, room=room)
        ended: list[SliceResult] = []
        first = draining.drain_partitions([0], later=ended.append)
        second = draining.drain_partitions([0], later=ended.append)
        assert draining.in_background == 4
        assert not draining.has_room
        assert first.over
        assert second.over
        go.set()
        wait_until(lambda: draining.in_background == 0, 10, "those four")
        assert draining.drain_partitions([0], later=ended.append).over is False
        wait_until(lambda: draining.in_background == 0, 10, "all")
        assert len(store.committed) == 20
    kato.close()


class Closed:
    """A circuit that nobody opens."""

    def look(self, url: str) -> tuple[str | None, bool]:
        return None, False

    def open(self, url: str, seconds: float, why: str) -> None:
        raise AssertionError(why)

    def close(self, url: str) -> None: ...

    def may_probe(self, url: str, interval_seconds: float) -> bool:
        return False

    def trouble_goes_on(self, url: str, for_seconds: float, *, told: bool = False) -> bool:
        return False

    def trouble_ended(self, url: str) -> float | None:
        return None
