"""Event loops: `adelay`, `aapply_async`, `aget`, `append_events_async`."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import multiprocessing
import time
import warnings
from collections import Counter
from collections.abc import AsyncIterator, Coroutine, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pytest
import redis
from celery import chain, chord, group
from celery.exceptions import TimeoutError as CeleryTimeoutError
from celery.result import AsyncResult as CeleryResult

from kato_tasks import aget, append_events, append_events_async, learn, observe, predict, session_status
from kato_tasks.bootstrap.loops import CALLS_A_ROUND, _runtimes, loop_runtime
from kato_tasks.celery_app import app
from kato_tasks.errors import EventConflict, EventRefused, InvalidEvent, NodeConflict, StoreUnavailable
from kato_tasks.testing.rabbitmq import RabbitmqServer
from kato_tasks.testing.services import KatoServer, RedisServer
from kato_tasks.testing.waiting import wait_until
from tests.integration.calls import OWN_TASKS, a_system_that_refuses_soon, seen
from tests.integration.system import System, drained
from tests.integration.user_tasks import remember

PATIENCE = 30
LAG_SECONDS = 0.25
"""How long a loop may be held up, without what it waits for a core; a call that blocks takes mostly seconds here."""
T = TypeVar("T")


@pytest.fixture(scope="module")
def system(
    broker: RedisServer, redis_server: RedisServer, kato: KatoServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[System]:
    """One worker for all tests here."""
    with (
        a_system_that_refuses_soon(broker, redis_server, kato, tmp_path_factory.mktemp("asyncio")) as system,
        system.workers(["--pool", "threads", "--concurrency", "4", *OWN_TASKS]),
    ):
        yield system


@pytest.fixture(autouse=True)
def running(system: System) -> None:
    system.store.start()
    system.broker.start()
    system.faults()


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """A session of the test's own, as odd as they come."""
    return f"{request.node.name} 🦄\x01 {time.monotonic_ns()}"


