"""The publishers on real brokers, read back by the guide's own consumers, through restarts and forks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import redis

from kato_tasks import KafkaPublisher, RabbitMQPublisher, RedisStreamPublisher, SourceUnavailable
from kato_tasks.domain.cloud_events import standard_event
from kato_tasks.domain.events import parse_event
from kato_tasks.publishers.publisher import Publisher
from kato_tasks.testing.services import Service
from kato_tasks.testing.waiting import wait_until
from tests.integration.publishers.guide_readers import RabbitReader, Read, from_kafka, from_redis

CHECKOUT = str(Path(__file__).resolve().parents[3])
SEEN = {"strings": ["login", "dashboard"], "vectors": [], "emotives": {}}


@dataclass
class Place:
    """Where a test publishes: how a publisher to it is made, in words too, and how the guide's consumer reads it."""

    server: Service
    words: str
    make: Callable[..., Publisher]
    read: Callable[[], Read]


@pytest.fixture(params=["kafka", "rabbitmq", "redis"])
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    name = f"test-{uuid.uuid4().hex[:8]}"
    server: Any = request.getfixturevalue(f"{request.param}_server")
    server.start()
    if request.param == "kafka":
        yield Place(
            server,
            f"KafkaPublisher({server.url!r}, topic={name!r})",
            lambda **more: KafkaPublisher(server.url, topic=name, **more),
            lambda: from_kafka(server.url, name),
        )
    elif request.param == "rabbitmq":
        url = f"amqp://guest:guest@127.0.0.1:{server.port}/%2F"
        reader = RabbitReader(url, name, name)
        yield Place(
            server,
            f"RabbitMQPublisher({url!r}, exchange={name!r})",
            lambda **more: RabbitMQPublisher(url, exchange=name, **more),
            reader.read,
        )
    else:
        yield Place(
            server,
            f"RedisStreamPublisher({server.url!r}, stream={name!r})",
            lambda **more: RedisStreamPublisher(server.url, stream=name, **more),
            lambda: from_redis(server.url, name),
        )


def numbers(read: Read) -> dict[str, list[int]]:
    """The numbers that each session's events have in ``strings``, repeats left out by their event_id."""
    found: dict[str, dict[str, int]] = {}
    for session, event in read:
        found.setdefault(session, {}).setdefault(event["event_id"], int(event["observation"]["strings"][0]))
    return {session: list(ids.values()) for session, ids in found.items()}


def publish(publisher: Publisher, session: str, first: int, behind: int) -> None:
    for number in range(first, behind):
        publisher.publish_observation(session, {"strings": [str(number)]})


def test_the_guides_consumer_reads_what_was_published(place: Place) -> None:
    with place.make() as publisher:
        event_id = publisher.publish_observation("user.1/ä", SEEN, metadata={"source": "web-app"})
        publisher.publish({"session_id": "user.1/ä", "observation": SEEN, "event_id": "mine"})
        publisher.publish_learn("user.1/ä")
    read = place.read()
    assert [session for session, _ in read] == ["user.1/ä"] * 3
    first, second, learn = (event for _, event in read)
    assert (first["event_type"], first["observation"], first["event_id"]) == ("observation", SEEN, event_id)
    assert first["metadata"] in ({"source": "web-app"}, '{"source":"web-app"}')
    assert first["timestamp"].endswith("Z")
    assert (second["event_id"], learn["event_type"]) == ("mine", "learn")


