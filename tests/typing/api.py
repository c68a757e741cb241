"""What callers of the tasks get, as type checkers see it. Checked by mypy and pyright, and never run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, assert_type

from kato_tasks import (
    Appended,
    AppliedJson,
    BindingStatus,
    Event,
    KafkaPublisher,
    LearnedJson,
    Observation,
    ObservedJson,
    PredictedJson,
    PredictionJson,
    RabbitMQPublisher,
    RawPredictedJson,
    RedisStreamPublisher,
    SessionStatus,
    TypedResult,
    TypedSignature,
    aget,
    append_event,
    append_event_async,
    append_events,
    append_events_async,
    clear_stm,
    events_by_node,
    events_by_time,
    history,
    learn,
    observe,
    predict,
    process_observation_async,
    session_status,
    subscribe,
)

seen: Mapping[str, Any] = {"strings": ["home"]}
out_of_celery: Any = None


def the_results_of_calls_are_known() -> None:
    assert_type(observe.delay("s", {"strings": ["home"]}), TypedResult[ObservedJson])
    assert_type(observe.delay("s", {"strings": ["home"]}, node_id="shop").get(timeout=30), ObservedJson)
    assert_type(process_observation_async.delay(session_id="s", observation=seen).get(), ObservedJson)
    assert_type(learn.delay("s").get(), LearnedJson)
    assert_type(clear_stm.delay("s").get(), AppliedJson)
    assert_type(predict.delay("s").get(), PredictedJson)
    assert_type(predict.delay("s").get()["predictions"][0], PredictionJson)
    assert_type(predict.delay("s").get()["predictions"][0]["name"], str)
    assert_type(predict.delay("s", raw=True).get(), RawPredictedJson)
    assert_type(observe("s", seen), ObservedJson)
    assert_type(observe.apply(("s", seen)).get(), ObservedJson)
    assert_type(observe.AsyncResult("id").get(), ObservedJson)


def a_result_has_its_own_members() -> None:
    result = observe.delay("s", seen)
    assert_type(result.id, str)
    assert_type(result.state, str)
    assert_type(result.ready(), bool)


def an_observation_may_be_a_model_and_a_time_a_datetime() -> None:
    observe.delay("s", Observation(strings=["home"]), timestamp=datetime.now(UTC), metadata={"by": "us"})
    observe.delay("s", seen, timestamp="2026-01-01T00:00:00Z", event_id="e")


def options_of_celery_are_taken() -> None:
    result = observe.apply_async(("s", seen), {"node_id": "shop"}, countdown=3, queue="mine")
    assert_type(result, TypedResult[ObservedJson])
    assert_type(learn.apply_async(kwargs={"session_id": "s"}, eta=datetime.now(UTC)).get(), LearnedJson)
    assert_type(predict.apply_async(("s",), expires=10).get(), PredictedJson)


def a_call_waits_for_a_commit() -> None:
    observe.delay_on_commit("s", seen, node_id="shop")
    learn.apply_async_on_commit(("s",), countdown=1)


def steps_of_a_chain_are_known() -> None:
    step = observe.s("s", {"strings": ["home"]}, node_id="shop")
    assert_type(step, TypedSignature[ObservedJson])
    assert_type(step.set(countdown=3), TypedSignature[ObservedJson])
    assert_type(step.delay().get(), ObservedJson)
    assert_type(step.apply_async(countdown=3).get(), ObservedJson)
    assert_type(step | learn.si("s"), TypedSignature[LearnedJson])
    assert_type((step | learn.si("s") | predict.si("s")).delay().get()["predictions"][0]["future"], list[list[str]])
    assert_type(step | out_of_celery, Any)
    assert_type(predict.si("s", raw=True), TypedSignature[RawPredictedJson])


def a_step_may_get_its_session_from_the_step_before() -> None:
    assert_type(learn.s(), TypedSignature[LearnedJson])
    assert_type(learn.s(event_id="e"), TypedSignature[LearnedJson])
    assert_type(observe.s({"strings": ["home"]}, node_id="shop"), TypedSignature[ObservedJson])
    assert_type(predict.s(), TypedSignature[PredictedJson])


async def an_event_loop_goes_on() -> None:
    result = await observe.adelay("s", seen, node_id="shop")
    assert_type(result, TypedResult[ObservedJson])
    assert_type(await result.aget(timeout=30), ObservedJson)
    assert_type(await aget(result, timeout=30), ObservedJson)
    assert_type(await aget(await predict.adelay("s")), PredictedJson)
    assert_type(await (await learn.aapply_async(("s",), countdown=1)).aget(), LearnedJson)
    assert_type(await (await predict.adelay("s", raw=True)).aget(), RawPredictedJson)
    assert_type(await append_event_async("order-7", "paid", {"total": 3}, expected_position=1), Appended)
    assert_type(await append_events_async([{"session_id": "s", "observation": seen}]), list[Appended])


def the_plain_calls_have_types() -> None:
    assert_type(append_events([Event(session_id="s", observation=Observation(strings=["home"]))]), list[Appended])
    status = session_status("s")
    assert_type(status, SessionStatus | None)
    if status is not None:
        assert_type(status.binding, BindingStatus | None)


def the_event_store_has_types() -> None:
    assert_type(append_event("order-7", "paid", {"total": 3}, expected_position=1, metadata={"by": "ann"}), Appended)
    assert_type(append_event("order-7", "shipped", timestamp=datetime.now(UTC)).position, int | None)
    assert_type(history("order-7", after=3, limit=10), Iterator[dict[str, Any]])
    assert_type(events_by_node("shop", after=3), Iterator[dict[str, Any]])
    assert_type(events_by_time("2026-01-01", datetime.now(UTC), node_id="shop"), Iterator[dict[str, Any]])
    assert_type(subscribe("order-7", after=3, poll_seconds=0.1), Iterator[dict[str, Any]])
    assert_type(subscribe(node_id="shop"), Iterator[dict[str, Any]])


def publishers_have_types() -> None:
    with KafkaPublisher(["localhost:9092"], topic="kato-observations", config={"linger.ms": 20}) as kafka:
        assert_type(kafka, KafkaPublisher)
        assert_type(kafka.publish_observation("s", seen, metadata={"by": "us"}, timestamp=datetime.now(UTC)), str)
        assert_type(kafka.publish(Event(session_id="s", observation=Observation(strings=["home"]))), str)
    rabbitmq = RabbitMQPublisher("amqp://localhost", exchange="kato-events", cloud_events=True, source="/shop")
    assert_type(rabbitmq.publish({"session_id": "s", "observation": seen}), str)
    rabbitmq.close(timeout=None)
    redis = RedisStreamPublisher("redis://localhost:6379", stream="kato:observations", max_length=1_000_000)
    assert_type(redis.publish_learn("s", event_id="e"), str)
    assert_type(redis.pending, int)
    redis.flush(timeout=5)
