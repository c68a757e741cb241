"""What every source promises a listener, on every broker."""

from __future__ import annotations

import time

import pytest

from kato_tasks.errors import SourceUnavailable
from kato_tasks.ports.sources import Message, MessageSource
from kato_tasks.testing.waiting import wait_until
from tests.contract.sources.brokers import Broker, Opened, read_all, troubled, values
from tests.contract.sources.reading import reading

BODIES = [b"%02d" % number for number in range(20)]


def of(key: str, messages: list[Message]) -> list[bytes]:
    """The bodies of the messages with this key, which is their first word."""
    return [message.value for message in messages if message.value.startswith(f"{key} ".encode())]


def bodies_of(key: str, count: int = 10) -> list[bytes]:
    return [f"{key} {number:02}".encode() for number in range(count)]


# ------------------------------------------------------------------ reading


def test_messages_of_one_key_come_in_the_order_in_which_they_were_published(
    broker: Broker, source: MessageSource
) -> None:
    for number in range(10):
        for key in ("ada", "bob", "eve"):
            broker.publish(key, bodies_of(key)[number])
    messages = read_all(source, 30)
    assert [of(key, messages) for key in ("ada", "bob", "eve")] == [bodies_of(key) for key in ("ada", "bob", "eve")]


def test_what_was_published_before_the_first_reader_opened_is_read(broker: Broker, opened: Opened) -> None:
    opened(broker.source()).close()
    broker.publish("ada", *BODIES)
    assert values(read_all(opened(broker.source()), 20)) == BODIES


def test_a_read_returns_no_more_than_it_is_asked_for_and_the_rest_later(broker: Broker, source: MessageSource) -> None:
    broker.publish("ada", *BODIES)
    first = wait_until(lambda: source.read(3, 0.2), 20)
    assert values(first) == BODIES[: len(first)]
    assert len(first) <= 3
    assert values(read_all(source, 20 - len(first))) == BODIES[len(first) :]


def test_a_read_returns_as_soon_as_there_is_a_message(broker: Broker, source: MessageSource) -> None:
    broker.publish("ada", b"first")
    read_all(source, 1)
    broker.publish("ada", b"second")
    started = time.monotonic()
    assert values(source.read(1000, 20)) == [b"second"]
    assert time.monotonic() - started < 5


def test_a_read_of_nothing_ends_when_its_time_is_over(broker: Broker, source: MessageSource) -> None:
    broker.publish("ada", b"first")
    read_all(source, 1)
    started = time.monotonic()
    assert source.read(1000, 0.3) == []
    assert 0.25 < time.monotonic() - started < 5


def test_an_empty_body_and_one_that_is_no_text_come_as_they_are(broker: Broker, source: MessageSource) -> None:
    bodies = [b"", b"\x00\xff\xfe", b"x" * 300_000]
    broker.publish("ada", *bodies)
    assert values(read_all(source, 3)) == bodies


def test_the_place_of_a_message_says_where_it_stands(broker: Broker, source: MessageSource) -> None:
    broker.publish("ada", *BODIES)
    places = [message.place for message in read_all(source, 20)]
    assert len(set(places)) == 20
    assert all(place.startswith(source.name.split()[0]) for place in places)


# ------------------------------------------------------------------ acknowledging


def test_what_was_acknowledged_never_comes_again(broker: Broker, source: MessageSource) -> None:
    broker.publish("ada", *BODIES)
    source.acknowledge(read_all(source, 20))
    source.close()
    source.open()
    broker.publish("ada", b"next")
    assert values(read_all(source, 1)) == [b"next"]


def test_what_was_not_acknowledged_comes_again_in_its_order_after_a_close(
    broker: Broker, source: MessageSource
) -> None:
    broker.publish("ada", *BODIES)
    source.acknowledge(read_all(source, 20)[:5])
    source.close()
    source.open()
    assert values(read_all(source, 15)) == BODIES[5:]


def test_what_was_not_acknowledged_comes_again_in_its_order_when_its_reader_was_killed(
    broker: Broker, opened: Opened
) -> None:
    opened(broker.source()).close()
    broker.publish("ada", *BODIES)
    with reading(broker.recipe(), 20, acknowledge=5) as process:
        broker.settle(unacknowledged=15)
        process.kill()
        assert values(read_all(opened(broker.source()), 15)) == BODIES[5:]


def test_what_was_read_and_never_acknowledged_comes_again_whole(broker: Broker, opened: Opened) -> None:
    opened(broker.source()).close()
    broker.publish("ada", *BODIES)
    with reading(broker.recipe(), 20, acknowledge=0) as process:
        process.kill()
        assert values(read_all(opened(broker.source()), 20)) == BODIES


