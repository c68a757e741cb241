"""A key that is not known is a typing error: refused with the nearest name, told to a listener, or left out."""

from __future__ import annotations

import json
import logging
import re
from decimal import Decimal
from pathlib import PurePath
from types import MappingProxyType
from typing import Any, Literal
from uuid import uuid4

import pytest
from pydantic import BaseModel

from kato_tasks.domain.events import Event, check_events, check_session_id, parse_event
from kato_tasks.domain.keys import EVENT_KEYS, OBSERVATION_KEYS
from kato_tasks.domain.known_names import nearest, place
from kato_tasks.domain.log_entry import entry_of
from kato_tasks.domain.observations import DEFAULT_LIMITS, Limits, Observation
from kato_tasks.errors import InvalidEvent
from kato_tasks.telemetry.log_events import UnknownKeys

Json = dict[str, Any]


def good(**changes: Any) -> Json:
    return {"session_id": "s", "observation": {"strings": ["x"]}, **changes}


def seen(**observation: Any) -> Json:
    return good(observation=observation)


def refused(raw: Any, limits: Limits = DEFAULT_LIMITS) -> str:
    with pytest.raises(InvalidEvent) as caught:
        parse_event(raw, limits)
    return str(caught.value)


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (
            seen(strings=["a"], emotive={"joy": 1.0}),
            'observation.emotive: is not a known key; did you mean "emotives"?',
        ),
        (seen(strings=["a"], strangs=["b"]), 'observation.strangs: is not a known key; did you mean "strings"?'),
        (seen(Strings=["a"]), 'observation.Strings: is not a known key; did you mean "strings"?'),
        ({"sesion_id": "s"}, 'sesion_id: is not a known key; did you mean "session_id"?'),
        (good(sessionId="s"), 'sessionId: is not a known key; did you mean "session_id"?'),
        (good(node="n"), 'node: is not a known key; did you mean "node_id"?'),
        (
            {"session_id": "s", "strings": ["a"]},
            'strings: is not a known key here; it belongs in the observation: "observation": {"strings": …}',
        ),
        (
            seen(strings=["a"], event_id="e"),
            'observation.event_id: is not a known key here; "event_id" belongs beside the observation, not in it',
        ),
        (
            seen(strings=["a"], unique_id="e"),
            (
                "observation.unique_id: is not a known key here; KATO is told the event_id as its unique_id, so give "
                "an event_id beside the observation"
            ),
        ),
        (
            seen(strings=["a"], foo=1),
            "observation.foo: is not a known key; the known ones are emotives, metadata, strings, vectors",
        ),
        (good(**{"two words": 1}), None),
        (good(**{"a\nb\x1b[31m": 1}), None),
        (good(**{"\ud800": 1}), None),
        (good(**{"x" * 10_000: 1}), None),
        (good() | {1: 2}, "event: has a key that is no text: 1"),
        (seen(strings=["a"]) | {"observation": {"strings": ["a"], 7: 1}}, "observation: has a key that is no text: 7"),
    ],
)
def test_a_key_that_is_not_known_is_refused_with_the_nearest_name(raw: Json, said: str | None) -> None:
    told = refused(raw)
    if said is not None:
        assert told == said
    assert told.isprintable()
    assert len(told) < 300
    told.encode()


def test_the_known_keys_are_those_of_the_models() -> None:
    assert set(Event.model_fields) == EVENT_KEYS
    assert set(Observation.model_fields) == OBSERVATION_KEYS


@pytest.mark.parametrize("mode", ["pass", "warn"])
def test_a_setting_lets_unknown_keys_pass_and_they_leave_no_trace(mode: Literal["pass", "warn"]) -> None:
    told: list[tuple[str, str]] = []
    event = parse_event(
        seen(strings=["a"], emotive={"joy": 1.0}) | {"foo": 1},
        Limits(unknown_keys=mode),
        lambda field, reason: told.append((field, reason)),
    )
    assert event == parse_event(seen(strings=["a"]))
    assert entry_of(event, event_id="e").digest == entry_of(parse_event(seen(strings=["a"])), event_id="e").digest
    assert [field for field, _ in told] == (["foo", "observation.emotive"] if mode == "warn" else [])


def test_a_source_hears_of_a_key_once_and_not_once_for_each_event(caplog: pytest.LogCaptureFixture) -> None:
    warn = UnknownKeys(logging.getLogger("listener"))
    for _ in range(3):
        parse_event(seen(strings=["a"], emotive={}) | {"foo": 1}, Limits(unknown_keys="warn"), warn)
    assert [record.message.split(" meaning=")[0] for record in caplog.records] == [
        "key.unknown key=foo",
        "key.unknown key=observation.emotive",
    ]


def test_an_event_as_session_events_shows_it_is_taken() -> None:
    assert parse_event(good(position=7)) == parse_event(good())


def test_the_models_take_no_unknown_key_either() -> None:
    with pytest.raises(ValueError, match="strangs"):
        Observation(strings=["a"], strangs=["b"])  # type: ignore[call-arg]


