"""Queues of RabbitMQ: made as the guide's programs declare them, used as they are, and read by one at a time."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest
from pika.exceptions import ChannelClosedByBroker

from kato_tasks.adapters.rabbitmq.source import RabbitmqSource
from kato_tasks.errors import SourceUnavailable
from kato_tasks.testing.waiting import wait_until
from tests.contract.sources.brokers import Opened, read_all, values
from tests.contract.sources.on_rabbitmq import RabbitmqBroker
from tests.contract.sources.reading import reading

DEAD: dict[str, Any] = {"x-dead-letter-exchange": "the dead"}
TIMED = {"x-message-ttl": 600_000, "x-max-length": 1000, "x-overflow": "reject-publish"}
ALONE: dict[str, Any] = {"x-single-active-consumer": True}
QUORUM = {"x-queue-type": "quorum"}


def declare(rabbitmq: RabbitmqBroker, *, durable: bool = True, auto_delete: bool = False, **arguments: Any) -> None:
    with rabbitmq.channel() as channel:
        channel.queue_declare(rabbitmq.queue, durable=durable, auto_delete=auto_delete, arguments=arguments)


# ------------------------------------------------------------------ the guide's programs


def test_the_guides_producer_and_consumer_declare_what_the_source_has_made(
    rabbitmq: RabbitmqBroker, opened: Opened
) -> None:
    opened(rabbitmq.source())
    with rabbitmq.channel() as channel:
        channel.exchange_declare(exchange=rabbitmq.exchange, exchange_type="topic", durable=True)
        channel.queue_declare(queue=rabbitmq.queue, durable=True)
        channel.queue_bind(exchange=rabbitmq.exchange, queue=rabbitmq.queue, routing_key="observations.*")


def test_the_source_uses_what_the_guides_consumer_has_declared(rabbitmq: RabbitmqBroker, opened: Opened) -> None:
    with rabbitmq.channel() as channel:
        channel.exchange_declare(exchange=rabbitmq.exchange, exchange_type="topic", durable=True)
        channel.queue_declare(queue=rabbitmq.queue, durable=True)
        channel.queue_bind(exchange=rabbitmq.exchange, queue=rabbitmq.queue, routing_key="observations.*")
    source = opened(rabbitmq.source())
    rabbitmq.send(b"once, though two bindings match")
    assert values(read_all(source, 1)) == [b"once, though two bindings match"]


def test_the_usual_queue_is_bound_to_the_usual_exchange_for_ids_with_dots(
    rabbitmq: RabbitmqBroker, opened: Opened
) -> None:
    source = opened(RabbitmqSource(rabbitmq.server.url))
    rabbitmq.exchange = "kato-events"
    rabbitmq.send(b"one", routing_key="observations.user-123")
    rabbitmq.send(b"two", routing_key="observations.shop.eu.user-123")
    rabbitmq.send(b"no observation", routing_key="predictions.user-123")
    messages = read_all(source, 2)
    assert [(message.value, message.key) for message in messages] == [
        (b"one", b"observations.user-123"),
        (b"two", b"observations.shop.eu.user-123"),
    ]
    source.acknowledge(messages)
    assert source.name == "rabbitmq kato-observations"


def test_a_queue_that_its_producers_declare_is_waited_for_and_used_as_it_is(
    rabbitmq: RabbitmqBroker, opened: Opened
) -> None:
    """The guide's sensors: ``queue_declare(queue="sensor-data")``, not durable, published to without an exchange."""
    queue = f"sensor-data-{uuid.uuid4().hex[:8]}"
    source = RabbitmqSource(rabbitmq.server.url, queue)
    with pytest.raises(SourceUnavailable, match=f"the queue {queue} is not there: declare it"):
        source.open()
    with rabbitmq.channel() as channel:
        channel.queue_declare(queue=queue)
        opened(source)
        channel.queue_declare(queue=queue)
        channel.basic_publish("", queue, json.dumps({"sensor_id": "s1", "reading": 17}).encode())
    (message,) = read_all(source, 1)
    assert json.loads(message.value) == {"sensor_id": "s1", "reading": 17}
    assert message.event_id == ""


def test_a_queue_without_an_exchange_is_made_where_that_is_wanted(rabbitmq: RabbitmqBroker, opened: Opened) -> None:
    source = opened(RabbitmqSource(rabbitmq.server.url, rabbitmq.queue, make=True))
    with rabbitmq.channel() as channel:
        channel.queue_declare(rabbitmq.queue, durable=True)
        channel.basic_publish("", rabbitmq.queue, b"body")
    assert values(read_all(source, 1)) == [b"body"]


# ------------------------------------------------------------------ as it was declared


