"""What publishers send is what listeners read: each form decodes to the event that was published."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given

from kato_tasks.adapters.redis_streams.sender import fields_of
from kato_tasks.api.decoding import decode
from kato_tasks.domain.events import Event, parse_event
from kato_tasks.ports.senders import Outgoing
from kato_tasks.ports.sources import Message
from kato_tasks.publishers.encoding import Encode, as_cloud_event, as_fields, as_json
from tests.unit.publishers.test_cloud_events import EVENTS


def through_kafka_or_rabbitmq(sent: Outgoing) -> Message:
    return Message(sent.value, "there", headers=tuple((name, text.encode()) for name, text in sent.headers.items()))


def through_a_stream(sent: Outgoing) -> Message:
    return Message(b"", "there", fields=tuple((encoded(name), encoded(text)) for name, text in fields_of(sent).items()))


def encoded(value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else value.encode()


@pytest.mark.parametrize(
    ("encode", "through"),
    [
        (as_json, through_kafka_or_rabbitmq),
        (as_fields, through_a_stream),
        (as_cloud_event("/shop"), through_kafka_or_rabbitmq),
        (as_cloud_event("/shop"), through_a_stream),
    ],
    ids=["guide's JSON", "guide's fields", "CloudEvent", "CloudEvent in a stream"],
)
def test_a_listener_reads_the_event_that_was_published(encode: Encode, through: Any) -> None:
    @given(EVENTS)
    def check(raw: dict[str, Any]) -> None:
        event = parse_event({name: value for name, value in raw.items() if value not in (None, False)})
        (read,) = decode(through(encode(event)))
        assert not isinstance(read, Event)
        again = parse_event(read)
        given_id = event.event_id if encode in (as_json, as_fields) else f"/shop {event.event_id}"
        metadata = {name: value for name, value in again.metadata.items() if name != "cloudevent"}
        assert again.event_id == given_id
        assert again.model_copy(update={"event_id": event.event_id, "metadata": metadata}) == event

    check()
