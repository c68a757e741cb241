"""KATO, the store and the broker go away and come back; nobody's task fails, nothing acknowledged is lost."""

from __future__ import annotations

import contextlib
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from celery.result import AsyncResult

from kato_tasks import append_events, process_observation_async, session_status
from kato_tasks.celery_app import app
from kato_tasks.errors import StoreUnavailable
from kato_tasks.testing.rabbitmq import RabbitmqServer
from kato_tasks.testing.services import KatoServer, RedisServer
from kato_tasks.testing.waiting import wait_until
from tests.integration.recovering import (
    THREADS,
    a_system,
    another_worker,
    expected,
    followed,
    history,
    hold_to_the_oracle,
    new_name,
    nobody_waits,
    run_of,
    total,
)
from tests.integration.system import Json, System, Worker, drained


@pytest.fixture(scope="module")
def running(
    redis_server: RedisServer, kato: KatoServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[System, Worker]]:
    with (
        a_system(redis_server, tmp_path_factory.mktemp("outage"), kato, breaker_interval_seconds="1") as system,
        system.workers(THREADS) as (worker,),
    ):
        yield system, worker


@pytest.fixture(scope="module")
def system(running: tuple[System, Worker]) -> System:
    return running[0]


def delayed(session: str, first: int, count: int) -> list[AsyncResult[Json]]:
    return [
        process_observation_async.delay(session, {"strings": [str(i)]}, event_id=f"{session}/{i}")
        for i in range(first, first + count)
    ]


def all_succeed(results: list[AsyncResult[Json]], timeout: float = 40) -> None:
    for result in results:
        answer = AsyncResult(result.id, app=app).get(timeout=timeout)
        assert answer["status"] == "okay"


@pytest.mark.parametrize(
    ("how", "seconds"),
    [("paused", 5.0), ("killed", 5.0), pytest.param("paused", 20.0, marks=pytest.mark.chaos)],
)
def test_a_kato_that_is_away_fails_no_task_and_its_backlog_drains_in_order(
    system: System, how: str, seconds: float
) -> None:
    system.kato.start()
    system.kato.reset()
    sessions = [new_name("visitor") for _ in range(6)]
    results = [result for session in sessions for result in delayed(session, 0, 2)]
    all_succeed(results)
    away_until = time.monotonic() + seconds
    if how == "paused":
        system.kato.pause()
    else:
        system.kato.kill()
    try:
        late = [result for session in sessions for result in delayed(session, 2, 3)]
        append_events([e for session in sessions for e in run_of(session, 5, 5)])
        wait_until(lambda: time.monotonic() > away_until, seconds + 1)
    finally:
        if how == "paused":
            system.kato.resume()
        else:
            system.kato.start()
    all_succeed(late)
    drained(sessions, 40)
    nobody_waits(system)
    for session in sessions:
        # A KATO that was killed has lost its sessions: they were rebuilt.
        assert system.stm(session) == expected(10)
    if how == "paused":
        assert system.ask("stats")["overlaps"] == 0


def test_a_failing_kato_is_asked_once_per_interval(system: System) -> None:
    """In real processes; the breaker's own rules are in tests/unit/engine/test_breaker.py."""
    system.kato.start()
    system.kato.reset()
    sessions = [new_name("visitor") for _ in range(20)]
    system.faults({"kind": "error_before", "route": "*"})
    append_events([e for session in sessions for e in run_of(session, 3)])

    def asked() -> int:
        return sum(count for route, count in system.ask("stats")["requests"].items() if route != "health")

    wait_until(lambda: asked() >= 5, 10, "KATO was asked until the circuit opened")
    opened = f"kt:{{breaker}}:open:{system.kato.url}"
    wait_until(lambda: system.redis.exists(opened), 10, "the circuit is open")
    # Others may still be under way, or believe what they saw half a second ago.
    settled = time.monotonic() + 1.5
    wait_until(lambda: time.monotonic() > settled, 2)
    before, began = asked(), time.monotonic()
    wait_until(lambda: time.monotonic() - began > 6, 7)
    probes = asked() - before
    assert 2 <= probes <= 8, "one call per interval of a second"
    system.faults()
    drained(sessions, 30)
    nobody_waits(system)
    assert all(system.stm(session) == expected(3) for session in sessions)


