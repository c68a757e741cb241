"""Hold the options that say how one embedded KATO behaves."""

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
"""The fields by which a server can rank predictions: every prediction has a number in each of them."""


@dataclass(frozen=True, slots=True)
class Options:
    """Holds the options of one embedded KATO. Times are in seconds. Raises ValueError for a value that cannot work."""

    latency: float = 0.0
    """The service time that is added to every call of KATO's API."""
    visible_after: float = 0.05
    """The time after which predictions and pattern reads see a new pattern (0.05 to 0.2 with KATO)."""
    journal: int = 0
    """How many of a node's newest observations are kept, over all its sessions and in the order of their application.

    With 0, none is kept."""
    history: int = 1000
    """How many of a session's newest observation ids are kept."""
    data: Path | None = None
    """The directory that keeps sessions and patterns for the next start. None keeps them in memory only."""
    rank_sort_algo: str = "potential"
    """The field by which predictions are ranked: KATO's ``RANK_SORT_ALGO``. What a session asks for is ignored."""

    def __post_init__(self) -> None:
        for name in ("latency", "visible_after", "journal", "history"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative")
        if self.rank_sort_algo not in RANKINGS:
            raise ValueError(f"rank_sort_algo is {self.rank_sort_algo!r}; predictions rank by {', '.join(RANKINGS)}")
