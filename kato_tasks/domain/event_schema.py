"""The JSON Schema of the standard event, as the door takes it. Pure.

The model holds its rules in validators, which pydantic cannot turn into JSON Schema. What JSON Schema can say of those
rules is added here, from the constants that the validators use. ``NOT_IN_THE_SCHEMA`` names the rest, and a test
compares the schema's verdict on many events with the door's.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from typing import Any

from kato_tasks.domain.events import Event
from kato_tasks.domain.ids import MAX_ID_CHARS, MAX_NODE_CHARS, lane_of
from kato_tasks.domain.observations import DEFAULT_LIMITS
from kato_tasks.domain.upcasters import SCHEMA_VERSION

Json = dict[str, Any]
DIALECT = "https://json-schema.org/draft/2020-12/schema"
EVENT_NAME = f"event.v{SCHEMA_VERSION}.schema.json"

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


def event_schema() -> Json:
    """Return the schema of the standard event of the current version (docs/schema/event.v<n>.schema.json)."""
    schema = plain_schema(Event.model_json_schema())
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
    return {"$schema": DIALECT, "$id": EVENT_NAME, **schema}


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


def plain_schema(schema: Any) -> Any:
    """Return the schema without pydantic's titles, which repeat the names of fields, and with plain descriptions."""
    if isinstance(schema, Mapping):
        kept = {
            key: plain_schema(value) for key, value in schema.items() if key != "title" or not isinstance(value, str)
        }
        if isinstance(kept.get("description"), str):
            kept["description"] = inspect.cleandoc(kept["description"]).replace("``", "`")
        return kept
    return [plain_schema(one) for one in schema] if isinstance(schema, list) else schema
