"""Put pydantic's errors into plain sentences: where something is wrong, what it is, and what to do. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from kato_tasks.domain.known_names import place, shown
from kato_tasks.domain.observations import Misplaced
from kato_tasks.errors import InvalidEvent

_DUE: Mapping[str, str] = {
    "model_type": "an object",
    "model_attributes_type": "an object",
    "dict_type": "an object",
    "mapping_type": "an object",
    "list_type": "a list",
    "tuple_type": "a list",
    "string_type": "text",
    "float_type": "a number",
    "float_parsing": "a number",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_parsing_size": "a whole number",
    "int_from_float": "a whole number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
}
"""pydantic's types of errors → what should stand there."""
_WHEN = "ISO 8601 text such as 2025-11-13T10:30:00Z"


def kind_of(value: Any) -> str:
    """Return what a value is, by its type's name; ``None`` is ``null``, as in JSON."""
    return "null" if value is None else type(value).__name__


def not_text(value: Any) -> str:
    """Return what is wrong with an id that is not text."""
    if isinstance(value, bytes | bytearray):
        return f"must be text, not {kind_of(value)}; decode it first"
    advice = "; write str(…)" if isinstance(value, int | float | UUID) and not isinstance(value, bool) else ""
    return f"must be text, not {kind_of(value)}{advice}"


def invalid(exc: ValidationError, prefix: str = "") -> InvalidEvent:
    """Return the first problem of a pydantic error as InvalidEvent: its place under ``prefix``, and a plain reason."""
    first = exc.errors(include_url=False)[0]
    path: list[Any] = [prefix] if prefix else []
    path += first["loc"][:-2] if first["loc"][-1:] == ("[key]",) else first["loc"]
    cause = first.get("ctx", {}).get("error")
    if isinstance(cause, Misplaced):
        return InvalidEvent(place([*path, *cause.path]), cause.reason)
    return InvalidEvent(place(path) or "event", reason_of(first))


def reason_of(error: ErrorDetails) -> str:
    """Return what is wrong, without the place."""
    kind, value, context = error["type"], error["input"], error.get("ctx", {})
    if kind == "missing":
        return "is missing"
    if kind == "finite_number":
        return f"is {value}; only finite numbers are allowed"
    if kind == "literal_error":
        return f"must be {context['expected']}, not {shown(value)}"
    if kind.startswith(("datetime", "date_", "timezone")):
        text = isinstance(value, str)
        return f"must be {_WHEN}, not {shown(value) if text else kind_of(value)}"
    if error["loc"] and error["loc"][-1] == "[key]":
        return f"has a key that is no text: {shown(value)}"
    if kind in _DUE:
        return f"must be {_DUE[kind]}, {_instead(value, _DUE[kind])}"
    if kind == "value_error":
        return str(context.get("error", error["msg"]))
    return f"cannot be {shown(value)}"


def _instead(value: Any, due: str) -> str:
    """Return what stands there instead, and the remedy where there is a plain one."""
    said = f"not {kind_of(value)}"
    if due.endswith("number") and isinstance(value, int) and not isinstance(value, bool):
        return "and this one is too large"
    if due.endswith("number") and isinstance(value, str):
        return f"not the text {shown(value)}"
    if due == "a list" and isinstance(value, set | frozenset):
        return f"{said}, which has no order"
    if due == "an object" and isinstance(value, BaseModel):
        return f"{said}; give its model_dump()"
    if due == "text" and isinstance(value, bytes | bytearray):
        return f"{said}; decode it first"
    return said
