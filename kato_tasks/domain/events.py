"""The standard KATO event, its schema versions, and how it is read from a mapping.

Every source (task call, import, listener, HTTP) goes through ``parse_event``. A key that is not known is refused there,
warned of, or left out, as ``Limits.unknown_keys`` says (``keys.py``).
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator, model_validator

from kato_tasks.domain import upcasters
from kato_tasks.domain.ids import check_event_id, check_node_id, check_text_id
from kato_tasks.domain.keys import Warn, known_event
from kato_tasks.domain.observations import DEFAULT_LIMITS, Limits, Misplaced, Observation, check_json_value
from kato_tasks.domain.plain import plain
from kato_tasks.domain.wording import invalid, kind_of, not_text
from kato_tasks.errors import InvalidEvent

EventType = Literal["observation", "learn", "clear_stm"]


class Event(BaseModel):
    """An immutable fact in a session's history, in the form of the standard KATO event.

    A ``timestamp`` without an offset is read as UTC (the guide's producers send ``utcnow().isoformat()``). ``event_id``
    may be absent: the append gives one. ``data`` is what an event means to the application (``append_event``): plain
    JSON that is kept with the event and never sent to KATO.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    event_type: EventType = "observation"
    session_id: str = Field(description="the application's own name for the session")
    node_id: str | None = Field(
        default=None, description="whose patterns the session shares; by default a node of its own"
    )
    timestamp: datetime | None = Field(default=None, description="when it happened; by default the time of the append")
    observation: Observation | None = Field(
        default=None, description="what is observed; a learn and a clear_stm have none"
    )
    metadata: dict[str, Any] = Field(default_factory=dict, description="kept with the event; KATO does not see it")
    data: dict[str, Any] | None = Field(
        default=None, description="what an event-sourced application keeps with the event; KATO does not see it"
    )
    event_id: str | None = Field(default=None, description="the same id in the same session is the same event")
    schema_version: int = Field(
        default_factory=lambda: upcasters.SCHEMA_VERSION, description="which form the event has; absent is 1"
    )

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
        check_json_value(value)
        return value

    @field_validator("schema_version", mode="before")
    @classmethod
    def _schema_version_is_the_current_one(cls, value: Any) -> int:
        # parse_event has lifted every mapping by now; a model that is built by hand has the form of today.
        if value != upcasters.SCHEMA_VERSION or isinstance(value, bool):
            raise ValueError(f"must be {upcasters.SCHEMA_VERSION} in a model, not {value!r}; leave it out")
        return upcasters.SCHEMA_VERSION

    @field_validator("data", mode="before")
    @classmethod
    def _data_is_json(cls, value: Any) -> Any:
        check_json_value(value)
        return value

    @model_validator(mode="after")
    def _payload_fits_the_type(self) -> Event:
        if self.event_type == "observation" and self.observation is None:
            raise Misplaced(("observation",), "is missing; an event of type observation needs one")
        if self.event_type != "observation" and self.observation is not None:
            raise Misplaced(("observation",), f"an event of type {self.event_type} carries none; leave it out")
        return self


def _checked(check: Callable[[str, str], str], field: str, value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(not_text(value))
    try:
        return check(field, value)
    except InvalidEvent as exc:
        raise ValueError(exc.reason) from None


def check_session_id(value: Any) -> str:
    """Return a session_id that the store can carry. Raises InvalidEvent for anything else."""
    if not isinstance(value, str):
        raise InvalidEvent("session_id", not_text(value))
    return check_text_id("session_id", value)


def check_events(events: object) -> None:
    """Raise InvalidEvent for what is no list, or other iterable, of events."""
    if isinstance(events, Event | Mapping):
        raise InvalidEvent("events", "must be a list of events, not one event by itself; write [event]")
    if isinstance(events, str | bytes) or not isinstance(events, Iterable):
        raise InvalidEvent("events", f"must be a list of events, not {kind_of(events)}")


def parse_event(raw: Mapping[str, Any] | Event, limits: Limits = DEFAULT_LIMITS, warn: Warn | None = None) -> Event:
    """Return a valid event. Raises InvalidEvent, which names the field and what to do about it.

    Where ``limits.unknown_keys`` is "warn", ``warn`` is called with the field and the reason of each key that is not
    known. Tuples, read-only mappings and arrays of numbers are taken for what they stand for.
    """
    if isinstance(raw, Event):
        return raw
    if not isinstance(raw, Mapping):
        raise InvalidEvent("event", f"must be an object with the standard event's fields, not {kind_of(raw)}")
    known = known_event(upcasters.upcast(raw), limits.unknown_keys, warn)
    with contextlib.suppress(ValidationError):
        return Event.model_validate(known, context=limits)
    return _simplified(known, limits)


def _simplified(raw: Mapping[str, Any], limits: Limits) -> Event:
    try:
        return Event.model_validate(plain(raw), context=limits)
    except ValidationError as exc:
        refused = invalid(exc)
    # Raised out here, it does not hold pydantic's error as its context. That one holds frames, is unknown to the
    # garbage collector, and would never be freed by a caller that keeps what was refused.
    raise refused


def body_digest(event_type: str, kato_json: str) -> str:
    """Return sixteen hex digits that tell whether two events with one id have the same body."""
    return hashlib.blake2b(f"{event_type}\n{kato_json}".encode(), digest_size=8).hexdigest()
