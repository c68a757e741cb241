"""RabbitMQ as the suite of the sources uses it."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator
from typing import Any

import pika
from pika.adapters.blocking_connection import BlockingChannel

from kato_tasks.adapters.rabbitmq.source import RabbitmqSource
from kato_tasks.testing.rabbitmq import RabbitmqServer
from tests.contract.sources.brokers import Broker
from tests.contract.sources.reading import Recipe


class RabbitmqBroker(Broker):
    """An exchange and a queue of one test's own."""

    name = "rabbitmq"
    secret = "guest"
    redelivers = True

    def __init__(self, server: RabbitmqServer) -> None:
        self.server = server
        own = uuid.uuid4().hex[:12]
        self.exchange = f"events-{own}"
        self.queue = f"observations-{own}"
        self.published = 0

    @contextlib.contextmanager
    def channel(self) -> Iterator[BlockingChannel]:
        """A channel of pika's, which the guide's programs use."""
        connection = pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", self.server.port))
        try:
            channel = connection.channel()
            channel.confirm_delivery()
            yield channel
        finally:
            if connection.is_open:
                connection.close()

    def publish(self, key: str, *bodies: bytes) -> None:
        self.send(*bodies, routing_key=f"observations.{key}")

    def send(
        self, *bodies: bytes, routing_key: str = "observations.ada", is_known: bool = True, **properties: Any
    ) -> None:
        """Publish bodies, each with an id of its own unless ``is_known`` is false."""
        with self.channel() as channel:
            channel.exchange_declare(self.exchange, "topic", durable=True)
            for body in bodies:
                self.published += 1
                own = {"message_id": f"message {self.published}"} if is_known else {}
                channel.basic_publish(
                    self.exchange, routing_key, body, pika.BasicProperties(delivery_mode=2, **own, **properties)
                )

    def recipe(self, **options: Any) -> Recipe:
        return Recipe(RabbitmqSource, (self.server.url, self.queue), {"exchange": self.exchange, **options})

    def source(self, **options: Any) -> RabbitmqSource:
        source: RabbitmqSource = self.recipe(**options).make()
        return source

    def settle(self, unacknowledged: int) -> None:
        """The queue has an acknowledgement before it answers whoever asks it next."""
        self.ready()

    def ready(self) -> int:
        """How many messages wait in the queue for a reader."""
        with self.channel() as channel:
            return int(channel.queue_declare(self.queue, passive=True).method.message_count)
