"""Partitions of Kafka change hands: what a reader keeps, gives up and gets back."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from kato_tasks.adapters.kafka.source import KafkaSource
from kato_tasks.ports.sources import Message
from kato_tasks.testing.waiting import wait_until
from tests.contract.sources.brokers import Opened, read_all, values
from tests.contract.sources.on_kafka import PARTITIONS, KafkaBroker, publish_to_all, share
from tests.contract.sources.reading import reading


def partitions_of(messages: list[Message]) -> set[str]:
    return {message.mark for message in messages}


def test_two_readers_share_the_partitions_and_read_each_message_once(
    kafka: KafkaBroker, kafka_source: KafkaSource, opened: Opened
) -> None:
    other = opened(kafka.source())
    share(kafka_source, other)
    publish_to_all(kafka, b"one", b"two")
    messages: dict[str, list[Message]] = {"one": [], "other": []}

    def all_read() -> bool:
        messages["one"] += kafka_source.read(100, 0.1)
        messages["other"] += other.read(100, 0.1)
        return len(messages["one"]) + len(messages["other"]) >= 48

    wait_until(all_read, 20)
    assert len(partitions_of(messages["one"])) == len(partitions_of(messages["other"])) == 2
    assert not partitions_of(messages["one"]) & partitions_of(messages["other"])


def test_messages_of_a_partition_that_was_given_away_are_not_kept_and_the_others_are(
    kafka: KafkaBroker, kafka_source: KafkaSource, opened: Opened
) -> None:
    publish_to_all(kafka, b"one")
    messages = read_all(kafka_source, 24)
    assert kafka_source.keep(messages) == messages
    other = opened(kafka.source())
    share(kafka_source, other)
    kept = kafka_source.keep(messages)
    assert 0 < len(kept) < 24
    kafka_source.acknowledge(messages)  # of what was given away nothing is acknowledged
    assert sorted(message.event_id for message in [*kept, *read_all(other, 24 - len(kept))]) == sorted(
        message.event_id for message in messages
    )


def test_what_was_acknowledged_before_a_partition_was_given_away_does_not_come_to_its_next_reader(
    kafka: KafkaBroker, kafka_source: KafkaSource, opened: Opened
) -> None:
    publish_to_all(kafka, b"one")
    kafka_source.acknowledge(read_all(kafka_source, 24))
    other = opened(kafka.source())
    share(kafka_source, other)
    publish_to_all(kafka, b"two")
    messages: list[Message] = []

    def all_read() -> bool:
        messages.extend([*kafka_source.read(100, 0.1), *other.read(100, 0.1)])
        return len(messages) >= 24

    wait_until(all_read, 20)
    assert values(messages) == [b"two"] * 24


def test_messages_of_a_partition_that_went_away_and_came_back_are_not_kept(
    kafka: KafkaBroker, kafka_source: KafkaSource, opened: Opened
) -> None:
    publish_to_all(kafka, b"one")
    messages = read_all(kafka_source, 24)
    other = opened(kafka.source())
    share(kafka_source, other)
    kept = kafka_source.keep(messages)
    other.close()

    def has_all() -> bool:
        kafka_source.idle(0.05)
        return len(kafka_source._held) == PARTITIONS

    wait_until(has_all, 20, "all partitions are back")
    assert kafka_source.keep(messages) == kept
    again = read_all(kafka_source, 24 - len(kept))
    assert kafka_source.keep(again) == again


def test_the_partitions_of_a_reader_that_died_go_to_the_other(kafka: KafkaBroker, kafka_source: KafkaSource) -> None:
    publish_to_all(kafka, b"one")
    kafka_source.acknowledge(read_all(kafka_source, 24))
    kafka.settle(unacknowledged=0)
    with reading(kafka.recipe(), 0, acknowledge=0) as process:

        def shared() -> bool:
            kafka_source.idle(0.05)
            return len(kafka_source._held) == PARTITIONS // 2

        wait_until(shared, 20, "the other has its share")
        process.kill()
        publish_to_all(kafka, b"two")
        assert values(read_all(kafka_source, 24)) == [b"two"] * 24


def test_a_reader_that_idles_for_longer_than_a_poll_may_take_keeps_its_partitions(
    kafka: KafkaBroker, kafka_source: KafkaSource
) -> None:
    publish_to_all(kafka, b"one")
    messages = read_all(kafka_source, 24)
    until = time.monotonic() + 4.5  # max.poll.interval.ms is 3000, session.timeout.ms 2000
    while time.monotonic() < until:
        kafka_source.idle(0.5)
    assert kafka_source.keep(messages) == messages
    publish_to_all(kafka, b"two")
    assert values(read_all(kafka_source, 24)) == [b"two"] * 24


def test_a_reader_that_was_gone_for_too_long_loses_its_partitions_and_reads_on(
    kafka: KafkaBroker, kafka_source: KafkaSource
) -> None:
    publish_to_all(kafka, b"one")
    messages = read_all(kafka_source, 24)
    time.sleep(3.5)  # max.poll.interval.ms is 3000
    again = read_all(kafka_source, 24)
    assert kafka_source.keep(messages) == []
    assert kafka_source.keep(again) == again


def test_partitions_that_come_while_a_reader_idles_wait_for_it(kafka: KafkaBroker, opened: Opened) -> None:
    source = opened(kafka.source())
    publish_to_all(kafka, b"one")

    def has_all() -> bool:
        source.idle(0.05)
        return len(source._held) == PARTITIONS

    wait_until(has_all, 20)
    source.idle(0.5)
    assert len(read_all(source, 24)) == 24


def test_a_reader_with_an_instance_comes_back_to_its_partitions_without_a_rebalance(
    kafka: KafkaBroker, opened: Opened
) -> None:
    def named(instance: str) -> KafkaSource:
        return KafkaSource(
            kafka.server.url,
            [kafka.topic],
            group=kafka.group,
            instance=instance,
            options={"session.timeout.ms": 30_000},
        )

    one, other = opened(named("one")), opened(named("other"))
    share(one, other)
    its_own = set(one._held)
    one.close()
    back = opened(named("one"))

    def has_some() -> bool:
        back.idle(0.05)
        return bool(back._held)

    wait_until(has_some, 20)
    assert set(back._held) == its_own
    assert len(other._held) == PARTITIONS // 2


def test_a_close_returns_when_the_broker_has_what_was_acknowledged(
    kafka: KafkaBroker, kafka_source: KafkaSource
) -> None:
    publish_to_all(kafka, b"one")
    kafka_source.acknowledge(read_all(kafka_source, 24))
    kafka_source.close()
    assert not any(thread.name == "kafka-close" for thread in threading.enumerate())
    assert kafka.unacknowledged() == 0


class Unpausable:
    """A consumer whose partitions cannot be paused, so that it is given messages while it idles."""

    def __init__(self, consumer: Any) -> None:
        self._consumer = consumer

    def pause(self, partitions: Any) -> None:
        pass

    def __getattr__(self, name: str) -> Any:
        return getattr(self._consumer, name)


def test_a_message_that_comes_while_a_reader_idles_is_read_after_it(
    kafka: KafkaBroker, kafka_source: KafkaSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish_to_all(kafka, b"one")
    read_all(kafka_source, 24)
    monkeypatch.setattr(kafka_source, "_consumer", Unpausable(kafka_source._consumer))
    publish_to_all(kafka, b"two")

    def has_all() -> bool:
        kafka_source.idle(0.1)
        return len(kafka_source._early) == 24

    wait_until(has_all, 10)
    assert values(kafka_source.read(24, 0.0)) == [b"two"] * 24
