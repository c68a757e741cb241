"""Order and once-only under redelivery, on every pool and on both brokers, as KATO itself counts them."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import pytest
from celery.result import AsyncResult

from kato_tasks import append_events, process_observation_async
from kato_tasks.celery_app import app
from kato_tasks.testing.services import KatoServer, RedisServer, Service
from kato_tasks.testing.waiting import wait_until
from tests.integration.system import Json, Redelivery, System, drained

SESSIONS = 20
EVENTS = 100
CALLERS = 8
POOLS = {
    "prefork": [["--pool", "prefork", "--concurrency", "4"]],
    "threads": [["--pool", "threads", "--concurrency", "8"]],
    # With solo, concurrency is only the number of messages fetched ahead: below that Celery stalls on RabbitMQ.
    "solo": [["--pool", "solo", "--concurrency", "16"]],
    "two workers": [["--pool", "prefork", "--concurrency", "2"], ["--pool", "threads", "--concurrency", "4"]],
}
BROKERS = ("redis", "rabbitmq")
ONCE = {("redis", "two workers"), ("rabbitmq", "prefork")}
"""Each broker, processes and threads: the other pairs are variants."""


@pytest.fixture(scope="module", params=BROKERS)
def system(
    request: pytest.FixtureRequest,
    redis_server: RedisServer,
    kato: KatoServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[System]:
    redis_server.start()
    broker: Service = redis_server
    if request.param == "rabbitmq":
        broker = request.getfixturevalue("rabbitmq_server")
    kato.start()
    system = System(broker, redis_server, kato, tmp_path_factory.mktemp(request.param))
    with system.here():
        yield system


def session_name(number: int) -> str:
    return f"visitor {number}"


def node_of(number: int) -> str:
    """Two sessions for each knowledge base, under two names that KATO makes one of."""
    return f"shop-{number // 2}" if number % 2 else f"shop_{number // 2}"


def call(number: int, position: int) -> AsyncResult[Json]:
    session = session_name(number)
    seen = {"strings": [f"page {position}"], "emotives": {"joy": 0.5}}
    result: AsyncResult[Json] = process_observation_async.delay(
        session, seen, node_id=node_of(number), event_id=f"{session}/{position}"
    )
    return result


def check(system: System, results: dict[str, str]) -> None:
    """What issue and design promise, as KATO counted it: 0 inversions, 0 duplicates, 0 overlaps, own results."""
    inversions = duplicates = missing = 0
    for number in range(SESSIONS):
        session = session_name(number)
        expected = [f"{session}/{position}" for position in range(EVENTS)]
        journal = system.ask(f"journal?node=shop_{number // 2}")
        assert journal["dropped"] == 0
        applied = [event_id for event_id in journal["applied"] if event_id.startswith(f"{session}/")]
        duplicates += len(applied) - len(set(applied))
        missing += len(set(expected) - set(applied))
        places = [expected.index(event_id) for event_id in applied]
        inversions += sum(later < earlier for earlier, later in pairwise(places))
        assert system.stm(session) == [[f"page {position}"] for position in range(EVENTS)]
    stats = system.ask("stats")
    counted = {"inversions": inversions, "duplicates": duplicates, "missing": missing}
    counted["overlaps"] = stats["overlaps"] + stats["late_landings"]
    assert counted == {"inversions": 0, "duplicates": 0, "missing": 0, "overlaps": 0}
    assert stats["observes"] == SESSIONS * EVENTS
    for event_id, task_id in results.items():
        answer = AsyncResult(task_id, app=app)
        position = int(event_id.rsplit("/", 1)[1])
        assert answer.state == "SUCCESS", (event_id, answer.state)
        got = answer.result
        assert (got["unique_id"], got["time"], got["position"]) == (event_id, position + 1, position + 1)


def nothing_left(system: System) -> None:
    """No lane, lease, parked task or intent is left behind."""
    keys = [str(key) for key in system.redis.scan_iter("kt:*", count=1_000)]
    ends = (":ready", ":owed", ":since", ":later", ":outbox", ":parked", ":dead")
    assert [k for k in keys if k.endswith(ends) or any(p in k for p in (":lease:", ":pend:", ":w:", ":asks:"))] == []


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("system", "pool"),
    [
        pytest.param(broker, pool, marks=() if (broker, pool) in ONCE else pytest.mark.variant)
        for broker in BROKERS
        for pool in POOLS
    ],
    indirect=["system"],
)
def test_events_are_applied_in_order_and_once_though_every_message_comes_twice_and_shuffled(
    system: System, pool: str
) -> None:
    """Invariants 1, 2 and 3.

    Falls with the lane: `return node_id` in ids.lane_of makes `shop-1` and `shop_1` overlap. The guards of the
    store alone (NX of a lease, tokens, dedupe) each have a test of their own in tests/contract/store.
    """
    system.empty()
    results: dict[str, str] = {}
    lock = threading.Lock()
    calling = threading.Event()
    calling.set()

    def caller(mine: int) -> None:
        for position in range(EVENTS):
            for number in range(mine, SESSIONS, CALLERS):
                answer = call(number, position)
                with lock:
                    results[f"{session_name(number)}/{position}"] = answer.id

    def redeliver(again: Redelivery) -> None:
        while calling.is_set():
            again.repeat()

    with system.workers(*POOLS[pool]), Redelivery(seed=len(pool)) as again:
        with ThreadPoolExecutor(CALLERS + 1) as threads:
            repeating = threads.submit(redeliver, again)
            callers = [threads.submit(caller, mine) for mine in range(CALLERS)]
            try:
                for ended in callers:
                    ended.result()
            finally:
                calling.clear()
            repeating.result()
        again.repeat()
        assert again.repeated >= SESSIONS * EVENTS
        drained([session_name(number) for number in range(SESSIONS)])
        wait_until(lambda: all_done(list(results.values())), 60, "every task has its own result", every=0.2)
        wait_until(lambda: queued(system) == 0, 30, "every repeated message was taken", every=0.1)
        wait_until(lambda: not list(system.redis.scan_iter("kt:*:w:*")), 20, "no task is left parked", every=0.1)
        check(system, results)
        wait_until(lambda: not list(system.redis.scan_iter("kt:*:lease:*")), 10)
    nothing_left(system)


def all_done(task_ids: list[str]) -> bool:
    states = app.backend.mget([app.backend.get_key_for_task(task_id) for task_id in task_ids])
    return all(state is not None and b'"SUCCESS"' in bytes(state) for state in states)


def queued(system: System) -> int:
    """How many messages wait in the broker's queues."""
    with app.connection_for_read() as connection, connection.channel() as channel:
        return sum(queue(channel).queue_declare().message_count for queue in app.conf.task_queues)


