"""A listener's process on each broker: the guide's producers, two listeners, kills, malformed messages."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from kato_tasks.testing.waiting import wait_until
from tests.integration.listening.brokers import Broker
from tests.integration.listening.conftest import Listeners, on
from tests.integration.listening.rig import CHECKOUT, Story, event
from tests.services import unreachable

GUIDE = Path(CHECKOUT).parent / "shared" / "GUIDE.md"
GUIDES = {
    "KafkaBroker": ("class KatoKafkaProducer", "kato-observations"),
    "RabbitmqBroker": ("class KatoRabbitMQPublisher", "kato-events"),
    "RedisBroker": ("class KatoRedisStreamPublisher", "kato:observations"),
}


def clean(story: Story) -> dict[str, int]:
    return {"lost": 0, "duplicated": 0, "inverted": 0}


def guides_program(line: str) -> dict[str, Any]:
    """Run the guide's program that has this line, up to the part that uses it, and return its names."""
    if not GUIDE.exists():
        unreachable("../shared/GUIDE.md")
    blocks = re.findall(r"```python\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    (block,) = [block for block in blocks if line in block]
    names: dict[str, Any] = {}
    exec(compile(block.partition("# Usage")[0], str(GUIDE), "exec"), names)  # noqa: S102
    return names


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_guides_producer_works_unmodified(broker: Broker, story: Story, listeners: Listeners) -> None:
    line, default = GUIDES[type(broker).__name__]
    names = guides_program(line)
    made = names[line.removeprefix("class ")]
    url = broker.server.url
    if "Kafka" in line:
        producer = made([url], topic=broker.name)
    elif "RabbitMQ" in line:
        producer = made(url.removesuffix("//") + "/%2F", exchange=broker.name)
    else:
        producer = made(url, stream_key=broker.name)
    for number in range(5):
        producer.publish_observation(
            session_id="user 123.4", observation={"strings": [f"a{number}"], "vectors": [], "emotives": {"joy": 0.5}}
        )
    getattr(producer, "flush", lambda: None)()
    for name in ("producer", "redis", "connection"):
        if (client := getattr(producer, name, None)) is not None:
            client.close()
    listeners.start(story)
    story.wait_for(5)
    entries = [json.loads(entry.body) for entry in story.log_of("user 123.4")]
    assert [seen["strings"] for seen in entries] == [[f"a{number}"] for number in range(5)]
    assert entries[0]["emotives"] == {"joy": 0.5}
    assert default


@on("rabbitmq")
def test_what_is_published_is_in_the_log_once_and_in_order_and_a_stop_leaves_nothing_behind(
    story: Story, listeners: Listeners
) -> None:
    story.publish(2_000)
    listener = listeners.start(story)
    story.wait_for(2_000)
    listener.stop()
    assert "listener.ended" in listener.text()
    story.publish(500)
    listeners.start(story)
    story.wait_for(2_500)
    assert story.judge() == clean(story)


@on("kafka", "redis")
def test_two_listeners_share_the_work_and_take_over_from_each_other_without_loss_or_duplicates(
    story: Story, listeners: Listeners
) -> None:
    """One is stopped, killed, and started again under load."""
    first, second = listeners.start(story), listeners.start(story)
    story.publish(1_000)
    story.wait_for(1_000)
    first.stop()
    story.publish(1_000)
    story.wait_for(2_000)
    first.start()
    story.publish(1_000)
    second.kill()
    story.wait_for(3_000)
    assert story.judge() == clean(story)


@on("kafka", "rabbitmq")
def test_what_a_stuck_listener_has_is_taken_over_within_a_minute(story: Story, listeners: Listeners) -> None:
    first = listeners.start(story)
    story.publish(200)
    story.wait_for(200)
    first.pause()
    listeners.start(story)
    story.publish(200)
    wait_until(lambda: story.appended() >= 400, 60, "the second listener has taken over")
    first.resume()
    story.publish(200)
    story.wait_for(600)
    assert story.judge() == clean(story)


MALFORMED: dict[str, bytes] = {
    "not json": b"not json",
    "not utf-8": b"\xff\xfe\x00",
    "no object": b"7",
    "no session": json.dumps({"event_type": "observation", "observation": {"strings": ["x"]}}).encode(),
    "no observation": json.dumps({"event_type": "observation", "session_id": "bad"}).encode(),
    "wrong type": json.dumps(
        {"event_type": "nonsense", "session_id": "bad", "observation": {"strings": ["x"]}}
    ).encode(),
    "later version": json.dumps(event("bad", 1, schema_version=99)).encode(),
    "unknown key": json.dumps(event("bad", 1, sesion="x")).encode(),
    "too large": json.dumps(event("bad", 1, metadata={"x": "y" * 300_000})).encode(),
    "far too large": b"[" + b"1," * 450_000 + b"1]",
}


@on("rabbitmq", "redis")
def test_of_malformed_messages_among_others_each_is_a_dead_letter_and_all_others_are_appended(
    story: Story, listeners: Listeners
) -> None:
    for body in MALFORMED.values():
        story.publish(200)
        story.broker.publish_raw([body], "bad")
    listeners.start(story, "--max-message-bytes", "800000")
    story.wait_for(2_000)
    wait_until(lambda: len(story.dead_letters()) == len(MALFORMED), 20, "each is a dead letter")
    assert story.judge() == clean(story)
    kept = story.dead_letters()
    assert all(letter["message"]["place"] for letter in kept)
    assert {letter["reason"].partition(":")[0] for letter in kept} >= {"message", "session_id", "observation", "event"}
