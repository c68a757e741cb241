"""The senders' suite runs on real servers: Kafka, RabbitMQ and Redis."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from kato_tasks.testing.kafka import KafkaServer
from kato_tasks.testing.rabbitmq import RabbitmqServer
from kato_tasks.testing.services import RedisServer
from tests.contract.senders.brokers import Broker, KafkaBroker, RabbitmqBroker, RedisBroker

BROKERS: dict[str, type[Broker]] = {"kafka": KafkaBroker, "rabbitmq": RabbitmqBroker, "redis": RedisBroker}


@pytest.fixture
def make_broker(request: pytest.FixtureRequest) -> Iterator[Callable[[str], Broker]]:
    """Makes a place of the test's own on a server that is up. What a test paused goes on after it."""
    used: list[Broker] = []

    def make(name: str) -> Broker:
        server: RedisServer | RabbitmqServer | KafkaServer = request.getfixturevalue(f"{name}_server")
        server.start()
        used.append(BROKERS[name](server))
        return used[-1]

    yield make
    for broker in used:
        if broker.server.pid is not None:
            broker.server.resume()


@pytest.fixture(params=BROKERS)
def broker(request: pytest.FixtureRequest, make_broker: Callable[[str], Broker]) -> Broker:
    return make_broker(request.param)