@pytest.mark.parametrize(
    ("properties", "is_single"),
    [
        ({}, False),
        ({"durable": False}, False),
        ({"auto_delete": True}, False),
        (DEAD | TIMED, False),
        (QUORUM, False),
        (ALONE, True),
        (ALONE | DEAD | TIMED, True),
        (ALONE | QUORUM, True),
        (ALONE | {"durable": False, "x-max-priority": 3, "x-queue-mode": "lazy"}, True),
    ],
    ids=lambda value: None if isinstance(value, bool) else " ".join(value) or "plain",
)
def test_a_queue_is_used_as_it_was_declared_and_its_single_reader_is_found_out(
    rabbitmq: RabbitmqBroker, opened: Opened, properties: dict[str, Any], is_single: bool
) -> None:
    declare(rabbitmq, **properties)
    source = opened(rabbitmq.source())
    port = rabbitmq.server.port
    assert source.reader_lease == ("" if is_single else f"rabbitmq/127.0.0.1:{port}/%2F/{rabbitmq.queue}")
    rabbitmq.publish("ada", b"1", b"2", b"3")
    messages = read_all(source, 3)
    assert values(messages) == [b"1", b"2", b"3"]
    source.acknowledge(messages)
    declare(rabbitmq, **properties)  # it is still the same


def test_an_exchange_is_used_as_it_was_declared(rabbitmq: RabbitmqBroker, opened: Opened) -> None:
    with rabbitmq.channel() as channel:
        channel.exchange_declare(rabbitmq.exchange, "fanout", durable=False)
        source = opened(rabbitmq.source())
        channel.basic_publish(rabbitmq.exchange, "whatever", b"body")
    assert values(read_all(source, 1)) == [b"body"]


def test_a_queue_is_made_with_the_arguments_that_were_given(rabbitmq: RabbitmqBroker, opened: Opened) -> None:
    source = opened(rabbitmq.source(single_active=True, dead_letter_exchange="the dead"))
    assert source.reader_lease == ""
    declare(rabbitmq, **ALONE, **DEAD)
    with pytest.raises(ChannelClosedByBroker, match="inequivalent arg"):
        declare(rabbitmq)


def test_a_lease_is_named_where_a_queue_turns_out_to_have_no_single_reader(rabbitmq: RabbitmqBroker) -> None:
    declare(rabbitmq)
    source = rabbitmq.source(single_active=True)
    assert source.reader_lease == ""
    source.open()
    assert source.reader_lease.endswith(rabbitmq.queue)
    source.close()


# ------------------------------------------------------------------ one reader at a time


@pytest.mark.parametrize("properties", [{}, ALONE, ALONE | QUORUM], ids=["plain", "single", "single quorum"])
def test_a_second_reader_gets_nothing_and_takes_over_from_the_first(
    rabbitmq: RabbitmqBroker, opened: Opened, properties: dict[str, Any]
) -> None:
    declare(rabbitmq, **properties)
    first, second = opened(rabbitmq.source()), opened(rabbitmq.source())
    assert first.read(1, 0.1) == second.read(1, 0.1) == []
    rabbitmq.publish("ada", b"1", b"2", b"3")
    assert second.read(10, 0.5) == []
    first.acknowledge(read_all(first, 3)[:1])
    first.close()
    assert values(read_all(second, 2)) == [b"2", b"3"]


def test_a_second_reader_takes_over_from_one_that_was_killed(rabbitmq: RabbitmqBroker, opened: Opened) -> None:
    second = opened(rabbitmq.source())
    rabbitmq.publish("ada", b"1", b"2", b"3")
    with reading(rabbitmq.recipe(), 3, acknowledge=1) as process:
        assert second.read(10, 0.5) == []
        process.kill()
        assert values(read_all(second, 2)) == [b"2", b"3"]


def test_a_reader_stands_by_while_a_consumer_of_others_has_the_queue(
    rabbitmq: RabbitmqBroker, opened: Opened, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    source = opened(rabbitmq.source())
    with rabbitmq.channel() as channel:
        channel.basic_qos(prefetch_count=10)
        channel.basic_consume(rabbitmq.queue, lambda *_: None)
        assert source.read(10, 0.1) == []
        wait_until(lambda: source.read(10, 0.2) or source._ask_at, 5)
        assert f"queue.busy source={source.name} readers=1" in caplog.text
    rabbitmq.publish("ada", b"1")
    assert values(read_all(source, 1)) == [b"1"]
    assert caplog.text.count("queue.busy") == 1


def test_a_consumer_of_others_is_refused_while_the_source_reads(rabbitmq: RabbitmqBroker, opened: Opened) -> None:
    source = opened(rabbitmq.source())
    source.read(1, 0.1)
    with rabbitmq.channel() as channel, pytest.raises(ChannelClosedByBroker, match="in exclusive use"):
        channel.basic_consume(rabbitmq.queue, lambda *_: None)


def test_a_reader_that_has_not_read_yet_takes_nothing_in_advance(rabbitmq: RabbitmqBroker, opened: Opened) -> None:
    """It is opened before it holds its lease: what it took then would be missing in another one's order."""
    source = opened(rabbitmq.source())
    rabbitmq.publish("ada", b"1", b"2")
    source.idle(0.3)
    assert source.lag() == 2
    assert rabbitmq.ready() == 2
