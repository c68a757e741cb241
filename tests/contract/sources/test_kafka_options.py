"""Options of librdkafka, and what a person is told where Kafka cannot be reached."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from kato_tasks.adapters.kafka.source import KafkaSource
from kato_tasks.errors import ConfigurationError, SourceUnavailable
from kato_tasks.testing.waiting import wait_until
from tests.contract.sources.brokers import Opened, read_all, troubled, values
from tests.contract.sources.on_kafka import PARTITIONS, KafkaBroker


@pytest.mark.parametrize(
    "option", ["enable.auto.commit", "enable.auto.offset.store", "partition.assignment.strategy", "group.id"]
)
def test_an_option_that_would_break_a_promise_is_refused(option: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{option} cannot be given"):
        KafkaSource("127.0.0.1:9", ["t"], options={option: "x"})


@pytest.mark.parametrize("options", [{"no.such.thing": 1}, {"session.timeout.ms": "soon"}], ids=["name", "value"])
def test_an_option_that_librdkafka_does_not_take_is_named(kafka: KafkaBroker, options: dict[str, Any]) -> None:
    source = KafkaSource(kafka.server.url, [kafka.topic], options=options)
    with pytest.raises(ConfigurationError, match=next(iter(options))):
        source.open()
    source.close()


def test_an_option_can_be_given(kafka: KafkaBroker, opened: Opened) -> None:
    kafka.send((b"ada", b"before"))
    source = opened(kafka.source(**{"auto.offset.reset": "latest"}))
    wait_until(lambda: source.read(10, 0.1) or len(source._held) == PARTITIONS, 20)
    wait_until(lambda: source.lag() == 1, 10)
    seen: list[bytes] = []

    def comes() -> bool:
        kafka.send((b"ada", b"after"))
        seen.extend(values(source.read(10, 0.2)))
        return bool(seen)

    wait_until(comes, 20)
    assert set(seen) == {b"after"}


def test_the_newer_protocol_of_groups_works_as_well(kafka: KafkaBroker, opened: Opened) -> None:
    def newer() -> KafkaSource:
        return KafkaSource(kafka.server.url, [kafka.topic], group=kafka.group, options={"group.protocol": "consumer"})

    source = opened(newer())
    kafka.send(*((b"ada", b"%d" % number) for number in range(4)))
    source.acknowledge(read_all(source, 4)[:1])
    source.close()
    assert values(read_all(opened(newer()), 3)) == [b"1", b"2", b"3"]


def test_a_second_reader_with_the_same_instance_ends_the_first_with_the_reason(
    kafka: KafkaBroker, opened: Opened
) -> None:
    def named() -> KafkaSource:
        return KafkaSource(
            kafka.server.url, [kafka.topic], group=kafka.group, instance="one", options={"heartbeat.interval.ms": 200}
        )

    first = opened(named())
    wait_until(lambda: first.read(1, 0.1) or first._held, 20)
    second = opened(named())

    def fenced() -> SourceUnavailable | None:
        second.idle(0.05)
        return troubled(lambda: first.read(1, 0.05))

    assert "same group instance" in str(wait_until(fenced, 20))


@pytest.mark.parametrize(
    ("options", "clause"),
    [
        ({"security.protocol": "ssl"}, "cannot be reached by TLS"),
        (
            {
                "security.protocol": "sasl_plaintext",
                "sasl.mechanism": "PLAIN",
                "sasl.username": "ada",
                "sasl.password": "hush",
            },
            "start it, or correct|refuses the login",
        ),
    ],
    ids=["tls", "sasl"],
)
def test_a_broker_that_speaks_otherwise_is_named_with_the_remedy_and_no_secret(
    kafka: KafkaBroker, options: dict[str, Any], clause: str
) -> None:
    source = KafkaSource(kafka.server.url, [kafka.topic], options=options)
    with pytest.raises(SourceUnavailable, match=clause) as caught:
        source.open()
    source.close()
    assert "hush" not in str(caught.value)


def test_an_address_that_does_not_exist_is_named_with_the_remedy() -> None:
    source = KafkaSource("no-such-host.invalid:9092", ["t"])
    with pytest.raises(SourceUnavailable, match=r"no-such-host\.invalid:9092 has a name that is not known.*KAFKA_BOOT"):
        source.open()
    source.close()


def test_librdkafka_says_nothing_on_stderr(kafka: KafkaBroker, capfd: pytest.CaptureFixture[str]) -> None:
    kafka.server.stop()
    source = KafkaSource(kafka.server.url, [kafka.topic], options={"debug": "broker"})
    with pytest.raises(SourceUnavailable):
        source.open()
    source.close()
    assert capfd.readouterr().err == ""


def test_librdkafkas_log_is_pythons(kafka: KafkaBroker, opened: Opened, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "kato_tasks.adapters.kafka")
    source = opened(kafka.source(debug="cgrp"))
    wait_until(lambda: source.read(1, 0.1) or source._held, 20)
    assert any("kato-tasks#consumer" in record.getMessage() for record in caplog.records)
