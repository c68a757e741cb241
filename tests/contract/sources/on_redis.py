"""Redis Streams as the suite of the sources uses them."""

from __future__ import annotations

import uuid
from typing import Any

import redis

from kato_tasks.adapters.redis_streams.source import RedisStreamSource
from kato_tasks.ports.sources import Message
from kato_tasks.testing.services import RedisServer
from kato_tasks.testing.waiting import wait_until
from tests.contract.sources.brokers import Broker
from tests.contract.sources.reading import Recipe

BODY = b"data"
"""The field that holds what the suite calls a message's body."""


class BodySource(RedisStreamSource):
    """A source whose messages show the body of the suite as their value."""

    def read(self, most: int, seconds: float) -> list[Message]:
        messages = super().read(most, seconds)
        for message in messages:
            message.value = dict(message.fields or ())[BODY]
        return messages


class RedisBroker(Broker):
    """A stream of one test's own, and its group."""

    name = "redis"
    marks = True
    redelivers = True

    def __init__(self, server: RedisServer) -> None:
        self.server = server
        self.stream = f"events:{uuid.uuid4().hex[:12]}"

    @property
    def client(self) -> redis.Redis:
        return redis.Redis.from_url(self.server.url)

    def publish(self, key: str, *bodies: bytes) -> None:
        with self.client as client, client.pipeline(transaction=False) as pipe:
            for body in bodies:
                pipe.xadd(self.stream, {b"session_id": key.encode(), BODY: body})
            pipe.execute()

    def recipe(self, **options: Any) -> Recipe:
        return Recipe(BodySource, (self.server.url, self.stream), options)

    def source(self, **options: Any) -> RedisStreamSource:
        source: RedisStreamSource = self.recipe(**options).make()
        return source

    def settle(self, unacknowledged: int) -> None:
        def pending() -> int:
            with self.client as client:
                found: Any = client.xpending(self.stream, "kato-processors")
                return int(found["pending"])

        wait_until(lambda: pending() == unacknowledged, 20, f"{unacknowledged} entries are not acknowledged")
