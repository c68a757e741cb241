"""What is RabbitMQ's own of a source: acknowledgements, what is read in advance, signs of life, and errors."""

from __future__ import annotations

import json
import socket
import threading
import time
from typing import Any

import pika
import pytest

from kato_tasks.adapters.rabbitmq.source import RabbitmqSource
from kato_tasks.errors import SourceUnavailable
from kato_tasks.testing.services import free_port
from kato_tasks.testing.waiting import wait_until
from tests.contract.sources.brokers import Opened, read_all, troubled, values
from tests.contract.sources.on_rabbitmq import RabbitmqBroker

BODIES = [b"%02d" % number for number in range(20)]


@pytest.fixture
def rabbitmq_source(rabbitmq: RabbitmqBroker, opened: Opened) -> RabbitmqSource:
    return opened(rabbitmq.source())


def cut(source: RabbitmqSource) -> None:
    """Take the connection away at once, as a network does."""
    assert source._link is not None
    source._link.sock.shutdown(socket.SHUT_RDWR)


# ------------------------------------------------------------------ messages


def test_what_the_guides_producer_sends_is_read_in_its_order_and_without_an_id(
    rabbitmq: RabbitmqBroker, rabbitmq_source: RabbitmqSource
) -> None:
    events = [{"session_id": "user-123", "observation": {"strings": [f"step {number}"]}} for number in range(50)]
    with rabbitmq.channel() as channel:
        for event in events:
            channel.basic_publish(
                exchange=rabbitmq.exchange,
                routing_key="observations.user-123",
                body=json.dumps(event),
                properties=pika.BasicProperties(delivery_mode=2, content_type="application/json"),
            )
    messages = read_all(rabbitmq_source, 50)
    assert [json.loads(message.value) for message in messages] == events
    assert {message.event_id for message in messages} == {""}
    assert {message.headers for message in messages} == {(("content-type", b"application/json"),)}


def test_id_headers_and_time_of_a_message_come_with_it(
    rabbitmq: RabbitmqBroker, rabbitmq_source: RabbitmqSource
) -> None:
    headers = {"ce-id": "7", "tries": 3, "urgent": True}
    rabbitmq.send(b"body", is_known=False, message_id="order 17", timestamp=1_700_000_000, headers=headers)
    (message,) = read_all(rabbitmq_source, 1)
    assert message.event_id == "rabbitmq:order 17"
    assert dict(message.headers) == {"ce-id": b"7", "tries": b"3", "urgent": b"true"}
    assert message.source_ms == 1_700_000_000_000


def test_a_body_of_many_frames_comes_whole_between_small_ones(
    rabbitmq: RabbitmqBroker, rabbitmq_source: RabbitmqSource
) -> None:
    bodies = [b"before", bytes(range(256)) * 12_000, b"after"]
    rabbitmq.send(*bodies)
    assert values(read_all(rabbitmq_source, 3)) == bodies


# ------------------------------------------------------------------ acknowledging


def test_what_has_no_id_is_acknowledged_for_good_when_the_call_returns(
    rabbitmq: RabbitmqBroker, rabbitmq_source: RabbitmqSource
) -> None:
    rabbitmq.send(*BODIES, is_known=False)
    rabbitmq_source.acknowledge(read_all(rabbitmq_source, 20)[:12])
    cut(rabbitmq_source)
    wait_until(lambda: rabbitmq.ready() == 8, 10, "the others are back in the queue")


@pytest.mark.parametrize(("is_known", "questions"), [(True, 0), (False, 1)], ids=["with ids", "without"])
def test_the_broker_is_asked_whether_it_has_an_acknowledgement_only_where_no_id_tells_later(
    rabbitmq: RabbitmqBroker,
    rabbitmq_source: RabbitmqSource,
    monkeypatch: pytest.MonkeyPatch,
    is_known: bool,
    questions: int,
) -> None:
    rabbitmq.send(*BODIES, is_known=is_known)
    messages = read_all(rabbitmq_source, 20)
    asked: list[Any] = []
    count = rabbitmq_source._count

    def counted() -> Any:
        asked.append(1)
        return count()

    monkeypatch.setattr(rabbitmq_source, "_count", counted)
    rabbitmq_source.acknowledge(messages)
    rabbitmq_source.acknowledge(messages)
    assert len(asked) == questions


