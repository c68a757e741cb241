"""The models of what the public calls answer. They are sent as plain JSON."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True, extra="allow")


class Applied(_Answer):
    """The result of a task whose event is in KATO."""

    status: Literal["okay", "learned", "too_short", "cleared", "applied"]
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
    """The result of a learn.

    Its status is ``too_short`` where the STM held one symbol in all. KATO makes no pattern of that, so ``pattern_name``
    is empty; the STM was emptied all the same.
    """

    pattern_name: str

    @staticmethod
    def status_of(pattern_name: str) -> Literal["learned", "too_short"]:
        """Return the status of a learn that KATO carried out, by the name that it gave the pattern."""
        return "learned" if pattern_name else "too_short"


Events = list[list[str]]
"""Events in their order, each the list of its symbols."""


class Prediction(_Answer):
    """A learned pattern that resembles the STM, and what comes next according to it.

    ``past``, ``present`` and ``future`` are whole events, and together the whole ``sequence``. Figures that KATO does
    not give for an STM of one symbol are None then. What KATO gives beyond these fields is there under its own name.
    """

    type: str
    name: str = Field(description="the pattern's name without PTRN|")
    frequency: int = Field(description="how often the pattern was learned")
    emotives: dict[str, float] = Field(description="mean of what was felt in the pattern's last learnings")
    sequence: Events = Field(description="the whole pattern")
    length: int = Field(description="symbols in the whole pattern")
    matches: list[str] = Field(description="the symbols of the STM that the pattern has too, in its order")
    past: Events = Field(description="the pattern's events before the first one that matches")
    present: Events = Field(description="the pattern's events from the first that matches to the last")
    future: Events = Field(description="the pattern's events after the last one that matches: what comes next")
    missing: Events = Field(description="for each event of present, its symbols that were not observed")
    extras: Events = Field(description="for each event of the STM, its symbols that present does not have")
    anomalies: list[Any] = Field(description="near matches, with fuzzy_token_threshold")
    potential: float = Field(description="how good the prediction is; KATO ranks by it unless told otherwise")
    evidence: float = Field(description="share of the pattern's symbols that matched")
    confidence: float = Field(description="share of the symbols of present that matched")
    similarity: float = Field(description="of the STM to the whole pattern, 0 to 1")
    snr: float = Field(description="matches against extras, -1 to 1")
    fragmentation: float = Field(description="runs of matches, less one")
    confluence: float | None
    predictive_information: float | None
    entropy: float | None
    normalized_entropy: float | None
    global_normalized_entropy: float | None
    itfdf_similarity: float | None
    tfidf_score: float | None
    pattern_probability: float | None
    weighted_strength: float | None
    bayesian_posterior: float | None
    bayesian_prior: float | None
    bayesian_likelihood: float | None
    weighted_similarity: float | None = Field(description="None unless an affinity_emotive is set, as the next three")
    weighted_evidence: float | None
    weighted_confidence: float | None
    weighted_snr: float | None


class FuturePotential(_Answer):
    """A future, with the weight of all predictions that end in it."""

    future: Events
    aggregate_potential: float = Field(description="its share of all futures, 0 to 1")
    supporting_patterns: int
    total_weighted_frequency: float = Field(description="sum of frequency times similarity")


class Predicted(_Answer):
    """Predictions as of every event of the session that was accepted before the call, best first.

    ``predict(session_id, raw=True)`` answers with the same fields, but with ``predictions`` and ``future_potentials``
    as KATO itself answered them, which is also what the store keeps.
    """

    session_id: str
    node_id: str
    event_id: str
    after: int = Field(description="the position whose effect is the newest in these predictions")
    predictions: list[Prediction]
    future_potentials: list[FuturePotential] = Field(description="empty for an STM of one symbol")


class Appended(BaseModel):
    """What became of one event at its append.

    ``position`` is its number in the session's log. It is None for a duplicate that is known only by the high-water
    mark of its source, and for an event that was refused: ``error`` says why then, and the event is a dead letter.
    """

    model_config = ConfigDict(frozen=True)

    event_id: str
    session_id: str
    position: int | None
    duplicate: bool
    error: str | None = None


class BindingStatus(BaseModel):
    """Which KATO session serves a session now.

    ``time`` is the session's count of observes since its STM was last emptied, as the callers of its tasks are told it.
    KATO's own count can be ahead where no clear-stm was needed.
    """

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
    reordered_events: int = 0
    """how many events with vectors KATO holds in another order than it made them in (docs/reconcile.md)"""
    attempts: int = 0
    last_error: str | None = None
    due_in_seconds: float | None = None
    last_event_at: str | None = None
    """when its newest event was appended, in ISO 8601 and UTC; None before its first"""
    generation: str = ""
    """the node that KATO is told for all sessions of the lane, if a replay switched it to one"""
