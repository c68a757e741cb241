"""An event is its id and never its position, and every task that waits for one is told."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import redis
from celery import chain
from celery.result import AsyncResult

from kato_tasks import append_events, clear_stm, learn, observe, predict, process_observation_async, session_status
from kato_tasks.adapters.redis.keys import prefix
from kato_tasks.bootstrap import forget_runtime, runtime
from kato_tasks.celery_app import app
from kato_tasks.celery_tasks.sweeping import complete_orphaned_tasks
from kato_tasks.celery_tasks.waiting import complete
from kato_tasks.domain.ids import PARTITIONS, partition_of
from kato_tasks.errors import EventConflict, EventRefused, NotAppliedYet
from kato_tasks.testing.services import KatoServer, RedisServer
from kato_tasks.testing.waiting import wait_until
from tests.integration.calls import OWN_TASKS, a_system_that_refuses_soon, noted, seen
from tests.integration.system import Redelivery, System, drained
from tests.integration.user_tasks import remember, remember_failure

PATIENCE = 40
WORKER = ("--pool", "threads", "--concurrency", "2", *OWN_TASKS)
PROCESSES = ("--pool", "prefork", "--concurrency", "2", *OWN_TASKS)
ALL = range(PARTITIONS)
# Celery's tracer runs in this process here: it warns of what it hands on, and its Redis backend uses SETEX.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::RuntimeWarning")


@pytest.fixture(scope="module")
def parts(
    broker: RedisServer, redis_server: RedisServer, kato: KatoServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[System]:
    """Messages and results are on a server of their own: the store forgets, and they do not."""
    results = broker.url.removesuffix("/0") + "/1"
    directory = tmp_path_factory.mktemp("identity")
    more = {"result_backend": results, "kato_timeout_seconds": "5"}
    with a_system_that_refuses_soon(broker, redis_server, kato, directory, **more) as system:
        yield system


@pytest.fixture
def system(parts: System) -> System:
    parts.empty()
    return parts


def forget_store(system: System) -> None:
    """The store comes back without what it had not written down; messages and KATO's results are elsewhere."""
    system.redis.flushdb()
    forget_runtime(close=True)


def applied_here(session: str, cursor: int) -> None:
    """Drain in this process, without any task."""

    def done() -> bool:
        runtime().drainer.drain_partitions(ALL)
        status = session_status(session)
        return status is not None and status.cursor == cursor

    wait_until(done, 15, f"{session} is applied", every=0.05)


def expire_results(system: System) -> None:
    """As if RESULT_SECONDS had passed."""
    for key in system.redis.scan_iter("*:r:*"):
        system.redis.delete(key)


def look_now(system: System) -> None:
    """As if every parked request had not been looked at for long."""
    for key in system.redis.scan_iter("*:waiting"):
        for member in system.redis.zrange(key, 0, -1):
            system.redis.zadd(key, {str(member): 1})
    complete_orphaned_tasks(runtime(), ALL)


@contextlib.contextmanager
def parked(system: System, *results: AsyncResult[Any]) -> Iterator[None]:
    """Have a worker park these tasks, and stop."""
    system.faults({"kind": "unavailable"})
    with system.workers(WORKER):
        for result in results:
            wait_until(lambda result=result: result.state == "WAITING", 20, "the task waits")  # type: ignore[misc]
    system.faults()
    yield


# ------------------------------------------------------------------ a store that forgets


def test_an_append_that_the_store_lost_is_made_good_by_its_message_though_another_event_has_its_position(
    system: System, name: str
) -> None:
    """Falls when take_or_wait.lua takes a position for an identity: E would be SUCCESS, and in no log."""
    lost = process_observation_async.delay(name, seen("E"), event_id="E")
    forget_store(system)
    append_events([{"session_id": name, "event_id": "F", "observation": seen("F")}])
    applied_here(name, 1)
    with system.workers(WORKER):
        answer = lost.get(timeout=PATIENCE)
        assert (answer["event_id"], answer["position"], answer["status"]) == ("E", 2, "okay")
    assert system.stm(name) == [["F"], ["E"]]


