"""Messages become standard events: in the guide's forms, as CloudEvents, by a decoder; anything else is named."""

from __future__ import annotations

import json
import sys
import types
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from kato_tasks.api.decoding import decode, load_function
from kato_tasks.domain.refused_message import RefusedMessage
from kato_tasks.errors import ConfigurationError, InvalidEvent, UnreadableRow
from kato_tasks.ports.sources import Message

EVENT = {"event_type": "observation", "session_id": "user-123", "observation": {"strings": ["login"]}}
CLOUD = {
    "specversion": "1.0",
    "id": "7",
    "source": "/shop",
    "type": "kato.observation",
    "subject": "user-123",
    "data": {"strings": ["login"]},
}


def message(value: Any = b"", **more: Any) -> Message:
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    return Message(value=body, place="kafka t/0 offset 1", **more)


def entry(**fields: str | bytes) -> Message:
    rows = tuple((name.encode(), text if isinstance(text, bytes) else text.encode()) for name, text in fields.items())
    return Message(value=b"", place="redis s 1-0", fields=rows)


def test_the_guides_message_is_the_event_that_it_holds() -> None:
    assert decode(message(EVENT)) == [EVENT]


def test_a_message_may_hold_several_events() -> None:
    assert decode(message([EVENT, {**EVENT, "session_id": "other"}])) == [EVENT, {**EVENT, "session_id": "other"}]


def test_the_guides_entry_of_a_redis_stream_has_the_observation_as_json_text() -> None:
    seen = entry(
        event_type="observation",
        session_id="user-123",
        timestamp="2025-11-13T10:30:00",
        observation='{"strings": ["login"], "vectors": [], "emotives": {}}',
        metadata='{"source": "web"}',
        schema_version="1",
    )
    assert decode(seen) == [
        {
            "event_type": "observation",
            "session_id": "user-123",
            "timestamp": "2025-11-13T10:30:00",
            "observation": {"strings": ["login"], "vectors": [], "emotives": {}},
            "metadata": {"source": "web"},
            "schema_version": 1,
        }
    ]


def test_an_entry_of_a_redis_stream_may_hold_the_whole_event_in_one_field() -> None:
    assert decode(entry(data=json.dumps(EVENT))) == [EVENT]
    assert decode(entry(data=json.dumps([EVENT, EVENT]))) == [EVENT, EVENT]
    assert decode(entry(value=json.dumps(CLOUD)))[0]["event_id"] == "/shop 7"  # type: ignore[index]


@pytest.mark.parametrize("prefix", ["ce_", "ce-", "cloudEvents:", "cloudEvents_"])
def test_cloud_events_in_binary_mode_have_their_attributes_in_headers(prefix: str) -> None:
    headers = tuple((f"{prefix}{name}", str(CLOUD[name]).encode()) for name in CLOUD if name != "data")
    (found,) = decode(message(CLOUD["data"], headers=headers))
    assert isinstance(found, Mapping)
    assert (found["session_id"], found["event_id"], found["observation"]) == ("user-123", "/shop 7", CLOUD["data"])


def test_cloud_events_in_structured_mode_are_known_by_their_specversion() -> None:
    (found,) = decode(message(CLOUD))
    assert isinstance(found, Mapping)
    assert (found["session_id"], found["event_id"]) == ("user-123", "/shop 7")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (message(b"not json"), r"message: is no JSON \("),
        (message(b""), r"message: is no JSON \("),
        (message(b"\xff\xfe"), r"message: is no JSON \("),
        (message(b"[NaN]"), r"message: is no JSON \("),
        (message(7), r"event: must be an object with the standard event's fields, not int"),
        (message([EVENT, "x"]), r"event: must be an object with the standard event's fields, not str"),
        (message({**CLOUD, "id": ""}), r"id: must be text that is not empty"),
        (entry(session_id="s", observation="{"), r"observation: must be JSON text in a field of a stream's entry"),
        (entry(session_id=b"\xff"), r"message: has a field that is no UTF-8"),
    ],
)
def test_what_is_no_event_is_named_with_its_field(given: Message, said: str) -> None:
    with pytest.raises(InvalidEvent, match=said):
        decode(given)


def test_a_decoder_makes_events_of_an_applications_own_payload() -> None:
    def pages(seen: Message) -> dict[str, Any]:
        given = seen.json()
        return {"session_id": given["user_id"], "observation": {"strings": [given["action"], given["page"]]}}

    given = message({"user_id": "ann", "action": "view", "page": "home"})
    assert decode(given, pages, "shop:pages") == [
        {"session_id": "ann", "observation": {"strings": ["view", "home"]}},
    ]


def test_a_decoder_may_pass_a_message_over_or_make_several_events_of_it() -> None:
    def twice(seen: Message) -> Iterator[dict[str, Any]]:
        yield EVENT
        yield {"event_type": "learn", "session_id": seen.json()["session_id"]}

    assert decode(message(EVENT), lambda _: None) == []
    assert decode(message(EVENT), twice) == [EVENT, {"event_type": "learn", "session_id": "user-123"}]


def test_a_decoder_that_fails_is_named_with_its_error() -> None:
    with pytest.raises(InvalidEvent, match=r"message: the decoder shop:pages failed: KeyError: 'user_id'"):
        decode(message({}), lambda seen: {"session_id": seen.json()["user_id"]}, "shop:pages")
    with pytest.raises(InvalidEvent, match=r"the decoder shop:pages returned str where an event must be a mapping"):
        decode(message({}), lambda _: ["x"], "shop:pages")  # type: ignore[list-item]


def test_a_function_is_loaded_by_its_name() -> None:
    assert load_function("json:dumps") is json.dumps
    assert load_function("kato_tasks.ports.sources:Message.header") is Message.header


@pytest.mark.parametrize(
    ("named", "said"),
    [
        ("json", "'json' names no function; write module:function"),
        ("no_such_module:f", "no_such_module:f cannot be loaded: No module named 'no_such_module'"),
        ("json:no_such", "json:no_such cannot be loaded: module 'json' has no attribute 'no_such'"),
        ("a_module:a_number", "a_module:a_number is int and no function"),
    ],
)
def test_a_function_that_cannot_be_loaded_is_named(named: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("a_module")
    module.a_number = 7  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "a_module", module)
    with pytest.raises(ConfigurationError, match=said):
        load_function(named)


def test_a_refused_message_keeps_every_byte_of_the_message() -> None:
    kept = RefusedMessage(
        source="kafka t",
        place="kafka t/0 offset 1",
        value=b"\xff\x00{",
        size=3,
        key=b"\xfe",
        headers=(("a", b"1"), ("b", b"\xff")),
        decoder="shop:pages",
    )
    assert RefusedMessage.of_json(json.loads(json.dumps(kept.as_json()))) == kept
    stream = RefusedMessage(source="redis s", place="redis s 1-0", value=b"", size=4, fields=((b"a", b"\xff"),))
    assert RefusedMessage.of_json(json.loads(json.dumps(stream.as_json()))) == stream
    assert stream.is_whole
    assert not RefusedMessage(source="s", place="p", value=b"ab", size=3).is_whole


def test_a_refused_message_that_is_broken_in_the_store_is_named() -> None:
    with pytest.raises(UnreadableRow, match="the message in a dead letter is broken"):
        RefusedMessage.of_json({"source": "s"})
