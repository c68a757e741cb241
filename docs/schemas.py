"""The JSON Schemas of docs/schema/: the standard event and what the public calls answer, made of the models.

The models hold their rules in validators, which pydantic cannot turn into JSON Schema. What JSON Schema can say of
those rules is added here, from the constants that the validators use. ``NOT_IN_THE_SCHEMA`` names the rest, and a test
compares the schema's verdict on many events with the door's.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from kato_tasks.domain import results
from kato_tasks.domain.events import Event
from kato_tasks.domain.ids import MAX_ID_CHARS, MAX_NODE_CHARS, lane_of
from kato_tasks.domain.observations import DEFAULT_LIMITS
from kato_tasks.domain.upcasters import SCHEMA_VERSION

Json = dict[str, Any]
DIALECT = "https://json-schema.org/draft/2020-12/schema"
EVENT_FILE = f"docs/schema/event.v{SCHEMA_VERSION}.schema.json"
RESULTS_FILE = "docs/schema/results.schema.json"

# KATO writes these characters as "_", and a node's name at KATO must not begin with "test_".
_WRITTEN_AS_UNDERSCORE = "".join(re.escape(c) if c in "\\-" else c for c in map(chr, range(128)) if lane_of(c) == "_")

NOT_IN_THE_SCHEMA = {
    "vectors of one length": "all vectors of an observation have as many numbers as the first",
    "node_id that is the session_id": "it names the default node, and may then be any session_id",
    "timestamp": "a text that reads as no time is refused; ISO 8601 without an offset is read as UTC",
    "half of a surrogate pair": "no text or key may hold one",
    "nesting": "metadata may be nested 20 deep",
    "large numbers": "whole numbers in metadata have 64 bits at most, and other numbers fit into a double",
    "schema_version with a decimal point": "1.0 is refused",
    "bytes": f"an event takes {DEFAULT_LIMITS.max_event_bytes} bytes at most in the log (MAX_EVENT_BYTES)",
}
"""What the door refuses, or takes, and JSON Schema cannot say."""

RESULTS: dict[str, tuple[type[BaseModel], ...]] = {
    "observe": (results.Observed,),
    "learn": (results.Learned, results.Applied),
    "clear_stm": (results.Applied,),
    "predict": (results.Predicted,),
    "append_events": (results.Appended,),
    "session_status": (results.SessionStatus,),
}
"""Each public call and the models of its answer. A learn whose own answer has expired answers as ``Applied``."""


def event_schema() -> Json:
    """docs/schema/event.v<n>.schema.json: the standard event of the current version, as the door takes it."""
    schema = _plain(Event.model_json_schema())
    told = "\n\n".join(
        (
            schema["description"],
            "The limits are the defaults of the settings. Beside this schema the door refuses, or takes, what JSON "
            "Schema cannot say:\n" + "\n".join(f"- {name}: {why}" for name, why in NOT_IN_THE_SCHEMA.items()),
        )
    )
    schema |= {"title": f"Standard KATO event, version {SCHEMA_VERSION}", "description": told}
    fields = schema["properties"]
    text_id = {"type": "string", "minLength": 1, "maxLength": MAX_ID_CHARS}
    _add(fields, "session_id", text_id)
    control = r"(?![\s\S]*[\u0000-\u001f\u007f%s])"
    node = "^" + rf"(?!test[{_WRITTEN_AS_UNDERSCORE}])" + control % "'"
    _add(fields, "node_id", {"type": ["string", "null"], "minLength": 1, "maxLength": MAX_NODE_CHARS, "pattern": node})
    _add(fields, "event_id", {**text_id, "type": ["string", "null"], "pattern": "^" + control % ""})
    _add(fields, "timestamp", {"type": ["string", "null"]})
    _add(fields, "metadata", {"anyOf": [{"$ref": "#/$defs/JsonObject"}, {"type": "null"}], "default": {}})
    if SCHEMA_VERSION == 1:
        _add(fields, "schema_version", {"enum": [1, None], "default": 1})
    else:  # an event without a version is one of version 1
        _add(fields, "schema_version", {"const": SCHEMA_VERSION})
        schema["required"].append("schema_version")
    fields["position"] = {"readOnly": True, "description": "in events that are shown; the door leaves it out"}
    of_another_type = {"properties": {"event_type": {"enum": ["learn", "clear_stm"]}}, "required": ["event_type"]}
    schema |= {
        "if": of_another_type,
        "then": {"properties": {"observation": {"type": "null"}}},
        "else": {"properties": {"observation": {"type": "object"}}, "required": ["observation"]},
    }
    _observation(schema["$defs"]["Observation"])
    text = {"type": "string", "maxLength": 100_000}
    schema["$defs"]["JsonObject"] = {
        "type": "object",
        "propertyNames": {"maxLength": 1_000},
        "additionalProperties": {"$ref": "#/$defs/JsonValue"},
    }
    schema["$defs"]["JsonValue"] = {
        "anyOf": [
            {"type": ["null", "boolean", "number"]},
            text,
            {"type": "array", "items": {"$ref": "#/$defs/JsonValue"}},
            {"$ref": "#/$defs/JsonObject"},
        ]
    }
    return {"$schema": DIALECT, "$id": EVENT_FILE.rpartition("/")[2], **schema}


def _observation(schema: Json) -> None:
    fields, limits = schema["properties"], DEFAULT_LIMITS
    fields["strings"] |= {"maxItems": limits.max_strings}
    fields["strings"]["items"] |= {"maxLength": limits.max_string_chars}
    fields["vectors"] |= {"maxItems": limits.max_vectors}
    fields["vectors"]["items"] |= {"minItems": 1, "maxItems": limits.max_vector_length}
    fields["emotives"] |= {"maxProperties": limits.max_emotives, "propertyNames": {"maxLength": 200}}
    _add(fields, "metadata", {"$ref": "#/$defs/JsonObject", "default": {}})
    schema["anyOf"] = [
        {"required": [name], "properties": {name: {least: 1}}}
        for name, least in (("strings", "minItems"), ("vectors", "minItems"), ("emotives", "minProperties"))
    ]


def _add(fields: Json, name: str, schema: Json) -> None:
    """Replace a field's schema, which must be there: a field that the model has lost falls here."""
    fields[name] = schema | {key: value for key, value in fields[name].items() if key == "description"}


