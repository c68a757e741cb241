"""How one embedded KATO behaves."""

from __future__ import annotations

from dataclasses import dataclass


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

    def __post_init__(self) -> None:
        for name in ("latency", "visible_after", "journal", "history"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative")