def test_bulk_appends_by_many_callers_are_applied_in_order_and_once(system: System) -> None:
    system.empty()

    def caller(mine: int) -> None:
        for start in range(0, EVENTS, 10):
            batch = [
                {
                    "session_id": session_name(number),
                    "node_id": node_of(number),
                    "event_id": f"{session_name(number)}/{position}",
                    "observation": {"strings": [f"page {position}"]},
                }
                for position in range(start, start + 10)
                for number in range(mine, SESSIONS, CALLERS)
            ]
            for _ in range(2):  # a caller whose answer was lost sends the same again
                append_events(batch)

    with system.workers(["--pool", "prefork", "--concurrency", "2"]):
        with ThreadPoolExecutor(CALLERS) as threads:
            list(threads.map(caller, range(CALLERS)))
        drained([session_name(number) for number in range(SESSIONS)])
        check(system, {})


def test_a_wake_up_without_work_or_lane_changes_nothing(system: System) -> None:
    system.empty()
    with contextlib.ExitStack() as stack:
        stack.enter_context(system.workers(["--pool", "solo"]))
        for _ in range(20):
            app.send_task("kato_tasks.drain", (0,), queue="kato.lane.00")
        wait_until(lambda: queued(system) == 0, 20)
        assert system.ask("stats")["requests"].get("observe-sequence", 0) == 0
