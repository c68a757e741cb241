"""What is refused at the door, and in which words; what is taken comes back from the log as it went in."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kato_tasks.domain.events import Event, body_digest, parse_event
from kato_tasks.domain.log_entry import KINDS, Entry, Logged, entry_of, predict_entry
from kato_tasks.domain.observations import Limits, Observation
from kato_tasks.errors import InvalidEvent

Json = dict[str, Any]
GUIDE: Json = {
    "event_type": "observation",
    "session_id": "user-123",
    "node_id": "user-123",
    "timestamp": "2025-11-13T10:30:00Z",
    "observation": {"strings": ["action:login", "page:dashboard"], "vectors": [], "emotives": {"sentiment": 0.8}},
    "metadata": {"source": "web-app", "correlation_id": "req-456"},
}


def good(**changes: Any) -> Json:
    return {"session_id": "s", "observation": {"strings": ["x"]}, **changes}


def seen(**observation: Any) -> Json:
    return good(observation=observation)


def nested(depth: int) -> Json:
    value: Json = {}
    for _ in range(depth):
        value = {"a": value}
    return value


def test_data_is_kept_with_the_event_and_is_no_part_of_what_kato_sees_or_of_its_identity() -> None:
    plainly, given = (entry_of(parse_event(good(**more)), event_id="e") for more in ({}, {"data": {"a": [1, None]}}))
    assert given.digest == plainly.digest
    assert given.text.split("\n")[3] == plainly.text.split("\n")[3]
    assert Logged.parse(1, given.text).event("s")["data"] == {"a": [1, None]}
    assert "data" not in Logged.parse(1, plainly.text).event("s")
    empty = entry_of(parse_event(good(data={})), event_id="e")
    assert Logged.parse(1, empty.text).event("s")["data"] == {}


def test_an_event_as_a_history_shows_it_is_an_event_again() -> None:
    shown = Logged.parse(7, entry_of(parse_event(good(data={"a": 1})), event_id="e").text).event("s", "s")
    again = parse_event({**shown, "lane_order": 3})
    assert (again.data, again.event_id) == ({"a": 1}, "e")


REFUSED: list[tuple[str, Any, str, str]] = [
    # what it is, the event, the field named, words of the reason
    ("no object", 7, "event", "must be an object"),
    ("no session", {"observation": {"strings": ["x"]}}, "session_id", "is missing"),
    ("session null", good(session_id=None), "session_id", "must be text"),
    ("session a number", good(session_id=7), "session_id", "must be text, not int"),
    ("session empty", good(session_id=""), "session_id", "must not be empty"),
    ("session over-long", good(session_id="x" * 513), "session_id", "513 characters, at most 512"),
    ("session half a pair", good(session_id="a\ud800"), "session_id", "surrogate"),
    ("data a list", good(data=[]), "data", "must be an object"),
    ("data no JSON", good(data={"at": {1}}), "data.at", "JSON cannot carry"),
    ("data not finite", good(data={"a": math.nan}), "data.a", "finite"),
    ("data nested too deep", good(data=nested(23)), "data.a", "nested"),
    ("node a number", good(node_id=3), "node_id", "must be text"),
    ("node empty", good(node_id=""), "node_id", "must not be empty"),
    ("node with apostrophe", good(node_id="it's"), "node_id", "apostrophe"),
    ("node with control character", good(node_id="a\tb"), "node_id", "control character"),
    ("node of the prefix test_", good(node_id="test-x"), "node_id", "test_"),
    ("node over-long", good(node_id="x" * 201), "node_id", "at most 200"),
    ("event_id a number", good(event_id=5), "event_id", "must be text"),
    ("event_id empty", good(event_id=""), "event_id", "must not be empty"),
    ("event_id of two lines", good(event_id="a\nb"), "event_id", "control character"),
    ("event_id over-long", good(event_id="x" * 513), "event_id", "at most 512"),
    ("timestamp a number", good(timestamp=1.5), "timestamp", "ISO 8601"),
    ("timestamp no date", good(timestamp="yesterday"), "timestamp", 'ISO 8601 text such as .*, not "yesterday"'),
    ("type unknown", good(event_type="delete"), "event_type", "'observation', 'learn' or 'clear_stm'"),
    ("observation missing", {"session_id": "s"}, "observation", "is missing"),
    ("observation with a learn", good(event_type="learn"), "observation", "leave it out"),
    ("observation a list", good(observation=[]), "observation", "must be an object, not list"),
    ("nothing to observe", seen(), "observation", "nothing to observe"),
    ("empty lists to observe", seen(strings=[], vectors=[], emotives={}), "observation", "nothing to observe"),
    ("metadata alone", seen(metadata={"a": 1}), "observation", "nothing to observe"),
    ("strings a text", seen(strings="abc"), "observation.strings", "list"),
    ("strings null", seen(strings=None), "observation.strings", "list"),
    ("string a number", seen(strings=["a", 1]), "observation.strings[1]", "must be text, not int"),
    ("string half a pair", seen(strings=["ok", "\udfff"]), "observation.strings[1]", "holds half of a surrogate"),
    ("too many strings", seen(strings=["x"] * 1001), "observation.strings", "1001 strings, at most 1000"),
    ("over-long string", seen(strings=["x" * 20_001]), "observation.strings[0]", "20001 characters, at most 20000"),
    ("vectors ragged", seen(vectors=[[1, 2], [1]]), "observation.vectors[1]", "one length"),
    ("vectors nested", seen(vectors=[[[1.0]]]), "observation.vectors[0][0]", "must be a number, not list"),
    ("vectors flat", seen(vectors=[1.0, 2.0]), "observation.vectors[0]", "must be a list, not float"),
    ("vector empty", seen(vectors=[[]]), "observation.vectors[0]", "is empty"),
    ("vector infinite", seen(vectors=[[1.0, math.inf]]), "observation.vectors[0][1]", "only finite"),
    ("vector nan", seen(vectors=[[math.nan]]), "observation.vectors[0][0]", "only finite"),
    ("vector of text", seen(vectors=[["1"]]), "observation.vectors[0][0]", 'must be a number, not the text "1"'),
    ("too many vectors", seen(vectors=[[1.0]] * 65), "observation.vectors", "65 vectors, at most 64"),
    ("over-long vector", seen(vectors=[[1.0] * 8_193]), "observation.vectors[0]", "8193 numbers, at most 8192"),
    ("emotive nan", seen(emotives={"joy": math.nan}), "observation.emotives.joy", "only finite"),
    ("emotive infinite", seen(emotives={"joy": -math.inf}), "observation.emotives.joy", "only finite"),
    ("emotive text", seen(emotives={"joy": "1"}), "observation.emotives.joy", "number"),
    ("emotive a flag", seen(emotives={"joy": True}), "observation.emotives.joy", "must be a number, not bool"),
    ("emotive beyond a float", seen(emotives={"joy": 10**400}), "observation.emotives.joy", "too large"),
    ("emotives a list", seen(emotives=[1.0]), "observation.emotives", "must be an object, not list"),
    ("too many emotives", seen(emotives={f"{i}": 1.0 for i in range(257)}), "observation.emotives", "at most 256"),
    ("emotive's name half a pair", seen(emotives={"\ud800": 1.0}), 'observation.emotives["\\ud800"]', "surrogate"),
    ("metadata infinite", seen(strings=["x"], metadata={"a": math.inf}), "observation.metadata.a", "is inf"),
    ("metadata bytes", seen(strings=["x"], metadata={"a": [1, {"b": b"x"}]}), "observation.metadata.a[1].b", "bytes"),
    ("metadata too deep", seen(strings=["x"], metadata=nested(30)), "observation.metadata.a", "20 deep"),
    ("own metadata a list", good(metadata=[1]), "metadata", "must be an object, not list"),
    ("own metadata nan", good(metadata={"a": math.nan}), "metadata.a", "is nan"),
    ("own metadata's key a number", good(metadata={"a": {1: 2}}), "metadata.a", "no text: 1"),
    ("own metadata an object", good(metadata={"a": object()}), "metadata.a", "JSON cannot carry"),
    ("own metadata half a pair", good(metadata={"a": "\ud800"}), "metadata.a", "surrogate"),
    ("schema of tomorrow", good(schema_version=2), "schema_version", "upgrade kato_tasks"),
    ("schema a text", good(schema_version="1"), "schema_version", "whole number"),
    ("schema 0", good(schema_version=0), "schema_version", "whole number from 1"),
    ("schema a flag", good(schema_version=True), "schema_version", "whole number"),
]


@pytest.mark.parametrize(("raw", "field", "reason"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_what_is_no_event_is_refused_with_its_field(raw: Any, field: str, reason: str) -> None:
    with pytest.raises(InvalidEvent, match=reason) as refused:
        parse_event(raw)
    assert refused.value.field == field
    assert str(refused.value).startswith(f"{field}: ")
    assert "\n" not in str(refused.value), "one sentence"
    assert len(str(refused.value)) < 400


@pytest.mark.parametrize("where", ["metadata", "observation"])
def test_a_whole_number_that_no_json_carries_is_refused_with_its_field(where: str) -> None:
    huge = {"a": 10**5_000}
    raw = good(metadata=huge) if where == "metadata" else seen(strings=["x"], metadata=huge)
    with pytest.raises(InvalidEvent, match="metadata"):
        entry_of(parse_event(raw), event_id="e")


def test_an_event_over_its_limit_in_bytes_is_refused() -> None:
    event = parse_event(seen(strings=["ü" * 15_000] * 10))
    with pytest.raises(InvalidEvent, match=r"takes 300\d{3} bytes, at most 262144"):
        entry_of(event, event_id="e")


def test_limits_are_settings() -> None:
    tight = Limits(max_strings=2, max_string_chars=3, max_vectors=1, max_vector_length=2, max_emotives=1)
    for raw in (
        seen(strings=["a", "b", "c"]),
        seen(strings=["abcd"]),
        seen(vectors=[[1.0], [2.0]]),
        seen(vectors=[[1.0, 2.0, 3.0]]),
        seen(emotives={"a": 1.0, "b": 1.0}),
    ):
        parse_event(raw)
        with pytest.raises(InvalidEvent, match="at most"):
            parse_event(raw, tight)
    with pytest.raises(InvalidEvent, match="at most 50"):
        entry_of(parse_event(good()), event_id="e", limits=Limits(max_event_bytes=50))


# ------------------------------------------------------------------------------- what is taken


def test_the_guides_example_is_taken_as_it_stands() -> None:
    event = parse_event(GUIDE)
    assert event.schema_version == 1
    assert event.event_id is None
    assert event.timestamp == datetime(2025, 11, 13, 10, 30, tzinfo=UTC)
    assert event.observation == Observation(
        strings=["action:login", "page:dashboard"], vectors=[], emotives={"sentiment": 0.8}
    )
    assert event.metadata == GUIDE["metadata"]


@pytest.mark.parametrize(
    "raw",
    [
        seen(strings=[""]),
        seen(strings=["it's", "a\nb", "\\"]),
        seen(emotives={"joy": 1}),
        seen(vectors=[[1, 2], [3, 4]]),
        good(metadata=None),
        good(node_id=None, event_id=None, timestamp=None),
        good(schema_version=None),
        {"session_id": "s", "event_type": "learn"},
        {"session_id": "s", "event_type": "clear_stm"},
        good(timestamp="2025-11-13T10:30:00+02:00"),
        good(session_id="with 'quotes' {and} more\n"),
        seen(strings=["x"], metadata=nested(19)),
    ],
)
def test_what_kato_can_take_is_taken(raw: Json) -> None:
    entry_of(parse_event(raw), event_id="e")


def test_a_timestamp_without_offset_is_utc() -> None:
    """The guide's producers send `utcnow().isoformat()`."""
    assert parse_event(good(timestamp="2025-11-13T10:30:00")).timestamp == datetime(2025, 11, 13, 10, 30, tzinfo=UTC)


