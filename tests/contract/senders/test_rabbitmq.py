"""What is particular to RabbitMQ's exchanges as they are published to."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kato_tasks.adapters.rabbitmq.confirms import Confirms
from kato_tasks.adapters.rabbitmq.sender import RabbitmqSender, routing_key_of
from kato_tasks.errors import ConfigurationError, SourceUnavailable
from kato_tasks.ports.senders import MessageRefused, Outgoing
from kato_tasks.testing.rabbitmq import RabbitmqServer, rabbitmq_program
from tests.contract.senders.brokers import SECRET, RabbitmqBroker, first_arrivals, messages, sent
from tests.services import unreachable


class NoQueue(RabbitmqBroker):
    """An exchange that is not declared yet, and no queue."""

    def prepare(self) -> None:
        self.senders: list[RabbitmqSender] = []

    def close(self) -> None:
        for sender in self.senders:
            sender.close()

    def bind(self, **arguments: Any) -> None:
        with self._connection() as connection:
            channel = connection.channel()
            channel.queue_declare(self.place, durable=True, arguments=arguments)
            channel.queue_bind(self.place, self.place, "observations.#")

    def exchange(self, **options: Any) -> None:
        with self._connection() as connection:
            connection.channel().exchange_declare(self.place, **options)

    def sender(self, seconds: float = 10.0) -> RabbitmqSender:
        return self.closed_later(RabbitmqSender(self.server.url, self.place, seconds=seconds))

    def closed_later(self, sender: RabbitmqSender) -> RabbitmqSender:
        self.senders.append(sender)
        return sender


@pytest.fixture
def place(rabbitmq_server: RabbitmqServer) -> Iterator[NoQueue]:
    rabbitmq_server.start()
    made = NoQueue(rabbitmq_server)
    yield made
    made.close()


def refused(sender: RabbitmqSender | Any, those: list[Outgoing]) -> str:
    with pytest.raises(SourceUnavailable) as failed:
        sender.send(those)
    told = str(failed.value)
    assert "\n" not in told
    assert SECRET not in told
    return told


# --------------------------------------------------------------------------------- the exchange


def test_an_exchange_that_is_missing_is_declared_as_a_durable_topic_exchange(place: NoQueue) -> None:
    refused(place.sender(), messages(0, 1))
    place.exchange(exchange_type="topic", durable=True)  # refused if it has been declared otherwise
    place.server.stop()
    place.server.start()
    place.exchange(passive=True)


def test_an_exchange_that_is_there_is_used_as_it_was_declared(place: NoQueue) -> None:
    place.exchange(exchange_type="fanout", durable=False, auto_delete=False)
    place.bind()
    sender = place.sender()
    sender.send(messages(0, 10))
    sender.close()
    assert first_arrivals(place.arrived()) == sent(messages(0, 10))


def test_the_default_exchange_leads_to_the_queue_that_the_routing_key_names(place: NoQueue) -> None:
    sender = place.closed_later(RabbitmqSender(place.server.url, "", place.place))
    told = refused(sender, messages(0, 1))
    assert f"there is no queue {place.place!r}; declare it, or start its reader" in told
    place.exchange(exchange_type="topic")
    place.bind()
    sender.send(messages(0, 10))
    sender.close()
    assert [one.message_id for one in place.arrived()] == [f"id-{i}" for i in range(10)]


def test_messages_are_kept_on_disk_with_their_type_and_id(place: NoQueue) -> None:
    place.exchange(exchange_type="topic", durable=True)
    place.bind()
    place.sender().send([Outgoing("s", b"{}", "i" * 300)])
    with place._connection() as connection:
        method, properties, _ = connection.channel().basic_get(place.place)
    assert (properties.delivery_mode, properties.content_type) == (2, "application/json")
    assert properties.message_id.startswith("i" * 242 + "~")
    assert len(properties.message_id) == 255
    assert method.routing_key == "observations.s"


# ------------------------------------------------------------------------------ the routing key


def test_a_routing_key_has_at_most_255_bytes_and_is_one_for_each_key() -> None:
    assert routing_key_of("observations.{key}", "user.1") == "observations.user.1"
    assert routing_key_of("fixed", "user.1") == "fixed"
    keys = ["x" * 242, "x" * 243, "x" * 512, "x" * 511 + "y", "ü" * 300, "ü" * 299 + "x", "\U0001f600" * 512]
    found = [routing_key_of("observations.{key}", key) for key in keys]
    assert found[0] == f"observations.{keys[0]}"
    assert len(set(found)) == len(keys)
    assert all(len(one.encode()) <= 255 for one in found)
    assert found == [routing_key_of("observations.{key}", key) for key in keys]


def test_sessions_with_the_longest_ids_arrive_in_their_order(place: NoQueue) -> None:
    place.exchange(exchange_type="topic", durable=True)
    place.bind()
    those = [Outgoing(("ü" * 511) + "ab"[i % 2], b"{}", f"id-{i}") for i in range(20)]
    place.sender().send(those)
    by_key: dict[str, list[str]] = {}
    for one in place.arrived():
        by_key.setdefault(one.key, []).append(one.message_id)
    assert sorted(by_key.values()) == sorted(sent(those).values())


# ---------------------------------------------------------------------- no queue, a queue that is full


def test_a_message_that_no_queue_gets_is_an_error_and_arrives_when_it_is_sent_again(place: NoQueue) -> None:
    sender = place.sender()
    told = refused(sender, messages(0, 5))
    assert told.endswith(
        f"(NO_ROUTE): no queue is bound to the exchange {place.place!r} for the routing key 'observations.s0'; "
        "start a listener, or bind a queue"
    )
    place.bind()
    sender.send(messages(0, 5))
    assert first_arrivals(place.arrived()) == sent(messages(0, 5))


def test_no_message_overtakes_another_where_a_queue_is_bound_in_the_middle(
    place: NoQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Falls if the first message of a connection does not go alone."""
    place.exchange(exchange_type="topic", durable=True)
    published = 0
    publish = Confirms.publish

    def counted(self: Confirms, *arguments: Any) -> None:
        nonlocal published
        published += 1
        if published == 200:
            self._channel.connection.transport.pass_on()
            with contextlib.suppress(TimeoutError):  # those before it are on their way back
                self._channel.connection.drain_events(timeout=1)
            place.bind()
        publish(self, *arguments)

    monkeypatch.setattr(Confirms, "publish", counted)
    sender = place.sender()
    for _ in range(300):
        with contextlib.suppress(SourceUnavailable):
            sender.send(messages(0, 400))
            break
    assert first_arrivals(place.arrived()) == sent(messages(0, 400))


