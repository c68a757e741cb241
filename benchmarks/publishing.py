"""How fast the publishers are, beside the guide's own producers: `python -m benchmarks.publishing`.

Kafka, RabbitMQ and Redis servers of its own, one after the other. Each round publishes the same events each way, and
ends when the broker has confirmed the last of them, or, where the guide's producer asks for no confirmation, when
everything is handed over. Each round goes through the ways in the other order. The figures are medians over the rounds,
as JSON on stdout, and with --json in a file.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import pika
import redis
from confluent_kafka import Producer
from kafka import KafkaProducer

from kato_tasks import KafkaPublisher, RabbitMQPublisher, RedisStreamPublisher
from kato_tasks.publishers.publisher import Publisher
from kato_tasks.testing.kafka import KafkaServer
from kato_tasks.testing.rabbitmq import RabbitmqServer
from kato_tasks.testing.services import RedisServer

Way = Callable[[int, int], None]
SESSIONS = 200
SEEN = {"strings": ["action:login", "page:dashboard"], "vectors": [], "emotives": {"sentiment": 0.8}}


def events(first: int, behind: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """The standard event, as the guide's producers make it."""
    for number in range(first, behind):
        session = f"user-{number % SESSIONS}"
        yield (
            session,
            {
                "event_type": "observation",
                "session_id": session,
                "timestamp": datetime.now(UTC).isoformat(),
                "observation": SEEN,
                "metadata": {"source": "web-app"},
            },
        )


def through(publisher: Publisher) -> Way:
    def way(first: int, behind: int) -> None:
        for session, event in events(first, behind):
            publisher.publish_observation(session, event["observation"], metadata=event["metadata"])
        publisher.flush(120)

    return way


@contextlib.contextmanager
def kafka(directory: Path, stack: contextlib.ExitStack) -> Iterator[dict[str, Way]]:
    server = KafkaServer(directory)
    server.start()
    stack.callback(server.stop)
    topic = f"t-{uuid.uuid4().hex[:8]}"
    ours = stack.enter_context(KafkaPublisher(server.url, topic))
    guide = KafkaProducer(bootstrap_servers=[server.url], acks="all", compression_type="gzip")
    stack.callback(guide.close)
    bare = Producer(
        {"bootstrap.servers": server.url, "acks": "all", "enable.idempotence": True, "compression.type": "gzip"}
    )

    def with_guide(first: int, behind: int) -> None:
        for session, event in events(first, behind):
            guide.send(topic, key=session.encode(), value=json.dumps(event).encode())
        guide.flush()

    def with_bare(first: int, behind: int) -> None:
        for session, event in events(first, behind):
            while True:
                try:
                    bare.produce(topic, json.dumps(event).encode(), session.encode())
                    break
                except BufferError:
                    bare.poll(0.1)
            bare.poll(0)
        bare.flush()

    yield {"KafkaPublisher": through(ours), "kafka-python": with_guide, "confluent-kafka": with_bare}


@contextlib.contextmanager
def rabbitmq(directory: Path, stack: contextlib.ExitStack) -> Iterator[dict[str, Way]]:
    server = RabbitmqServer(directory)
    stack.enter_context(contextlib.closing(server))
    server.start()
    url = f"amqp://guest:guest@127.0.0.1:{server.port}/%2F"
    connection = stack.enter_context(contextlib.closing(pika.BlockingConnection(pika.URLParameters(url))))
    channel, confirming = connection.channel(), connection.channel()
    channel.exchange_declare("kato-events", "topic", durable=True)
    channel.queue_declare("kato-observations", durable=True)
    channel.queue_bind("kato-observations", "kato-events", "observations.#")
    confirming.confirm_delivery()
    ours = stack.enter_context(RabbitMQPublisher(url))

    def on(used: Any) -> Way:
        def way(first: int, behind: int) -> None:
            properties = pika.BasicProperties(delivery_mode=2, content_type="application/json")
            for session, event in events(first, behind):
                used.basic_publish("kato-events", f"observations.{session}", json.dumps(event), properties)
            connection.process_data_events(0)

        return way

    yield {
        "RabbitMQPublisher": through(ours),
        "pika, not confirmed": on(channel),
        "pika, each confirmed": on(confirming),
    }


@contextlib.contextmanager
def redis_streams(directory: Path, stack: contextlib.ExitStack) -> Iterator[dict[str, Way]]:
    server = RedisServer(directory)
    server.start()
    stack.callback(server.stop)
    ours = stack.enter_context(RedisStreamPublisher(server.url))
    client = stack.enter_context(redis.Redis.from_url(server.url))

    def fields(event: dict[str, Any]) -> dict[Any, Any]:
        return {name: value if isinstance(value, str) else json.dumps(value) for name, value in event.items()}

    def one_by_one(first: int, behind: int) -> None:
        for _, event in events(first, behind):
            client.xadd("kato:observations", fields(event))

    def piped(first: int, behind: int) -> None:
        for at in range(first, behind, 500):
            with client.pipeline(transaction=False) as pipe:
                for _, event in events(at, min(at + 500, behind)):
                    pipe.xadd("kato:observations", fields(event))
                pipe.execute()

    yield {"RedisStreamPublisher": through(ours), "redis-py, one by one": one_by_one, "redis-py, 500 at once": piped}


BROKERS = {"kafka": kafka, "rabbitmq": rabbitmq, "redis": redis_streams}


def measured(name: str, count: int, rounds: int) -> dict[str, int]:
    found: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as directory, contextlib.ExitStack() as stack:
        ways = stack.enter_context(BROKERS[name](Path(directory), stack))
        for way in ways.values():
            way(0, 500)  # connect, and make the topic
        for turn in range(rounds):
            for way_name in sorted(ways, reverse=bool(turn % 2)):
                began = time.perf_counter()
                ways[way_name](0, count)
                found.setdefault(way_name, []).append(count / (time.perf_counter() - began))
    return {way_name: round(median(rates)) for way_name, rates in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("brokers", nargs="*", metavar="BROKER", help=", ".join(BROKERS))
    parser.add_argument("--events", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    told = parser.parse_args()
    rates = {name: measured(name, told.events, told.rounds) for name in told.brokers or BROKERS}
    found = {"events": told.events, "rounds": told.rounds, "cores": os.cpu_count(), "events_per_second": rates}
    text = json.dumps(found, indent=1)
    print(text)
    if told.json:
        told.json.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