def test_an_append_that_the_store_lost_is_made_good_by_its_message_in_an_empty_store(system: System, name: str) -> None:
    """Falls when take_or_wait.lua parks a task whose event is not in the log."""
    steps = [process_observation_async.delay(name, seen(f"{i}"), node_id="team") for i in range(3)]
    asked = predict.delay(name)
    forget_store(system)
    with system.workers(WORKER):
        assert {step.get(timeout=PATIENCE)["status"] for step in steps} == {"okay"}
        assert asked.get(timeout=PATIENCE)["event_id"] == asked.id
    assert sorted(system.stm(name)) == [["0"], ["1"], ["2"]]
    status = session_status(name)
    assert status is not None
    assert status.node_id == "team"


def test_a_task_delivered_again_when_its_result_has_expired_keeps_its_end(system: System, name: str) -> None:
    with system.workers(WORKER), Redelivery(seed=1) as again:
        good = process_observation_async.apply_async((name, seen("x")), link=remember.s(name))
        assert good.get(timeout=PATIENCE)["time"] == 1
        bad = learn.apply_async((f"{name} 2",), link_error=remember_failure.s())
        observe.delay(f"{name} 3", seen("y")).get(timeout=PATIENCE)
        with pytest.raises(EventRefused, match="nothing to learn"):
            bad.get(timeout=PATIENCE)
        wait_until(lambda: noted(system, name), 20, "the link ran")
        expire_results(system)
        again.repeat(all_again=True)
        last = observe.delay(name, seen("z")).get(timeout=PATIENCE)
        assert last["time"] == 2
        wait_until(lambda: all_taken(system), 20, "the repeated messages were taken")
        ends = [remember.delay(i, f"{name} end").get(timeout=PATIENCE) for i in range(4)]
        assert ends == [0, 1, 2, 3]
        assert good.get(timeout=PATIENCE)["time"] == 1
        assert len(noted(system, name)) == 1, "its link ran again"


def all_taken(system: System) -> bool:
    with redis.Redis.from_url(system.broker.url) as client:
        return not any(client.type(key) == b"list" for key in client.scan_iter("kato.*"))


def test_a_dead_letter_is_refused_again_when_its_result_has_expired_and_the_backend_knows_nothing(
    system: System, name: str
) -> None:
    """Falls when take_or_wait.lua answers `applied` for a dead letter, which is in no KATO."""
    observe.delay(name, seen("x"))
    clear_stm.delay(name)
    refused = learn.delay(name)
    applied_here(name, 3)
    expire_results(system)
    with system.workers(WORKER), pytest.raises(EventRefused, match="nothing to learn"):
        refused.get(timeout=PATIENCE)


def test_a_predict_whose_answer_has_expired_is_told_so(system: System, name: str) -> None:
    """Falls when take_or_wait.lua parks a predict that nobody asks any more."""
    append_events([{"session_id": name, "observation": seen("x")}])
    asked = predict.delay(name)
    applied_here(name, 1)
    wait_until(lambda: not list(system.redis.scan_iter("*:asks:*")) or not drain_here(), 10, "it is answered")
    expire_results(system)
    with system.workers(WORKER), pytest.raises(EventRefused, match="expired: ask again"):
        asked.get(timeout=PATIENCE)


def drain_here() -> bool:
    runtime().drainer.drain_partitions(ALL)
    return True


# ------------------------------------------------------------------ no task waits forever


def test_a_task_of_an_event_that_was_appended_in_bulk_gets_its_result(system: System, name: str) -> None:
    """Falls when take_or_wait.lua does not mark the entry as wanted: nobody makes a result."""
    append_events([{"session_id": name, "event_id": f"{i}", "observation": seen(f"{i}")} for i in range(3)])
    waiting = observe.delay(name, seen("1"), event_id="1")
    with parked(system, waiting), system.workers(WORKER):
        answer = waiting.get(timeout=PATIENCE)
    assert (answer["position"], answer["time"], answer["stm_length"]) == (2, 2, 2)


