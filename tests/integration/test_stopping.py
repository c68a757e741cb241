"""Workers that are stopped as an operator stops them: quickly, and invisibly to callers."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from celery.result import AsyncResult

from kato_tasks import append_events, process_observation_async
from kato_tasks.celery_app import app
from kato_tasks.domain.stm import STM_CAP
from kato_tasks.testing.services import KatoServer, RedisServer
from kato_tasks.testing.waiting import wait_until
from tests.integration.calls import closing_what_celery_opened
from tests.integration.recovering import (
    THREADS,
    a_system,
    another_worker,
    caught_in_a_call,
    expected,
    new_name,
    nobody_waits,
    run_of,
)
from tests.integration.system import CeleryProcess, Json, System, drained

PREFORK = ["--pool", "prefork", "--concurrency", "2"]
GRACE_SECONDS = 15.0


@pytest.fixture(scope="module")
def system(redis_server: RedisServer, kato: KatoServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    # A lease that is long enough to show when it was handed back and when it only ran out.
    more = {"lease_seconds": "20", "renew_seconds": "2", "kato_timeout_seconds": "10", "batch_events": "1"}
    with a_system(redis_server, tmp_path_factory.mktemp("stopping"), kato, **more) as system:
        yield system


@pytest.mark.parametrize("pool", [THREADS, PREFORK], ids=["threads", "prefork"])
def test_a_worker_told_to_stop_ends_within_a_slice_and_a_call_and_hands_its_lanes_back(
    system: System, pool: list[str]
) -> None:
    system.kato.reset()
    session = new_name()
    # Each event is a call of its own and takes 50 ms: the lane is busy for many slices.
    system.faults({"kind": "delay_after", "route": "observe-sequence", "seconds": 0.05})
    with contextlib.ExitStack() as stack:
        (first,) = stack.enter_context(system.workers(pool))
        append_events(run_of(session, 150))
        caught_in_a_call(system)
        told = time.monotonic()
        first.stop()
        took = time.monotonic() - told
        # The slice of a second, one call, and what Celery itself needs to end.
        assert took < 6
        leases = list(system.redis.scan_iter("kt:*:lease:*", count=1_000))
        assert leases == [], "handed back, not left to run out"
        system.faults()
        with another_worker(system):
            drained([session], 15)
    assert system.stm(session) == expected(150)
    assert system.ask("stats")["overlaps"] == 0


@pytest.mark.chaos
def test_a_rolling_restart_under_load_is_invisible_to_callers(system: System) -> None:
    system.kato.reset()
    sessions = [new_name("visitor") for _ in range(8)]
    stop = threading.Event()

    def caller(session: str) -> int:
        sent = 0
        with closing_what_celery_opened():
            while not stop.is_set():
                event_id = f"{session}/{sent}"
                result: AsyncResult[Json] = process_observation_async.delay(
                    session, {"strings": [str(sent)]}, event_id=event_id
                )
                answer = AsyncResult(result.id, app=app).get(timeout=60)
                assert (answer["unique_id"], answer["position"]) == (event_id, sent + 1)
                sent += 1
        return sent

    with contextlib.ExitStack() as stack, ThreadPoolExecutor(len(sessions)) as threads:
        old = stack.enter_context(system.workers(PREFORK, THREADS))
        calling = [threads.submit(caller, session) for session in sessions]
        try:
            for worker in old:
                (new,) = stack.enter_context(system.workers(PREFORK))
                worker.stop()
                assert new.pid is not None
        finally:
            stop.set()
        counts = [one.result(timeout=90) for one in calling]
        drained(sessions)
    assert min(counts) > 3
    for session, sent in zip(sessions, counts, strict=True):
        assert system.stm(session) == expected(sent)[-STM_CAP:]
    nobody_waits(system)
    assert system.ask("stats")["overlaps"] == 0


# --------------------------------------------------------------------------------- beat


@pytest.mark.chaos
def test_of_two_beats_one_acts_and_the_other_takes_over_when_it_is_killed(system: System) -> None:
    """redbeat's lock has a time-out of 15 s (``celery_tasks.app.configuration``)."""

    def beat(name: str) -> CeleryProcess:
        process = CeleryProcess(
            system.directory / name, system.environment, "beat", "--loglevel", "DEBUG", "--pidfile", ""
        )
        process.answers = lambda: "beat: Starting" in process.text()  # type: ignore[method-assign]
        return process

    def sent(process: CeleryProcess) -> int:
        return process.text().count("Sending due task kato-sweep")

    one, two = beat("beat1"), beat("beat2")
    with contextlib.ExitStack() as stack:
        stack.callback(one.stop)
        stack.callback(two.stop)
        one.start()
        wait_until(lambda: sent(one) >= 1, 30, "the first acts")
        two.start()
        acted = sent(one)
        wait_until(lambda: sent(one) >= acted + 2, 30, "the first goes on acting")
        assert sent(two) == 0, "the second waits for the lock"
        one.kill()
        killed = time.monotonic()
        wait_until(lambda: sent(two) >= 1, 40, "the second takes over")
        assert time.monotonic() - killed < 25
