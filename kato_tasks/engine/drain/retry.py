"""How long to wait before the next attempt. Pure."""

from __future__ import annotations

import random
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Exponential backoff with full jitter: a random wait up to ``base_seconds · 2^attempt``, at most ``cap_seconds``.

    ``max_retries`` is how often the call of one event is tried again. ``circuit_seconds`` is about how long a lane
    waits while the circuit is open, ``predict_seconds`` how long a predict that fails holds up its session, and
    ``max_rebuilds`` how often in a row a session may make no progress though KATO answers.

    Full jitter spreads the retries of many sessions evenly (M. Brooker, "Exponential Backoff And Jitter", 2015).
    """

    base_seconds: float = 1.0
    cap_seconds: float = 60.0
    max_retries: int = 8
    circuit_seconds: float = 2.0
    predict_seconds: float = 5.0
    max_rebuilds: int = 50
    rng: random.Random = field(default_factory=random.Random, compare=False)

    def wait_ms(self, attempt: int, retry_after: float | None = None) -> int:
        """Return how many ms to wait after attempt number ``attempt`` (from 0), at least ``retry_after`` seconds."""
        ceiling = min(self.cap_seconds, self.base_seconds * 2.0 ** min(attempt, 30))
        wait = self.rng.uniform(0, ceiling)
        if retry_after is not None:
            wait += min(retry_after, self.cap_seconds)
        return max(1, int(wait * 1000))

    def circuit_ms(self) -> int:
        """Return how many ms to wait while the circuit is open. It does not grow, since the breaker spares KATO."""
        return int(self.rng.uniform(0.5, 2.5) * self.circuit_seconds * 1000)