def test_a_queue_that_takes_no_more_is_an_error_until_there_is_room(place: NoQueue) -> None:
    place.exchange(exchange_type="topic", durable=True)
    place.bind(**{"x-max-length": 20, "x-overflow": "reject-publish"})
    sender = place.sender()
    told = refused(sender, messages(0, 60))
    assert "did not keep" in told
    assert told.endswith("is full or failed; have it read, or raise its limits")
    there = place.arrived()
    assert first_arrivals(there) == sent(messages(0, len(there)))
    rest = messages(len(there), 15)
    sender.send(rest)
    assert first_arrivals(place.arrived()) == sent(rest)


# ---------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("guest:guest", f"guest:{SECRET}"), "refuses the user: correct the name and password in its address"),
        ((":PORT//", ":PORT/none"), "does not let this user into the virtual host"),
        (("amqp://", "amqps://"), "cannot be reached by TLS ("),
    ],
)
def test_what_rabbitmq_refuses_at_connecting_is_one_sentence(
    place: NoQueue, change: tuple[str, str], says: str
) -> None:
    port = str(place.server.port)
    before, after = (part.replace("PORT", port) for part in change)
    url = place.server.url.replace(before, after)
    assert refused(RabbitmqSender(url, place.place), messages(0, 1)).startswith(f"RabbitMQ at 127.0.0.1:{port} {says}")


def test_the_next_of_several_addresses_is_used_where_the_first_does_not_answer(place: NoQueue) -> None:
    place.exchange(exchange_type="topic", durable=True)
    place.bind()
    sender = RabbitmqSender(f"amqp://u:{SECRET}@127.0.0.1:1//;{place.server.url}", place.place)
    place.closed_later(sender).send(messages(0, 3))
    assert first_arrivals(place.arrived()) == sent(messages(0, 3))
    both = RabbitmqSender(f"amqp://u:{SECRET}@127.0.0.1:1//;amqp://127.0.0.1:2//", place.place)
    assert "at 127.0.0.1:1 or 127.0.0.1:2 does not answer (" in refused(both, messages(0, 1))


def test_what_is_no_address_of_a_rabbitmq_is_an_error_of_the_configuration() -> None:
    with pytest.raises(ConfigurationError, match="write amqp://user:password@host:5672/vhost"):
        RabbitmqSender(f"nothing://u:{SECRET}@h", "x").send(messages(0, 1))


class TightServer(RabbitmqServer):
    """A RabbitMQ with settings that a broker's operator may have made."""

    def __init__(self, directory: Path, erlang: str) -> None:
        super().__init__(directory)
        self._erlang = erlang

    def environment(self) -> dict[str, str]:
        told = super().environment()
        return told | {
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": f"{told['RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS']} {self._erlang}"
        }


@contextlib.contextmanager
def tight(directory: Path, erlang: str) -> Iterator[NoQueue]:
    if rabbitmq_program() is None:
        unreachable("rabbitmq")
    server = TightServer(directory / uuid.uuid4().hex, erlang)
    with contextlib.closing(server):
        server.start()
        with contextlib.closing(NoQueue(server)) as place:
            yield place


def test_a_message_that_rabbitmq_does_not_take_is_named_and_those_before_it_are_there(tmp_path: Path) -> None:
    with tight(tmp_path, "-rabbit max_message_size 10000") as place:
        place.exchange(exchange_type="topic", durable=True)
        place.bind()
        sender = place.sender()
        those = messages(0, 300)
        those[123] = Outgoing("s3", b"x" * 10_001, "large")
        with pytest.raises(
            MessageRefused, match=r"takes 10001 bytes, which is more than RabbitMQ at .* max_message_size"
        ):
            sender.send(those)
        assert first_arrivals(place.arrived()) == sent(those[:123])
        sender.send(those[124:])
        assert first_arrivals(place.arrived()) == sent(those[124:])


def test_a_rabbitmq_that_blocks_publishers_says_that_it_is_short_of_memory(tmp_path: Path) -> None:
    with tight(tmp_path, "-rabbit vm_memory_high_watermark 0.00001") as place:
        place.exchange(exchange_type="topic", durable=True)
        place.bind()
        sender = place.sender(seconds=1.5)
        told = refused(sender, messages(0, 3))
        assert told.endswith("has blocked publishers, since it is short of memory or disk: make room there")
        sender.close()
