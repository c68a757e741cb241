"""The JSON Schemas of docs/schema/: the standard event (``domain/event_schema.py``), and what public calls answer."""

from __future__ import annotations

import json

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from kato_tasks.domain import results
from kato_tasks.domain.event_schema import (
    DIALECT,
    EVENT_NAME,
    NOT_IN_THE_SCHEMA,
    Json,
    event_schema,
    plain_schema,
)

EVENT_FILE = f"docs/schema/{EVENT_NAME}"
RESULTS_FILE = "docs/schema/results.schema.json"

RESULTS: dict[str, tuple[type[BaseModel], ...]] = {
    "observe": (results.Observed,),
    "learn": (results.Learned, results.Applied),
    "clear_stm": (results.Applied,),
    "predict": (results.Predicted,),
    "append_events": (results.Appended,),
    "session_status": (results.SessionStatus,),
}
"""Each public call and the models of its answer. A learn whose own answer has expired answers as ``Applied``."""


def results_schema() -> Json:
    """docs/schema/results.schema.json: a definition for each public call, and one for each model."""
    models = sorted({model for answer in RESULTS.values() for model in answer}, key=lambda model: model.__name__)
    _, schema = models_json_schema([(model, "validation") for model in models])
    definitions = plain_schema(schema["$defs"])
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


def text_of(schema: Json) -> str:
    """A schema as the text of its file."""
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


__all__ = ["EVENT_FILE", "NOT_IN_THE_SCHEMA", "RESULTS", "RESULTS_FILE", "event_schema", "results_schema", "text_of"]
