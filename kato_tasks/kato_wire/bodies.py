"""Read request bodies as KATO does, and say what is wrong with those that it answers with 422.

KATO reads its bodies with pydantic, which has rules (``"yes"`` is true, ``1.0`` is a whole number) and sentences of its
own. A body of exactly the right form is therefore read here, which is faster, and every other one by pydantic with the
same models.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from email.message import Message
from typing import Any, NamedTuple, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError

from kato_tasks.kato_wire.answers import BadRequest, Invalid, ServerError

_UNREADABLE = "There was an error parsing the body"
_ABSENT: Any = object()
T = TypeVar("T")


class Observation(NamedTuple):
    """Holds one observation as KATO takes it."""

    strings: list[str]
    vectors: list[list[float]]
    emotives: dict[str, float]
    metadata: dict[str, Any]
    unique_id: str | None


class Sequence(NamedTuple):
    """Holds the body of an observe-sequence."""

    observations: list[Observation]
    learn_after_each: bool
    learn_at_end: bool
    clear_stm_between: bool


class NewSession(NamedTuple):
    """Holds the body of a session's creation."""

    node_id: str
    ttl_seconds: int | None
    config: dict[str, Any] | None
    metadata: dict[str, Any]


class _Single(BaseModel):
    strings: list[str] = []
    vectors: list[list[float]] = []
    emotives: dict[str, float] = {}
    metadata: dict[str, Any] = {}

    def read(self) -> Observation:
        return Observation(self.strings, self.vectors, self.emotives, self.metadata, None)


class _Item(_Single):
    unique_id: str | None = None

    def read(self) -> Observation:
        return super().read()._replace(unique_id=self.unique_id)


class _Items(BaseModel):
    observations: list[_Item]
    learn_after_each: bool = False
    learn_at_end: bool = False
    clear_stm_between: bool = False


class _NewSession(BaseModel):
    node_id: str
    metadata: dict[str, Any] | None = {}
    ttl_seconds: int | None = None
    config: dict[str, Any] | None = None


_SINGLE = TypeAdapter(_Single)
_ITEMS = TypeAdapter(_Items)
_NEW_SESSION = TypeAdapter(_NewSession)
_OBJECT = TypeAdapter(dict[str, Any])
_WHOLE = TypeAdapter(int)


def read_observation(body: bytes, content_type: bytes) -> Observation:
    """Read the body of an observe. A client's ``unique_id`` is ignored, as KATO ignores it."""
    value = _json(body, content_type)
    return _plain(value, named=False) or _checked(_SINGLE, value).read()


def read_sequence(body: bytes, content_type: bytes) -> Sequence:
    """Read the body of an observe-sequence."""
    value = _json(body, content_type)
    if type(value) is dict and type(given := value.get("observations")) is list:
        each = value.get("learn_after_each", False)
        end = value.get("learn_at_end", False)
        apart = value.get("clear_stm_between", False)
        if type(each) is bool and type(end) is bool and type(apart) is bool:
            items: list[Observation] = []
            for one in given:
                item = _plain(one, named=True)
                if item is None:
                    break
                items.append(item)
            else:
                return Sequence(items, each, end, apart)
    read = _checked(_ITEMS, value)
    items = [item.read() for item in read.observations]
    return Sequence(items, read.learn_after_each, read.learn_at_end, read.clear_stm_between)


def read_new_session(body: bytes, content_type: bytes) -> NewSession:
    """Read the body of a session's creation. Fields that KATO does not know are ignored."""
    value = _json(body, content_type)
    if type(value) is dict and type(node_id := value.get("node_id")) is str:
        ttl, config, metadata = value.get("ttl_seconds"), value.get("config"), value.get("metadata")
        plain = (type(ttl) is int or ttl is None) and (type(config) is dict or config is None)
        if plain and (type(metadata) is dict or metadata is None):
            return NewSession(node_id, ttl, config, metadata or {})
    read = _checked(_NEW_SESSION, value)
    return NewSession(read.node_id, read.ttl_seconds, read.config, read.metadata or {})


def read_config(body: bytes, content_type: bytes) -> Any:
    """Return the changes in a configuration's update: whatever is under ``config``, or else the whole body."""
    value = _checked(_OBJECT, _json(body, content_type))
    return value.get("config", value)


def read_whole(text: str, *location: str) -> int:
    """Return a whole number from a query. Raises ``Invalid`` if ``text`` is not a whole number."""
    return _checked(_WHOLE, text, location)


def _plain(item: Any, *, named: bool) -> Observation | None:
    """Return ``item`` as an observation, or None if it isn't plainly one, so that pydantic must look at it."""
    if type(item) is not dict:
        return None
    strings = item.get("strings", _ABSENT)
    if strings is _ABSENT:
        strings = []
    elif type(strings) is not list:
        return None
    for string in strings:
        if type(string) is not str:
            return None
    unique_id = item.get("unique_id") if named else None
    if unique_id is not None and type(unique_id) is not str:
        return None
    emotives = item.get("emotives", _ABSENT)
    if emotives is _ABSENT:
        emotives = {}
    elif type(emotives) is not dict or (emotives and not _all_floats(emotives.values())):
        return None
    metadata = item.get("metadata", _ABSENT)
    if metadata is _ABSENT:
        metadata = {}
    elif type(metadata) is not dict:
        return None
    vectors = item.get("vectors", _ABSENT)
    if vectors is _ABSENT:
        vectors = []
    elif type(vectors) is not list or (vectors and not all(map(_is_vector, vectors))):
        return None
    return Observation(strings, vectors, emotives, metadata, unique_id)


def _is_vector(value: Any) -> bool:
    return type(value) is list and _all_floats(value)


def _all_floats(values: Iterable[Any]) -> bool:
    return all(type(value) is float for value in values)


def _json(body: bytes, content_type: bytes) -> Any:
    """Return what ``body`` holds. A body whose content type is not JSON is returned itself; no model takes it."""
    if not body:
        raise Invalid([{"type": "missing", "loc": ["body"], "msg": "Field required", "input": None}])
    if content_type != b"application/json" and content_type and not _is_json(content_type):
        return body
    try:
        value = json.loads(body)
    except json.JSONDecodeError as exc:
        error = {"type": "json_invalid", "loc": ["body", exc.pos], "msg": "JSON decode error", "input": {}}
        raise Invalid([{**error, "ctx": {"error": exc.msg}}]) from exc
    except (ValueError, RecursionError) as exc:
        raise BadRequest(_UNREADABLE) from exc
    if value is None:
        raise Invalid([{"type": "missing", "loc": ["body"], "msg": "Field required", "input": None}])
    return value


def _is_json(content_type: bytes) -> bool:
    header = Message()
    header["content-type"] = content_type.decode("latin-1")
    subtype = header.get_content_subtype()
    return header.get_content_maintype() == "application" and (subtype == "json" or subtype.endswith("+json"))


def _checked(adapter: TypeAdapter[T], value: Any, location: tuple[str, ...] = ("body",)) -> T:
    try:
        return adapter.validate_python(value, from_attributes=True)
    except ValidationError as exc:
        errors: list[dict[str, Any]] = []
        for error in exc.errors(include_url=False):
            given = error["input"]
            if isinstance(given, bytes):
                try:
                    given = given.decode()
                except UnicodeDecodeError:
                    raise ServerError("KATO quotes what it can't decode") from None
            shown = {"type": error["type"], "loc": [*location, *error["loc"]], "msg": error["msg"], "input": given}
            errors.append(shown | ({"ctx": error["ctx"]} if "ctx" in error else {}))
        raise Invalid(errors) from exc
