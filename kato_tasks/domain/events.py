"""The standard KATO event, its schema versions, and how it is read from a mapping.

``parse_event`` is the one door: every source (task call, import, listener, HTTP) goes through it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator, model_validator

from kato_tasks.domain.ids import check_event_id, check_node_id, check_text_id
from kato_tasks.domain.observations import DEFAULT_LIMITS, Limits, Observation, check_json_value
from kato_tasks.errors import InvalidEvent

SCHEMA_VERSION = 1
EventType = Literal["observation", "learn", "clear_stm"]

Upcaster = Callable[[dict[str, Any]], dict[str, Any]]
UPCASTERS: dict[int, Upcaster] = {}
"""``version → pure step to version + 1``. Version 1 is the current one, so there is none yet."""


class Event(BaseModel):
    """An immutable fact in a session's history, in the form of the standard KATO event.

    ``timestamp`` without an offset is read as UTC (the guide's producers send ``utcnow().isoformat()``).
    ``event_id`` may be absent: whoever appends gives one.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    event_type: EventType = "observation"
    session_id: str
    node_id: str | None = None
    timestamp: datetime | None = None
    observation: Observation | None = None
    metadata: dict[str, Any] = Field(default_factory=dict)
    event_id: str | None = None
    schema_version: int = SCHEMA_VERSION

    @field_validator("session_id", mode="before")
    @classmethod
    def _session_id_is_text(cls, value: Any) -> str:
        return _checked(check_text_id, "session_id", value)

    @field_validator("node_id", mode="before")
    @classmethod
    def _node_id_is_safe(cls, value: Any, info: ValidationInfo) -> str | None:
        # The session's own id means its default node, whose name at KATO is ours to make.
        if value is None or (isinstance(value, str) and value == info.data.get("session_id")):
            return value
        return _checked(lambda _, v: check_node_id(v), "node_id", value)

    @field_validator("event_id", mode="before")
    @classmethod
    def _event_id_is_safe(cls, value: Any) -> str | None:
        return None if value is None else _checked(lambda _, v: check_event_id(v), "event_id", value)

    @field_validator("timestamp", mode="before")
    @classmethod
    def _timestamp_is_no_bare_number(cls, value: Any) -> Any:
        if isinstance(value, bool | int | float):
            raise ValueError("must be ISO 8601 text such as 2025-11-13T10:30:00Z, not a number")
        return value

    @field_validator("timestamp")
    @classmethod
    def _timestamp_has_an_offset(cls, value: datetime | None) -> datetime | None:
        return value.replace(tzinfo=UTC) if value is not None and value.tzinfo is None else value

    @field_validator("metadata", mode="before")
    @classmethod
    def _metadata_is_json(cls, value: Any) -> Any:
        if value is None:
            return {}
        check_json_value(value, "metadata")
        return value

    @model_validator(mode="after")
    def _payload_fits_the_type(self) -> Event:
        if self.event_type == "observation" and self.observation is None:
            raise ValueError("observation: is missing; an event of type observation needs one")
        if self.event_type != "observation" and self.observation is not None:
            raise ValueError(f"observation: an event of type {self.event_type} carries none; leave it out")
        return self


def _checked(check: Callable[[str, str], str], field: str, value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"must be text, not {type(value).__name__}")
    try:
        return check(field, value)
    except InvalidEvent as exc:
        raise ValueError(exc.reason) from None


def upcast(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Lift an event of an older schema version to the current one, step by step."""
    event = dict(raw)
    version = event.get("schema_version", 1)
    if version is None:
        version = 1
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise InvalidEvent("schema_version", f"must be a whole number from 1, not {version!r}")
    if version > SCHEMA_VERSION:
        raise InvalidEvent(
            "schema_version",
            f"is {version}, and this kato_tasks knows versions up to {SCHEMA_VERSION}; upgrade kato_tasks first",
        )
    while version < SCHEMA_VERSION:
        event = UPCASTERS[version](event)
        version += 1
    event["schema_version"] = SCHEMA_VERSION
    return event


def parse_event(raw: Mapping[str, Any] | Event, limits: Limits = DEFAULT_LIMITS) -> Event:
    """A valid event, or InvalidEvent that names the field and what to do about it."""
    if isinstance(raw, Event):
        return raw
    if not isinstance(raw, Mapping):
        raise InvalidEvent("event", f"must be an object with the standard event's fields, not {type(raw).__name__}")
    try:
        return Event.model_validate(upcast(raw), context=limits)
    except ValidationError as exc:
        raise invalid(exc) from None


def parse_observation(raw: Mapping[str, Any] | Observation, limits: Limits = DEFAULT_LIMITS) -> Observation:
    """A valid observation, or InvalidEvent with a field under ``observation``."""
    if isinstance(raw, Observation):
        return raw
    if not isinstance(raw, Mapping):
        raise InvalidEvent("observation", f"must be an object, not {type(raw).__name__}")
    try:
        return Observation.model_validate(dict(raw), context=limits)
    except ValidationError as exc:
        raise invalid(exc, prefix="observation") from None


def invalid(exc: ValidationError, prefix: str = "") -> InvalidEvent:
    """The first problem of a pydantic error as ours: dotted field, plain reason."""
    first = exc.errors(include_url=False)[0]
    path = [str(part) for part in first["loc"]]
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "missing":
        message = "is missing"
    elif first["type"] == "finite_number":
        message = f"is {first['input']}; only finite numbers are allowed"
    elif not message[:1].islower():
        message = f"{message[:1].lower()}{message[1:]}"
        if first["type"] != "value_error":
            message = f"{message} (got {_shown(first['input'])})"
    if not path and message.startswith("observation: "):
        path, message = ["observation"], message.removeprefix("observation: ")
    field = ".".join(([prefix] if prefix else []) + path) or "event"
    return InvalidEvent(field, message)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def body_digest(event_type: str, kato_json: str) -> str:
    """Sixteen hex digits that tell whether two events with one id have the same body."""
    return hashlib.blake2b(f"{event_type}\n{kato_json}".encode(), digest_size=8).hexdigest()
