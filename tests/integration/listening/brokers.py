"""The three brokers as a listener's tests use them: they publish what the guide's producers do, and restart."""

from __future__ import annotations

import json
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import redis

from kato_tasks.testing.kafka import KafkaServer
from kato_tasks.testing.rabbitmq import RabbitmqServer
from kato_tasks.testing.services import RedisServer, Service

Json = dict[str, Any]


class Broker(ABC):
    """One broker with one topic, queue or stream of this object's own."""

    def __init__(self, server: Service) -> None:
        self.server = server
        self.name = f"events-{uuid.uuid4().hex[:8]}"

    @abstractmethod
    def prepare(self) -> None:
        """Make the topic, queue or stream."""

    @abstractmethod
    def words(self) -> list[str]:
        """What follows `kato-tasks listen`."""

    @abstractmethod
    def publish(self, events: Sequence[Json]) -> None:
        """Publish these standard events in their order, as the guide's producer does, each confirmed."""

    @abstractmethod
    def publish_raw(self, bodies: Sequence[bytes], session: str) -> None:
        """Publish these bodies under this session's key, whatever they hold."""

    @abstractmethod
    def sink(self) -> str:
        """What `--predictions-to` is given."""

    @abstractmethod
    def settings(self) -> dict[str, str]:
        """The settings by which a listener finds the sink's broker."""

    @abstractmethod
    def prepare_sink(self) -> None:
        """Make what must be there before a prediction is published."""

    @abstractmethod
    def predictions(self) -> list[Json]:
        """All predictions that were published, each session's in their order."""

    @abstractmethod
    def count_predictions(self) -> int:
        """How many predictions were published."""

    def close(self) -> None:
        """End the server, and what it stands on."""
        getattr(self.server, "close", self.server.stop)()

    def restart(self) -> None:
        self.server.stop()
        self.server.start()


class RedisBroker(Broker):
    """A Redis stream, and the guide's `xadd`."""

    @property
    def _client(self) -> redis.Redis:
        return redis.Redis.from_url(self.server.url)

    def prepare(self) -> None:
        pass

    def words(self) -> list[str]:
        return ["redis", "--streams-url", self.server.url, "--stream", self.name]

    def publish(self, events: Sequence[Json]) -> None:
        self._add([{**event, "observation": json.dumps(event["observation"])} for event in events])

    def publish_raw(self, bodies: Sequence[bytes], session: str) -> None:
        self._add([{"data": body} for body in bodies])

    def prepare_sink(self) -> None:
        pass

    def sink(self) -> str:
        return f"redis:{self.name}-predicted"

    def settings(self) -> dict[str, str]:
        return {"KATO_TASKS_STREAMS_URL": self.server.url}

    def predictions(self) -> list[Json]:
        with self._client as client:
            rows: Any = client.xrange(f"{self.name}-predicted")
        parsed = ("predictions", "original_event")
        return [
            {
                name.decode(): json.loads(value) if name.decode() in parsed else value.decode()
                for name, value in fields.items()
            }
            for _, fields in rows
        ]

    def count_predictions(self) -> int:
        with self._client as client:
            return int(client.xlen(f"{self.name}-predicted"))

    def _add(self, rows: Sequence[dict[Any, Any]]) -> None:
        with self._client as client, client.pipeline(transaction=False) as pipe:
            for row in rows:
                pipe.xadd(self.name, row)
            pipe.execute()


