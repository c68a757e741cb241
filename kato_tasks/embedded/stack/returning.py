"""Decide when a part of the stack that died is started again, and when to give up."""

from __future__ import annotations

from collections import deque

FIRST_PAUSE_SECONDS = 0.2
DEATHS = 5
WITHIN_SECONDS = 60.0


class Deaths:
    """Keeps the deaths of one part."""

    def __init__(self) -> None:
        self._moments: deque[float] = deque(maxlen=DEATHS)

    def add(self, now: float) -> float | None:
        """Note one more death at ``now`` (seconds of any clock).

        Returns the pause in seconds before the next start, or None to give up.
        """
        self._moments.append(now)
        lately = [moment for moment in self._moments if now - moment <= WITHIN_SECONDS]
        return None if len(lately) >= DEATHS else FIRST_PAUSE_SECONDS * 2 ** (len(lately) - 1)