GUIDE: list[Json] = [
    {
        "event_type": "observation",
        "session_id": "user-123",
        "node_id": "user-123",
        "timestamp": "2025-11-13T10:30:00Z",
        "observation": {"strings": ["action:login"], "vectors": [], "emotives": {"sentiment": 0.8}},
        "metadata": {"source": "web-app", "correlation_id": "req-456"},
    },
    {
        "event_type": "observation",
        "session_id": "user-123",
        "timestamp": "2025-11-13T10:30:00.123456",
        "observation": {"strings": ["login", "dashboard"], "vectors": [], "emotives": {}},
        "metadata": {},
    },
    {
        "event_type": "observation",
        "session_id": "user-123",
        "timestamp": "2025-11-13T10:30:00.123456",
        "observation": json.loads('{"strings": ["login"], "vectors": [], "emotives": {}}'),
    },
    {"session_id": "s", "observation": {"strings": ["low"], "vectors": [], "emotives": {"value": 21 / 100.0}}},
]


@pytest.mark.parametrize("raw", GUIDE)
def test_the_guides_payloads_are_taken_as_they_are(raw: Json) -> None:
    assert parse_event(raw).observation is not None


# ----------------------------------------------------------------------------------------- values


class Mine(BaseModel):
    strings: list[str]


class Array:
    """As numpy's arrays are, as far as this goes."""

    dtype = "float32"

    def __init__(self, numbers: Any) -> None:
        self.numbers = numbers

    def tolist(self) -> Any:
        return self.numbers


class Scalar(float):
    dtype = "float64"

    def tolist(self) -> float:
        return float(self)


@pytest.mark.parametrize(
    ("raw", "as_if"),
    [
        (seen(strings=("a", "b")), seen(strings=["a", "b"])),
        (seen(vectors=((1.0, 2.0),)), seen(vectors=[[1.0, 2.0]])),
        (seen(vectors=Array([[1.0, 2.0]])), seen(vectors=[[1.0, 2.0]])),
        (seen(vectors=[Array([1.0, 2.0])]), seen(vectors=[[1.0, 2.0]])),
        (seen(vectors=[[Array(1.0), Scalar(2.0)]]), seen(vectors=[[1.0, 2.0]])),
        (seen(emotives={"joy": Decimal("0.5")}), seen(emotives={"joy": 0.5})),
        (seen(emotives={"joy": Array(0.5)}), seen(emotives={"joy": 0.5})),
        (good(observation=MappingProxyType({"strings": ["x"]})), good()),
        (MappingProxyType(good()), good()),
    ],
)
def test_what_stands_for_plain_json_is_taken_for_it(raw: Any, as_if: Json) -> None:
    assert entry_of(parse_event(raw), event_id="e").digest == entry_of(parse_event(as_if), event_id="e").digest


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (seen(strings={"a"}), "observation.strings: must be a list, not set, which has no order"),
        (seen(strings=[b"a"]), "observation.strings[0]: must be text, not bytes; decode it first"),
        (seen(strings=[None]), "observation.strings[0]: must be text, not null"),
        (seen(strings=(letter for letter in "ab")), "observation.strings: must be a list, not generator"),
        (seen(vectors=Array([1.0, 2.0])), "observation.vectors[0]: must be a list, not float"),
        (seen(vectors=[[True]]), "observation.vectors[0][0]: must be a number, not bool"),
        (seen(emotives={"joy": "0.5"}), 'observation.emotives.joy: must be a number, not the text "0.5"'),
        (seen(emotives={"two words": "x"}), 'observation.emotives["two words"]: must be a number, not the text "x"'),
        (
            seen(emotives={"a\nb": float("nan")}),
            r'observation.emotives["a\nb"]: is nan; only finite numbers are allowed',
        ),
        (seen(emotives={1: 0.5}), "observation.emotives: has a key that is no text: 1"),
        (seen(strings=["x"], metadata={"at": PurePath("x")}), None),
        (good(observation=Mine(strings=["a"])), "observation: must be an object, not Mine; give its model_dump()"),
        (good(observation="a"), "observation: must be an object, not str"),
        (good(session_id=b"s"), "session_id: must be text, not bytes; decode it first"),
        (good(event_id=uuid4()), "event_id: must be text, not UUID; write str(…)"),
        (good(timestamp=[]), "timestamp: must be ISO 8601 text such as 2025-11-13T10:30:00Z, not list"),
        (good(event_type=7), "event_type: must be 'observation', 'learn' or 'clear_stm', not 7"),
        (good(metadata="m"), "metadata: must be an object, not str"),
    ],
)
def test_what_does_not_is_refused_in_our_words(raw: Any, said: str | None) -> None:
    told = refused(raw)
    if said is not None:
        assert told == said
    assert not re.search("(?i)input should|instance of|pydantic|valid dictionary", told)
    assert told.isprintable()


@pytest.mark.parametrize("wrong", [good(), Event(session_id="s", event_type="learn"), "events", b"x", 7, None])
def test_events_that_are_no_list_are_told_so(wrong: object) -> None:
    with pytest.raises(InvalidEvent, match=r"^events: must be a list of events, not "):
        check_events(wrong)


def test_a_session_id_is_text() -> None:
    with pytest.raises(InvalidEvent, match=r"^session_id: must be text, not int; write str\(…\)$"):
        check_session_id(1)


def test_a_place_is_written_in_one_way() -> None:
    assert place(["events", 0, "observation", "strings", 1]) == "events[0].observation.strings[1]"
    assert place(["metadata", "two words", "x"]) == 'metadata["two words"].x'


def test_the_nearest_name_is_none_where_none_is_like_it() -> None:
    assert nearest("foo", OBSERVATION_KEYS) is None
    assert nearest("emotiv", OBSERVATION_KEYS) == "emotives"