class KafkaBroker(Broker):
    """A topic of four partitions, and the guide's producer: kafka-python, keyed by session, gzip, acks=all."""

    partitions = 4

    @property
    def _bootstrap(self) -> str:
        return self.server.url

    def prepare(self) -> None:
        self._create(self.name)

    def _create(self, name: str) -> None:
        from confluent_kafka.admin import AdminClient, NewTopic

        admin = AdminClient({"bootstrap.servers": self._bootstrap})
        topic = NewTopic(name, num_partitions=self.partitions, replication_factor=1)
        admin.create_topics([topic])[name].result(30)

    def words(self) -> list[str]:
        return ["kafka", "--kafka-bootstrap", self._bootstrap, "--topic", self.name]

    def sink(self) -> str:
        return f"kafka:{self.name}-predicted"

    def settings(self) -> dict[str, str]:
        return {"KATO_TASKS_KAFKA_BOOTSTRAP": self._bootstrap}

    def prepare_sink(self) -> None:
        self._create(f"{self.name}-predicted")

    def _consumer(self) -> Any:
        from kafka import KafkaConsumer, TopicPartition

        consumer = KafkaConsumer(bootstrap_servers=[self._bootstrap])
        parts = [TopicPartition(f"{self.name}-predicted", number) for number in range(self.partitions)]
        consumer.assign(parts)
        return consumer, parts

    def predictions(self) -> list[Json]:
        consumer, parts = self._consumer()
        ends = consumer.end_offsets(parts)
        found: list[Json] = []
        consumer.seek_to_beginning(*parts)
        while any(consumer.position(part) < ends[part] for part in parts):
            for records in consumer.poll(timeout_ms=500).values():
                found += [json.loads(record.value) for record in records]
        consumer.close()
        return found

    def count_predictions(self) -> int:
        consumer, parts = self._consumer()
        count = sum(consumer.end_offsets(parts).values())
        consumer.close()
        return int(count)

    def publish(self, events: Sequence[Json]) -> None:
        self._send([(event["session_id"], json.dumps(event).encode()) for event in events])

    def publish_raw(self, bodies: Sequence[bytes], session: str) -> None:
        self._send([(session, body) for body in bodies])

    def _send(self, rows: Sequence[tuple[str, bytes]]) -> None:
        from kafka import KafkaProducer

        producer = KafkaProducer(bootstrap_servers=[self._bootstrap], acks="all", compression_type="gzip")
        sent = [producer.send(self.name, key=key.encode(), value=value) for key, value in rows]
        producer.flush()
        for one in sent:
            one.get(timeout=30)
        producer.close()


class RabbitmqBroker(Broker):
    """The guide's topic exchange, and pika's `basic_publish` of persistent messages on observations.{session_id}."""

    @property
    def _url(self) -> str:
        return self.server.url.removesuffix("//") + "/%2F"

    def prepare(self) -> None:
        """Bind a queue before anything is published, because an exchange keeps nothing."""
        with self._connection() as connection:
            channel = connection.channel()
            channel.exchange_declare(exchange=self.name, exchange_type="topic", durable=True)
            channel.queue_declare(queue=self.name, durable=True)
            channel.queue_bind(exchange=self.name, queue=self.name, routing_key="observations.#")

    def _connection(self) -> Any:
        import pika

        return pika.BlockingConnection(pika.URLParameters(self._url))

    def words(self) -> list[str]:
        return ["rabbitmq", "--rabbitmq-url", self.server.url, "--queue", self.name, "--exchange", self.name]

    def sink(self) -> str:
        return f"rabbitmq:{self.name}-predicted"

    def settings(self) -> dict[str, str]:
        return {"KATO_TASKS_RABBITMQ_URL": self.server.url}

    def prepare_sink(self) -> None:
        name = f"{self.name}-predicted"
        with self._connection() as connection:
            channel = connection.channel()
            channel.exchange_declare(exchange=name, exchange_type="topic", durable=True)
            channel.queue_declare(queue=name, durable=True)
            channel.queue_bind(exchange=name, queue=name, routing_key="#")

    def predictions(self) -> list[Json]:
        found = []
        with self._connection() as connection:
            channel = connection.channel()
            # They go back into the queue, in their places, when the channel closes.
            while (row := channel.basic_get(f"{self.name}-predicted"))[0] is not None:
                found.append(json.loads(row[2]))
        return found

    def count_predictions(self) -> int:
        with self._connection() as connection:
            declared = connection.channel().queue_declare(queue=f"{self.name}-predicted", passive=True)
            return int(declared.method.message_count)

    def publish(self, events: Sequence[Json]) -> None:
        self._send([(event["session_id"], json.dumps(event).encode()) for event in events])

    def publish_raw(self, bodies: Sequence[bytes], session: str) -> None:
        self._send([(session, body) for body in bodies])

    def _send(self, rows: Sequence[tuple[str, bytes]]) -> None:
        import pika

        properties = pika.BasicProperties(delivery_mode=2, content_type="application/json")
        with self._connection() as connection:
            channel = connection.channel()
            for session, body in rows:
                channel.basic_publish(self.name, f"observations.{session}", body, properties)
            # The broker answers this after it has taken what came before on the channel.
            channel.queue_declare(queue=self.name, passive=True)


BROKERS: dict[str, type[Broker]] = {"redis": RedisBroker, "kafka": KafkaBroker, "rabbitmq": RabbitmqBroker}
SERVERS: dict[str, Callable[[Path], Service]] = {"redis": RedisServer, "kafka": KafkaServer, "rabbitmq": RabbitmqServer}


def broker_of(kind: str, directory: Path) -> Broker:
    """Return a broker of its own, which is not started."""
    return BROKERS[kind](SERVERS[kind](directory))
