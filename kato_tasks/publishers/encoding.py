"""Events as messages: in the form of the guide's producers, or as CloudEvents."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kato_tasks.domain.cloud_events import cloud_event
from kato_tasks.domain.events import Event
from kato_tasks.domain.ids import MAX_ID_CHARS
from kato_tasks.domain.json_text import dumps
from kato_tasks.errors import ConfigurationError, InvalidEvent
from kato_tasks.ports.senders import CONTENT_TYPE, Outgoing

Encode = Callable[[Event], Outgoing]
"""Makes the message of an event that has an event_id and a timestamp."""
CLOUD_EVENT = "application/cloudevents+json; charset=UTF-8"
_UPCAST_FROM = 1
"""The schema version that an event has which names none."""


def standard(event: Event) -> dict[str, Any]:
    """Return an event as the standard event in plain JSON: what says nothing is left out, but for ``metadata``."""
    plain: dict[str, Any] = {"event_type": event.event_type, "session_id": event.session_id}
    if event.node_id is not None:
        plain["node_id"] = event.node_id
    if event.timestamp is not None:
        plain["timestamp"] = event.timestamp.isoformat().replace("+00:00", "Z")
    if (seen := event.observation) is not None:
        plain["observation"] = {"strings": seen.strings, "vectors": seen.vectors, "emotives": seen.emotives}
        if seen.metadata:
            plain["observation"]["metadata"] = seen.metadata
    plain["metadata"] = event.metadata
    if event.data is not None:
        plain["data"] = event.data
    if event.event_id is not None:
        plain["event_id"] = event.event_id
    if event.schema_version != _UPCAST_FROM:
        plain["schema_version"] = event.schema_version
    return plain


def as_json(event: Event) -> Outgoing:
    """Return the message of an event for Kafka and RabbitMQ: the standard event in JSON."""
    return Outgoing(event.session_id, dumps(standard(event)).encode(), event.event_id or "")


def as_fields(event: Event) -> Outgoing:
    """Return the message of an event for a stream of Redis: a field for each of its keys, objects as JSON text."""
    plain = standard(event)
    if not event.metadata:
        del plain["metadata"]
    fields = {name: value if isinstance(value, str) else dumps(value) for name, value in plain.items()}
    return Outgoing(event.session_id, b"", event.event_id or "", fields=fields)


def as_cloud_event(source: str) -> Encode:
    """Return what makes CloudEvents in structured mode of events, which ``source`` sends.

    Raises ConfigurationError for a source that is no URI reference.
    """
    if not source or not source.isascii() or not source.isprintable() or " " in source:
        raise ConfigurationError(
            f"{source!r} is no source of CloudEvents: it must be a URI reference, such as /shop or https://shop.example"
        )

    def encode(event: Event) -> Outgoing:
        event_id = event.event_id or ""
        if len(event_id) > (longest := MAX_ID_CHARS - len(source) - 1):
            raise InvalidEvent("event_id", f"has {len(event_id)} characters, at most {longest} fit beside the source")
        cloud = dumps(cloud_event(standard(event), source))
        return Outgoing(event.session_id, cloud.encode(), event_id, {CONTENT_TYPE: CLOUD_EVENT})

    return encode


__all__ = ["CLOUD_EVENT", "Encode", "as_cloud_event", "as_fields", "as_json", "standard"]
