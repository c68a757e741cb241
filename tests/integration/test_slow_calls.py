"""One slow node, or one KATO instance that hangs, stops no other session (invariant 5).

Real workers with two processes. Without the background driver healthy sessions waited 12 to 57 s. With it they wait
some 50 ms on an idle machine (`python -m benchmarks.slow_calls`), and while a busy one takes in 80 tasks of an instance
that hangs, up to 2 s: the limit lies between.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from kato_tasks import process_observation_async, session_status
from kato_tasks.testing.services import KatoServer, RedisServer
from kato_tasks.testing.waiting import wait_until
from tests.integration.recovering import a_system
from tests.integration.slow_calls import (
    PREFORK,
    SLOW_SECONDS,
    appended_waits,
    begin_slow_calls,
    delay_to,
    delayed_waits,
    hang,
    held_lanes,
    named,
    slow_system,
    urls_of,
)
from tests.integration.system import System

LIMIT_SECONDS = 5.0


@pytest.fixture
def system(redis_server: RedisServer, kato: KatoServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    redis_server.start()
    with slow_system(redis_server, tmp_path_factory.mktemp("slow"), kato) as system:
        system.empty()
        yield system


@pytest.mark.timed
def test_four_nodes_whose_calls_take_15_s_hold_up_no_other_session_of_two_processes(system: System) -> None:
    with system.workers(PREFORK):
        appended_waits(system, 2, 0, "warm")
        slow = begin_slow_calls(system, 4)
        waits = appended_waits(system, 12, 0.2) + delayed_waits(system, 12, 0.1)
        assert max(waits) < LIMIT_SECONDS, sorted(waits)[-5:]
        # The slow ones go on, too: each call is applied once, after its own time.
        system.faults()
        wait_until(lambda: all(s and s.cursor == s.head == 3 for s in map(session_status, slow)), 60, "the slow ones")
        assert [system.applied(node) for node in slow] == [[f"{node}-{i}" for i in range(3)] for node in slow]


@pytest.mark.timed
def test_an_instance_that_hangs_holds_up_no_session_of_another_and_a_bounded_number_of_lanes(system: System) -> None:
    with system.workers(PREFORK):
        appended_waits(system, 2, 0, "warm")
        hanging = hang(system, 40)
        delay_to(hanging)
        waits = appended_waits(system, 12, 0.2) + delayed_waits(system, 12, 0.1)
        assert max(waits) < LIMIT_SECONDS, sorted(waits)[-5:]
        assert held_lanes(system) <= 2 * (16 + 64)
        system.second.resume()
        wait_until(lambda: all(s and s.cursor == s.head for s in map(session_status, hanging)), 110, "the hanging ones")


@pytest.mark.timed
def test_a_task_whose_call_takes_long_waits_without_a_slot_and_gets_its_own_answer(system: System) -> None:
    with system.workers(["--pool", "prefork", "--concurrency", "1"]):
        (slow,) = named("slow", 1, system.kato.url, urls_of(system))
        system.faults({"kind": "delay", "node": slow, "seconds": 3})
        result = process_observation_async.delay(slow, {"strings": ["x"]})
        wait_until(lambda: result.state == "WAITING", 10, "the task waits")
        assert max(delayed_waits(system, 3, 0)) < LIMIT_SECONDS
        answer = result.get(timeout=30)
        assert (answer["status"], answer["position"], answer["time"]) == ("okay", 1, 1)


def test_a_task_whose_call_would_only_wait_for_a_connection_leaves_its_lane_in_the_store(
    redis_server: RedisServer, kato: KatoServer, tmp_path: Path
) -> None:
    """Else a thousand tasks hold a thousand leases, of which one process can carry out 16."""
    redis_server.start()
    tight = {"kato_connections": "1", "lanes_per_wakeup": "1", "lease_seconds": "4", "renew_seconds": "1"}
    with a_system(redis_server, tmp_path, kato, **tight, kato_timeout_seconds="20") as system:
        system.empty()
        with system.workers(["--pool", "prefork", "--concurrency", "1"]):
            system.faults({"kind": "delay", "route": "observe-sequence", "seconds": 0.2})
            results = [process_observation_async.delay(f"tight{i}", {"strings": ["x"]}) for i in range(8)]
            held = []
            while not all(result.ready() for result in results):
                held.append(held_lanes(system))
                time.sleep(0.05)
            assert all(result.get(timeout=1)["time"] == 1 for result in results)
            assert max(held) <= 3, "one whose call is under way, one between two calls, one just taken"
            system.faults()


@pytest.mark.parametrize(
    "pool",
    [
        pytest.param(PREFORK, id="prefork"),
        pytest.param(["--pool", "threads", "--concurrency", "2"], id="threads", marks=pytest.mark.variant),
    ],
)
def test_a_worker_that_is_told_to_stop_waits_for_the_call_in_flight_and_commits_it(
    system: System, pool: list[str]
) -> None:
    """Falls when the process ends without waiting: the session is fenced by the next holder."""
    with system.workers(pool) as (worker,):
        (slow,) = named("slow", 1, system.kato.url, urls_of(system))
        system.faults({"kind": "delay", "node": slow, "route": "observe-sequence", "seconds": 4})
        result = process_observation_async.delay(slow, {"strings": ["x"]}, event_id="e")
        wait_until(lambda: system.ask("stats")["requests"].get("observe-sequence"), 20, "the call is under way")
        wait_until(lambda: result.state == "WAITING", 10, "its task has ended, and waits without a slot")
        began = time.monotonic()
        worker.stop()
        assert time.monotonic() - began < SLOW_SECONDS
        status = session_status(slow)
        assert status is not None
        assert (status.cursor, status.head) == (1, 1)
        assert status.binding is not None
        assert status.binding.epoch == 1
        assert held_lanes(system) == 0
