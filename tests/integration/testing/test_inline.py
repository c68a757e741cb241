"""Tasks inside the process of an application's unit test: what they answer is what they answer in production."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Iterable
from typing import Any

import pytest
from celery import chain, chord, group

from kato_tasks import (
    EventConflict,
    EventRefused,
    InvalidEvent,
    NodeConflict,
    Settings,
    append_events,
    append_events_async,
    clear_stm,
    learn,
    make_app,
    observe,
    predict,
    session_status,
)
from kato_tasks.celery_app import app
from kato_tasks.engine.running.drainer import Drainer
from kato_tasks.engine.running.slices import SliceResult
from kato_tasks.engine.wakeup_marks import WakeupMarks
from kato_tasks.testing import plugin
from kato_tasks.testing.inline import Inline, inline

Json = dict[str, Any]


def seen(*strings: str) -> Json:
    return {"strings": list(strings)}


@app.task(name="tests.inline.positions", shared=False)  # type: ignore[untyped-decorator]  # Celery has no types
def positions(answers: list[Json]) -> list[int]:
    """A step of an application's own."""
    return [answer["position"] for answer in answers]


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """A call to any address fails the test."""

    def refused(_: socket.socket, address: object) -> None:
        raise AssertionError(f"called {address}")

    monkeypatch.setattr(socket.socket, "connect", refused)


def test_each_call_is_applied_when_it_returns(kato_tasks_inline: Inline) -> None:
    first, second = observe.delay("ann", seen("a")), observe.delay("ann", seen("b"))
    assert (first.state, second.state) == ("SUCCESS", "SUCCESS")
    assert [first.get()["position"], second.get()["position"]] == [1, 2]
    assert learn.delay("ann").get()["status"] == "learned"
    assert clear_stm.delay("ann").get()["status"] == "cleared"
    status = session_status("ann")
    assert status is not None
    assert (status.cursor, status.head, status.state) == (4, 4, "idle")


def test_a_predict_right_after_a_learn_sees_its_pattern(kato_tasks_inline: Inline) -> None:
    for page in ("home", "search", "product"):
        observe.delay("ann", seen(page), node_id="shop")
    learn.delay("ann")
    for page in ("home", "search"):
        observe.delay("cleo", seen(page), node_id="shop")
    answer = predict.delay("cleo")
    assert answer.state == "SUCCESS"
    assert answer.get()["predictions"][0]["future"] == [["product"]]


