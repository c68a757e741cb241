"""What the public calls answer: documented models, sent as plain JSON."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True, extra="allow")


class Applied(_Answer):
    """An event that is in KATO: the result of a task."""

    status: Literal["okay", "learned", "cleared", "applied"]
    session_id: str
    node_id: str
    event_id: str
    position: int


class Observed(Applied):
    """KATO's answer to an observation, under the application's own session id.

    ``time`` is KATO's count of observes in its session; ``unique_id`` is the event_id.
    """

    stm_length: int | None = None
    time: int | None = None
    unique_id: str | None = None


class Learned(Applied):
    """``pattern_name`` is empty when the STM held one string in all: KATO stores nothing then."""

    pattern_name: str


class Predicted(_Answer):
    """Predictions as of every event of the session that was accepted before the call."""

    session_id: str
    node_id: str
    event_id: str
    after: int = Field(description="the position whose effect is the newest in these predictions")
    predictions: list[dict[str, Any]]
    future_potentials: list[dict[str, Any]]


class Appended(BaseModel):
    """What became of one event at its append.

    ``position`` is its number in the session's log (None: a duplicate known only by its source's mark, or an
    event that was refused; then ``error`` says why and it was kept as a dead letter).
    """

    model_config = ConfigDict(frozen=True)

    event_id: str
    session_id: str
    position: int | None
    duplicate: bool
    error: str | None = None


class BindingStatus(BaseModel):
    """Which KATO session serves a session now."""

    kato_url: str
    kato_session_id: str
    node: str
    time: int
    stm_length: int
    epoch: int


class SessionStatus(BaseModel):
    """A session as ``kato-tasks sessions show`` prints it."""

    session_id: str
    node_id: str
    lane: str
    head: int
    cursor: int
    state: Literal["idle", "pending", "running", "waiting", "parked"]
    binding: BindingStatus | None
    parked: dict[str, Any] | None = None
    attempts: int = 0
    last_error: str | None = None
    due_in_seconds: float | None = None
