"""What a listener has done so far, as its log, ``kato-tasks status`` and health checks show it."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field

RATE_SECONDS = 10.0
"""Rates are those of the last so many seconds."""


@dataclass(slots=True)
class ListenerFigures:
    """Counts since the start; ``lag`` is None while it is not known."""

    read: int = 0
    appended: int = 0
    duplicates: int = 0
    dead_letters: int = 0
    passed_over: int = 0
    lag: int | None = None
    _history: deque[tuple[float, int]] = field(default_factory=deque)

    def count(self, read: int, appended: int, duplicates: int, dead_letters: int, passed_over: int) -> None:
        """Count what became of one batch of messages."""
        self.read += read
        self.appended += appended
        self.duplicates += duplicates
        self.dead_letters += dead_letters
        self.passed_over += passed_over

    def rate(self) -> float:
        """Return how many messages were read per second lately."""
        now = time.monotonic()
        self._history.append((now, self.read))
        while len(self._history) > 2 and now - self._history[0][0] > RATE_SECONDS:
            self._history.popleft()
        since, then = self._history[0]
        return (self.read - then) / (now - since) if now > since else 0.0
