"""Workers that die or are stopped in the middle of a call, and what they leave for the others."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from celery.result import AsyncResult

from kato_tasks import append_events, process_observation_async, session_status
from kato_tasks.bootstrap import runtime
from kato_tasks.celery_app import app
from kato_tasks.domain.ids import PARTITIONS, default_node, lane_of, partition_of, queue_of, shard_of
from kato_tasks.testing.services import KatoServer, RedisServer
from kato_tasks.testing.waiting import wait_until
from tests.integration.recovering import (
    HELD_UP,
    SOLO,
    THREADS,
    a_system,
    another_finishes_what_a_killed_one_had_begun,
    another_worker,
    caught_in_a_call,
    expected,
    followed,
    hold_to_the_oracle,
    lane_keys,
    learning,
    new_name,
    run_of,
    total,
)
from tests.integration.system import CeleryProcess, Json, System, drained

LANDING = ("delay", "observe-sequence")


@pytest.fixture(scope="module")
def system(redis_server: RedisServer, kato: KatoServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    with a_system(redis_server, tmp_path_factory.mktemp("dead"), kato, kato_timeout_seconds="30") as system:
        yield system


@pytest.fixture
def session(system: System) -> str:
    system.kato.reset()
    return new_name("session")


def held_up(system: System, kind: str, route: str) -> None:
    system.faults({"kind": kind, "route": route, "count": 1, "seconds": HELD_UP})


def story(session: str, route: str) -> list[Json]:
    events = run_of(session, 3, node=session)
    if route == "learn":
        events += [learning(session, f"{session}/learn"), *run_of(session, 2, 10)]
    return events


@pytest.mark.parametrize(
    ("kind", "route"),
    [
        LANDING,
        ("delay_after", "observe-sequence"),
        ("delay_after", "learn"),
        ("delay_after", "create"),
        pytest.param("delay", "learn", marks=pytest.mark.chaos),
        pytest.param("delay", "create", marks=pytest.mark.chaos),
    ],
)
def test_another_worker_finishes_what_one_killed_in_the_middle_of_a_call_had_begun(
    system: System, session: str, kind: str, route: str
) -> None:
    """Invariant 3, in real processes; its guards fall one by one in tests/unit/engine."""
    events = story(session, route)
    held_up(system, kind, route)
    leftovers = total(system, "leftovers")
    another_finishes_what_a_killed_one_had_begun(system, events, lands_late=(kind, route) == LANDING)
    assert total(system, "leftovers") - leftovers <= (route == "create")


@pytest.mark.parametrize(
    ("kind", "route"),
    [
        ("delay", "observe-sequence"),
        ("delay_after", "learn"),
        pytest.param("delay_after", "observe-sequence", marks=pytest.mark.chaos),
        pytest.param("delay", "learn", marks=pytest.mark.chaos),
    ],
)
def test_a_worker_stopped_for_longer_than_its_lease_and_continued_changes_nothing(
    system: System, session: str, kind: str, route: str
) -> None:
    """Invariant 2. Token, cursor, open intent and the lease's clock guard each other here; each falls alone elsewhere:
    tests/contract/store/test_lanes.py, tests/unit/engine/test_observing.py, tests/unit/engine/test_lease_clock.py.
    """
    events = story(session, route)
    held_up(system, kind, route)
    with another_worker(system, *SOLO) as first:
        append_events(events)
        caught_in_a_call(system)
        with another_worker(system, *THREADS):
            first.pause()
            try:
                drained([session], 20)
                system.faults()
                after = followed(events)
                wait_until(lambda: system.ask("stats")["in_flight"] == 0, 15, "the stopped worker's call has ended")
                stored, status = lane_keys(system, session), session_status(session)
                assert status is not None
                assert status.binding is not None
                held = system.ask(f"sessions/{status.binding.kato_session_id}")
                asked = sum(system.ask("stats")["requests"].values())
            finally:
                first.resume()
            wait_until(lambda: "lane.lost" in first.text(), 15, "the late one finds out")
            append_events(run_of("another", 1, node="another"))
            drained(["another"])
            assert lane_keys(system, session) == stored
            assert system.ask(f"sessions/{status.binding.kato_session_id}") == held
            hold_to_the_oracle(system, after)
            # `another` needs a create and an observe-sequence; the late one asked KATO nothing more.
            assert sum(system.ask("stats")["requests"].values()) <= asked + 2 * (1 + len(events))


@pytest.mark.chaos
def test_every_process_of_a_prefork_worker_may_die_at_once(system: System, session: str) -> None:
    held_up(system, "delay", "observe-sequence")
    events = story(session, "observe-sequence")
    with another_worker(system, "--pool", "prefork", "--concurrency", "2") as first:
        append_events(events)
        caught_in_a_call(system)
        assert first.pid is not None
        os.killpg(first.pid, signal.SIGKILL)
        with another_worker(system, *THREADS):
            drained([session], 20)
            system.faults()
            hold_to_the_oracle(system, followed(events))


def test_a_killed_child_of_a_prefork_worker_costs_its_lane_less_than_10_seconds(system: System, session: str) -> None:
    held_up(system, "delay", "observe-sequence")
    events = story(session, "observe-sequence")
    with another_worker(system, "--pool", "prefork", "--concurrency", "1") as first:
        append_events(events)
        caught_in_a_call(system)
        child = _busy_child(first.pid or 0)
        os.kill(child, signal.SIGKILL)
        killed = time.monotonic()
        drained([session], 20)
        assert time.monotonic() - killed < 10
        system.faults()
        hold_to_the_oracle(system, followed(events))


def _busy_child(parent: int) -> int:
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    assert children
    return int(children[-1])


@pytest.mark.chaos
def test_with_beat_a_killed_workers_lane_goes_on_within_10_seconds_under_the_default_lease(
    redis_server: RedisServer, kato: KatoServer, tmp_path_factory: pytest.TempPathFactory
) -> None:
    directory = tmp_path_factory.mktemp("beat")
    with a_system(
        redis_server, directory, kato, kato_timeout_seconds="30", lease_seconds="5", renew_seconds="1.5"
    ) as system:
        session = new_name()
        system.kato.reset()
        held_up(system, "delay", "observe-sequence")
        beat = CeleryProcess(directory / "beat", system.environment, "beat", "--loglevel", "INFO")
        beat.answers = lambda: "beat: Starting" in beat.text()  # type: ignore[method-assign]
        try:
            beat.start()
            with another_worker(system, *SOLO) as first:
                append_events(run_of(session, 3))
                caught_in_a_call(system)
                with another_worker(system, *THREADS):
                    first.kill()
                    killed = time.monotonic()
                    drained([session], 20)
                    assert time.monotonic() - killed < 10
                    assert system.stm(session) == expected(3)
        finally:
            beat.stop()


# ------------------------------------------------------------------------- what the dead leave


def test_a_task_whose_worker_died_between_commit_and_completion_gets_its_result(system: System, session: str) -> None:
    """Falls when the sweep does not look at `owed`, or does not forget the mark of a wake-up that is lost."""
    system.faults({"kind": "unavailable", "route": "observe-sequence"})
    with another_worker(system, *SOLO) as first:
        result: AsyncResult[Json] = process_observation_async.delay(session, {"strings": ["a"]}, event_id=session)
        # Its state is told first. A worker that is killed in between has not ended it, and its message comes back.
        wait_until(lambda: list(system.redis.scan_iter(f"kt:*:w:{session}*")), 15, "the task is left waiting")
        first.kill()
    system.faults()
    rt = runtime()

    def committed() -> bool:
        # Drains and drops what is to be completed, as a worker would that dies right after its commit.
        rt.drainer.drain_partitions(range(PARTITIONS))
        status = session_status(session)
        return status is not None and status.cursor == 1

    wait_until(committed, 15, "the event is applied", every=0.1)
    assert AsyncResult(result.id, app=app).state == "WAITING"
    # As the killed worker leaves them when it took a wake-up along with which it had not begun.
    with app.connection_for_write() as connection:
        connection.channel().client.delete(*(queue_of(shard) for shard in range(4)))
    rt.marks.set(range(PARTITIONS))
    with another_worker(system, *SOLO):
        answer = AsyncResult(result.id, app=app).get(timeout=40)
    assert (answer["unique_id"], answer["time"]) == (session, 1)


@pytest.mark.parametrize("how", ["bulk", "delay"])
def test_a_lost_wake_up_is_swept(system: System, session: str, how: str) -> None:
    """Falls when a sweep does not wake what is due, or does not forget the mark of a lost wake-up."""
    shard = shard_of(partition_of(lane_of(default_node(session))), 4)
    runtime().marks.clear(shard)  # a wake-up of an earlier test may count as outstanding
    if how == "bulk":
        append_events(run_of(session, 3))
    else:
        for i in range(3):
            process_observation_async.delay(session, {"strings": [str(i)]}, event_id=f"{session}/{i}")
    queue = queue_of(shard)
    with app.connection_for_write() as connection:
        lost = connection.channel().client.delete(queue)
    assert lost == 1, "the messages were there, and are lost"
    with another_worker(system, *SOLO):
        started = time.monotonic()
        drained([session], 15)
        assert time.monotonic() - started < 10
    assert system.stm(session) == expected(3)


def test_a_lane_whose_wake_up_waits_behind_a_backlog_is_taken_within_seconds(system: System, session: str) -> None:
    """Falls when sweeping.hasten does not overtake: the wake-up's turn comes after some 20 s."""
    queue = queue_of(shard_of(partition_of(lane_of(default_node(session))), 4))
    for _ in range(40):
        app.send_task("tests.tarry", (0.5,), queue=queue)
    append_events(run_of(session, 3))
    with another_worker(system, *SOLO, "--include", "tests.integration.user_tasks"):
        ready = time.monotonic()
        drained([session], 30)
        took = time.monotonic() - ready
        app.control.purge()
    assert took < 8
    assert system.stm(session) == expected(3)
