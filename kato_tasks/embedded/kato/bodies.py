"""Request bodies: what KATO accepts, and the 422 it answers otherwise."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, NamedTuple

from kato_tasks.embedded.kato.answers import BadRequest, Invalid

Location = tuple[str | int, ...]
Errors = list[dict[str, Any]]

_ABSENT: Any = object()


class Observation(NamedTuple):
    """One observation as KATO takes it."""

    strings: list[str]
    vectors: list[list[float]]
    emotives: dict[str, float]
    metadata: dict[str, Any]
    unique_id: str | None


class Sequence(NamedTuple):
    """The body of an observe-sequence."""

    observations: list[Observation]
    learn_after_each: bool
    learn_at_end: bool
    clear_stm_between: bool


class NewSession(NamedTuple):
    """The body of a session's creation."""

    node_id: str
    ttl_seconds: int | None
    config: dict[str, Any] | None
    metadata: dict[str, Any]


def _error(kind: str, location: Location, message: str, value: Any) -> dict[str, Any]:
    return {"type": kind, "loc": ["body", *location], "msg": message, "input": value}


def _object(body: bytes) -> dict[str, Any]:
    """The JSON object in `body`; raises `Invalid` or, for bytes that are no UTF-8, `BadRequest`."""
    if not body:
        raise Invalid([_error("missing", (), "Field required", None)])
    try:
        value = json.loads(body)
    except UnicodeDecodeError as exc:
        raise BadRequest("There was an error parsing the body") from exc
    except json.JSONDecodeError as exc:
        error = _error("json_invalid", (exc.pos,), "JSON decode error", {})
        raise Invalid([{**error, "ctx": {"error": exc.msg}}]) from exc
    except RecursionError as exc:
        raise BadRequest("There was an error parsing the body") from exc
    if type(value) is not dict:
        message = "Input should be a valid dictionary or object to extract fields from"
        raise Invalid([_error("model_attributes_type", (), message, value)])
    return value


def _number(value: Any, at: Location, errors: Errors) -> float:
    if type(value) is float:
        return value
    if isinstance(value, int):
        return float(value)
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            message = "Input should be a valid number, unable to parse string as a number"
            errors.append(_error("float_parsing", at, message, value))
            return 0.0
    errors.append(_error("float_type", at, "Input should be a valid number", value))
    return 0.0


def _list(value: Any, at: Location, errors: Errors) -> list[Any]:
    if type(value) is list:
        return value
    errors.append(_error("list_type", at, "Input should be a valid list", value))
    return []


def _dict(value: Any, at: Location, errors: Errors) -> dict[str, Any]:
    if type(value) is dict:
        return value
    errors.append(_error("dict_type", at, "Input should be a valid dictionary", value))
    return {}


def _flag(body: dict[str, Any], name: str, errors: Errors) -> bool:
    value = body.get(name, False)
    if isinstance(value, bool):
        return value
    errors.append(_error("bool_parsing", (name,), "Input should be a valid boolean", value))
    return False


def _text(value: Any, at: Location, errors: Errors) -> str:
    if type(value) is str:
        return value
    errors.append(_error("string_type", at, "Input should be a valid string", value))
    return ""


def _observation(body: Any, at: Location, errors: Errors) -> Observation:
    if type(body) is not dict:
        message = "Input should be a valid dictionary or object to extract fields from"
        errors.append(_error("model_attributes_type", at, message, body))
        return Observation([], [], {}, {}, None)
    get: Callable[[str, Any], Any] = body.get
    strings = get("strings", _ABSENT)
    if strings is _ABSENT:
        strings = []
    else:
        strings = _list(strings, (*at, "strings"), errors)
        for index, string in enumerate(strings):
            if type(string) is not str:
                _text(string, (*at, "strings", index), errors)
    vectors = get("vectors", _ABSENT)
    if vectors is _ABSENT or vectors == []:
        vectors = []
    else:
        vectors = [
            [
                _number(number, (*at, "vectors", i, j), errors)
                for j, number in enumerate(_list(vector, (*at, "vectors", i), errors))
            ]
            for i, vector in enumerate(_list(vectors, (*at, "vectors"), errors))
        ]
    emotives = get("emotives", _ABSENT)
    if emotives is _ABSENT or emotives == {}:
        emotives = {}
    else:
        emotives = {
            name: _number(value, (*at, "emotives", name), errors)
            for name, value in _dict(emotives, (*at, "emotives"), errors).items()
        }
    metadata = get("metadata", _ABSENT)
    metadata = {} if metadata is _ABSENT else _dict(metadata, (*at, "metadata"), errors)
    unique_id = get("unique_id", None)
    if unique_id is not None:
        unique_id = _text(unique_id, (*at, "unique_id"), errors)
    return Observation(strings, vectors, emotives, metadata, unique_id)


def read_observation(body: bytes) -> Observation:
    """The body of an observe. A client's `unique_id` is ignored there, as KATO ignores it."""
    errors: Errors = []
    observation = _observation(_object(body), (), errors)
    if errors:
        raise Invalid(errors)
    return observation._replace(unique_id=None)


def read_sequence(body: bytes) -> Sequence:
    """The body of an observe-sequence."""
    value = _object(body)
    errors: Errors = []
    given = value.get("observations", _ABSENT)
    if given is _ABSENT:
        errors.append(_error("missing", ("observations",), "Field required", value))
        given = []
    items = [
        _observation(item, ("observations", index), errors)
        for index, item in enumerate(_list(given, ("observations",), errors))
    ]
    flags = [_flag(value, name, errors) for name in ("learn_after_each", "learn_at_end", "clear_stm_between")]
    if errors:
        raise Invalid(errors)
    return Sequence(items, *flags)


def read_new_session(body: bytes) -> NewSession:
    """The body of a session's creation; fields that KATO does not know are ignored."""
    value = _object(body)
    errors: Errors = []
    if "node_id" in value:
        node_id = _text(value["node_id"], ("node_id",), errors)
    else:
        node_id = ""
        errors.append(_error("missing", ("node_id",), "Field required", value))
    ttl = value.get("ttl_seconds")
    if ttl is not None and type(ttl) is not int:
        if type(ttl) is float and ttl.is_integer():
            ttl = int(ttl)
        else:
            errors.append(_error("int_type", ("ttl_seconds",), "Input should be a valid integer", ttl))
    config = value.get("config")
    if config is not None:
        config = _dict(config, ("config",), errors)
    metadata = value.get("metadata")
    metadata = {} if metadata is None else _dict(metadata, ("metadata",), errors)
    if errors:
        raise Invalid(errors)
    return NewSession(node_id, ttl, config, metadata)


def read_config(body: bytes) -> dict[str, Any]:
    """The changes in a configuration's update: the object under `config`, or the whole body."""
    value = _object(body)
    changes = value.get("config", value)
    errors: Errors = []
    changes = _dict(changes, ("config",), errors)
    if errors:
        raise Invalid(errors)
    return changes
