"""The JSON Schemas of docs/schema say what the door says, and each exception has its name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from pydantic import BaseModel

from docs import schemas
from kato_tasks.domain import results, upcasters
from kato_tasks.domain.events import parse_event
from kato_tasks.domain.ids import default_node
from kato_tasks.domain.log_entry import entry_of
from kato_tasks.domain.predictions import in_one_form
from kato_tasks.errors import InvalidEvent
from tests.unit.domain.stored_samples import Json, Sample, samples_of
from tests.unit.domain.test_events import REFUSED, good, nested, seen
from tests.unit.domain.test_predictions import RECORDED, stored

SCHEMAS = Path(__file__).resolve().parents[3] / "docs" / "schema"
EVENT = Draft202012Validator(schemas.event_schema())
RESULTS = schemas.results_schema()


def door_takes(raw: Any) -> bool:
    try:
        entry_of(parse_event(raw), event_id="e")
    except InvalidEvent:
        return False
    return True


def is_json(raw: Any) -> bool:
    """Whether JSON has it: neither NaN nor infinity, no bytes, and only texts as keys."""
    try:
        return bool(json.loads(json.dumps(raw, allow_nan=False)) == raw)
    except (TypeError, ValueError):
        return False


EXCEPTIONS: dict[str, list[Any]] = {
    "vectors of one length": [seen(vectors=[[1, 2], [1]])],
    "node_id that is the session_id": [good(session_id="it's", node_id="it's")],
    "timestamp": [good(timestamp="yesterday"), good(timestamp="")],
    "half of a surrogate pair": [good(session_id="a\ud800"), seen(strings=["\udfff"]), good(metadata={"a": "\ud800"})],
    "nesting": [good(metadata=nested(30)), seen(strings=["x"], metadata=nested(30))],
    "large numbers": [good(metadata={"a": 2**63}), seen(emotives={"joy": 10**400})],
    "schema_version with a decimal point": [good(schema_version=1.0)],
    "bytes": [seen(strings=["ü" * 15_000] * 10)],
}
"""Events of which the schema says something else than the door, by the exceptions' names."""
REFUSED_BY_THE_DOOR_ALONE = {
    "session half a pair",
    "timestamp no date",
    "string half a pair",
    "vectors ragged",
    "emotive beyond a float",
    "emotive's name half a pair",
    "data nested too deep",
    "metadata too deep",
    "own metadata half a pair",
}


def test_every_exception_is_named_and_is_one() -> None:
    """Falls with an exception that the schema has learned to express, and with one that nothing shows."""
    assert EXCEPTIONS.keys() == schemas.NOT_IN_THE_SCHEMA.keys()
    for name, events in EXCEPTIONS.items():
        for raw in events:
            assert door_takes(raw) != EVENT.is_valid(raw), name


@pytest.mark.parametrize("row", [row for row in REFUSED if is_json(row[1])], ids=lambda row: row[0])
def test_what_the_door_refuses_the_schema_refuses(row: tuple[str, Any, str, str]) -> None:
    assert EVENT.is_valid(row[1]) is (row[0] in REFUSED_BY_THE_DOOR_ALONE)


@pytest.mark.parametrize("version", range(1, upcasters.SCHEMA_VERSION + 1))
def test_every_version_has_its_schema_of_which_its_samples_are_examples(version: int) -> None:
    schema = json.loads((SCHEMAS / f"event.v{version}.schema.json").read_text(encoding="utf-8"))
    Draft202012Validator.check_schema(schema)
    for sample in samples_of(version):
        Draft202012Validator(schema).validate(sample.event)


@pytest.mark.parametrize("sample", samples_of(1), ids=str)
def test_an_event_as_history_shows_it_is_one_of_the_schema(sample: Sample) -> None:
    for logged in sample.logged():
        EVENT.validate(logged.event(sample.session, sample.node))


