"""What a text such as ``rabbitmq:EXCHANGE`` leads to, and at which address."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from kato_tasks.bootstrap.senders import (
    Destination,
    kafka_sender,
    rabbitmq_sender,
    read_destination,
    redis_stream_sender,
    sender_to,
)
from kato_tasks.errors import ConfigurationError, SourceUnavailable
from kato_tasks.ports.senders import Outgoing
from kato_tasks.settings import Settings, extras

SECRET = "pw-7f3a"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("kafka:user-predictions", Destination("kafka", "user-predictions")),
        ("redis:kato:predictions", Destination("redis", "kato:predictions")),
        ("rabbitmq:kato-events", Destination("rabbitmq", "kato-events")),
        ("rabbitmq:kato-events/predictions.{key}", Destination("rabbitmq", "kato-events", "predictions.{key}")),
        ("rabbitmq:e/a/b", Destination("rabbitmq", "e", "a/b")),
        ("rabbitmq:/the-queue", Destination("rabbitmq", "", "the-queue")),
    ],
)
def test_a_destination_names_a_broker_and_what_it_sends_to_there(text: str, found: Destination) -> None:
    assert read_destination(text) == found


@pytest.mark.parametrize(
    "text", ["", "kafka", "kafka:", "redis:", "rabbitmq:", "rabbitmq:e/", "rabbitmq:/", "nats:x", "topic"]
)
def test_any_other_text_is_refused_with_those_that_are_taken(text: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        read_destination(text)
    told = f"{text!r} names nothing that can be sent to; write kafka:TOPIC, rabbitmq:EXCHANGE, rabbitmq:EXCHANGE/"
    assert str(refused.value).startswith(told)


def test_a_sender_goes_to_the_address_of_the_settings_and_connects_when_it_is_used() -> None:
    config = Settings(
        kafka_bootstrap="127.0.0.1:1",
        rabbitmq_url=f"amqp://u:{SECRET}@127.0.0.1:2//",
        streams_url=f"redis://:{SECRET}@127.0.0.1:3/0",
    )
    for destination, name, where in (
        ("kafka:topic", "kafka topic", "Kafka at 127.0.0.1:1 "),
        ("rabbitmq:events", "rabbitmq events", "RabbitMQ at 127.0.0.1:2 "),
        ("rabbitmq:/queue", "rabbitmq queue", "RabbitMQ at 127.0.0.1:2 "),
        ("redis:a:b", "redis a:b", "Redis at 127.0.0.1:3 "),
    ):
        sender = sender_to(destination, config=config)
        assert sender.name == name
        with pytest.raises(SourceUnavailable) as unavailable:
            sender.send([Outgoing("s", b"{}")])
        sender.close()
        assert str(unavailable.value).startswith(where)
        assert SECRET not in str(unavailable.value)


def test_an_address_that_cannot_work_is_one_sentence_without_its_password() -> None:
    refusals: list[tuple[Callable[[], object], str]] = [
        (lambda: kafka_sender("t", "kafka://h"), "the address of Kafka 'kafka://h' is no broker of Kafka; write host:"),
        (lambda: kafka_sender("t", ["a:1", ""]), "the address of Kafka names no broker, or one that is empty"),
        (lambda: rabbitmq_sender("e", f"http://u:{SECRET}@h"), "the address of RabbitMQ 'http://u:***@h' is not"),
        (lambda: redis_stream_sender("s", f"amqp://u:{SECRET}@h"), "the address of Redis 'amqp://u:***@h' is not"),
        (lambda: kafka_sender("", "h"), "the name of the topic is empty"),
        (lambda: redis_stream_sender("", "redis://h"), "the name of the stream is empty"),
        (lambda: rabbitmq_sender("", "amqp://h", ""), "the name of the routing key is empty"),
        (lambda: redis_stream_sender("s", "redis://h", 0), "a stream keeps at least 1 entry, not 0"),
    ]
    for make, told in refusals:
        with pytest.raises(ConfigurationError) as refused:
            make()
        assert str(refused.value).startswith(told)


def test_kafka_without_its_extra_names_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "has_module", lambda _name: False)
    with pytest.raises(ConfigurationError) as refused:
        kafka_sender("topic", "h:1", what="KafkaPublisher")
    assert str(refused.value) == (
        "KafkaPublisher needs confluent-kafka, which is not installed: pip install 'kato-tasks[kafka]'"
    )
