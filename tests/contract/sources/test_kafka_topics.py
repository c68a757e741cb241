"""What Kafka's messages carry, and topics that are missing, grow, or are made again."""

from __future__ import annotations

import json
import uuid

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import NewPartitions, NewTopic
from kafka import KafkaProducer

from kato_tasks.adapters.kafka.source import KafkaSource
from kato_tasks.ports.sources import Message
from kato_tasks.testing.waiting import wait_until
from tests.contract.sources.brokers import Opened, read_all, troubled, values
from tests.contract.sources.on_kafka import PARTITIONS, KafkaBroker


def test_key_headers_and_time_of_a_message_come_with_it(kafka: KafkaBroker, kafka_source: KafkaSource) -> None:
    headers = [("ce_id", b"7"), ("empty", None), ("ce_id", b"\xff")]
    kafka.send((b"ada", b"body"), headers=headers, timestamp=1_700_000_000_123)
    (message,) = read_all(kafka_source, 1)
    assert message.key == b"ada"
    assert message.headers == (("ce_id", b"7"), ("empty", b""), ("ce_id", b"\xff"))
    assert message.source_ms == 1_700_000_000_123
    assert not message.redelivered


def test_a_tombstone_is_an_empty_body_and_a_message_may_have_no_key(
    kafka: KafkaBroker, kafka_source: KafkaSource
) -> None:
    kafka.send((None, None))
    (message,) = read_all(kafka_source, 1)
    assert (message.value, message.key, message.headers) == (b"", None, ())


def test_the_mark_and_the_event_id_name_the_topic_its_id_and_the_place(
    kafka: KafkaBroker, kafka_source: KafkaSource
) -> None:
    kafka.send((b"ada", b"body"), partition=2)
    (message,) = read_all(kafka_source, 1)
    _, topic_id, topic, partition = message.mark.split("/")
    assert (topic, partition, message.offset) == (kafka.topic, "2", 0)
    assert len(topic_id) == 22
    assert message.event_id == f"kafka:{kafka.topic}/{topic_id}/2/0"
    assert message.place == f"kafka {kafka.topic}/2 offset 0"


@pytest.mark.filterwarnings("ignore:.*serializer.Serializer:DeprecationWarning")
def test_what_the_guides_producer_sends_is_read(kafka: KafkaBroker, kafka_source: KafkaSource) -> None:
    producer = KafkaProducer(
        bootstrap_servers=[kafka.server.url],
        value_serializer=lambda v: json.dumps(v).encode("utf-8"),
        key_serializer=lambda k: k.encode("utf-8") if k else None,
        acks="all",
        compression_type="gzip",
    )
    events = [{"session_id": "user-123", "observation": {"strings": [f"step {number}"]}} for number in range(50)]
    for event in events:
        producer.send(kafka.topic, key="user-123", value=event)
    producer.flush()
    producer.close()
    messages = read_all(kafka_source, 50)
    assert [json.loads(message.value) for message in messages] == events
    assert {message.key for message in messages} == {b"user-123"}


def test_what_a_transaction_took_back_is_not_read(kafka: KafkaBroker, kafka_source: KafkaSource) -> None:
    producer = Producer(
        {"bootstrap.servers": kafka.server.url, "transactional.id": uuid.uuid4().hex, "log_level": 0, "linger.ms": 0}
    )
    producer.init_transactions(20)
    for word, is_kept in ((b"taken back", False), (b"kept", True)):
        producer.begin_transaction()
        producer.produce(kafka.topic, word, b"ada")
        producer.flush(10)
        (producer.commit_transaction if is_kept else producer.abort_transaction)(20)
    assert values(read_all(kafka_source, 1)) == [b"kept"]


def make_again(kafka: KafkaBroker) -> None:
    admin = kafka.admin()
    admin.delete_topics([kafka.topic])[kafka.topic].result(10)

    def made() -> bool:
        try:
            admin.create_topics([NewTopic(kafka.topic, PARTITIONS)])[kafka.topic].result(10)
        except Exception:
            return False
        return True

    wait_until(made, 10, "the topic can be made again")
    wait_until(lambda: kafka.topic in admin.list_topics(timeout=5).topics, 10)