def results_schema() -> Json:
    """docs/schema/results.schema.json: a definition for each public call, and one for each model."""
    models = sorted({model for answer in RESULTS.values() for model in answer}, key=lambda model: model.__name__)
    _, schema = models_json_schema([(model, "validation") for model in models])
    definitions = _plain(schema["$defs"])
    calls = {}
    for call, answer in RESULTS.items():
        refs = [{"$ref": f"#/$defs/{model.__name__}"} for model in answer]
        calls[call] = refs[0] if len(refs) == 1 else {"anyOf": refs}
    return {
        "$schema": DIALECT,
        "$id": RESULTS_FILE.rpartition("/")[2],
        "title": "What the public calls of kato_tasks answer",
        "description": "$defs has the answer of each call under its name, such as #/$defs/observe. append_events "
        "answers with a list of what its definition says. An answer may have more keys, as KATO names them; predict "
        "with raw=True answers with KATO's own lists, which have no schema.",
        "$defs": calls | definitions,
    }


def _plain(schema: Any) -> Any:
    """The schema without pydantic's titles, which repeat the names of fields, and with plain descriptions."""
    if isinstance(schema, Mapping):
        kept = {key: _plain(value) for key, value in schema.items() if key != "title" or not isinstance(value, str)}
        if isinstance(kept.get("description"), str):
            kept["description"] = inspect.cleandoc(kept["description"]).replace("``", "`")
        return kept
    return [_plain(one) for one in schema] if isinstance(schema, list) else schema


def text_of(schema: Json) -> str:
    """A schema as the text of its file."""
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"
