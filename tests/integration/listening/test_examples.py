"""The guide's two pipelines, examples/realtime_analytics and examples/iot_anomaly, through a listener and its sink."""

from __future__ import annotations

import csv
import json
import threading
import uuid
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from examples.iot_anomaly import judge as iot_judge
from examples.iot_anomaly import producer as iot_producer
from examples.iot_anomaly.judging import Judge, Rules
from examples.iot_anomaly.pipeline import SESSION_CONFIG
from examples.iot_anomaly.scoring import read_readings
from examples.realtime_analytics import producer as pages
from kato_tasks.testing.rabbitmq import RabbitmqServer
from kato_tasks.testing.services import KatoServer, RedisServer, Service
from kato_tasks.testing.waiting import wait_until
from tests.integration.listening.conftest import need
from tests.integration.listening.rig import ListenerProcess
from tests.integration.system import System


@pytest.fixture
def system(redis_server: RedisServer, kato: KatoServer, tmp_path: Path) -> Iterator[System]:
    redis_server.start()
    kato.start()
    config = json.dumps(dict(SESSION_CONFIG))
    system = System(redis_server, redis_server, kato, tmp_path, kato_session_config=config)
    with system.here():
        system.empty()
        with system.workers(["--pool", "threads", "--concurrency", "2"]):
            yield system


def listener(system: System, *words: str) -> ListenerProcess:
    one = ListenerProcess(system.directory / "listener", system.environment, words)
    one.start()
    return one


def analytics(bootstrap: str, topic: str, count: int) -> list[dict[str, Any]]:
    """The first messages of the topic."""
    from kafka import KafkaConsumer

    consumer = KafkaConsumer(topic, bootstrap_servers=[bootstrap], auto_offset_reset="earliest")
    found: list[dict[str, Any]] = []

    def enough() -> bool:
        for records in consumer.poll(timeout_ms=500).values():
            found.extend(json.loads(record.value) | {"key": record.key.decode()} for record in records)
        return len(found) >= count

    try:
        wait_until(enough, 90, f"{count} analytics are published")
    finally:
        consumer.close()
    return found


def test_page_events_become_analytics_of_what_each_user_may_do_next(
    system: System, request: pytest.FixtureRequest
) -> None:
    need("kafka")
    server: Service = request.getfixturevalue("kafka_server")
    server.start()
    topic, out = f"user-events-{uuid.uuid4().hex[:6]}", f"user-analytics-{uuid.uuid4().hex[:6]}"
    events = list(pages.page_events(60, users=5))
    assert pages.publish(iter(events), server.url, topic) == len(events)
    system.environment["KATO_TASKS_KAFKA_BOOTSTRAP"] = server.url
    reading = listener(
        system,
        *("kafka", "--topic", topic, "--predictions-to", f"kafka:{out}"),
        *("--decoder", "examples.realtime_analytics.pipeline:decode"),
        *("--encoder", "examples.realtime_analytics.pipeline:encode"),
    )
    try:
        found = analytics(server.url, out, len(events))
    finally:
        reading.stop()
    for user in {event["user_id"] for event in events}:
        told = [one["current_action"] for one in found if one["user_id"] == one["key"] == user]
        assert told == [event["action"] for event in events if event["user_id"] == user]
    # Late in the run KATO has learned enough visits to expect something nearly always.
    assert sum(bool(one["predicted_actions"]) for one in found[-50:]) >= 25


def test_a_sensors_readings_become_verdicts_and_a_strange_night_is_an_anomaly(
    system: System, rabbitmq_server: RabbitmqServer, tmp_path: Path
) -> None:
    file = tmp_path / "readings.csv"
    start, strange = datetime(2013, 7, 4), range(24 * 9, 24 * 9 + 12)  # noqa: DTZ001  as sensors write it
    with file.open("w", newline="") as out:
        rows = csv.writer(out)
        rows.writerow(("timestamp", "value"))
        for hour in range(24 * 10):
            usual = 69.0 if 8 <= hour % 24 < 20 else 75.0
            rows.writerow((start + timedelta(hours=hour), 40.0 if hour in strange else usual))
    queue = f"sensor-data-{uuid.uuid4().hex[:6]}"
    assert (
        iot_producer.publish(iot_producer.messages(read_readings(file), "office"), rabbitmq_server.url, queue)
        == 24 * 10
    )
    system.environment |= {"KATO_TASKS_RABBITMQ_URL": rabbitmq_server.url, "KATO_TASKS_STREAMS_URL": system.store.url}
    reading = listener(
        system,
        *("rabbitmq", "--queue", queue, "--exchange", "", "--predictions-to", f"redis:{queue}"),
        *("--decoder", "examples.iot_anomaly.pipeline:decode"),
    )
    try:
        events = iot_judge.from_redis(system.store.url, queue, 24 * 10)
        detections = tmp_path / "found.jsonl"
        with detections.open("w") as verdicts:
            judging = threading.Thread(
                target=iot_judge.write, args=(events, Judge(Rules(votes=6, share=0.5, warm_up=96)), verdicts)
            )
            judging.start()
            judging.join(90)
        assert not judging.is_alive()
    finally:
        reading.stop()
    found = [json.loads(line) for line in detections.read_text().splitlines()]
    assert len(found) == 24 * 10
    alarms = {number for number, verdict in enumerate(found) if verdict["is_anomaly"]}
    assert alarms & set(strange)
    assert not alarms - set(range(strange.start, strange.stop + 6))
