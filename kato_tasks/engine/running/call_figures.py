"""Count this process's calls to KATO, by instance and route: how they ended, and how long they took.

The counts go to the store now and then, together with those of all other processes. Monitoring reads them there.
They serve to look at, not to decide by: a process that is killed takes the counts of its last seconds with it.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Sequence

TELL_SECONDS = 5.0
"""How often a process that calls KATO tells the store of it, at most."""
BOUNDS_MS = (5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000)
"""Upper bounds of the ranges by which durations are counted; one more range has no bound."""


class CallFigures:
    """Counts calls. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._told_at = time.monotonic()

    def note(self, url: str, route: str, status: int | None, seconds: float) -> None:
        """Count one call that was sent; ``status`` is None if no answer came."""
        ms = seconds * 1000
        bound = next((str(bound) for bound in BOUNDS_MS if ms <= bound), "more")
        call = f"{url}\n{route}"
        with self._lock:
            self._counts[f"{call}\n{ending_of(status)}"] += 1
            self._counts[f"{call}\nms"] += round(ms)
            self._counts[f"{call}\nto {bound}"] += 1

    def take_due(self) -> Sequence[tuple[str, int]]:
        """Return what to add to the store's counts, by name, if that is due, and begin again with nothing."""
        with self._lock:
            if not self._counts or time.monotonic() - self._told_at < TELL_SECONDS:
                return ()
            taken, self._counts = self._counts, Counter()
            self._told_at = time.monotonic()
        return tuple(taken.items())


def ending_of(status: int | None) -> str:
    """Return how a call ended: the class of its answer's status (``2xx``), or ``none`` if it had no answer."""
    return "none" if status is None else f"{status // 100}xx"


__all__ = ["BOUNDS_MS", "CallFigures"]
