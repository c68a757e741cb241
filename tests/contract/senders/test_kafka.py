"""What is particular to Kafka's topics as they are sent to."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable

import pytest
from confluent_kafka.admin import AdminClient
from kafka import KafkaConsumer, KafkaProducer

from kato_tasks.adapters.kafka.sender import KafkaSender
from kato_tasks.errors import ConfigurationError, SourceUnavailable
from kato_tasks.ports.senders import MessageRefused, Outgoing
from kato_tasks.testing.services import free_port
from tests.contract.senders.brokers import Broker, KafkaBroker, first_arrivals, messages, sent


class NarrowTopic(KafkaBroker):
    """A topic that takes messages, and batches of them, up to 20,000 bytes."""

    def prepare(self) -> None:
        self.make_topic(**{"max.message.bytes": "20000"})


@pytest.fixture
def topic(make_broker: Callable[[str], Broker]) -> Broker:
    return make_broker("kafka")


@pytest.fixture
def narrow(topic: Broker) -> Broker:
    return NarrowTopic(topic.server)


def noise(size: int) -> bytes:
    """Bytes that no compression makes fewer."""
    return random.Random(size).randbytes(size)


def test_a_message_that_no_topic_may_take_is_named_and_those_before_it_are_there(topic: Broker) -> None:
    sender = topic.sender()
    those = messages(0, 20)
    those[13] = Outgoing("s3", b"x" * 1_200_000, "large")
    with pytest.raises(MessageRefused, match="takes 1200000 bytes, more than a message to Kafka may take") as refused:
        sender.send(those)
    assert refused.value.index == 13
    assert first_arrivals(topic.arrived()) == sent(those[:13])
    sender.send(those[14:])
    sender.close()
    assert first_arrivals(topic.arrived()) == sent(those[:13] + those[14:])


def test_a_message_that_its_topic_does_not_take_is_named_and_none_of_its_session_overtakes_another(
    narrow: Broker,
) -> None:
    """Falls without enable.gapless.guarantee: batches behind the refused one arrive before what was in it with it."""
    sender = KafkaSender(narrow.server.url, narrow.place, {"batch.num.messages": 10})
    those = [Outgoing(f"s{i % 5}", noise(2_000), f"id-{i}") for i in range(300)]
    those[117] = Outgoing("s2", noise(60_000), "large")
    with pytest.raises(MessageRefused, match=r"takes 60000 bytes, more than the topic 'test-.*' takes") as refused:
        sender.send(those)
    assert refused.value.index == 117
    sender.send(those[118:])
    sender.close()
    assert first_arrivals(narrow.arrived()) == sent(those[:117] + those[118:])


def test_messages_that_are_too_many_for_one_batch_of_their_topic_arrive_in_their_order(narrow: Broker) -> None:
    sender = narrow.sender()
    those = [Outgoing("s", noise(3_000), f"id-{i}") for i in range(60)]
    sender.send(those)
    sender.close()
    assert first_arrivals(narrow.arrived()) == sent(those)


def test_more_messages_than_librdkafka_holds_are_sent_all_the_same(topic: Broker) -> None:
    sender = KafkaSender(topic.server.url, topic.place, {"queue.buffering.max.messages": 50})
    sender.send(messages(0, 1_000))
    sender.close()
    assert first_arrivals(topic.arrived()) == sent(messages(0, 1_000))


def test_a_session_is_on_the_partition_where_the_guides_producer_puts_it_and_its_consumer_reads_it(
    topic: Broker,
) -> None:
    sender = topic.sender()
    sender.send([Outgoing(f"user-{i}", b"ours" * 50, str(i)) for i in range(50)])
    sender.close()
    with_guide = KafkaProducer(bootstrap_servers=[topic.server.url], compression_type="gzip")
    for i in range(50):
        with_guide.send(topic.place, key=f"user-{i}".encode(), value=b"theirs")
    with_guide.close()
    consumer = KafkaConsumer(
        topic.place, bootstrap_servers=[topic.server.url], auto_offset_reset="earliest", consumer_timeout_ms=5_000
    )
    found: dict[bytes, set[tuple[int, bytes]]] = {}
    for _, message in zip(range(100), consumer, strict=False):
        found.setdefault(message.key, set()).add((message.partition, message.value[:4]))
    consumer.close()
    assert len(found) == 50
    for key, places in found.items():
        assert {value for _, value in places} == {b"ours", b"thei"}, key
        assert len({partition for partition, _ in places}) == 1, key


def test_a_topic_that_cannot_be_is_one_sentence(topic: Broker) -> None:
    sender = KafkaSender(topic.server.url, "no such/topic")
    with pytest.raises(
        SourceUnavailable, match=r"^Kafka at 127.0.0.1:\d+ (has no topic|failed \(Broker: Invalid topic)"
    ):
        sender.send(messages(0, 1))
    sender.close()
    client = AdminClient({"bootstrap.servers": topic.server.url, "log_level": 0})
    assert "no such/topic" not in client.list_topics(timeout=10).topics


def test_what_librdkafka_logs_goes_to_pythons_logging_alone(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    sender = KafkaSender(f"127.0.0.1:{free_port()}", "topic")
    with caplog.at_level(logging.DEBUG), pytest.raises(SourceUnavailable):
        sender.send(messages(0, 1))
    sender.close()
    assert capfd.readouterr().err == ""
    assert "Connection refused" in caplog.text
    assert "experimental" not in caplog.text


@pytest.mark.parametrize(
    ("config", "says"),
    [
        (
            {"no.such.property": 1},
            "kafka topic: Kafka's client cannot be made: No such configuration property: \"no.such",
        ),
        ({"linger.ms": "long"}, "Kafka's client cannot be made"),
        ({"acks": 1}, "the Kafka property 'acks' cannot be set: the order of events and their confirmation depend on"),
        ({"bootstrap.servers": "x"}, "the Kafka property 'bootstrap.servers' is set twice"),
    ],
)
def test_a_property_that_cannot_work_is_an_error_of_the_configuration(config: dict[str, object], says: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        KafkaSender("127.0.0.1:1", "topic", config).send(messages(0, 1))
    assert says in str(refused.value)
