"""Make standard events of messages as brokers hand them out, in the standard form, as CloudEvents, or by a decoder.

A decoder is a function of the application's own, named as ``module:function``. It gets a ``Message`` and returns an
event as a mapping in the standard form, several of them, or None for a message that is no event and is passed over. The
same message must always give the same events, because a message may be handed out again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import reduce
from importlib import import_module
from typing import Any, cast
from urllib.parse import unquote

from pydantic_core import from_json

from kato_tasks.domain.cloud_events import standard_event
from kato_tasks.domain.events import Event
from kato_tasks.domain.wording import kind_of
from kato_tasks.errors import ConfigurationError, InvalidEvent
from kato_tasks.ports.sources import Message

RawEvent = Mapping[str, Any] | Event
Decoder = Callable[[Message], RawEvent | Iterable[RawEvent] | None]
_CLOUD_PREFIXES = ("ce_", "ce-", "cloudevents:", "cloudevents_")
"""How headers of CloudEvents in binary mode begin: Kafka's binding, HTTP's, and the two spellings of AMQP's."""
_JSON_FIELDS = ("observation", "metadata", "data")
"""Fields of a Redis stream's entry whose text is JSON."""
_WHOLE = ("data", "event", "value", "body")
"""An entry of a Redis stream without a session_id may hold the whole event in one of these fields."""


def load_function(named: str) -> Callable[..., Any]:
    """Return the function that ``module:function`` names. Raises ConfigurationError, which says what is missing."""
    module, _, attribute = named.partition(":")
    if not module or not attribute:
        raise ConfigurationError(f"{named!r} names no function; write module:function")
    try:
        found: Any = reduce(getattr, attribute.split("."), import_module(module))
    except (ImportError, AttributeError) as exc:
        raise ConfigurationError(f"{named} cannot be loaded: {exc}; name a function as module:function") from None
    if callable(found):
        return cast(Callable[..., Any], found)
    raise ConfigurationError(f"{named} is {kind_of(found)} and no function")


def decode(message: Message, decoder: Decoder | None = None, name: str = "") -> list[RawEvent]:
    """Return the events that a message holds, none for one that is passed over.

    Without ``decoder`` it is read in the standard form. ``name`` is how errors name the decoder. Raises InvalidEvent.
    """
    if decoder is None:
        return _standard(message)
    try:
        found = decoder(message)
        if found is None:
            return []
        if isinstance(found, Mapping | Event):
            return [found]
        events: list[Any] = list(found)
    except InvalidEvent:
        raise
    except Exception as exc:
        raise InvalidEvent("message", f"the decoder {name} failed: {type(exc).__name__}: {exc}") from None
    for one in events:
        if not isinstance(one, Mapping | Event):
            why = f"the decoder {name} returned {kind_of(one)} where an event must be a mapping"
            raise InvalidEvent("message", why)
    return events


def _standard(message: Message) -> list[RawEvent]:
    if message.fields is not None:
        return _of_fields(message)
    given = message.json() if message.value or not message.headers else None
    attributes = _cloud_attributes(message)
    if "specversion" in attributes:
        return [standard_event(attributes | ({"data": given} if given is not None else {}))]
    if isinstance(given, list):
        return [_one(each) for each in given]
    return [_one(given)]


def _one(given: Any) -> RawEvent:
    if not isinstance(given, Mapping):
        raise InvalidEvent("event", f"must be an object with the standard event's fields, not {kind_of(given)}")
    return standard_event(given) if "specversion" in given else given


def _cloud_attributes(message: Message) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in message.headers:
        lowered = name.lower()
        for prefix in _CLOUD_PREFIXES:
            if lowered.startswith(prefix):
                found[lowered.removeprefix(prefix)] = unquote(value.decode("utf-8", "replace"))
    return found


def _of_fields(message: Message) -> list[RawEvent]:
    event: dict[str, Any] = message.json()
    if "session_id" not in event:
        whole = next((event[name] for name in _WHOLE if name in event), None)
        if whole is not None:
            given = _parsed("data", whole)
            return [_one(each) for each in given] if isinstance(given, list) else [_one(given)]
    for name in _JSON_FIELDS:
        if name in event:
            event[name] = _parsed(name, event[name])
    if event.get("schema_version", "").isdecimal():
        event["schema_version"] = int(event["schema_version"])
    return [event]


def _parsed(name: str, text: str) -> Any:
    try:
        return from_json(text, allow_inf_nan=False)
    except ValueError as exc:
        raise InvalidEvent(name, f"must be JSON text in a field of a stream's entry ({exc})") from None


__all__ = ["Decoder", "RawEvent", "decode", "load_function"]