def test_messages_of_a_connection_that_is_gone_are_not_kept_and_not_acknowledged(
    rabbitmq: RabbitmqBroker, rabbitmq_source: RabbitmqSource
) -> None:
    rabbitmq.publish("ada", *BODIES)
    messages = read_all(rabbitmq_source, 20)
    assert rabbitmq_source.keep(messages) == messages
    rabbitmq_source.close()
    assert rabbitmq_source.keep(messages) == []
    rabbitmq_source.open()
    again = read_all(rabbitmq_source, 20)
    rabbitmq_source.acknowledge(messages)
    assert rabbitmq_source.keep([*messages, *again]) == again
    assert rabbitmq_source.lag() == 20


# ------------------------------------------------------------------ read in advance


def test_no_more_than_the_prefetch_is_in_memory_while_a_reader_idles(rabbitmq: RabbitmqBroker, opened: Opened) -> None:
    source = opened(rabbitmq.source(prefetch=5))
    source.read(1, 0.1)
    rabbitmq.publish("ada", *BODIES)

    def has_five() -> bool:
        source.idle(0.1)
        return rabbitmq.ready() == 15

    wait_until(has_five, 10)
    assert source.lag() == 20
    messages = source.read(10, 1.0)
    assert values(messages) == BODIES[:5]
    assert source.read(10, 0.2) == []
    source.acknowledge(messages)
    assert values(source.read(10, 1.0)) == BODIES[5:10]


# ------------------------------------------------------------------ signs of life


def test_a_reader_that_idles_keeps_its_connection_and_what_it_has_read(
    rabbitmq: RabbitmqBroker, opened: Opened
) -> None:
    source = opened(rabbitmq.source(heartbeat=1))
    rabbitmq.publish("ada", *BODIES)
    messages = read_all(source, 20)
    until = time.monotonic() + 5  # the broker closes what it has not heard of for two heartbeats
    while time.monotonic() < until:
        source.idle(1.0)
    source.acknowledge(messages)
    assert source.lag() == 0
    assert source.read(1, 3.0) == []  # a long read shows signs of life, too
    rabbitmq.publish("ada", b"next")
    assert values(read_all(source, 1)) == [b"next"]


def test_a_reader_that_shows_no_sign_of_life_loses_its_connection_and_is_told(
    rabbitmq: RabbitmqBroker, opened: Opened
) -> None:
    source = opened(rabbitmq.source(heartbeat=1))
    rabbitmq.publish("ada", *BODIES)
    read_all(source, 20)
    wait_until(lambda: rabbitmq.ready() == 20, 15, "the broker gives the messages back")
    with pytest.raises(SourceUnavailable):
        source.read(1, 0.1)
    source.close()
    source.open()
    assert values(read_all(source, 20)) == BODIES


def test_a_broker_that_hangs_is_told_as_such(rabbitmq: RabbitmqBroker, opened: Opened) -> None:
    source = opened(rabbitmq.source(heartbeat=1))
    rabbitmq.server.pause()
    try:
        error = wait_until(lambda: troubled(lambda: source.read(1, 0.2)), 20)
    finally:
        rabbitmq.server.resume()
    assert "does not answer" in str(error)


# ------------------------------------------------------------------ trouble