def test_events_are_applied_when_the_append_returns_though_the_thread_has_begun_with_them(
    kato_tasks_inline: Inline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Falls when the thread that looks for what is due sets the mark of a wake-up: the append then sends none."""
    set_marks, drain_partitions = WakeupMarks.set, Drainer.drain_partitions
    begun, go_on = threading.Event(), threading.Event()
    other = threading.Thread(target=kato_tasks_inline.work)

    def drain_when_told(drainer: Drainer, *args: Any, **kwargs: Any) -> SliceResult:
        begun.set()
        assert go_on.wait(10)
        return drain_partitions(drainer, *args, **kwargs)

    def set_after_the_thread_has_begun(marks: WakeupMarks, partitions: Iterable[int]) -> list[int]:
        if not begun.is_set():
            other.start()
            assert begun.wait(10)
            threading.Timer(0.3, go_on.set).start()
        return set_marks(marks, partitions)

    monkeypatch.setattr(Drainer, "drain_partitions", drain_when_told)
    monkeypatch.setattr(WakeupMarks, "set", set_after_the_thread_has_begun)
    append_events([{"session_id": "ann", "observation": seen("a")}])
    status = session_status("ann")
    other.join(10)
    assert status is not None
    assert status.cursor == 1


def test_events_that_are_appended_are_applied_as_well(kato_tasks_inline: Inline) -> None:
    append_events([{"session_id": f"s{i % 3}", "observation": seen(str(i))} for i in range(30)])
    assert [status.cursor for i in range(3) if (status := session_status(f"s{i}"))] == [10, 10, 10]


def test_errors_are_those_of_production_where_they_are_raised_there(kato_tasks_inline: Inline) -> None:
    with pytest.raises(InvalidEvent, match=r"observation\.emotive: is not a known key"):
        observe.delay("ann", {**seen("a"), "emotive": {}})
    observe.delay("ann", seen("a"), event_id="1")
    with pytest.raises(EventConflict):
        observe.delay("ann", seen("b"), event_id="1")
    with pytest.raises(NodeConflict):
        observe.delay("ann", seen("b"), node_id="another")
    refused = learn.delay("nobody")
    assert refused.state == "FAILURE"
    with pytest.raises(EventRefused, match="nothing to learn"):
        refused.get()


def test_an_event_that_is_sent_twice_is_applied_once(kato_tasks_inline: Inline) -> None:
    assert observe.delay("ann", seen("b"), event_id="b").get()["position"] == 1
    assert observe.delay("ann", seen("b"), event_id="b").get()["position"] == 1
    status = session_status("ann")
    assert status is not None
    assert status.head == 1
    assert kato_tasks_inline.stats()["observes"] == 1


def test_canvases_run_with_an_applications_own_steps(kato_tasks_inline: Inline) -> None:
    assert chain(observe.si("ann", seen("a")), observe.si("ann", seen("b")))().get(timeout=5)["position"] == 2
    side_by_side = group(observe.s(f"g{i}", seen("a")) for i in range(3))
    assert [answer["position"] for answer in side_by_side().get(timeout=5)] == [1, 1, 1]
    assert chord([observe.s("bob", seen(str(i))) for i in range(3)])(positions.s()).get(timeout=5) == [1, 2, 3]


def test_a_countdown_is_waited_for_in_real_time(kato_tasks_inline: Inline) -> None:
    began = time.monotonic()
    later = observe.apply_async(("ann", seen("later")), countdown=3)
    assert observe.delay("ann", seen("now")).get()["position"] == 1
    assert later.state in ("PENDING", "WAITING")
    assert later.get(timeout=10)["position"] == 2
    assert time.monotonic() - began > 3


def test_an_event_loop_finds_the_same(kato_tasks_inline: Inline) -> None:
    async def main() -> Json:
        results = await asyncio.gather(*(observe.adelay(f"loop {i % 3}", seen(str(i))) for i in range(9)))
        await append_events_async([{"session_id": "loop 0", "observation": seen("x")}])
        answer = await (await observe.adelay("loop 0", seen("y"))).aget(timeout=5)
        return {**answer, "sent": len(results)}

    answer = asyncio.run(main())
    assert (answer["position"], answer["sent"]) == (5, 9)


@pytest.mark.parametrize("kind", ["drop_after", "error_after", "not_saved"])
def test_a_call_that_kato_breaks_off_is_applied_once(kato_tasks_inline: Inline, kind: str) -> None:
    observe.delay("ann", seen("a")).get()
    kato_tasks_inline.faults({"kind": kind, "route": "observe-sequence", "count": 1})
    assert observe.delay("ann", seen("b")).get(timeout=10)["position"] == 2
    assert learn.delay("ann").get(timeout=10)["status"] == "learned"
    assert kato_tasks_inline.stats()["overlaps"] == 0
    observe.delay("bob", seen("a"), node_id="ann")
    assert predict.delay("bob").get(timeout=10)["predictions"][0]["future"] == [["b"]]


def test_a_fault_that_is_none_is_said_so(kato_tasks_inline: Inline) -> None:
    with pytest.raises(ValueError, match="kind"):
        kato_tasks_inline.faults({"kind": "nonsense"})


class TestSettings:
    @pytest.fixture
    def kato_tasks_settings(self) -> Json:
        return {"max_strings": 2, "shards": 3}

    def test_a_tests_own_settings_count(self, kato_tasks_inline: Inline) -> None:
        with pytest.raises(InvalidEvent, match="at most 2"):
            observe.delay("ann", seen("a", "b", "c"))
        assert len(kato_tasks_inline.app.conf.task_queues) == 5


def test_each_use_begins_with_nothing_and_leaves_nothing_behind() -> None:
    for _ in range(2):
        with inline(shards=3):
            assert session_status("ann") is None
            assert observe.delay("ann", seen("a")).get()["position"] == 1
    assert not app.used
    assert not app.configured


def test_what_an_earlier_test_left_in_the_brokers_memory_is_not_run() -> None:
    with make_app(Settings(broker_url="memory://", result_backend="cache+memory://")):
        app.send_task("kato_tasks.observe", ("ann", seen("left over")), queue="kato.lane.00")
    with inline():
        append_events([{"session_id": f"s{i}", "observation": seen("x")} for i in range(40)])
        assert session_status("ann") is None


def test_a_fixture_whose_extra_is_missing_fails_with_one_sentence() -> None:
    with pytest.raises(pytest.fail.Exception) as failed:
        plugin._need("kato_tasks_inline", "pytest", "no_such_module")
    assert str(failed.value) == (
        "kato_tasks_inline needs no_such_module; install kato-tasks with its extra: kato-tasks[testing]"
    )
