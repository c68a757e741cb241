"""What the tasks return, as type checkers see it: the plain JSON of the models in ``domain.results``.

A test keeps each of these in agreement with its model, which says what the fields mean. A result may have more keys
than these: KATO's own, under the names that KATO gives them.
"""

from __future__ import annotations

from typing import Any, Literal, NotRequired, TypedDict

from kato_tasks.domain.results import Events


class AppliedJson(TypedDict):
    """An event that is in KATO; what ``clear_stm`` returns."""

    status: Literal["okay", "learned", "too_short", "cleared", "applied"]
    session_id: str
    node_id: str
    event_id: str
    position: int


class ObservedJson(AppliedJson):
    """What ``observe`` returns.

    With the status ``applied`` the event is in KATO and its own answer has expired, so the last three are not there.
    """

    stm_length: NotRequired[int | None]
    time: NotRequired[int | None]
    unique_id: NotRequired[str | None]


class LearnedJson(AppliedJson):
    """What ``learn`` returns.

    With the status ``applied`` the learn is in KATO and its own answer has expired, so ``pattern_name`` is not there.
    """

    pattern_name: NotRequired[str]


class PredictionJson(TypedDict):
    """One prediction, always in this form; ``domain.results.Prediction`` says what each field means."""

    type: str
    name: str
    frequency: int
    emotives: dict[str, float]
    sequence: Events
    length: int
    matches: list[str]
    past: Events
    present: Events
    future: Events
    missing: Events
    extras: Events
    anomalies: list[object]
    potential: float
    evidence: float
    confidence: float
    similarity: float
    snr: float
    fragmentation: float
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
    weighted_similarity: float | None
    weighted_evidence: float | None
    weighted_confidence: float | None
    weighted_snr: float | None


class FuturePotentialJson(TypedDict):
    """A future, and how much all predictions that end in it speak for it."""

    future: Events
    aggregate_potential: float
    supporting_patterns: int
    total_weighted_frequency: float


class PredictedJson(TypedDict):
    """What ``predict`` returns: the predictions, best first."""

    session_id: str
    node_id: str
    event_id: str
    after: int
    predictions: list[PredictionJson]
    future_potentials: list[FuturePotentialJson]


class RawPredictedJson(TypedDict):
    """What ``predict`` returns with ``raw=True``: both lists are as KATO itself answered them."""

    session_id: str
    node_id: str
    event_id: str
    after: int
    predictions: list[dict[str, Any]]
    future_potentials: list[dict[str, Any]] | None


__all__ = [
    "AppliedJson",
    "FuturePotentialJson",
    "LearnedJson",
    "ObservedJson",
    "PredictedJson",
    "PredictionJson",
    "RawPredictedJson",
]