@pytest.mark.parametrize("read_before", [5, 20], ids=["has more", "has fewer"])
def test_a_topic_that_was_made_again_is_another_run_and_read_from_its_beginning(
    kafka: KafkaBroker, kafka_source: KafkaSource, read_before: int
) -> None:
    """With more messages than were read before, Kafka itself would go on in the middle of the new topic."""
    kafka.send(*[(b"ada", b"old")] * read_before)
    old = read_all(kafka_source, read_before)
    kafka_source.acknowledge(old)
    kafka.settle(unacknowledged=0)
    make_again(kafka)
    new = [b"new %02d" % number for number in range(10)]
    kafka.send(*((b"ada", body) for body in new))
    read: list[Message] = []

    def told() -> bool:
        error = troubled(lambda: read.extend(kafka_source.read(100, 0.2)))
        return "made again" in str(error)

    wait_until(told, 30, "the source notices")
    assert read_before < 20 or read == []  # offsets that do not rise show it at once
    kafka_source.close()
    kafka_source.open()
    messages = read_all(kafka_source, 10)
    assert values(messages) == new
    assert {message.mark for message in messages}.isdisjoint(message.mark for message in old)
    assert {message.event_id for message in messages}.isdisjoint(message.event_id for message in old)


def test_a_first_message_after_a_while_is_not_taken_for_one_of_the_topic_before(
    kafka: KafkaBroker, kafka_source: KafkaSource
) -> None:
    kafka.send(*[(b"ada", b"old")] * 20)
    kafka_source.acknowledge(read_all(kafka_source, 20))
    kafka_source.close()
    kafka_source.open()
    wait_until(lambda: kafka_source.read(1, 0.1) or len(kafka_source._held) == PARTITIONS, 20)
    make_again(kafka)
    kafka.send((b"ada", b"new"))
    read: list[Message] = []
    wait_until(lambda: "made again" in str(troubled(lambda: read.extend(kafka_source.read(100, 0.2)))), 30)
    assert read == []


def test_a_topic_that_was_made_again_while_nobody_read_is_read_from_its_beginning(
    kafka: KafkaBroker, kafka_source: KafkaSource, opened: Opened
) -> None:
    kafka.send(*[(b"ada", b"old")] * 5)
    kafka_source.acknowledge(read_all(kafka_source, 5))
    kafka_source.close()
    make_again(kafka)
    kafka.send(*((b"ada", b"%02d" % number) for number in range(10)))
    assert values(read_all(opened(kafka.source()), 10)) == [b"%02d" % number for number in range(10)]


def test_several_topics_are_read_and_those_that_are_missing_are_made(kafka: KafkaBroker, opened: Opened) -> None:
    names = [f"{kafka.topic}.{number}" for number in range(2)]
    source = opened(KafkaSource(kafka.server.url, names, group=kafka.group))
    producer = Producer({"bootstrap.servers": kafka.server.url, "log_level": 0})
    for name in names:
        producer.produce(name, name.encode())
    assert producer.flush(10) == 0
    assert set(values(read_all(source, 2))) == {name.encode() for name in names}
    assert source.name == f"kafka {names[0]}, {names[1]}"
    made = kafka.admin().list_topics(timeout=10).topics
    assert all(len(made[name].partitions) == PARTITIONS for name in names)


def test_partitions_that_are_added_to_a_topic_are_read(kafka: KafkaBroker, opened: Opened) -> None:
    source = opened(kafka.source(**{"topic.metadata.refresh.interval.ms": 500}))
    kafka.send((b"ada", b"one"))
    read_all(source, 1)
    admin = kafka.admin()
    admin.create_partitions([NewPartitions(kafka.topic, PARTITIONS + 2)])[kafka.topic].result(10)

    def sent() -> bool:
        try:
            kafka.send((b"ada", b"two"), partition=PARTITIONS + 1)
        except Exception:
            return False
        return True

    wait_until(sent, 10, "the new partition takes messages")
    assert values(read_all(source, 1)) == [b"two"]


def test_a_topic_that_may_not_be_made_is_named_with_the_remedy_and_read_once_it_is_there(
    kafka: KafkaBroker,
    opened: Opened,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The broker refuses a topic without partitions, as it refuses a user who may make none."""
    monkeypatch.setattr("kato_tasks.adapters.kafka.topics.BY_DEFAULT", 0)
    source = opened(kafka.source(**{"topic.metadata.refresh.interval.ms": 500}))
    assert f"topic.missing topic={kafka.topic} meaning=make the topic" in caplog.text
    assert source.read(10, 0.3) == []
    admin = kafka.admin()
    admin.create_topics([NewTopic(kafka.topic, PARTITIONS)])[kafka.topic].result(10)
    kafka.send((b"ada", b"one"))
    assert values(read_all(source, 1)) == [b"one"]
