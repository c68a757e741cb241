"""The suite of the sources runs on every broker: a new adapter adds its class here."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from kato_tasks.adapters.kafka.source import KafkaSource
from kato_tasks.ports.sources import MessageSource
from kato_tasks.testing.kafka import KafkaServer
from kato_tasks.testing.rabbitmq import RabbitmqServer
from kato_tasks.testing.services import RedisServer
from tests.contract.sources.brokers import Broker, Opened, Source
from tests.contract.sources.on_kafka import KafkaBroker
from tests.contract.sources.on_rabbitmq import RabbitmqBroker
from tests.contract.sources.on_redis import RedisBroker


@pytest.fixture
def kafka(kafka_server: KafkaServer) -> KafkaBroker:
    """A topic of the test's own; the broker is started again if another test left it down."""
    kafka_server.start()
    return KafkaBroker(kafka_server)


@pytest.fixture
def rabbitmq(rabbitmq_server: RabbitmqServer) -> RabbitmqBroker:
    """A queue of the test's own; the broker is started again if another test left it down."""
    rabbitmq_server.start()
    return RabbitmqBroker(rabbitmq_server)


@pytest.fixture
def streams(own_redis: RedisServer) -> RedisBroker:
    """A stream on a Redis of the test's own, which the test may stop."""
    return RedisBroker(own_redis)


BROKERS: dict[str, type[Broker]] = {"kafka": KafkaBroker, "rabbitmq": RabbitmqBroker, "streams": RedisBroker}
"""Each adapter's broker, by the name of its fixture."""


@pytest.fixture(params=BROKERS)
def broker(request: pytest.FixtureRequest) -> Broker:
    """A broker of every kind, one after the other."""
    found: Broker = request.getfixturevalue(request.param)
    return found


@pytest.fixture(params=[name for name, kind in BROKERS.items() if kind.marks])
def marking(request: pytest.FixtureRequest) -> Broker:
    """A broker of every kind that gives its messages marks."""
    found: Broker = request.getfixturevalue(request.param)
    return found


@pytest.fixture(params=[name for name, kind in BROKERS.items() if kind.redelivers])
def redelivering(request: pytest.FixtureRequest) -> Broker:
    """A broker of every kind that says of a message that it may have been handed out before."""
    found: Broker = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def opened() -> Iterator[Opened]:
    """Opens sources, and closes them when the test is over."""
    with contextlib.ExitStack() as stack:

        def open_one(source: Source) -> Source:
            stack.callback(source.close)
            source.open()
            return source

        yield open_one


@pytest.fixture
def source(broker: Broker, opened: Opened) -> MessageSource:
    """An open reader."""
    return opened(broker.source())


@pytest.fixture
def kafka_source(kafka: KafkaBroker, opened: Opened) -> KafkaSource:
    """An open reader of a Kafka topic."""
    return opened(kafka.source())
