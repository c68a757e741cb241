"""The programs of examples/iot_anomaly on real brokers: the sensor's, and the judge's."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pika
import pytest
import redis

from examples.iot_anomaly.judge import STREAM, from_rabbitmq, from_redis, write
from examples.iot_anomaly.judging import Judge, Rules
from examples.iot_anomaly.pipeline import decode
from examples.iot_anomaly.producer import QUEUE, messages, publish
from examples.iot_anomaly.scoring import read_readings
from kato_tasks.ports.sources import Message
from kato_tasks.testing.rabbitmq import RabbitmqServer
from kato_tasks.testing.waiting import wait_until

BANDS = ["temp:70-75", "temp:70-75", "temp:0-5", "temp:0-5"]
RULES = Rules(votes=2, share=1.0, warm_up=0)


@pytest.fixture
def channel(rabbitmq_server: RabbitmqServer) -> Iterator[Any]:
    connection = pika.BlockingConnection(pika.URLParameters(rabbitmq_server.url.rstrip("/")))
    try:
        channel = connection.channel()
        for queue in (QUEUE, STREAM):
            channel.queue_delete(queue)
        channel.exchange_delete(STREAM)
        yield channel
    finally:
        connection.close()


def published(number: int) -> dict[str, Any]:
    """A prediction event as the sink publishes it: after each reading KATO expects the middle band."""
    future = [[f"hour:{number + 1:02d}", "temp:70-75"]]
    strings = [f"hour:{number:02d}", BANDS[number]]
    return {
        "event_type": "prediction",
        "session_id": "office",
        "node_id": "office",
        "timestamp": f"2013-07-04T{number:02d}:00:00Z",
        "predictions": {"predictions": [{"future": future}]},
        "original_event": {"observation": {"strings": strings}, "metadata": {"window": "2013-07-04T00"}},
        "correlation_id": "",
        "event_id": f"office/{number}",
    }


def anomalies(path: Path) -> list[str]:
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    return [row["timestamp"] for row in rows if row["is_anomaly"]]


def test_the_guide_s_consumer_reads_what_the_producer_publishes_and_it_decodes(
    rabbitmq_server: RabbitmqServer, channel: Any, tmp_path: Path
) -> None:
    file = tmp_path / "readings.csv"
    file.write_text("timestamp,value\n2013-07-04 00:00:00,69.88\n2013-07-04 01:00:00,71.22\n")
    # As the guide's consumer declares it: a queue that is not durable.
    channel.queue_declare(queue=QUEUE)
    assert publish(messages(read_readings(file), "office"), rabbitmq_server.url) == 2
    bodies = [channel.basic_get(QUEUE, auto_ack=True)[2] for _ in range(2)]
    assert json.loads(bodies[0]) == {"sensor_id": "office", "reading": 69.88, "timestamp": "2013-07-04T00:00:00"}
    kinds = [event["event_type"] for body in bodies for event in decode(Message(body, QUEUE))]
    assert kinds == ["clear_stm", "observation", "observation"]


def test_the_judge_reads_a_redis_stream_from_its_beginning_and_again_comes_to_the_same(
    redis_url: str, tmp_path: Path
) -> None:
    with redis.Redis.from_url(redis_url) as client:
        for number in range(len(BANDS)):
            event = published(number)
            client.xadd(STREAM, {name: one if isinstance(one, str) else json.dumps(one) for name, one in event.items()})
    for name in ("first", "second"):
        with (tmp_path / name).open("w") as file:
            assert write(from_redis(redis_url, STREAM, len(BANDS)), Judge(RULES), file) == len(BANDS)
        assert anomalies(tmp_path / name) == ["2013-07-04T03:00:00Z"]


def test_the_judge_reads_what_the_sink_s_exchange_gets_from_rabbitmq(
    rabbitmq_server: RabbitmqServer, channel: Any, tmp_path: Path
) -> None:
    judged: list[int] = []
    channel.exchange_declare(exchange=STREAM, exchange_type="topic", durable=True)
    channel.confirm_delivery()

    def judge() -> None:
        with (tmp_path / "found").open("w") as file:
            judged.append(write(from_rabbitmq(rabbitmq_server.url, STREAM, len(BANDS)), Judge(RULES), file))

    thread = threading.Thread(target=judge)
    thread.start()
    try:
        for number in range(len(BANDS)):
            body = json.dumps(published(number))
            wait_until(lambda: _is_routed(channel, body), 20, "the judge has bound its queue")  # noqa: B023  at once
    finally:
        thread.join(20)
    assert judged == [len(BANDS)]
    assert anomalies(tmp_path / "found") == ["2013-07-04T03:00:00Z"]


def _is_routed(channel: Any, body: str) -> bool:
    """Publish a prediction event as the sink does, and say whether a queue took it."""
    try:
        channel.basic_publish(exchange=STREAM, routing_key="predictions.office", body=body, mandatory=True)
    except pika.exceptions.UnroutableError:
        return False
    return True