def test_a_task_that_comes_while_its_bulk_appended_event_is_under_way_is_told(system: System, name: str) -> None:
    """Falls when commit.lua answers only what Python made a result for."""
    system.faults({"kind": "delay_after", "route": "observe-sequence", "seconds": 2.0, "count": 1})
    with system.workers(WORKER):
        append_events([{"session_id": name, "event_id": f"{i}", "observation": seen(f"{i}")} for i in range(3)])
        wait_until(lambda: system.ask("stats")["observes"], 15, "KATO has them")
        waiting = observe.delay(name, seen("1"), event_id="1")
        begun = time.monotonic()
        answer = waiting.get(timeout=PATIENCE)
        assert time.monotonic() - begun < 8, "the commit did not tell"
    assert answer == {
        "status": "applied",
        "session_id": name,
        "node_id": answer["node_id"],
        "event_id": "1",
        "position": 2,
    }


def test_a_parked_task_whose_result_expired_before_it_was_completed_is_told_by_the_sweep(
    system: System, name: str
) -> None:
    """Falls when orphaned_tasks.lua looks only at what has a result."""
    waiting = observe.delay(name, seen("x"))
    with parked(system, waiting):
        applied_here(name, 1)  # the completion that this brings is dropped, as by a worker that dies
        expire_results(system)
        look_now(system)
        assert waiting.get(timeout=PATIENCE)["status"] == "applied"
        wait_until(lambda: not list(system.redis.scan_iter("*:w:*")), 10, "told tasks wait no more")


def test_a_parked_task_whose_event_is_gone_from_the_log_has_it_appended_again_by_the_sweep(
    system: System, name: str
) -> None:
    """Falls when what the sweep finds is not sought again (parking._answer_for)."""
    waiting = observe.delay(name, seen("x"))
    with parked(system, waiting):
        for key in system.redis.scan_iter("*"):
            if ":w:" not in key and not key.endswith(":waiting"):
                system.redis.delete(key)
        forget_runtime(close=True)
        append_events([{"session_id": name, "observation": seen("other"), "node_id": "team"}])
        look_now(system)
        with system.workers(WORKER):
            answer = waiting.get(timeout=PATIENCE)
        assert (answer["position"], answer["node_id"]) == (2, "team")
        wait_until(lambda: not list(system.redis.scan_iter("*:w:*")), 10, "told tasks wait no more")


def test_a_task_kept_for_later_whose_id_another_event_took_is_told_at_its_time(system: System, name: str) -> None:
    """Falls when nobody is told of a scheduled event that is a conflict, or it gets the other event's result."""
    later = observe.apply_async((name, seen("mine")), {"event_id": "x"}, countdown=3)
    early = observe.delay(name, seen("other"), event_id="x")
    with system.workers(WORKER):
        assert early.get(timeout=PATIENCE)["event_id"] == "x"
        with pytest.raises(EventConflict, match="another body"):
            later.get(timeout=PATIENCE)
        drained([name])
        assert system.stm(name) == [["other"]]


def test_a_task_kept_for_later_that_waits_beside_another_with_its_id_is_told_of_the_conflict(
    system: System, name: str
) -> None:
    """Falls when `_append_payloads` in postponed.py asks for no look at the task that waits for it."""
    system.faults({"kind": "unavailable"})
    with system.workers(WORKER):
        append_events([{"session_id": name, "event_id": "x", "observation": seen("other")}])
        begun = time.monotonic()
        later = observe.apply_async((name, seen("mine")), {"event_id": "x"}, countdown=3)
        wait_until(lambda: later.state == "WAITING", 20, "the task waits")
        with pytest.raises(EventConflict, match="another body"):
            later.get(timeout=PATIENCE)
        assert time.monotonic() - begun < 9, "only the sweep over all that wait found it"
        wait_until(lambda: not list(system.redis.scan_iter("*:w:*")), 10, "told tasks wait no more")


