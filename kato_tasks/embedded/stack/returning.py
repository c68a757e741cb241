"""When a part of the stack that died is started again, and when that is given up."""

from __future__ import annotations

from collections import deque

FIRST_PAUSE_SECONDS = 0.2
DEATHS = 5
WITHIN_SECONDS = 60.0


class Deaths:
    """Those of one part."""

    def __init__(self) -> None:
        self._moments: deque[float] = deque(maxlen=DEATHS)

    def add(self, now: float) -> float | None:
        """One more, at ``now`` (seconds of any clock): the pause before the next start, or None to give up."""
        self._moments.append(now)
        lately = [moment for moment in self._moments if now - moment <= WITHIN_SECONDS]
        return None if len(lately) >= DEATHS else FIRST_PAUSE_SECONDS * 2 ** (len(lately) - 1)