def test_a_sessions_events_arrive_in_their_order_by_however_many_threads(place: Place) -> None:
    with place.make(batch_events=50) as publisher:
        threads = [threading.Thread(target=publish, args=(publisher, f"s{i}", 0, 300)) for i in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        publisher.flush()
        assert publisher.pending == 0
    assert numbers(place.read()) == {f"s{i}": list(range(300)) for i in range(6)}


def test_a_broker_that_restarts_while_events_are_published_has_all_of_them_in_order(place: Place) -> None:
    publisher = place.make(batch_events=20, block_seconds=120)
    publish(publisher, "s", 0, 100)
    publisher.flush(60)
    place.server.kill()
    publish(publisher, "s", 100, 300)
    with pytest.raises(SourceUnavailable) as away:
        publisher.flush(2)
    assert str(away.value).startswith(
        f"200 events not confirmed by {publisher._buffer.sender.name} after 2 s, and tried"
    )
    stop = threading.Event()
    last = 300

    def go_on() -> None:
        nonlocal last
        while not stop.is_set() and last < 5_000:
            publish(publisher, "s", last, last + 10)
            last += 10
            stop.wait(0.01)

    publishing = threading.Thread(target=go_on)
    publishing.start()
    place.server.start()
    wait_until(lambda: publisher.pending == 0 or last >= 5_000, 60)
    stop.set()
    publishing.join()
    publisher.close(60)
    read = place.read()
    assert numbers(read)["s"] == list(range(last))


def test_a_publisher_that_was_made_before_a_fork_publishes_on_both_sides(place: Place) -> None:
    publisher = place.make()
    publish(publisher, "before", 0, 10)
    publisher.flush(60)
    publish(publisher, "parent", 0, 10)
    child = os.fork()
    if child == 0:
        try:
            publish(publisher, "child", 0, 10)
            publisher.close(60)
        except BaseException:
            os._exit(1)
        os._exit(0)
    publish(publisher, "parent", 10, 20)
    publisher.close(60)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    due = {"before": list(range(10)), "parent": list(range(20)), "child": list(range(10))}
    assert numbers(place.read()) == due


UNFLUSHED = """
from kato_tasks import KafkaPublisher, RabbitMQPublisher, RedisStreamPublisher
publisher = {words}
for number in range(30):
    publisher.publish_observation("s", {{"strings": [str(number)]}})
print(publisher.pending > 0)
"""


def test_a_process_that_ends_without_a_flush_has_published_everything_all_the_same(place: Place) -> None:
    done = subprocess.run(
        [sys.executable, "-c", UNFLUSHED.format(words=place.words)],
        env=dict(os.environ) | {"PYTHONPATH": CHECKOUT},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "True\n"), done.stderr
    assert numbers(place.read()) == {"s": list(range(30))}


def test_a_process_that_ends_while_the_broker_is_away_says_what_it_could_not_publish(place: Place) -> None:
    words = place.words.replace(str(place.server.port), "1")
    code = "import kato_tasks.publishers.buffer as b; b.EXIT_SECONDS = 1.0\n" + UNFLUSHED.format(words=words)
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=dict(os.environ) | {"PYTHONPATH": CHECKOUT},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0
    assert "publisher.left to=" in done.stderr
    assert "waiting=30 reason=30 events were never confirmed by" in done.stderr


@pytest.mark.parametrize("place", ["kafka", "rabbitmq"], indirect=True)
def test_cloud_events_are_read_as_the_events_that_were_published(place: Place) -> None:
    event = {
        "session_id": "s",
        "node_id": "shop",
        "observation": SEEN,
        "metadata": {"by": "us"},
        "data": {"total": 3},
        "event_id": "e-1",
        "timestamp": "2025-11-13T10:30:00Z",
    }
    with place.make(cloud_events=True, source="/shop") as publisher:
        publisher.publish(event)
        publisher.publish_learn("s")
    observed, learn = (standard_event(cloud) for _, cloud in place.read())
    del observed["metadata"]["cloudevent"]
    assert parse_event(observed) == parse_event(event | {"event_id": "/shop e-1"})
    assert (learn["event_type"], learn["session_id"]) == ("learn", "s")


def test_a_cloud_event_in_a_stream_is_the_field_data_beside_its_type(redis_url: str) -> None:
    with RedisStreamPublisher(redis_url, cloud_events=True) as publisher:
        event_id = publisher.publish_learn("s")
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        ((_, fields),) = client.xrange("kato:observations")
    assert (fields["key"], fields["message_id"]) == ("s", event_id)
    assert fields["content-type"] == "application/cloudevents+json; charset=UTF-8"
    read = standard_event(json.loads(fields["data"]))
    assert (read["event_type"], read["session_id"], read["event_id"]) == ("learn", "s", f"/kato_tasks {event_id}")