def test_a_connection_that_is_cut_is_told_and_everything_comes_again(
    rabbitmq: RabbitmqBroker, rabbitmq_source: RabbitmqSource
) -> None:
    rabbitmq.publish("ada", *BODIES)
    rabbitmq_source.acknowledge(read_all(rabbitmq_source, 20)[:5])
    cut(rabbitmq_source)
    for call in (lambda: rabbitmq_source.read(1, 0.2), lambda: rabbitmq_source.idle(0.2), rabbitmq_source.lag):
        with pytest.raises(SourceUnavailable, match="does not answer"):
            call()
    rabbitmq_source.close()
    rabbitmq_source.open()
    again = read_all(rabbitmq_source, 15)
    assert values(again) == BODIES[5:]
    assert all(message.redelivered for message in again)


def test_a_queue_that_is_deleted_is_told_and_made_again(
    rabbitmq: RabbitmqBroker, rabbitmq_source: RabbitmqSource
) -> None:
    rabbitmq_source.read(1, 0.1)
    with rabbitmq.channel() as channel:
        channel.queue_delete(rabbitmq.queue)
    error = wait_until(lambda: troubled(lambda: rabbitmq_source.read(1, 0.2)), 10)
    assert "took the queue away from its reader" in str(error)
    rabbitmq_source.close()
    rabbitmq_source.open()
    rabbitmq.publish("ada", b"next")
    assert values(read_all(rabbitmq_source, 1)) == [b"next"]


def test_a_queue_that_is_gone_when_its_messages_are_counted_is_told(
    rabbitmq: RabbitmqBroker, rabbitmq_source: RabbitmqSource
) -> None:
    with rabbitmq.channel() as channel:
        channel.queue_delete(rabbitmq.queue)
    with pytest.raises(SourceUnavailable, match=f"lacks something that is needed .*{rabbitmq.queue}"):
        rabbitmq_source.lag()


@pytest.mark.parametrize(
    ("change", "clause"),
    [
        (("guest:guest", "guest:hush"), "refuses the login: correct user and password in RABBITMQ_URL"),
        (("guest:guest", "nobody:hush"), "refuses the login: correct user and password in RABBITMQ_URL"),
        (("//guest", "//guest"), ""),
    ],
    ids=["password", "user", "as it is"],
)
def test_a_login_that_is_refused_is_told_without_its_secret(
    rabbitmq: RabbitmqBroker, change: tuple[str, str], clause: str
) -> None:
    source = RabbitmqSource(rabbitmq.server.url.replace(*change))
    error = troubled(source.open)
    source.close()
    assert (clause in str(error)) if clause else error is None
    assert "hush" not in str(error)


def test_a_vhost_that_is_not_there_is_told(rabbitmq: RabbitmqBroker) -> None:
    source = RabbitmqSource(rabbitmq.server.url.removesuffix("/") + "nowhere")
    error = troubled(source.open)
    source.close()
    assert "has no such vhost, or does not let this user into it" in str(error)
    assert "nowhere" in str(error)


def test_a_host_that_does_not_exist_is_told() -> None:
    error = troubled(RabbitmqSource("amqp://ada:hush@no-such-host.invalid/").open)
    assert "RabbitMQ at no-such-host.invalid:5672/%2F does not answer" in str(error)
    assert "hush" not in str(error)


def test_the_next_node_is_asked_where_the_first_is_away(rabbitmq: RabbitmqBroker, opened: Opened) -> None:
    away = f"amqp://guest:guest@127.0.0.1:{free_port()}//"
    url = f"{away};{rabbitmq.server.url}"
    source = opened(RabbitmqSource(url, rabbitmq.queue, exchange=rabbitmq.exchange))
    rabbitmq.publish("ada", b"body")
    assert values(read_all(source, 1)) == [b"body"]


def test_what_answers_otherwise_than_a_rabbitmq_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        source = RabbitmqSource(f"amqp://ada:hush@127.0.0.1:{server.getsockname()[1]}/")
        server.settimeout(10)

        def answer() -> None:
            with server.accept()[0] as connection:
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        error = troubled(source.open)
        thread.join()
    assert "does not answer" in str(error)
    assert "hush" not in str(error)
