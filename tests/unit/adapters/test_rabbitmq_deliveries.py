"""A delivery's frames become a message, whatever a producer has put into its properties."""

from __future__ import annotations

import json
from datetime import datetime
from struct import pack
from typing import Any

import pytest
from amqp import Message as Sent
from amqp.serialization import dumps
from hypothesis import given
from hypothesis import strategies as st

from kato_tasks.adapters.rabbitmq.deliveries import Delivery
from kato_tasks.ports.sources import Message

RUN = object()
SHORT = st.text(max_size=40)
PROPERTIES = st.fixed_dictionaries(
    {},
    optional={
        "content_type": SHORT,
        "content_encoding": SHORT,
        "application_headers": st.dictionaries(SHORT, st.one_of(SHORT, st.integers(-(2**40), 2**40), st.booleans())),
        "delivery_mode": st.integers(1, 2),
        "priority": st.integers(0, 9),
        "correlation_id": SHORT,
        "reply_to": SHORT,
        "expiration": SHORT,
        "message_id": SHORT,
        "timestamp": st.integers(0, 2**33),
        "type": SHORT,
        "app_id": SHORT,
    },
)


def method_frame(tag: int = 7, key: str = "observations.ada", *, redelivered: bool = False) -> bytes:
    return pack(">HH", 60, 60) + bytes(dumps("sLbss", ("a consumer", tag, redelivered, "kato-events", key)))


def header_frame(size: int, properties: bytes) -> bytes:
    return pack(">HHQ", 60, 0, size) + properties


def delivered(properties: bytes, body: bytes = b"body", **method: Any) -> Message:
    delivery = Delivery(RUN, method_frame(**method))
    delivery.take_header(header_frame(len(body), properties))
    assert delivery.missing == len(body)
    if body:
        delivery.take_body(body)
    assert delivery.missing == 0
    return delivery.message("kato-observations")


def sent(**properties: Any) -> bytes:
    return bytes(Sent("", **properties)._serialize_properties())


def test_tag_key_and_redelivery_are_those_of_the_delivery() -> None:
    message = delivered(sent(), tag=2**40, key="observations.ä.b", redelivered=True)
    assert message.receipt == (RUN, 2**40)
    assert message.key == "observations.ä.b".encode()
    assert message.redelivered
    assert message.place == f"rabbitmq kato-observations delivery {2**40}"
    assert (message.mark, message.offset, message.event_id, message.headers) == ("", 0, "", ())
    assert not delivered(sent()).redelivered


@pytest.mark.parametrize("parts", [[], [b"whole"], [b"in ", b"several ", b"parts"]])
def test_a_body_comes_whole_however_many_frames_it_has(parts: list[bytes]) -> None:
    delivery = Delivery(RUN, method_frame())
    delivery.take_header(header_frame(sum(map(len, parts)), sent()))
    for part in parts:
        assert delivery.missing > 0
        delivery.take_body(part)
    assert delivery.missing == 0
    assert delivery.message("q").value == b"".join(parts)


@given(PROPERTIES)
def test_any_properties_are_read_as_py_amqp_wrote_them(properties: dict[str, Any]) -> None:
    message = delivered(sent(**properties))
    expected = [
        (name, properties[key].encode())
        for key, name in (("content_type", "content-type"), ("content_encoding", "content-encoding"))
        if key in properties
    ]
    for name, value in properties.get("application_headers", {}).items():
        expected.append((name, json.dumps(value).encode() if isinstance(value, bool) else str(value).encode()))
    assert list(message.headers) == expected
    assert message.source_ms == properties.get("timestamp", 0) * 1000
    if text := properties.get("message_id"):
        readable = text.isprintable() and "\ufffd" not in text
        assert (message.event_id == f"rabbitmq:{text}") is readable
        assert message.event_id.isprintable()
    else:
        assert message.event_id == ""


def test_headers_of_every_kind_are_bytes() -> None:
    headers = {
        "text": "ä",
        "bytes": b"\xff",
        "number": -3,
        "real": 1.5,
        "flag": True,
        "none": None,
        "when": datetime(2026, 1, 2, 3, 4, 5),  # noqa: DTZ001  py-amqp's times have no zone
        "table": {"a": [1, "b"]},
    }
    assert dict(delivered(sent(application_headers=headers)).headers) == {
        "text": "ä".encode(),
        "bytes": b"\xff",
        "number": b"-3",
        "real": b"1.5",
        "flag": b"true",
        "none": b"",
        "when": b"2026-01-02 03:04:05",
        "table": b'{"a": [1, "b"]}',
    }


def test_a_time_in_milliseconds_is_taken_as_such() -> None:
    assert delivered(sent(timestamp=1_700_000_000)).source_ms == 1_700_000_000_000
    assert delivered(sent(timestamp=1_700_000_000_123)).source_ms == 1_700_000_000_123


@pytest.mark.parametrize(
    "table",
    [
        b"\x04when" + b"T" + pack(">Q", 2**62),  # a time far behind the year 9999
        b"\x03odd" + b"?" + b"\x00" * 4,  # a kind that AMQP does not know
        b"\x04long" + b"S" + pack(">I", 10**9) + b"short",  # a length that leads out of the frame
    ],
    ids=["time", "kind", "length"],
)
def test_headers_that_cannot_be_read_are_left_out_and_the_rest_is_read(table: bytes) -> None:
    """py-amqp raises for the first two: no reader would ever get past such a message."""
    flags = 0x8000 | 0x2000 | 0x0080
    properties = pack(">H", flags) + b"\x04json" + pack(">I", len(table)) + table + b"\x02id"
    message = delivered(properties)
    assert message.value == b"body"
    assert message.event_id == "rabbitmq:id"
    assert message.headers[0] == ("content-type", b"json")


@pytest.mark.parametrize("message_id", [b"\xff\xfe", b"two\nlines", b"\x00"])
def test_an_id_that_is_no_readable_text_becomes_its_hash(message_id: bytes) -> None:
    properties = pack(">HB", 0x0080, len(message_id)) + message_id
    first, second = delivered(properties).event_id, delivered(properties).event_id
    assert first == second
    assert first.startswith("rabbitmq:")
    assert first.isascii()
    assert len(first) == len("rabbitmq:") + 64


def test_properties_that_end_too_soon_leave_the_message() -> None:
    message = delivered(pack(">HB", 0x8000 | 0x0080, 200) + b"short")
    assert message.value == b"body"
    assert message.event_id == ""