def test_several_acknowledgements_leave_the_rest(broker: Broker, source: MessageSource) -> None:
    broker.publish("ada", *BODIES)
    messages = read_all(source, 20)
    for number in range(0, 12, 3):
        source.acknowledge(messages[number : number + 3])
    source.acknowledge([])
    source.close()
    source.open()
    assert values(read_all(source, 8)) == BODIES[12:]


def test_a_message_keeps_what_it_is_known_by_when_it_comes_again(broker: Broker, source: MessageSource) -> None:
    broker.publish("ada", *BODIES)
    first = read_all(source, 20)
    source.close()
    source.open()
    again = read_all(source, 20)
    assert [one.event_id for one in again] == [one.event_id for one in first]
    assert [(one.mark, one.offset) for one in again] == [(one.mark, one.offset) for one in first]
    assert len({one.event_id for one in first}) == 20
    assert all(one.event_id.isprintable() and 0 < len(one.event_id) <= 320 for one in first)


def test_offsets_rise_within_a_mark(marking: Broker, opened: Opened) -> None:
    source = opened(marking.source())
    for key in ("ada", "bob", "eve"):
        marking.publish(key, *bodies_of(key))
    last: dict[str, int] = {}
    for message in read_all(source, 30):
        assert message.offset > last.get(message.mark, -1)
        last[message.mark] = message.offset
    assert "" not in last


def test_a_message_that_comes_again_is_said_to_do_so(redelivering: Broker, opened: Opened) -> None:
    source = opened(redelivering.source())
    redelivering.publish("ada", *BODIES)
    assert not any(message.redelivered for message in read_all(source, 20))
    source.close()
    source.open()
    assert all(message.redelivered for message in read_all(source, 20))


# ------------------------------------------------------------------ waiting


def test_nothing_is_read_while_a_reader_idles_and_everything_after_it(broker: Broker, source: MessageSource) -> None:
    broker.publish("ada", b"first")
    source.acknowledge(read_all(source, 1))
    source.idle(0.1)
    broker.publish("ada", *BODIES)
    source.idle(0.3)
    source.idle(0.0)
    assert values(read_all(source, 20)) == BODIES


def test_the_lag_is_what_no_reader_has_acknowledged(broker: Broker, source: MessageSource) -> None:
    broker.publish("ada", *BODIES)
    broker.publish("bob", *BODIES)
    messages = read_all(source, 40)
    assert source.lag() == 40
    source.acknowledge(messages[:30])
    wait_until(lambda: source.lag() == 10, 10)
    broker.publish("ada", b"more")
    wait_until(lambda: source.lag() == 11, 10)
    source.acknowledge([*messages[30:], *read_all(source, 1)])
    wait_until(lambda: source.lag() == 0, 10)


# ------------------------------------------------------------------ trouble


def test_a_broker_that_stops_is_told_as_such_and_goes_on_after_it_is_opened_again(
    broker: Broker, source: MessageSource
) -> None:
    broker.publish("ada", *BODIES)
    source.acknowledge(read_all(source, 20)[:5])
    broker.settle(unacknowledged=15)
    broker.server.stop()
    error = wait_until(lambda: troubled(lambda: source.read(10, 0.2)), 30, "the reader notices")
    assert "start it" in str(error)
    source.close()
    broker.server.start()
    source.open()
    assert values(read_all(source, 15)) == BODIES[5:]
    broker.publish("ada", b"next")
    assert values(read_all(source, 1)) == [b"next"]


def test_a_broker_that_is_killed_while_its_reader_idles_is_told_as_such(broker: Broker, source: MessageSource) -> None:
    broker.publish("ada", *BODIES)
    read_all(source, 20)
    broker.server.kill()
    wait_until(lambda: troubled(lambda: source.idle(0.2)), 30, "the reader notices")
    source.close()
    broker.server.start()
    source.open()
    assert values(read_all(source, 20)) == BODIES


def test_a_broker_that_is_not_there_is_named_with_the_remedy_and_without_its_secret(broker: Broker) -> None:
    source = broker.source()
    broker.server.stop()
    started = time.monotonic()
    with pytest.raises(SourceUnavailable) as caught:
        source.open()
    source.close()
    assert time.monotonic() - started < 15
    assert str(broker.server.port) in str(caught.value)
    assert "start it, or correct" in str(caught.value)
    assert not broker.secret or broker.secret not in str(caught.value)


def test_a_source_that_is_not_open_says_so_and_closes_as_often_as_one_likes(broker: Broker) -> None:
    source = broker.source()
    source.close()
    for call in (lambda: source.read(1, 0), lambda: source.idle(0), source.lag):
        with pytest.raises(SourceUnavailable, match="open"):
            call()
    source.close()