# ------------------------------------------------------- events that are nearly right, in any combination

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
ODD_IDS: st.SearchStrategy[Any] = st.sampled_from(
    ["", "x" * 200, "x" * 201, "x" * 512, "x" * 513, "it's", "a\n", "\x7f", None, 7, [], True]
)
NODES = st.sampled_from(["test", "testing", "tes_t", *(f"test{c}x" for c in '-_ ./\\"$*<>:|?~1')])
NUMBERS = st.sampled_from([0, 1, -1.5, 10**18, 1e300, True, None, "1"])
SMALL_JSON = st.recursive(
    st.sampled_from([None, True, 7, -(2**63), 1.5, "x", "y" * 100_000, "y" * 100_001]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["a", "k" * 1_001]), inner, max_size=2),
    max_leaves=3,
)
EVEN_VECTORS = st.integers(0, 2).flatmap(lambda size: st.lists(st.lists(NUMBERS, min_size=size, max_size=size)))
OBSERVATIONS = st.fixed_dictionaries(
    {},
    optional={
        "strings": st.lists(TEXT, max_size=2) | st.sampled_from([None, "x", [1], ["x"] * 1_000, ["x"] * 1_001]),
        "vectors": EVEN_VECTORS | st.sampled_from([None, 1, [1.0], [[1.0]] * 64, [[1.0]] * 65]),
        "emotives": st.dictionaries(TEXT, NUMBERS, max_size=2) | st.sampled_from([None, [], {"n" * 201: 1.0}]),
        "metadata": SMALL_JSON,
        "unique_id": st.just("x"),
    },
)
EVENTS = st.fixed_dictionaries(
    {},
    optional={
        "session_id": TEXT | ODD_IDS | st.just("s"),
        "node_id": TEXT | ODD_IDS | NODES,
        "event_id": TEXT | ODD_IDS,
        "event_type": st.sampled_from(["observation", "learn", "clear_stm", "predict", None, 1]),
        "observation": OBSERVATIONS | st.sampled_from([None, [], "x", {"strings": ["x"]}]),
        "metadata": SMALL_JSON,
        "timestamp": st.sampled_from(["2025-11-13T10:30:00Z", "2025-11-13T10:30:00", None, 1.5, False]),
        "schema_version": st.sampled_from([1, 2, 0, None, "1"]),
        "position": st.sampled_from([7, None]),
        "strings": st.just(["x"]),
    },
)
GOOD_BUT = st.tuples(EVENTS, st.sets(st.sampled_from(["session_id", "observation", "event_type", "metadata"]))).map(
    lambda one: {k: v for k, v in one[0].items() if k not in one[1] | {"strings"}} | good()
)


@settings(max_examples=600, deadline=None)
@given(EVENTS | GOOD_BUT)
def test_the_schema_and_the_door_are_of_one_mind(raw: Json) -> None:
    same_name = isinstance(raw.get("node_id"), str) and raw["node_id"] == raw.get("session_id")
    if same_name and default_node(raw["session_id"]) != raw["session_id"]:
        raw = {**raw, "node_id": None}  # the exception: the session's own id is its default node
    assert EVENT.is_valid(raw) is door_takes(raw)


# ------------------------------------------------------------------------------------- results


def answers(call: str) -> Draft202012Validator:
    return Draft202012Validator({"$ref": f"#/$defs/{call}", "$defs": RESULTS["$defs"]})


APPLIED: Json = {"session_id": "s", "node_id": "n", "event_id": "e", "position": 1}


@pytest.mark.parametrize(
    ("call", "answer"),
    [
        ("observe", results.Observed(status="okay", time=1, **APPLIED)),
        ("observe", results.Applied(status="applied", **APPLIED)),
        ("learn", results.Learned(status="learned", pattern_name="p", **APPLIED)),
        ("learn", results.Applied(status="applied", **APPLIED)),
        ("clear_stm", results.Applied(status="cleared", **APPLIED)),
        ("append_events", results.Appended(event_id="e", session_id="s", position=None, duplicate=True)),
    ],
)
def test_an_answer_is_one_of_its_schema_and_any_other_object_is_none(call: str, answer: BaseModel) -> None:
    answers(call).validate(answer.model_dump(mode="json"))
    assert not answers(call).is_valid({"error": {"type": "EventRefused"}})


def test_katos_own_predictions_in_their_one_form_are_those_of_the_schema() -> None:
    found = 0
    for recorded in RECORDED["answers"]:
        whole = in_one_form(stored(recorded))
        answers("predict").validate(whole)
        found += len(whole["predictions"])
    assert found > 1


def test_each_definition_of_the_results_is_valid_and_is_used() -> None:
    Draft202012Validator.check_schema(RESULTS)
    named = {ref.rpartition("/")[2] for ref in _refs(RESULTS)} | schemas.RESULTS.keys()
    assert named == RESULTS["$defs"].keys()


def _refs(schema: Any) -> list[str]:
    if isinstance(schema, dict):
        own = [schema["$ref"]] if isinstance(schema.get("$ref"), str) else []
        return own + [ref for value in schema.values() for ref in _refs(value)]
    return [ref for value in schema for ref in _refs(value)] if isinstance(schema, list) else []
