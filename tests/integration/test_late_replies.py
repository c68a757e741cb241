"""A store whose replies get lost: every operation may have been carried out, and is carried out again."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from kato_tasks import append_events, session_status
from kato_tasks.bootstrap import runtime, terms_of
from kato_tasks.domain.events import parse_event
from kato_tasks.domain.ids import PARTITIONS
from kato_tasks.domain.log_entry import entry_of
from kato_tasks.engine.append import Mailbox
from kato_tasks.engine.running.drainer import Drainer
from kato_tasks.engine.running.lease_renewal import LeaseRenewer
from kato_tasks.errors import StoreUnavailable
from kato_tasks.ports.effects import Effect
from kato_tasks.testing.services import KatoServer, RedisServer
from kato_tasks.testing.waiting import wait_until
from tests.integration.system import System


@pytest.fixture(scope="module")
def system(redis_server: RedisServer, kato: KatoServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    redis_server.start()
    kato.start()
    system = System(redis_server, redis_server, kato, tmp_path_factory.mktemp("late"), lease_seconds="0.6")
    system.environment["KATO_TASKS_RENEW_SECONDS"] = "0.2"
    with system.here():
        system.empty()
        yield system


class LosingReplies:
    """A store that does what it is asked and now and then says that it cannot be reached, or does it twice."""

    def __init__(self, store: Any, seed: int, rate: float) -> None:
        self._store = store
        self._rng = random.Random(seed)
        self._rate = rate
        self.lost = 0

    def run(self) -> str:
        return str(self._store.run())

    def execute(self, operations: Sequence[Effect[Any]]) -> list[Any]:
        answers: list[Any] = self._store.execute(operations)
        if self._rng.random() < self._rate:
            self.lost += 1
            raise StoreUnavailable("the reply was lost")
        if self._rng.random() < self._rate:
            self.lost += 1
            return list(self._store.execute(operations))
        return answers


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_every_event_is_applied_once_and_in_order_though_replies_get_lost(system: System, seed: int) -> None:
    """Invariants 1 and 3. Falls when commit.lua no longer compares the cursor, or append.lua no longer dedupes."""
    system.empty()
    rt = runtime()
    losing = LosingReplies(rt.store, seed, 0.12)
    mailbox = Mailbox(losing)
    drainer = Drainer(losing, rt.kato, LeaseRenewer(rt.store, 0.2), terms_of(rt.settings))
    sessions = [f"s{i}" for i in range(12)]

    def appended(batch: list[dict[str, Any]]) -> None:
        """As a caller does who passes his own ids: again, until it is said to be there."""
        entries = [entry_of(parse_event(raw), event_id=raw["event_id"]) for raw in batch]

        def once() -> bool:
            try:
                mailbox.append(entries)
            except StoreUnavailable:
                return False
            return True

        wait_until(once, 20)

    for i in range(30):
        appended(
            [
                {"session_id": s, "event_id": f"{s}/{i}", "node_id": f"n{s[-1]}", "observation": {"strings": [f"{i}"]}}
                for s in sessions
            ]
        )
        if i % 10 == 9:
            appended([{"session_id": s, "event_id": f"{s}/l{i}", "event_type": "learn"} for s in sessions[:4]])
        try:
            drainer.drain_partitions(range(PARTITIONS))
        except StoreUnavailable:
            continue

    def idle() -> bool:
        try:
            drainer.drain_partitions(range(PARTITIONS))
        except StoreUnavailable:
            return False
        states = [session_status(s) for s in sessions]
        return all(s is not None and s.state == "idle" and s.cursor == s.head for s in states)

    wait_until(idle, 60, "everything is applied", every=0.05)
    assert losing.lost > 20
    for session in sessions[4:]:
        assert system.stm(session) == [[f"{i}"] for i in range(30)]
    for session in sessions[:4]:
        frequencies = system.ask(f"patterns?node=n{session[-1]}")
        assert [p["frequency"] for p in frequencies.values()] == [1, 1, 1]
    assert system.ask("stats")["overlaps"] == 0
    assert append_events(
        [{"session_id": "s5", "event_id": "s5/3", "node_id": "n5", "observation": {"strings": ["3"]}}]
    )[0].duplicate