# ------------------------------------------------------------------------------- the store


def test_a_restart_of_the_store_loses_nothing_and_every_session_is_verified_once(system: System) -> None:
    """Invariant 4."""
    system.kato.start()
    system.kato.reset()
    sessions = [new_name("visitor") for _ in range(6)]
    append_events([e for session in sessions for e in run_of(session, 5)])
    drained(sessions)
    system.store.stop()
    with pytest.raises(StoreUnavailable):
        append_events(run_of(sessions[0], 1, 99))
    system.store.start()
    verified = total(system, "verified")

    def appended() -> bool:
        try:
            append_events([e for session in sessions for e in run_of(session, 5, 5)])
        except StoreUnavailable:
            return False
        return True

    wait_until(appended, 10, "the application gets through again")
    drained(sessions, 30)
    assert all(system.stm(session) == expected(10) for session in sessions)
    assert total(system, "verified") == verified + len(sessions)


def test_the_store_is_restarted_under_load(system: System) -> None:
    system.kato.start()
    system.kato.reset()
    sessions = [new_name("visitor") for _ in range(4)]
    stop = threading.Event()
    acknowledged: list[int] = []

    def caller() -> None:
        turn = 0
        while not stop.is_set():
            # An application that retries a call which raised passes the same event ids.
            events = [e for session in sessions for e in run_of(session, 2, 2 * turn)]
            try:
                append_events(events)
            except StoreUnavailable:
                continue
            turn += 1
            acknowledged.append(turn)

    calling = threading.Thread(target=caller)
    calling.start()
    try:
        for _ in range(2):
            before = len(acknowledged)
            wait_until(lambda at=before: len(acknowledged) > at + 20, 15, "the load goes on")  # type: ignore[misc]
            system.store.kill()
            system.store.start()
        before = len(acknowledged)
        wait_until(lambda: len(acknowledged) > before + 20, 15, "the load goes on")
    finally:
        stop.set()
        calling.join()
    drained(sessions, 60)
    for session in sessions:
        assert system.stm(session) == expected(2 * len(acknowledged))[-1000:]
    nobody_waits(system)
    assert system.ask("stats")["overlaps"] == 0


@pytest.mark.timed  # a call that comes to wait for a core longer than its time is fenced, and sends more
def test_a_store_that_was_put_back_in_time_follows_kato(running: tuple[System, Worker]) -> None:
    """Invariant 3, in real processes; its guard falls in tests/unit/engine/test_store_went_back.py."""
    system, worker = running
    system.kato.start()
    system.kato.reset()
    node = new_name("shop")
    sessions = [new_name("visitor") for _ in range(4)]
    stories = [history(session, node) for session in sessions]
    append_events([e for story in stories for e in story[:2]])
    drained(sessions)
    # All is in the log, and nothing more of it is applied or begun before the worker is continued.
    with paused(worker):
        append_events([e for story in stories for e in story[2:]])
        older = saved(system)
    drained(sessions)
    observes, learns = system.ask("stats")["observes"], system.ask("stats")["learns"]
    with paused(worker):
        put_back(system, older)
        assert {session_status(session).cursor for session in sessions} == {2}  # type: ignore[union-attr]
    drained(sessions, 30)
    assert (system.ask("stats")["observes"], system.ask("stats")["learns"]) == (observes, learns)
    assert total(system, "caught_up") == sum(len(story) - 2 for story in stories)
    hold_to_the_oracle(system, followed([e for story in stories for e in story]))


@contextlib.contextmanager
def paused(worker: Worker) -> Iterator[None]:
    """The worker does nothing meanwhile; it was idle before."""
    worker.pause()
    try:
        yield
    finally:
        worker.resume()


def saved(system: System) -> Path:
    """The store's append-only file as it is after a clean stop."""
    system.store.stop()
    older = system.directory / "older"
    shutil.copytree(system.store.directory / "appendonlydir", older)
    system.store.start()
    return older


def put_back(system: System, older: Path) -> None:
    system.store.stop()
    now = system.store.directory / "appendonlydir"
    shutil.rmtree(now)
    shutil.copytree(older, now)
    system.store.start()