def run(main: Coroutine[Any, Any, T]) -> T:
    """`asyncio.run`; what it leaves behind must not complain when it is collected."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()  # of what others left
        warnings.simplefilter("error")
        answer = asyncio.run(main)
        gc.collect()
    return answer


# ------------------------------------------------------------------------------- as delay and get


def test_events_that_are_awaited_in_turn_are_applied_in_turn(system: System, name: str) -> None:
    async def main() -> list[Any]:
        results = [await observe.adelay(name, seen(f"{i}")) for i in range(20)]
        return [await result.aget(timeout=PATIENCE) for result in results]

    answers = run(main())
    assert [answer["position"] for answer in answers] == list(range(1, 21))
    assert system.stm(name) == [[f"{i}"] for i in range(20)]


def test_a_thousand_calls_at_once_get_each_its_own_result(system: System, name: str) -> None:
    async def one(i: int) -> tuple[int, Any]:
        result = await observe.adelay(f"{name} {i % 50}", seen(f"{i}"), event_id=f"e{i}")
        return i, await result.aget(timeout=PATIENCE)

    async def main() -> list[tuple[int, Any]]:
        return await asyncio.gather(*(one(i) for i in range(1000)))

    answers = run(main())
    assert all(answer["event_id"] == f"e{i}" and answer["session_id"] == f"{name} {i % 50}" for i, answer in answers)
    places = {(answer["session_id"], answer["position"]) for _, answer in answers}
    assert places == {(f"{name} {i % 50}", i // 50 + 1) for i in range(1000)}


def test_a_result_that_is_there_already_and_one_looked_up_by_its_id_are_awaited_too(system: System, name: str) -> None:
    before = observe.delay(name, seen("a"))
    before.get(timeout=PATIENCE)

    async def main() -> list[Any]:
        return [await observe.AsyncResult(before.id).aget(5), await app.AsyncResult(before.id).aget(5)]

    assert [answer["position"] for answer in run(main())] == [1, 1]


def test_a_result_that_came_before_anybody_listened_is_found_at_once_by_a_watch_that_is_at_work(
    system: System, name: str
) -> None:
    """Falls without the look when a subscription is confirmed: each would be found by the look every 2 s only."""
    results = [observe.delay(name, seen("a")) for _ in range(4)]
    for result in results:
        result.get(timeout=PATIENCE)

    async def main() -> float:
        never = asyncio.ensure_future(observe.AsyncResult("nobody's").aget())
        await observe.AsyncResult(results[0].id).aget(PATIENCE)
        began = time.monotonic()
        for result in results:
            await observe.AsyncResult(result.id).aget(PATIENCE)
        never.cancel()
        return time.monotonic() - began

    assert run(main()) < 4


def test_predict_learn_links_and_a_due_time_are_as_in_apply_async(system: System, name: str) -> None:
    task_id = f"task {time.monotonic_ns()}"

    async def main() -> Any:
        for page in ("home", "search"):
            await observe.adelay(name, seen(page))
        assert (await (await learn.adelay(name)).aget(PATIENCE))["status"] == "learned"
        options = {"countdown": 0.3, "link": remember.s(name), "task_id": task_id}
        later = await observe.aapply_async((name, seen("home")), **options)
        assert later.id == task_id
        assert (await later.aget(PATIENCE))["position"] == 4
        return await (await predict.adelay(name)).aget(PATIENCE)

    run(main())
    with redis.Redis.from_url(system.environment["KATO_TASKS_STORE_URL"].removesuffix("/2") + "/3") as client:
        noted = wait_until(lambda: client.lrange(name, 0, -1), PATIENCE)
    assert json.loads(noted[0])["event_id"] == task_id


def test_a_chain_a_group_and_a_chord_that_another_thread_dispatched_can_be_awaited(system: System, name: str) -> None:
    async def main() -> list[Any]:
        steps = await asyncio.to_thread(chain(observe.s(name, seen("a")), predict.si(name)))
        both = await asyncio.to_thread(group(observe.s(f"{name} {i}", seen("a")) for i in range(2)))
        body = await asyncio.to_thread(chord([observe.s(f"{name} {i}", seen("b")) for i in range(2)]), remember.s(name))
        return [await steps.aget(PATIENCE), await aget(both, PATIENCE), await body.aget(PATIENCE)]

    # Not `run`: a chord writes its size on a connection of the thread that dispatches, which is left to the collector.
    last, both, _ = asyncio.run(main())
    assert last["session_id"] == name
    assert [answer["position"] for answer in both] == [1, 1]


# ---------------------------------------------------------------------------------------- errors


def test_errors_are_those_of_delay_and_get(system: System, name: str) -> None:
    async def main() -> None:
        with pytest.raises(InvalidEvent) as invalid:
            await observe.adelay(name, {"strings": "no list"})
        assert invalid.value.field == "observation.strings"
        await (await observe.adelay(name, seen("a"), event_id="e", node_id=None)).aget(PATIENCE)
        with pytest.raises(EventConflict, match="'e' is known"):
            await observe.adelay(name, seen("b"), event_id="e")
        with pytest.raises(NodeConflict):
            await observe.adelay(name, seen("b"), node_id="another")
        with pytest.raises(TypeError, match="producer"):
            await observe.aapply_async((name, seen("b")), producer=object())
        refused = await learn.adelay(f"{name} empty")
        with pytest.raises(EventRefused, match="nothing to learn"):
            await refused.aget(PATIENCE)
        again = observe.AsyncResult(refused.id)
        assert isinstance(await again.aget(PATIENCE, propagate=False), EventRefused)
        with pytest.raises(CeleryTimeoutError):
            await observe.AsyncResult("nobody's").aget(0.05)
        with pytest.raises(CeleryTimeoutError):
            await aget(app.GroupResult("g", [observe.AsyncResult("nobody's")]), 0.05)

    run(main())


def test_the_error_of_an_earlier_step_of_a_chain_ends_the_wait_for_its_last(system: System, name: str) -> None:
    async def main() -> None:
        last = await asyncio.to_thread(chain(learn.s(f"{name} empty"), observe.si(name, seen("a"))))
        with pytest.raises(EventRefused, match="nothing to learn"):
            await last.aget(PATIENCE)

    run(main())


# ------------------------------------------------------------------------------------ bulk append


def test_append_events_async_answers_as_append_events_does_and_wakes_the_lanes(system: System, name: str) -> None:
    events = [
        {"event_type": "observation", "event_id": f"e{i}", "session_id": f"{name} {i % 7}", "observation": seen(f"{i}")}
        for i in range(700)
    ]

    async def main() -> tuple[Any, Any]:
        first = await append_events_async(events)
        assert await append_events_async([]) == []
        with pytest.raises(InvalidEvent, match=r"events\[1\]"):
            await append_events_async([events[0], {**events[1], "session_id": ""}])
        return first, await append_events_async(events)

    first, again = run(main())
    assert [(one.event_id, one.position, one.duplicate) for one in first] == [
        (f"e{i}", i // 7 + 1, False) for i in range(700)
    ]
    assert again == append_events(events)
    assert all(one.duplicate for one in again)
    drained([f"{name} {i}" for i in range(7)])
    assert system.applied(f"{name} 3") == [f"e{i}" for i in range(3, 700, 7)]


# ----------------------------------------------------------------------------------- cancellation


def test_a_storm_of_cancellations_loses_and_doubles_nothing_and_breaks_no_connection(system: System, name: str) -> None:
    """Calls are cancelled in every state of theirs; those that return are there, and each id is there once."""
    told: set[str] = set()

    async def call(i: int) -> None:
        async with asyncio.timeout(0.002 * 1.2 ** (i % 40)):
            await observe.adelay(f"{name} {i % 5}", seen(f"{i}"), event_id=f"e{i}")
        told.add(f"e{i}")

    async def wait(i: int) -> None:
        async with asyncio.timeout((i % 30) / 1000):
            await observe.AsyncResult(f"nobody's {i}").aget()

    async def main() -> None:
        await observe.adelay(f"{name} first", seen("a"))
        await asyncio.gather(*(call(i) for i in range(400)), *(wait(i) for i in range(100)), return_exceptions=True)
        for i in range(400):
            if f"e{i}" not in told:
                await observe.adelay(f"{name} {i % 5}", seen(f"{i}"), event_id=f"e{i}")
        for i in range(5):
            answer = await (await predict.adelay(f"{name} {i}")).aget(PATIENCE)
            assert answer["session_id"] == f"{name} {i}"

    run(main())
    assert 0 < len(told) < 400, "some were cancelled and some were not"
    for i in range(5):
        assert sorted(system.applied(f"{name} {i}")) == sorted(f"e{n}" for n in range(i, 400, 5))


# --------------------------------------------------------------------------------- what is away


def seconds_without_a_core() -> float:
    """How long this thread has been ready to run in all, and had no core; 0.0 where the kernel does not tell."""
    try:
        return int(Path("/proc/thread-self/schedstat").read_text().split()[1]) / 1e9
    except OSError:
        return 0.0


@contextlib.asynccontextmanager
async def unblocked() -> AsyncIterator[list[float]]:
    """A ticker beside the block: the loop was never held up for longer than LAG_SECONDS."""
    lags: list[float] = []

    async def tick() -> None:
        while True:
            began, without = time.monotonic(), seconds_without_a_core()
            await asyncio.sleep(0.01)
            lags.append(time.monotonic() - began - 0.01 - (seconds_without_a_core() - without))

    ticker = asyncio.create_task(tick())
    try:
        yield lags
    finally:
        ticker.cancel()
    assert lags, "the loop did not get a turn"
    assert max(lags) < LAG_SECONDS, f"held up for {max(lags):.3f} s"


@pytest.mark.timed
def test_the_loop_goes_on_while_it_is_busy_with_calls(system: System, name: str) -> None:
    async def main() -> None:
        await (await observe.adelay(name, seen("a"))).aget(PATIENCE)
        async with unblocked():
            results = await asyncio.gather(*(observe.adelay(f"{name} {i}", seen("a")) for i in range(200)))
            bulk = [{"event_type": "observation", "session_id": name, "observation": seen("b")} for _ in range(5_000)]
            await asyncio.gather(append_events_async(bulk), *(result.aget(PATIENCE) for result in results))

    run(main())


@pytest.mark.timed
def test_a_broker_that_is_away_raises_nothing_and_its_messages_go_out_later(system: System, name: str) -> None:
    async def main() -> list[Any]:
        await (await observe.adelay(name, seen("before"))).aget(PATIENCE)
        await asyncio.to_thread(system.broker.kill)
        async with unblocked():
            began = time.monotonic()
            results = await asyncio.gather(*(observe.adelay(name, seen(f"{i}")) for i in range(50)))
            assert time.monotonic() - began < 15, "they share one wait for the broker"
        status = session_status(name)
        assert status is not None
        assert status.head == 51
        await asyncio.to_thread(system.broker.start)
        return [await result.aget(PATIENCE) for result in results]

    assert sorted(answer["position"] for answer in run(main())) == list(range(2, 52))


@pytest.mark.timed
def test_a_store_that_is_away_raises_soon_and_one_that_hangs_after_its_timeout(system: System, name: str) -> None:
    async def refused() -> float:
        began = time.monotonic()
        with pytest.raises(StoreUnavailable):
            await observe.adelay(name, seen("a"))
        return time.monotonic() - began

    async def main() -> None:
        await (await observe.adelay(name, seen("before"), event_id="before")).aget(PATIENCE)
        async with unblocked():
            system.store.pause()
            assert max(await asyncio.gather(*(refused() for _ in range(20)))) < 10, "they share one wait"
            system.store.resume()
            await asyncio.to_thread(system.store.kill)
            assert max(await asyncio.gather(*(refused() for _ in range(20)))) < 2
            with pytest.raises(StoreUnavailable):
                await append_events_async([{"event_type": "learn", "session_id": name}])
            await asyncio.to_thread(system.store.start)
        await (await observe.adelay(name, seen("after"), event_id="after")).aget(PATIENCE)

    run(main())
    assert system.applied(name)[-1] == "after"


@pytest.mark.timed
def test_a_result_backend_that_is_away_for_a_while_is_waited_for(system: System, name: str) -> None:
    """Store and result backend are one server here."""

    async def main() -> Any:
        system.faults({"kind": "delay_after", "route": "observe-sequence", "seconds": 1.0, "count": 1})
        waiting = asyncio.ensure_future((await observe.adelay(name, seen("a"))).aget(PATIENCE))
        await asyncio.sleep(0.2)
        await asyncio.to_thread(system.store.kill)
        async with unblocked():
            await asyncio.sleep(0.3)
        assert not waiting.done()
        await asyncio.to_thread(system.store.start)
        return await waiting

    assert run(main())["position"] == 1


# ------------------------------------------------------------------------------ loops and forks


def test_loops_come_and_go_and_leave_nothing_open(system: System, name: str) -> None:
    async def main(i: int) -> int:
        result = await observe.adelay(name, seen("a"), event_id=f"e{i}")
        return int((await result.aget(PATIENCE))["position"])

    run(main(0))
    before = len(list(Path("/proc/self/fd").iterdir()))
    assert [run(main(i)) for i in range(1, 6)] == [2, 3, 4, 5, 6]
    assert len(list(Path("/proc/self/fd").iterdir())) <= before
    assert not _runtimes


def test_a_loop_at_rest_has_no_task_of_ours(system: System, name: str, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        for _ in range(3):
            await (await observe.adelay(name, seen("a"))).aget(PATIENCE)
            with pytest.raises(CeleryTimeoutError):
                await observe.AsyncResult("nobody's").aget(0.01)
        while others := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.wait(others)

    loop = asyncio.new_event_loop()
    loop.run_until_complete(main())
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()
    gc.collect()
    assert [record for record in caplog.records if record.name == "asyncio"] == []


def _call_in_child(name: str, answers: Any) -> None:
    async def main() -> int:
        return int((await (await observe.adelay(name, seen("child"))).aget(PATIENCE))["position"])

    answers.put(asyncio.run(main()))


def test_a_forked_child_opens_its_own_and_its_parent_goes_on(system: System, name: str) -> None:
    async def main() -> list[int]:
        places = [(await (await observe.adelay(name, seen("a"))).aget(PATIENCE))["position"]]
        fork = multiprocessing.get_context("fork")
        answers = fork.SimpleQueue()
        child = fork.Process(target=_call_in_child, args=(name, answers))
        child.start()
        places.append(await asyncio.to_thread(answers.get))
        await asyncio.to_thread(child.join)
        places.append((await (await observe.adelay(name, seen("b"))).aget(PATIENCE))["position"])
        return places

    assert run(main()) == [1, 2, 3]


# ------------------------------------------------------------------------------------- the edges


def test_a_result_of_a_backend_that_can_only_be_asked_is_asked_for(system: System, tmp_path: Path) -> None:
    from celery import Celery

    from kato_tasks.celery_tasks.calling.awaiting import AwaitableResult

    results = tmp_path / "results"
    results.mkdir()
    other = Celery("other", backend=f"file://{results}", set_as_current=False)

    async def main() -> Any:
        waiting = asyncio.ensure_future(aget(CeleryResult("one", app=other), PATIENCE))
        await asyncio.sleep(0.1)
        assert not waiting.done()
        await asyncio.to_thread(other.backend.store_result, "one", {"position": 1}, "SUCCESS")
        with pytest.raises(CeleryTimeoutError):
            await AwaitableResult("none", app=other).aget(0.1)
        return await waiting

    assert run(main()) == {"position": 1}


def test_a_publish_does_not_subscribe_as_a_blocking_caller_would(system: System, name: str) -> None:
    """Nobody would read that connection. Falls without `without_subscription`."""

    async def main() -> None:
        for _ in range(3):
            await observe.aapply_async((name, seen("a")), countdown=60)

    with redis.Redis.from_url(system.environment["KATO_TASKS_RESULT_BACKEND"]) as client:
        before = client.info("commandstats").get("cmdstat_subscribe")
        run(main())
        assert client.info("commandstats").get("cmdstat_subscribe") == before


def test_calls_at_the_same_time_share_round_trips(system: System, name: str) -> None:
    async def main() -> int:
        here = await loop_runtime()
        trips = 0
        piped = here.store._send_pipeline

        async def counted(operations: Sequence[Any], calls: Any) -> Any:
            nonlocal trips
            trips += 1
            return await piped(operations, calls)

        here.store._send_pipeline = counted  # type: ignore[method-assign]
        await asyncio.gather(*(observe.adelay(f"{name} {i}", seen("a")) for i in range(100)))
        return trips

    assert run(main()) <= 10


def test_of_many_calls_at_once_only_so_many_begin_in_a_round_of_the_loop(
    system: System, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: Counter[int] = Counter()
    call = observe.call  # type: ignore[attr-defined]

    async def main() -> None:
        loop, rounds = asyncio.get_running_loop(), 0

        def count() -> None:
            nonlocal rounds
            rounds += 1
            loop.call_soon(count)

        def counted(*given: Any) -> Any:
            begun[rounds] += 1
            return call(*given)

        await observe.adelay(f"{name} 0", seen("a"))
        monkeypatch.setattr(observe, "call", counted)
        count()
        await asyncio.gather(*(observe.adelay(f"{name} {i}", seen("a")) for i in range(100)))
        monkeypatch.undo()

    run(main())
    assert sum(begun.values()) == 100
    assert max(begun.values()) == CALLS_A_ROUND


def test_an_eager_call_can_be_awaited_like_any_other(system: System, name: str) -> None:
    async def main() -> Any:
        result = await observe.adelay(name, seen("a"))
        return await result.aget(PATIENCE)

    app.conf.task_always_eager = True
    try:
        assert run(main())["position"] == 1
    finally:
        app.conf.task_always_eager = False


def test_rabbitmq_as_broker_is_called_from_a_loop_as_well(
    system: System, rabbitmq_server: RabbitmqServer, tmp_path: Path, name: str
) -> None:
    async def main() -> list[Any]:
        results = await asyncio.gather(*(observe.adelay(f"{name} {i % 10}", seen(f"{i}")) for i in range(100)))
        bulk = [{"event_type": "observation", "session_id": f"{name} bulk", "observation": seen("a")}]
        await append_events_async(bulk)
        return [await result.aget(PATIENCE) for result in results]

    rabbitmq_server.start()
    with System(rabbitmq_server, system.store, system.kato, tmp_path).here():
        from kato_tasks.settings import settings

        other = System(rabbitmq_server, system.store, system.kato, tmp_path)
        assert settings().broker_url == rabbitmq_server.url
        with other.workers(["--pool", "threads", "--concurrency", "2"]):
            assert sorted(answer["position"] for answer in run(main())) == sorted(i // 10 + 1 for i in range(100))
            drained([f"{name} bulk"])
