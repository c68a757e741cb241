"""Events as CloudEvents 1.0: our reader and the CloudEvents SDK both read back what was published."""

from __future__ import annotations

import json
from typing import Any

import pytest
from cloudevents.core.bindings import kafka as kafka_binding
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from hypothesis import given
from hypothesis import strategies as st

from kato_tasks.domain.cloud_events import standard_event
from kato_tasks.domain.events import Event, parse_event
from kato_tasks.errors import InvalidEvent
from kato_tasks.ports.senders import Outgoing
from kato_tasks.publishers.encoding import CLOUD_EVENT, as_cloud_event

TEXT = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=20)
OBSERVED = st.fixed_dictionaries({"strings": st.lists(TEXT, min_size=1, max_size=3)})
METADATA = st.dictionaries(TEXT, st.none() | TEXT | st.integers(0, 9), max_size=2)
EVENTS = st.builds(
    lambda kind, session, node, seen, metadata, data, event_id, when: {
        "event_type": kind,
        "session_id": session,
        "node_id": node and session,
        "observation": seen if kind == "observation" else None,
        "metadata": metadata,
        "data": data,
        "event_id": event_id,
        "timestamp": when.isoformat() + "Z",
    },
    st.sampled_from(["observation", "learn", "clear_stm"]),
    TEXT,
    st.booleans(),
    OBSERVED,
    METADATA,
    st.none() | METADATA,
    TEXT,
    st.datetimes(),
)


def published(raw: dict[str, Any]) -> tuple[Event, Outgoing]:
    event = parse_event({name: value for name, value in raw.items() if value is not None and value is not False})
    return event, as_cloud_event("/shop")(event)


@given(EVENTS)
def test_our_reader_makes_the_same_event_of_it_again(raw: dict[str, Any]) -> None:
    event, message = published(raw)
    again = standard_event(json.loads(message.value))
    told = again["metadata"].pop("cloudevent")
    assert told == {"id": event.event_id, "source": "/shop", "type": f"kato.{event.event_type}"}
    assert again.pop("event_id") == f"/shop {event.event_id}"
    assert parse_event(again) == event.model_copy(update={"event_id": None})


def test_the_sdk_of_cloudevents_reads_it() -> None:
    event, message = published(
        {
            "event_type": "observation",
            "session_id": "user-123",
            "node_id": "shop",
            "observation": {"strings": ["login"]},
            "event_id": "e-1",
            "timestamp": "2025-11-13T10:30:00Z",
        }
    )
    assert message.headers == {"content-type": CLOUD_EVENT}
    headers = {name: value.encode() for name, value in message.headers.items()}
    sent = kafka_binding.KafkaMessage(headers, message.key, message.value)
    read = kafka_binding.from_kafka(sent, JSONFormat(), CloudEvent)
    assert (read.get_id(), read.get_source(), read.get_type()) == ("e-1", "/shop", "kato.observation")
    assert (read.get_subject(), read.get_time()) == ("user-123", event.timestamp)
    assert read.get_extension("katonode") == "shop"
    assert read.get_data() == {"observation": {"strings": ["login"], "vectors": [], "emotives": {}}}


def test_an_event_without_more_to_say_has_no_data() -> None:
    _, message = published(
        {"event_type": "learn", "session_id": "s", "event_id": "e", "timestamp": "2025-01-01T00:00Z"}
    )
    assert {"data", "datacontenttype"} & json.loads(message.value).keys() == set()


def test_an_id_that_would_be_too_long_with_its_source_is_refused() -> None:
    with pytest.raises(InvalidEvent, match=r"^event_id: has 507 characters, at most 506 fit beside the source$"):
        published({"event_type": "learn", "session_id": "s", "event_id": "x" * 507, "timestamp": "2025-01-01T00:00Z"})