# ------------------------------------------------------------------------------ the broker


@pytest.mark.parametrize("loaded", [False, True], ids=["idle", "loaded"])
def test_a_rabbitmq_that_is_restarted_raises_at_no_caller_and_progress_resumes(
    rabbitmq_server: RabbitmqServer, kato: KatoServer, tmp_path_factory: pytest.TempPathFactory, loaded: bool
) -> None:
    """Invariant 4."""
    with a_system(rabbitmq_server, tmp_path_factory.mktemp("rabbit"), kato) as system, another_worker(system):
        kato.reset()
        sessions = [new_name("visitor") for _ in range(4)]
        first = [r for session in sessions for r in delayed(session, 0, 2)]
        if not loaded:
            all_succeed(first)
        rabbitmq_server.stop()
        called = [r for session in sessions for r in delayed(session, 2, 1)]
        append_events([e for session in sessions for e in run_of(session, 2, 3)])
        # The workers' sweeps drain without a broker's message only once one is back.
        rabbitmq_server.start()
        called += [r for session in sessions for r in delayed(session, 5, 1)]
        drained(sessions, 40)
        all_succeed([*first, *called])
        assert all(system.stm(session) == expected(6) for session in sessions)


@pytest.fixture
def redis_broker(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis that is nothing but the broker, and that a test may restart."""
    broker = RedisServer(tmp_path / "broker")
    yield broker
    broker.stop()


QUICK_REDELIVERY = {"visibility_timeout_seconds": "30"}
"""What a worker had taken and not begun comes back after the visibility timeout."""


@pytest.mark.parametrize("loaded", [False, True], ids=["idle", "loaded"])
def test_a_redis_broker_that_is_restarted_raises_at_no_caller_and_progress_resumes(
    redis_broker: RedisServer, kato: KatoServer, tmp_path: Path, loaded: bool
) -> None:
    """Invariant 4. A message that Redis was just handing out is lost (see the next test), so its call is repeated."""
    with a_system(redis_broker, tmp_path, kato, **QUICK_REDELIVERY) as system, another_worker(system):
        kato.reset()
        sessions = [new_name("visitor") for _ in range(4)]
        first = [r for session in sessions for r in delayed(session, 0, 2)]
        if not loaded:
            all_succeed(first)
        redis_broker.stop()
        called = [r for session in sessions for r in delayed(session, 2, 1)]
        append_events([e for session in sessions for e in run_of(session, 2, 3)])
        redis_broker.start()
        called += [r for session in sessions for r in delayed(session, 5, 1)]
        drained(sessions, 40)
        if loaded:
            called += [r for session in sessions for r in delayed(session, 0, 2)]
        all_succeed(called, timeout=75)
        assert all(system.stm(session) == expected(6) for session in sessions)


def test_an_event_whose_message_a_redis_broker_lost_is_applied_and_its_call_can_be_repeated(
    redis_broker: RedisServer, kato: KatoServer, tmp_path: Path
) -> None:
    """Invariant 4. Redis takes a message off its queue before the worker notes that it has it: kombu sends a BRPOP, and
    writes the message down as unacknowledged when it has read the answer. A broker that ends in between has lost it.
    """
    with (
        a_system(redis_broker, tmp_path, kato, **QUICK_REDELIVERY) as system,
        system.workers(THREADS) as (worker,),
        redis.Redis.from_url(redis_broker.url) as client,
    ):
        session = new_name("visitor")
        all_succeed(delayed(session, 0, 1))
        wait_until(lambda: client.hlen("unacked") == 0, 10, "the worker waits for a message")
        worker.pause()
        try:
            delayed(session, 1, 1)
            wait_until(lambda: not client.keys("kato.lane.*"), 10, "Redis has handed the message out")
            assert client.hlen("unacked") == 0
            redis_broker.stop()
        finally:
            worker.resume()
        wait_until(lambda: "Cannot connect to redis" in worker.text(), 20, "the worker has lost its broker")
        redis_broker.start()
        drained([session], 40)
        all_succeed(delayed(session, 1, 1))
        assert system.stm(session) == expected(2)