def test_an_event_cannot_be_changed() -> None:
    event = parse_event(good())
    with pytest.raises(ValueError, match="frozen"):
        event.session_id = "other"  # type: ignore[misc]


# ------------------------------------------------------------------------------- through the log

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
NAME = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=30)
FINITE = st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | FINITE | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=10,
)
VECTORS = st.integers(1, 4).flatmap(
    lambda size: st.lists(st.lists(FINITE, min_size=size, max_size=size), min_size=1, max_size=3)
)
OBSERVATIONS = st.fixed_dictionaries(
    {},
    optional={
        "strings": st.lists(TEXT, min_size=1, max_size=5),
        "vectors": VECTORS,
        "emotives": st.dictionaries(TEXT, FINITE, min_size=1, max_size=3),
        "metadata": st.dictionaries(TEXT, JSON, max_size=3),
    },
).filter(lambda o: o.keys() & {"strings", "vectors", "emotives"})
OFFSETS = st.integers(-12, 12).map(lambda hours: timezone(timedelta(hours=hours)))
EVENTS = st.fixed_dictionaries(
    {"session_id": st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40)},
    optional={
        "timestamp": st.datetimes(timezones=OFFSETS).map(datetime.isoformat),
        "metadata": st.dictionaries(TEXT, JSON, max_size=3),
        "schema_version": st.just(1),
    },
)


