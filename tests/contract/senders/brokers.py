"""Brokers as the senders' suite sees them: one place to send to on a real server, and what arrived there."""

from __future__ import annotations

import uuid
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pika
import redis
from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic  # it is in the documentation

from kato_tasks.adapters.kafka.sender import KafkaSender
from kato_tasks.adapters.rabbitmq.sender import RabbitmqSender
from kato_tasks.adapters.redis_streams.sender import RedisStreamSender
from kato_tasks.ports.senders import Outgoing, Sender
from kato_tasks.testing.services import Service, free_port
from kato_tasks.testing.waiting import wait_until

SECRET = "pw-7f3a"


@dataclass(frozen=True)
class Arrived:
    key: str
    value: bytes
    message_id: str
    headers: dict[str, str]


class Broker(ABC):
    """A topic, an exchange with a queue, or a stream, of the test's own."""

    def __init__(self, server: Service) -> None:
        self.server = server
        self.place = f"test-{uuid.uuid4().hex[:8]}"
        self.prepare()

    @abstractmethod
    def prepare(self) -> None:
        """Make what a reader would have made."""

    @abstractmethod
    def sender(self, seconds: float = 10.0) -> Sender: ...

    @abstractmethod
    def sender_to_nobody(self) -> Sender:
        """A sender whose address has a password, and nobody who listens."""

    @abstractmethod
    def arrived(self) -> list[Arrived]:
        """Everything that a reader of the place gets, in its order. RabbitMQ no longer has it after that."""


class RedisBroker(Broker):
    def prepare(self) -> None:
        """A stream is there once something is added to it."""

    def sender(self, seconds: float = 10.0) -> Sender:
        return RedisStreamSender(self.server.url, self.place, timeout=seconds)

    def sender_to_nobody(self) -> Sender:
        return RedisStreamSender(f"redis://:{SECRET}@127.0.0.1:{free_port()}/0", self.place)

    def arrived(self) -> list[Arrived]:
        with redis.Redis.from_url(self.server.url, decode_responses=True) as client:
            rows: Any = client.xrange(self.place)
        return [
            Arrived(fields.pop("key"), fields.pop("data").encode(), fields.pop("message_id"), fields)
            for _, fields in rows
        ]


class RabbitmqBroker(Broker):
    def prepare(self) -> None:
        with self._connection() as connection:
            channel = connection.channel()
            channel.exchange_declare(self.place, "topic", durable=True)
            channel.queue_declare(self.place, durable=True)
            channel.queue_bind(self.place, self.place, "observations.#")

    def sender(self, seconds: float = 10.0) -> Sender:
        return RabbitmqSender(self.server.url, self.place, seconds=seconds)

    def sender_to_nobody(self) -> Sender:
        return RabbitmqSender(f"amqp://guest:{SECRET}@127.0.0.1:{free_port()}//", self.place)

    def arrived(self) -> list[Arrived]:
        found = []
        with self._connection() as connection:
            channel = connection.channel()
            while (got := channel.basic_get(self.place, auto_ack=True))[0] is not None:
                method, properties, body = got
                headers = {**(properties.headers or {}), "content-type": properties.content_type}
                found.append(
                    Arrived(method.routing_key.removeprefix("observations."), body, properties.message_id, headers)
                )
        return found

    def _connection(self) -> pika.BlockingConnection:
        return pika.BlockingConnection(pika.URLParameters(self.server.url.replace("//", "/").replace(":/", "://", 1)))


class KafkaBroker(Broker):
    partitions = 3

    def prepare(self) -> None:
        self.make_topic()

    def make_topic(self, **config: str) -> None:
        client = AdminClient({"bootstrap.servers": self.server.url, "log_level": 0})
        made = client.create_topics([NewTopic(self.place, self.partitions, 1, config=config)])
        made[self.place].result(20)

    def sender(self, seconds: float = 10.0) -> Sender:
        return KafkaSender(self.server.url, self.place, seconds=seconds)

    def sender_to_nobody(self) -> Sender:
        config = {"security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": "PLAIN", "sasl.username": "u"}
        return KafkaSender(f"127.0.0.1:{free_port()}", self.place, {**config, "sasl.password": SECRET})

    def arrived(self) -> list[Arrived]:
        found: list[Arrived] = []
        consumer = Consumer({"bootstrap.servers": self.server.url, "group.id": "none", "log_level": 0})
        try:
            for partition in consumer.list_topics(self.place, timeout=20).topics[self.place].partitions:
                low, high = _bounds(consumer, self.place, partition)
                if low < high:
                    consumer.assign([TopicPartition(self.place, partition, low)])
                    found += _until(consumer, high)
        finally:
            consumer.close()
        return found


def _bounds(consumer: Consumer, topic: str, partition: int) -> tuple[int, int]:
    """The offsets between which a partition has messages, once somebody leads it, which is not at once."""

    def asked() -> tuple[int, int] | None:
        try:
            return consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=20)
        except KafkaException:
            return None

    return wait_until(asked, 20) or (0, 0)


def _until(consumer: Consumer, high: int) -> list[Arrived]:
    found = []
    while True:
        message = consumer.poll(20)
        assert message is not None
        assert message.error() is None, message.error()
        headers = {name: bytes(value or b"").decode() for name, value in dict(message.headers() or []).items()}  # type: ignore[arg-type]
        found.append(
            Arrived((message.key() or b"").decode(), message.value() or b"", headers.pop("message_id"), headers)
        )
        if (message.offset() or 0) >= high - 1:
            return found


def messages(first: int, count: int, keys: int = 5) -> list[Outgoing]:
    """Messages with the numbers from ``first`` on, over so many keys."""
    return [Outgoing(f"s{i % keys}", b'{"n": %d}' % i, f"id-{i}") for i in range(first, first + count)]


def first_arrivals(arrived: Sequence[Arrived]) -> dict[str, list[str]]:
    """The ids that arrived of each key, each where it arrived first: so a reader sees them that leaves repeats out."""
    found: dict[str, dict[str, None]] = {}
    for one in arrived:
        found.setdefault(one.key, {}).setdefault(one.message_id)
    return {key: list(ids) for key, ids in found.items()}


def sent(those: Sequence[Outgoing]) -> dict[str, list[str]]:
    """The ids that were sent of each key."""
    found: dict[str, list[str]] = {}
    for one in those:
        found.setdefault(one.key, []).append(one.message_id)
    return found
