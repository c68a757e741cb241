"""Read CloudEvents 1.0 as standard events, and write them (https://github.com/cloudevents/spec, version 1.0.2).

``source`` and ``id`` together are the event's identity, ``subject`` names the session, ``time`` is the timestamp. Of
the types ``kato.observation``, ``kato.learn`` and ``kato.clear_stm``, ``data`` is the observation, or an object with
the standard event's own fields. Of any other type KATO sees the type as a string, and ``data`` is kept with the event.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from kato_tasks.domain.wording import kind_of
from kato_tasks.errors import InvalidEvent

OURS = {"kato.observation": "observation", "kato.learn": "learn", "kato.clear_stm": "clear_stm"}
NODE = "katonode"
"""The extension attribute that names the session's node."""
_REQUIRED = ("id", "source", "type")
_CARRIED = frozenset({"specversion", "subject", "time", "datacontenttype", "data", NODE})
"""Attributes that say nothing more once the event is a standard one. The others are kept in its metadata."""


def standard_event(cloud: Any) -> dict[str, Any]:
    """Return the standard event of a CloudEvent in JSON. Raises InvalidEvent, which names the attribute."""
    if not isinstance(cloud, Mapping):
        raise InvalidEvent("event", f"must be a CloudEvent, which is an object, not {kind_of(cloud)}")
    _check(cloud)
    ours, data = OURS.get(cloud["type"]), cloud.get("data")
    if ours is None:
        kept = data if data is None or isinstance(data, Mapping) else {"value": data}
        event: dict[str, Any] = {"observation": {"strings": [cloud["type"]]}, "data": kept}
    elif isinstance(data, Mapping) and (ours != "observation" or "observation" in data):
        event = dict(data)
    elif ours == "observation":
        event = {"observation": data}
    elif data is None:
        event = {}
    else:
        raise InvalidEvent("data", f"must be an object or be left out, not {kind_of(data)}")
    event |= {"event_type": ours or "observation", "event_id": f"{cloud['source']} {cloud['id']}"}
    for name, attribute in (("session_id", "subject"), ("node_id", NODE), ("timestamp", "time")):
        if event.get(name) is None and cloud.get(attribute) is not None:
            event[name] = cloud[attribute]
    if event.get("session_id") is None:
        raise InvalidEvent("subject", "is missing; it names the session")
    own = event.get("metadata")
    if own is None or isinstance(own, Mapping):
        told = {name: value for name, value in cloud.items() if name not in _CARRIED}
        event["metadata"] = {**(own or {}), "cloudevent": told}
    return {name: value for name, value in event.items() if value is not None}


def _check(cloud: Mapping[str, Any]) -> None:
    if cloud.get("specversion") != "1.0":
        raise InvalidEvent("specversion", f"must be '1.0', not {cloud.get('specversion')!r}")
    for name in _REQUIRED:
        value = cloud.get(name)
        if not isinstance(value, str) or not value:
            raise InvalidEvent(name, "must be text that is not empty")
    if " " in cloud["source"]:
        raise InvalidEvent("source", "holds a space; it must be a URI reference")
    if "data_base64" in cloud:
        raise InvalidEvent("data_base64", "is not served; send JSON as data")


def of_headers(headers: list[tuple[bytes, bytes]], data: Any) -> dict[str, Any]:
    """Return a CloudEvent in binary mode as one in JSON: its attributes are in ``ce-`` headers, percent-encoded."""
    cloud: dict[str, Any] = {
        name[3:].decode("latin-1"): unquote(value.decode("latin-1"))
        for name, value in headers
        if name.startswith(b"ce-")
    }
    if data is not None:
        cloud["data"] = data
    return cloud


def cloud_event(event: Mapping[str, Any], source: str) -> dict[str, Any]:
    """Return a standard event, which has an event_id and a timestamp, as a CloudEvent in JSON that ``source`` sends.

    ``standard_event`` makes the same event of it again, with the id by which CloudEvents are told apart: source and
    event_id, with a space between them.
    """
    own = {name: event[name] for name in _IN_DATA if event.get(name)}
    if event.get("data") is not None:
        own["data"] = event["data"]
    cloud = {
        "specversion": "1.0",
        "type": f"kato.{event['event_type']}",
        "source": source,
        "id": event["event_id"],
        "subject": event["session_id"],
        "time": event["timestamp"],
    }
    if event.get("node_id") is not None:
        cloud[NODE] = event["node_id"]
    return cloud | {"datacontenttype": "application/json", "data": own} if own else cloud


_IN_DATA = ("observation", "metadata", "schema_version")

__all__ = ["cloud_event", "of_headers", "standard_event"]