@settings(max_examples=300, deadline=None)
@given(EVENTS, OBSERVATIONS | st.sampled_from(["learn", "clear_stm"]), NAME, st.booleans(), st.integers(1, 10**9))
def test_a_valid_event_comes_back_from_the_log_as_it_went_in(
    raw: Json, payload: Json | str, event_id: str, wanted: bool, position: int
) -> None:
    """Falls with any field, byte or line break that entry_of or Logged.parse loses."""
    raw = raw | ({"observation": payload} if isinstance(payload, dict) else {"event_type": payload})
    event = parse_event(raw)
    entry = entry_of(event, event_id=event_id, wanted=wanted)
    # As append.lua writes it: with the ms of the append behind the two flags.
    text = entry.text[:2] + "1764000000000" + entry.text[2:]
    logged = Logged.parse(position, text)
    assert (logged.position, logged.kind, logged.wanted, logged.event_id) == (position, entry.kind, wanted, event_id)
    back = logged.event(str(event.session_id), "node")
    assert back["position"] == position
    again = parse_event({k: v for k, v in back.items() if k != "position"})
    expected = event.model_copy(
        update={"event_id": event_id, "node_id": "node", "timestamp": event.timestamp or again.timestamp}
    )
    assert again == expected
    assert entry_of(again, event_id=event_id).digest == entry.digest
    if entry.kind == "o":
        sent = json.loads(logged.body)
        assert sent.pop("unique_id") == event_id
        assert Observation.model_validate(sent) == event.observation