def test_a_task_whose_result_nobody_wants_leaves_no_state_behind_when_it_was_parked(system: System, name: str) -> None:
    """Falls when show_waiting writes WAITING for it: nothing would ever overwrite that."""
    quiet = observe.apply_async((name, seen("x")), ignore_result=True)
    loud = observe.delay(name, seen("y"))
    with parked(system, loud):
        applied_here(name, 2)
        with system.workers(WORKER):
            assert loud.get(timeout=PATIENCE)["position"] == 2
            wait_until(lambda: not list(system.redis.scan_iter("*:w:*")), 20, "both were completed")
    assert app.AsyncResult(quiet.id).state == "PENDING"


@pytest.mark.heavy
@pytest.mark.timeout(300)
@pytest.mark.parametrize("callers", [600, pytest.param(4_200, marks=pytest.mark.variant)])
def test_every_caller_of_an_event_repeated_many_times_is_told_and_so_is_the_next_events(
    system: System, name: str, callers: int
) -> None:
    """100 of them may wait at the event. What 4,200 would do to the store is shown by its own contract."""
    system.faults({"kind": "unavailable"})
    with system.workers(PROCESSES):
        with ThreadPoolExecutor(8) as threads:
            call = {"event_id": "x"}
            same = list(threads.map(lambda _: observe.apply_async((name, seen("x")), call), range(callers)))
        wait_until(lambda: all_taken(system), 180, "all were taken", every=0.2)
        system.faults()
        assert observe.delay(name, seen("y"), event_id="y").get(timeout=PATIENCE)["position"] == 2
        wait_until(lambda: not list(system.redis.scan_iter("*:w:*")), 60, "nobody waits")
        told: dict[str, int] = {}
        for one in same:
            wait_until(one.ready, PATIENCE, "it is told", every=0.2)
            result: Any = one.result  # `get` would subscribe to each of them
            kind = "told to look later" if isinstance(result, NotAppliedYet) else result["event_id"]
            told[kind] = told.get(kind, 0) + 1
    assert sum(told.values()) == callers
    assert told["x"] >= 100


# ------------------------------------------------------------------ a blip while the next step is sent


def test_a_broker_that_is_away_while_a_link_is_sent_does_not_fail_the_step_that_was_applied(
    system: System, name: str
) -> None:
    step = process_observation_async.apply_async(
        (name, seen("x")), link=remember.s(name), link_error=remember_failure.s()
    )
    with parked(system, step):
        applied_here(name, 1)
        memory = redis.Redis.from_url(system.broker.url)
        memory.config_set("maxmemory", 1)  # the broker takes no message
        try:
            complete_all_owed(system)
            assert list(system.redis.scan_iter("*:w:*")), "it was dropped"
        finally:
            memory.config_set("maxmemory", 0)
        assert step.state == "WAITING"
        complete_all_owed(system)
        assert step.state == "SUCCESS"
        with system.workers(WORKER):
            wait_until(lambda: noted(system, name), 20, "the link ran")
    assert noted(system, "failures") == []


def test_a_store_that_is_away_while_a_chains_next_step_is_appended_does_not_fail_the_step_that_was_applied(
    system: System, name: str
) -> None:
    """Falls when the tracer marks what it cannot hand on as failed (parking.finish without `strict`)."""
    steps = chain(observe.si(name, seen("x")), observe.si(f"{name} 2", seen("y"))).apply_async()
    assert steps.parent is not None
    with parked(system, steps.parent):
        applied_here(name, 1)
        system.redis.config_set("maxmemory", 1)  # the store takes no append
        try:
            complete_all_owed(system)
            assert list(system.redis.scan_iter("*:w:*")), "it was dropped"
        finally:
            system.redis.config_set("maxmemory", 0)
        assert steps.parent.state == "WAITING"
        with system.workers(WORKER):
            assert steps.get(timeout=PATIENCE)["position"] == 1
            assert steps.parent.get(timeout=PATIENCE)["event_id"] == steps.parent.id


