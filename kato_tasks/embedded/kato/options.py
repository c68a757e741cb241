"""How one embedded KATO behaves."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

RANKINGS = (
    "potential",
    "similarity",
    "evidence",
    "confidence",
    "snr",
    "fragmentation",
    "frequency",
    "entropy",
    "normalized_entropy",
    "global_normalized_entropy",
    "itfdf_similarity",
    "confluence",
    "predictive_information",
    "bayesian_posterior",
    "bayesian_prior",
    "bayesian_likelihood",
    "tfidf_score",
)
"""Fields of a prediction that every prediction has a number in, so that a server can rank by them."""


@dataclass(frozen=True, slots=True)
class Options:
    """Settings of one embedded KATO. Times are seconds."""

    latency: float = 0.0
    """Service time added to every call of KATO's API."""
    visible_after: float = 0.05
    """How late a new pattern is seen by predictions and pattern reads (KATO: 0.05 to 0.2)."""
    journal: int = 0
    """Newest observations kept per node, over all its sessions, in the order applied; 0 keeps none."""
    history: int = 1000
    """Newest observation ids kept per session."""
    data: Path | None = None
    """The directory that keeps sessions and patterns for the next start; None keeps them in memory only."""
    rank_sort_algo: str = "potential"
    """The field by which predictions are ranked: KATO's `RANK_SORT_ALGO`. What a session asks for is ignored."""

    def __post_init__(self) -> None:
        for name in ("latency", "visible_after", "journal", "history"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative")
        if self.rank_sort_algo not in RANKINGS:
            raise ValueError(f"rank_sort_algo is {self.rank_sort_algo!r}; predictions rank by {', '.join(RANKINGS)}")