def test_an_entry_is_written_in_these_four_lines_for_ever() -> None:
    """Logs of running stores hold them."""
    entry = entry_of(parse_event(GUIDE), event_id="e-1", wanted=True)
    assert entry.text == (
        'o1s\ne-1\n{"v":1,"ts":"2025-11-13T10:30:00Z","meta":{"source":"web-app","correlation_id":"req-456"}}\n'
        '{"strings":["action:login","page:dashboard"],"vectors":[],"emotives":{"sentiment":0.8},"metadata":{},'
        '"unique_id":"e-1"}'
    )
    assert predict_entry("s", "p-1").text == "p1\np-1\n{}\n"
    assert KINDS == {"observation": "o", "learn": "l", "clear_stm": "c", "predict": "p"}


def digest(raw: Json, event_id: str = "e") -> str:
    return entry_of(parse_event(raw), event_id=event_id).digest


def test_two_bodies_are_the_same_when_kato_would_be_sent_the_same() -> None:
    assert digest(good()) == digest(good(), "another id") == digest(good(metadata={"retry": 2}, timestamp="2025-01-01"))
    assert digest(seen(strings=["a", "b"])) != digest(seen(strings=["b", "a"]))
    assert digest(seen(emotives={"a": 1})) == digest(seen(emotives={"a": 1.0}))
    different = [good(), seen(strings=["x", "x"]), seen(strings=["x"], emotives={"a": 1.0}), seen(vectors=[[1.0]])]
    different += [{"session_id": "s", "event_type": "learn"}, {"session_id": "s", "event_type": "clear_stm"}]
    assert len({digest(raw) for raw in different}) == len(different)


def test_a_bodys_digest_never_changes() -> None:
    """It is remembered with each event_id: another rule would turn every retry into a conflict."""
    assert digest({"session_id": "user-123", "observation": {"strings": ["b", "a"]}}) == "2bc09a6ba32be952"
    assert body_digest("learn", "") == "36d2720c02766bfc"


def test_an_entry_belongs_to_the_events_session_and_node() -> None:
    entry = entry_of(parse_event(good(node_id="n")), event_id="e")
    assert isinstance(entry, Entry)
    assert (entry.session_id, entry.node_id, entry.wants_result) == ("s", "n", False)


def test_an_event_that_is_a_model_already_is_taken_as_it_is() -> None:
    event = Event(session_id="s", observation=Observation(strings=["x"]))
    assert parse_event(event) is event


def test_what_is_refused_does_not_hold_pydantics_error() -> None:
    """That one keeps frames alive and is unknown to the garbage collector: a server that keeps refusals would grow."""
    with pytest.raises(InvalidEvent) as caught:
        parse_event({"session_id": "a", "observation": {"strings": "x"}})
    assert (caught.value.__context__, caught.value.__cause__) == (None, None)