def test_a_full_store_while_a_chains_next_step_is_appended_in_a_task_does_not_fail_the_step_that_was_applied(
    system: System, name: str
) -> None:
    """Falls when a step that was applied in its own task is left to the worker's tracer (LaneTask._perform)."""
    steps = chain(observe.si(name, seen("x")), observe.si(f"{name} 2", seen("y"))).apply_async()
    assert steps.parent is not None
    system.redis.config_set("maxmemory", 1)  # drains go on, appends are refused
    try:
        with system.workers(WORKER) as (worker,):
            wait_until(lambda: "task.requeued" in worker.text() or steps.parent.ready(), PATIENCE, "it cannot go on")
            assert steps.parent.state not in ("SUCCESS", "FAILURE")
            system.redis.config_set("maxmemory", 0)
            assert steps.get(timeout=PATIENCE)["position"] == 1
            assert steps.parent.get(timeout=PATIENCE)["time"] == 1
    finally:
        system.redis.config_set("maxmemory", 0)
    assert system.stm(name) == [["x"]]


def complete_all_owed(system: System) -> None:
    from kato_tasks.ports.waiting_tasks import OrphanedTasks

    rt = runtime()
    for found in rt.store.execute([OrphanedTasks(p, -1, 50) for p in ALL]):
        complete(rt, [(rt.sessions.lane_of(parked.session), parked) for parked in found])


# ------------------------------------------------------------------ sessions that do not exist


def test_what_is_asked_of_a_session_that_does_not_exist_makes_none(system: System, name: str) -> None:
    """Falls when predict, learn or clear_stm is appended for it, which binds it to its default node for life."""
    with system.workers(WORKER):
        empty = predict.delay(name)
        cleared = clear_stm.delay(name)
        refused = learn.delay(name)
        answer = empty.get(timeout=PATIENCE)
        assert answer == {
            "session_id": name,
            "node_id": answer["node_id"],
            "event_id": empty.id,
            "after": 0,
            "predictions": [],
            "future_potentials": [],
        }
        assert cleared.get(timeout=PATIENCE)["status"] == "cleared"
        with pytest.raises(EventRefused, match="nothing to learn"):
            refused.get(timeout=PATIENCE)
        later = predict.apply_async((name,), countdown=2)
        wait_until(lambda: later.state == "WAITING", 20, "it waits for its time")
        assert later.get(timeout=PATIENCE)["predictions"] == []
        wait_until(lambda: not list(system.redis.scan_iter("*:later")), 20, "its time has come")
        assert session_status(name) is None
        # A task is told before its request leaves the store.
        wait_until(lambda: not [key for key in system.redis.scan_iter("*") if name in key], 20, "nothing is left of it")
        steps = chain(observe.si(name, seen("x", "y"), node_id="team"), learn.si(name)).apply_async()
        assert steps.get(timeout=PATIENCE)["status"] == "learned"
    status = session_status(name)
    assert status is not None
    assert status.node_id == "team"


def test_a_predict_kept_for_later_is_asked_at_its_time(system: System, name: str) -> None:
    """Falls when a task that is kept for later looks for its predict among those that are asked already."""
    with system.workers(WORKER):
        observe.delay(name, seen("x")).get(timeout=PATIENCE)
        later = predict.apply_async((name,), countdown=3)
        wait_until(lambda: later.state == "WAITING", 20, "it waits for its time")
        observe.delay(name, seen("y")).get(timeout=PATIENCE)
        assert later.get(timeout=PATIENCE)["after"] == 2


def test_a_predict_by_name_of_a_session_that_does_not_exist_makes_none(system: System, name: str) -> None:
    asked = app.send_task("kato_tasks.predict", (name,), queue="kato.control")
    with system.workers(WORKER):
        assert asked.get(timeout=PATIENCE)["predictions"] == []
    assert session_status(name) is None


def test_the_lane_of_a_parked_request_is_the_one_of_its_event(system: System, name: str) -> None:
    waiting = observe.delay(name, seen("x"))
    with parked(system, waiting):
        (key,) = system.redis.scan_iter("*:w:*")
        assert key.startswith(prefix(partition_of(runtime().sessions.lane_of(name))))
        (text,) = system.redis.hvals(key)
        place = json.loads(text)["request"]["kato"]
        assert (place["position"], place["event_id"]) == (1, waiting.id)
