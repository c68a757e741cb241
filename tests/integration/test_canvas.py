"""What Celery's users expect of a task: own results, chains, groups, chords, links, retries, countdowns, Flower."""

from __future__ import annotations

import time
import urllib.parse
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from celery import chain, chord, group, signature
from celery.result import AsyncResult

from kato_tasks import append_events, clear_stm, learn, observe, predict, process_observation_async, session_status
from kato_tasks.celery_app import app
from kato_tasks.domain.ids import default_node, lane_of
from kato_tasks.domain.observations import Observation
from kato_tasks.domain.results import Predicted
from kato_tasks.errors import EventConflict, EventRefused, InvalidEvent, NodeConflict
from kato_tasks.testing.services import KatoServer, RedisServer
from kato_tasks.testing.waiting import wait_until
from tests.integration.calls import OWN_TASKS, a_system_that_refuses_soon, noted, seen
from tests.integration.system import Flower, Json, Redelivery, System, drained
from tests.integration.user_tasks import remember, remember_failure

PATIENCE = 30


@pytest.fixture(scope="module")
def system(
    broker: RedisServer, redis_server: RedisServer, kato: KatoServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[System]:
    """One worker for all tests here."""
    directory = tmp_path_factory.mktemp("canvas")
    with (
        a_system_that_refuses_soon(broker, redis_server, kato, directory, kato_timeout_seconds="5") as system,
        system.workers(["--pool", "prefork", "--concurrency", "3", *OWN_TASKS]),
    ):
        yield system


@pytest.fixture(autouse=True)
def without_faults(system: System) -> None:
    system.broker.start()
    system.kato.start()
    system.faults()


GUIDES: Any = {"observation": {"strings": ["x"]}}


# ------------------------------------------------------------------------------- results


def test_each_delay_gets_its_own_events_result(system: System, name: str) -> None:
    answers = [process_observation_async.delay(name, seen(f"{i}")) for i in range(30)]
    for i, answer in enumerate(answers):
        got = answer.get(timeout=PATIENCE)
        assert got == {
            "status": "okay",
            "session_id": name,
            "node_id": got["node_id"],
            "event_id": answer.id,
            "position": i + 1,
            "stm_length": i + 1,
            "time": i + 1,
            "unique_id": answer.id,
        }
    assert system.stm(name) == [[f"{i}"] for i in range(30)]


def test_learn_clear_and_predict_answer_as_documented(system: System, name: str) -> None:
    for step in ("a", "b", "c"):
        observe.delay(name, seen(step))
    learned = learn.delay(name).get(timeout=PATIENCE)
    assert (learned["status"], learned["position"]) == ("learned", 4)
    status = session_status(name)
    assert status is not None
    assert status.binding is not None
    patterns = system.ask(f"patterns?node={urllib.parse.quote(status.binding.node)}")
    assert learned["pattern_name"].removeprefix("PTRN|") in {n.removeprefix("PTRN|") for n in patterns}
    observe.delay(name, seen("a"))
    observe.delay(name, seen("b"))
    predicted = predict.delay(name).get(timeout=PATIENCE)
    assert predicted["after"] == 6
    assert predicted["predictions"][0]["future"] == [["c"]]
    assert clear_stm.delay(name).get(timeout=PATIENCE)["status"] == "cleared"
    assert predict.delay(name).get(timeout=PATIENCE)["predictions"] == []
    observe.delay(name, seen("one symbol"))
    short = learn.delay(name).get(timeout=PATIENCE)
    assert (short["status"], short["pattern_name"]) == ("too_short", "")


def test_a_predict_of_one_symbol_is_told_in_events_and_raw_as_kato_answered_it(system: System, name: str) -> None:
    append_events([{"session_id": name, "observation": seen(*event)} for event in (("a", "x"), ("b",), ("c",))])
    learn.delay(name).get(timeout=PATIENCE)
    observe.delay(name, seen("a"))
    told = predict.delay(name).get(timeout=PATIENCE)
    (prediction,) = Predicted.model_validate(told, strict=True).predictions
    assert (prediction.present, prediction.future) == ([["a", "x"]], [["b"], ["c"]])
    raw = predict.delay(name, raw=True).get(timeout=PATIENCE)
    (given,) = raw["predictions"]
    assert (given["present"], given["future"]) == (["a"], ["x", "b", "c"])
    assert given["pattern_data"] == prediction.sequence == [["a", "x"], ["b"], ["c"]]
    observe.delay(name, seen("b"))
    both: list[Any] = [predict.delay(name, raw=raw).get(timeout=PATIENCE)["predictions"][0] for raw in (True, False)]
    assert both[0] == {field: both[1][field] for field in both[0]}
    assert set(both[1]) == set(told["predictions"][0])


def test_a_predict_is_as_of_every_event_accepted_before_it_and_of_none_after(system: System, name: str) -> None:
    """Falls when append.lua gives a predict no place in its session's order."""
    system.faults({"kind": "delay_after", "route": "observe-sequence", "seconds": 0.5, "count": 1})
    answers = []
    for i in range(10):
        observe.delay(name, seen(f"{i}"))
        answers.append(predict.delay(name))
    assert [answer.get(timeout=PATIENCE)["after"] for answer in answers] == list(range(1, 11))


def test_a_chain_of_observe_and_predict(system: System, name: str) -> None:
    append_events([{"session_id": name, "observation": seen(s)} for s in "abc"])
    learn.delay(name).get(timeout=PATIENCE)
    observe.delay(name, seen("a"))
    steps = chain(process_observation_async.s(name, seen("b")), predict.si(name)).apply_async()
    predicted = steps.get(timeout=PATIENCE)
    assert predicted["after"] == 6
    assert predicted["event_id"] == steps.id
    assert [p["future"] for p in predicted["predictions"]] == [[["c"]]]
    assert steps.parent.get(timeout=PATIENCE)["position"] == 6


def test_a_long_chain_through_many_sessions_keeps_its_steps(system: System, name: str) -> None:
    steps = [process_observation_async.si(f"{name} {i % 3}", seen(f"{i}")) for i in range(12)]
    last = chain(*steps, remember.s(name)).apply_async()
    assert last.get(timeout=PATIENCE)["position"] == 4
    assert len(noted(system, name)) == 1
    for i in range(3):
        assert system.stm(f"{name} {i}") == [[f"{j}"] for j in range(i, 12, 3)]


def test_a_group_of_50_has_50_results_in_its_order(system: System, name: str) -> None:
    members = [process_observation_async.s(f"{name} {i % 10}", seen(f"{i}")) for i in range(50)]
    answers = group(members).apply_async().get(timeout=PATIENCE)
    assert [(a["session_id"], a["position"]) for a in answers] == [(f"{name} {i % 10}", i // 10 + 1) for i in range(50)]


def test_a_chord_over_50_gives_its_body_every_result_once(system: System, name: str) -> None:
    header = [process_observation_async.s(f"{name} {i % 10}", seen(f"{i}")) for i in range(50)]
    got = chord(header)(remember.s(name)).get(timeout=PATIENCE)
    assert [(a["session_id"], a["position"]) for a in got] == [(f"{name} {i % 10}", i // 10 + 1) for i in range(50)]
    assert len(noted(system, name)) == 1


def test_a_chord_of_ours_may_have_a_body_of_ours(system: System, name: str) -> None:
    header = [process_observation_async.s(name, seen(f"{i}")) for i in range(10)]
    predicted = chord(header)(predict.si(name)).get(timeout=PATIENCE)
    assert predicted["after"] == 10


def test_a_chord_whose_parts_are_parked_twice_runs_its_body_once(system: System, name: str) -> None:
    """Falls when take_or_wait.lua parks under another key than the task's id, so that a part would count twice."""
    system.faults({"kind": "delay_after", "route": "observe-sequence", "seconds": 1.5, "count": 2})
    with Redelivery(seed=3) as again:
        header = [process_observation_async.s(f"{name}", seen(f"{i}"), node_id="chord") for i in range(8)]
        body = chord(header)(remember.s(name))
        again.repeat()
        again.repeat(all_again=True)
        got = body.get(timeout=PATIENCE)
        again.repeat(all_again=True)
    assert [a["position"] for a in got] == list(range(1, 9))
    extra = observe.delay(name, seen("last")).get(timeout=PATIENCE)
    assert extra["time"] == 9
    assert len(noted(system, name)) == 1


@pytest.mark.timed
def test_a_task_that_waits_for_its_lane_says_so_and_holds_no_slot(system: System, name: str) -> None:
    """Falls when LaneTask.perform waits in its slot: three slots, six tasks of a slow lane, and one of another."""
    system.faults({"kind": "delay_after", "node": "slow", "route": "observe-sequence", "seconds": 2.5, "count": 1})
    slow = [observe.delay(f"{name} slow", seen(f"{i}"), node_id="slow") for i in range(6)]
    begun = time.monotonic()
    observe.delay(f"{name} quick", seen("x"), node_id="quick").get(timeout=PATIENCE)
    assert time.monotonic() - begun < 2.0
    wait_until(lambda: "WAITING" in [answer.state for answer in slow], 5, "one waits visibly")
    assert [answer.get(timeout=PATIENCE)["position"] for answer in slow] == [1, 2, 3, 4, 5, 6]


def test_a_link_runs_once_with_the_result(system: System, name: str) -> None:
    with Redelivery(seed=4) as again:
        answer = process_observation_async.apply_async((name, seen("x")), link=remember.s(name))
        again.repeat()
        assert answer.get(timeout=PATIENCE)["position"] == 1
        rows = wait_until(lambda: noted(system, name), PATIENCE)
    assert rows[0]["event_id"] == answer.id


def test_the_link_of_a_parked_task_has_one_id_however_often_it_is_dispatched(system: System, name: str) -> None:
    """A completion may run twice. Falls when apply_async does not freeze its links (`_frozen`)."""
    system.faults({"kind": "delay_after", "route": "observe-sequence", "seconds": 1.0, "count": 1})
    with Redelivery(seed=6) as again:
        answer = process_observation_async.apply_async((name, seen("x")), link=remember.s(name))
        ids = [link["options"].get("task_id") for link in again.links(answer.id)]
    assert len(ids) == 1
    assert ids[0]
    answer.get(timeout=PATIENCE)
    linked: AsyncResult[Any] = AsyncResult(ids[0], app=app)
    assert linked.get(timeout=PATIENCE)["event_id"] == answer.id
    assert len(noted(system, name)) == 1


def test_link_error_runs_when_the_event_is_refused(system: System, name: str) -> None:
    answer = learn.apply_async((name,), link_error=remember_failure.s(), link=remember.s(name))
    with pytest.raises(EventRefused, match="nothing to learn"):
        answer.get(timeout=PATIENCE)
    failure = wait_until(lambda: [f for f in noted(system, "failures") if f[0] == answer.id], PATIENCE)
    assert failure[0][1] == "EventRefused"
    assert noted(system, name) == []


def test_an_event_whose_attempts_are_used_up_is_refused_at_get_and_the_next_goes_on(system: System, name: str) -> None:
    system.faults({"kind": "error_before", "node": "poison", "route": "observe-sequence", "count": 2})
    refused = observe.delay(name, seen("bad"), node_id="poison")
    with pytest.raises(EventRefused, match="failed 2 times"):
        refused.get(timeout=PATIENCE)
    assert refused.state == "FAILURE"
    answer = observe.delay(name, seen("good")).get(timeout=PATIENCE)
    assert (answer["position"], answer["time"]) == (2, 1)
    assert system.stm(name) == [["good"]]


def test_a_failing_part_fails_its_chord_with_the_reason(system: System, name: str) -> None:
    body = chord([observe.s(f"{name} 1", seen("x")), learn.s(f"{name} empty")])(remember.s(name))
    with pytest.raises(Exception, match="nothing to learn"):
        body.get(timeout=PATIENCE)
    assert noted(system, name) == []


# ------------------------------------------------------------------------------- at the caller


def test_a_retry_with_the_same_event_id_is_applied_once_and_gets_the_same_result(system: System, name: str) -> None:
    first = observe.delay(name, seen("x"), event_id=f"{name} e")
    again = observe.delay(name, seen("x"), event_id=f"{name} e")
    assert first.id != again.id
    assert first.get(timeout=PATIENCE) == again.get(timeout=PATIENCE)
    late = observe.delay(name, seen("x"), event_id=f"{name} e").get(timeout=PATIENCE)
    assert late["position"] == 1
    assert system.applied(name) == [f"{name} e"]


def test_the_same_event_id_with_another_body_raises_at_the_caller(system: System, name: str) -> None:
    observe.delay(name, seen("x"), event_id="e").get(timeout=PATIENCE)
    with pytest.raises(EventConflict, match="'e' is known"):
        observe.delay(name, seen("y"), event_id="e")
    assert system.stm(name) == [["x"]]


def test_the_same_task_id_again_is_the_same_event(system: System, name: str) -> None:
    for _ in range(2):
        observe.apply_async((name, seen("x")), task_id=f"task {name}").get(timeout=PATIENCE)
    assert system.applied(name) == [f"task {name}"]


@pytest.mark.parametrize(
    ("call", "field"),
    [
        (lambda s: observe.delay(s, {"strings": "abc"}), "observation.strings"),
        (lambda s: observe.delay(s, {"emotives": {"joy": float("nan")}}), "observation.emotives.joy"),
        (lambda s: observe.delay("", {"strings": ["x"]}), "session_id"),
        (lambda s: observe.delay(s, {"strings": ["x"]}, node_id="it's"), "node_id"),
        (lambda s: observe.delay(s, {"strings": ["x"]}, timestamp="yesterday"), "timestamp"),
        (lambda s: observe.s(s, {}), "observation"),
        (lambda s: observe.si(s, {"vectors": [[1.0], [1.0, 2.0]]}), "observation.vectors"),
        (lambda s: predict.delay(7), "session_id"),  # type: ignore[call-overload]
        (lambda s: learn.delay(s, event_id="a\nb"), "event_id"),
        (lambda s: group(observe.s(s, {"strings": [1]})), "observation.strings"),
        (lambda s: observe.delay(s, {"strings": ["x"], "emotive": {"joy": 1.0}}), "observation.emotive"),
        (lambda s: append_events([{"session_id": s, "observation": {"strings": ["x"]}, "foo": 1}]), "events[0].foo"),
        (lambda s: append_events(GUIDES | {"session_id": s}), "events"),
        (lambda _: session_status(1), "session_id"),  # type: ignore[arg-type]
    ],
)
def test_what_is_wrong_raises_at_the_caller_with_its_field(system: System, name: str, call: Any, field: str) -> None:
    with pytest.raises(InvalidEvent) as refused:
        call(name)
    assert refused.value.field.startswith(field)
    assert session_status(name) is None


def test_another_node_raises_at_the_caller(system: System, name: str) -> None:
    observe.delay(name, seen("x"), node_id="first")
    with pytest.raises(NodeConflict, match="belongs to node 'first'"):
        observe.delay(name, seen("x"), node_id="second")


def test_models_and_datetimes_are_taken_as_arguments(system: System, name: str) -> None:
    answer = observe.delay(name, Observation(strings=["x"]), timestamp=datetime.now(UTC))
    assert answer.get(timeout=PATIENCE)["position"] == 1


@pytest.mark.parametrize("task", ["kato_tasks.process_observation_async", "kato_tasks.observe"])
@pytest.mark.parametrize("by", ["args", "kwargs"])
def test_a_message_sent_by_name_without_a_position_is_appended_on_arrival(
    system: System, name: str, task: str, by: str
) -> None:
    call: Json = {"args": (name, seen("x"))}
    if by == "kwargs":
        call = {"kwargs": {"session_id": name, "observation": seen("x"), "metadata": {"source": "elsewhere"}}}
    with Redelivery(seed=5) as again:
        answer = app.send_task(task, queue="kato.control", **call)
        again.repeat()
        got = answer.get(timeout=PATIENCE)
    assert (got["position"], got["event_id"]) == (1, answer.id)
    observe.delay(name, seen("y")).get(timeout=PATIENCE)
    assert system.stm(name) == [["x"], ["y"]]


def test_what_is_wrong_in_a_message_sent_by_name_fails_that_task(system: System, name: str) -> None:
    answer = app.send_task("kato_tasks.observe", (name, {"strings": [1]}), queue="kato.control")
    with pytest.raises(InvalidEvent, match="strings"):
        answer.get(timeout=PATIENCE)
    assert session_status(name) is None


def test_a_misspelt_key_in_a_message_sent_by_name_fails_that_task(system: System, name: str) -> None:
    answer = app.send_task("kato_tasks.observe", (name, {**seen("x"), "emotive": {}}), queue="kato.control")
    with pytest.raises(InvalidEvent, match=r'emotive: is not a known key; did you mean "emotives"'):
        answer.get(timeout=PATIENCE)
    assert session_status(name) is None


def test_what_an_older_version_accepted_is_never_refused_for_a_key(system: System, name: str) -> None:
    """Its messages name the event's place, and its canvases hold their steps; keys of which were not looked at."""
    call = {"session_id": name, "observation": {**seen("x"), "emotive": {}}}
    place = {"lane": lane_of(default_node(name)), "position": 1, "event_id": f"{name} 1"}
    sent = app.send_task("kato_tasks.observe", kwargs=call, queue="kato.control", headers={"kato": place})
    assert sent.get(timeout=PATIENCE)["position"] == 1
    step = signature("kato_tasks.observe", kwargs={**call, "event_id": f"{name} 2"}, immutable=True, app=app)
    chained = chain(observe.si(name, seen("y")), step)()
    assert chained.get(timeout=PATIENCE)["position"] == 3
    assert system.stm(name) == [["x"], ["y"], ["x"]]


def test_a_step_that_is_given_a_result_too_many_is_told_of_si(system: System, name: str) -> None:
    answer = (observe.s(name, seen("x")) | observe.s(name, seen("y")))()
    with pytest.raises(TypeError, match=r"\.si\(\) in place of \.s\(\)"):
        answer.get(timeout=PATIENCE)


# ------------------------------------------------------------------------------- time and absence


def test_a_countdown_is_a_due_time_in_the_store(system: System, name: str) -> None:
    """Falls when a countdown reaches Celery as an ETA, or the event is appended at once."""
    begun = time.time()
    later = observe.apply_async((name, seen("later")), countdown=1)
    now = observe.delay(name, seen("now")).get(timeout=PATIENCE)
    assert now["position"] == 1
    got = later.get(timeout=PATIENCE)
    assert time.time() - begun >= 1.0
    assert got["position"] == 2
    assert system.stm(name) == [["now"], ["later"]]


def test_an_eta_is_one_too(system: System, name: str) -> None:
    due = datetime.now(UTC) + timedelta(seconds=1)
    got = observe.apply_async((name, seen("x")), eta=due).get(timeout=PATIENCE)
    assert got["position"] == 1
    assert datetime.now(UTC) >= due


def test_revoking_a_task_takes_back_nothing_that_was_appended(system: System, name: str) -> None:
    system.faults({"kind": "delay_after", "route": "observe-sequence", "seconds": 0.5, "count": 1})
    answer = observe.delay(name, seen("x"))
    answer.revoke()
    observe.delay(name, seen("y")).get(timeout=PATIENCE)
    assert system.stm(name) == [["x"], ["y"]]


def test_a_delay_while_the_broker_is_down_is_kept_and_published_when_it_is_back(system: System, name: str) -> None:
    """Invariant 4. Falls when apply_async lets OperationalError out, or the sweep publishes nothing that was kept."""
    observe.delay(name, seen("before")).get(timeout=PATIENCE)
    system.broker.kill()
    begun = time.monotonic()
    kept = observe.delay(name, seen("kept"))
    steps = chain(observe.si(name, seen("first")), observe.si(name, seen("second"))).apply_async()
    assert time.monotonic() - begun < 20
    status = session_status(name)
    assert status is not None
    assert status.head == 3
    system.broker.start()
    assert kept.get(timeout=PATIENCE)["position"] == 2
    assert steps.get(timeout=PATIENCE)["position"] == 4
    drained([name])
    assert system.stm(name) == [["before"], ["kept"], ["first"], ["second"]]
    wait_until(lambda: not list(system.redis.scan_iter("*:outbox")), 10)


def test_bulk_appends_while_the_broker_is_down_are_applied_when_it_is_back(system: System, name: str) -> None:
    system.broker.kill()
    append_events([{"session_id": f"{name} {i}", "observation": seen("x")} for i in range(5)])
    system.broker.start()
    drained([f"{name} {i}" for i in range(5)])


def test_eager_mode_applies_in_the_callers_process(system: System, name: str) -> None:
    app.conf.task_always_eager = True
    try:
        got = chain(observe.si(name, seen("x")), observe.si(name, seen("y")), predict.si(name)).apply_async()
        assert got.get(timeout=PATIENCE)["after"] == 2
        refused = learn.delay(f"{name} empty")
        assert isinstance(refused.result, EventRefused)
    finally:
        app.conf.task_always_eager = False
    assert system.stm(name) == [["x"], ["y"]]


def test_a_task_called_as_a_function_applies_its_event(system: System, name: str) -> None:
    assert observe(name, seen("x"))["position"] == 1
    assert system.stm(name) == [["x"]]


# ------------------------------------------------------------------------------- Flower


@pytest.fixture(scope="module")
def flower(system: System) -> Iterator[Flower]:
    environment = system.environment | {"FLOWER_UNAUTHENTICATED_API": "true"}
    server = Flower(system.directory / "flower", environment, "flower")
    server.start()
    yield server
    server.stop()


def test_flower_lists_each_under_its_own_id_with_its_own_state_and_result(
    system: System, flower: Flower, name: str
) -> None:
    system.faults({"kind": "delay_after", "node": "flower", "route": "observe-sequence", "seconds": 1.5, "count": 1})
    steps = chain(process_observation_async.s(name, seen("a")), predict.si(name)).apply_async()
    header = [process_observation_async.s(f"{name} {i % 10}", seen(f"{i}")) for i in range(50)]
    body = chord(header)(remember.s(name))
    waiting = [observe.delay(f"{name} w", seen(f"{i}"), node_id="flower") for i in range(4)]

    def states() -> list[str]:
        tasks = flower.ask("/api/tasks?limit=1000")
        return [tasks.get(answer.id, {}).get("state", "") for answer in waiting]

    wait_until(lambda: "WAITING" in states(), 10, "Flower shows that tasks wait")
    refused = learn.delay(f"{name} empty")
    answers: list[AsyncResult[Any]] = [steps, steps.parent, body, *body.parent.results, *waiting]
    for answer in answers:
        answer.get(timeout=PATIENCE)
    with pytest.raises(EventRefused):
        refused.get(timeout=PATIENCE)

    def listed() -> dict[str, Json] | None:
        tasks: dict[str, Json] = flower.ask("/api/tasks?limit=1000")
        ended = [tasks.get(answer.id, {}).get("state") in ("SUCCESS", "FAILURE") for answer in (*answers, refused)]
        return tasks if all(ended) else None

    tasks = wait_until(listed, PATIENCE, "Flower has heard of every end") or {}
    assert tasks[refused.id]["state"] == "FAILURE"
    assert "nothing to learn" in tasks[refused.id]["exception"]
    assert tasks[steps.id]["name"] == "kato_tasks.predict"
    for answer in answers:
        assert tasks[answer.id]["state"] == "SUCCESS"
    for answer in body.parent.results:
        shown = flower.ask(f"/api/task/result/{answer.id}")
        assert (shown["task-id"], shown["state"], shown["result"]["event_id"]) == (answer.id, "SUCCESS", answer.id)
        assert answer.id in tasks[answer.id]["result"]
