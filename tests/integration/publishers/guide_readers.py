"""The guide's consumers, as far as they read: with kafka-python, pika and redis-py, in its own words."""

from __future__ import annotations

import json
from typing import Any

import pika
import redis
from kafka import KafkaConsumer, TopicPartition

Read = list[tuple[str, dict[str, Any]]]
"""The session that the guide's consumer would call KATO for, and the event."""


def from_kafka(bootstrap: str, topic: str) -> Read:
    # kafka-python 3 warns of the guide's value_deserializer, a function, so the value is read here in the same words.
    consumer = KafkaConsumer(
        topic, bootstrap_servers=[bootstrap], group_id=None, auto_offset_reset="earliest", consumer_timeout_ms=20_000
    )
    ends = consumer.end_offsets([TopicPartition(topic, one) for one in consumer.partitions_for_topic(topic)])
    left = sum(ends.values())
    found: Read = []
    while left:
        message = next(consumer)
        event = json.loads(message.value.decode("utf-8"))
        assert message.key.decode() == event.get("session_id", event.get("subject"))
        found.append((message.key.decode(), event))
        left -= 1
    consumer.close()
    return found


class RabbitReader:
    """The guide's consumer of RabbitMQ, with its queue bound as it binds it, but for ids with dots."""

    def __init__(self, url: str, exchange: str, queue: str) -> None:
        self._url, self._queue = url, queue
        with pika.BlockingConnection(pika.URLParameters(url)) as connection:
            channel = connection.channel()
            channel.exchange_declare(exchange=exchange, exchange_type="topic", durable=True)
            channel.queue_declare(queue=queue, durable=True)
            channel.queue_bind(exchange=exchange, queue=queue, routing_key="observations.#")

    def read(self) -> Read:
        found: Read = []
        with pika.BlockingConnection(pika.URLParameters(self._url)) as connection:
            channel = connection.channel()
            while (got := channel.basic_get(self._queue))[0] is not None:
                method, properties, body = got
                event = json.loads(body)
                assert properties.delivery_mode == 2
                found.append((event.get("session_id", event.get("subject")), event))
                assert method.routing_key == f"observations.{found[-1][0]}"
                channel.basic_ack(method.delivery_tag)
        return found


def from_redis(url: str, stream: str) -> Read:
    found: Read = []
    with redis.Redis.from_url(url) as client:
        client.xgroup_create(stream, "kato-processors", id="0", mkstream=True)
        ((_, entries),) = client.xreadgroup("kato-processors", "consumer-1", {stream: ">"}, count=100_000)
    for _, fields in entries:
        session_id = fields[b"session_id"].decode("utf-8")
        observation = json.loads(fields[b"observation"].decode("utf-8")) if b"observation" in fields else None
        rest = {name.decode(): value.decode() for name, value in fields.items()}
        found.append((session_id, rest | ({"observation": observation} if observation else {})))
    return found
