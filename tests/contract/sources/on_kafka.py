"""Kafka as the suite of the sources uses it."""

from __future__ import annotations

import uuid
from typing import Any

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from kato_tasks.adapters.kafka.source import KafkaSource
from kato_tasks.testing.kafka import KafkaServer
from kato_tasks.testing.waiting import wait_until
from tests.contract.sources.brokers import Broker
from tests.contract.sources.reading import Recipe

PARTITIONS = 4
QUICK: dict[str, Any] = {"session.timeout.ms": 2_000, "heartbeat.interval.ms": 300, "max.poll.interval.ms": 3_000}
"""A member that died is missed after two seconds, and one that does not ask for messages after three."""


class KafkaBroker(Broker):
    """A topic of four partitions, and the group of its readers."""

    name = "kafka"
    marks = True

    def __init__(self, server: KafkaServer) -> None:
        self.server = server
        self.topic = f"events.{uuid.uuid4().hex[:12]}"
        self.group = f"readers of {self.topic}"

    def publish(self, key: str, *bodies: bytes) -> None:
        self.send(*((key.encode(), body) for body in bodies))

    def send(self, *records: tuple[bytes | None, bytes | None], **more: Any) -> None:
        """Publish records, each with its key; ``more`` is what confluent-kafka's produce takes."""
        producer = Producer({"bootstrap.servers": self.server.url, "log_level": 0, "linger.ms": 0})
        for key, value in records:
            producer.produce(self.topic, value, key, **more)
        assert producer.flush(20) == 0

    def recipe(self, **options: Any) -> Recipe:
        return Recipe(KafkaSource, (self.server.url, [self.topic]), {"group": self.group, "options": QUICK | options})

    def source(self, **options: Any) -> KafkaSource:
        source: KafkaSource = self.recipe(**options).make()
        return source

    def settle(self, unacknowledged: int) -> None:
        message = f"{unacknowledged} messages are not acknowledged"
        wait_until(lambda: self.unacknowledged() == unacknowledged, 20, message)

    def unacknowledged(self) -> int:
        """How many messages wait behind the offsets that the group has committed."""
        asker = Consumer({"bootstrap.servers": self.server.url, "group.id": self.group, "log_level": 0})
        try:
            places = [TopicPartition(self.topic, number) for number in range(PARTITIONS)]
            ends = [asker.get_watermark_offsets(place, timeout=10)[1] for place in places]
            return sum(
                end - max(0, done.offset) for end, done in zip(ends, asker.committed(places, timeout=10), strict=True)
            )
        finally:
            asker.close()

    def admin(self) -> AdminClient:
        return AdminClient({"bootstrap.servers": self.server.url, "log_level": 0})


KEYS = [f"session {number}" for number in range(24)]
"""So many that each partition gets some."""


def publish_to_all(kafka: KafkaBroker, *words: bytes) -> None:
    """Publish each word with every key."""
    kafka.send(*((key.encode(), word) for word in words for key in KEYS))


def share(one: KafkaSource, other: KafkaSource) -> None:
    """Have both poll until each has two of the four partitions."""

    def shared() -> bool:
        one.idle(0.05)
        other.idle(0.05)
        return len(one._held) == len(other._held) == PARTITIONS // 2

    wait_until(shared, 30, "the partitions are shared out")
