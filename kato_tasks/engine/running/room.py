"""Compute how many more calls a KATO instance can be given. Lanes that would only wait for KATO stay in the store.

KATO answers at its own pace. If a process leased lanes faster than that, the lanes would wait for a connection while it
held their leases, and it would give them back unsent in the end. A process therefore counts the calls that it has under
way at each instance, and leases more lanes only while there is room. An instance that hangs is not counted, because it
would keep the lanes of the other instances waiting.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

HANGS_SECONDS = 0.5
"""An instance that has calls under way and has answered none of them for this long counts as one that hangs."""
LATELY_SECONDS = 5.0
"""An instance that answered within this time works. A call waits for a connection for this long."""


@dataclass(slots=True)
class _Instance:
    under_way: int = 0
    alive: float = 0.0
    """when (monotonic seconds) it last answered, or was given a call while it had none under way"""
    second: int = 0
    answers: int = 0
    answers_before: int = 0
    """how often it answered in the second before ``second``; ``answers`` counts those in ``second`` itself"""

    def record_answer(self, now: float) -> None:
        """Count an answer at ``now``, in monotonic seconds."""
        self.alive = now
        if int(now) != self.second:
            self.answers_before = self.pace(now)
            self.second, self.answers = int(now), 0
        self.answers += 1

    def pace(self, now: float) -> int:
        """Return how many answers the instance lately gave in one second."""
        age = int(now) - self.second
        return max(self.answers, self.answers_before) if age == 0 else self.answers if age == 1 else 0


class Room:
    """Counts the calls that one process has under way at each instance, from all its drivers. Thread-safe.

    An instance has room for as many calls as there are ``connections`` to it. Besides, as many calls as it answers in a
    second may wait for a connection. It never has room for more than ``most`` calls in all. ``clock`` returns monotonic
    seconds.
    """

    def __init__(self, most: int, connections: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._most = most
        self._connections = connections
        self._changed = threading.Condition()
        self._waiting = 0
        self._instances: dict[str, _Instance] = {}

    def record_begin(self, url: str) -> None:
        """Count a call that begins at this instance."""
        with self._changed:
            instance = self._instance(url)
            if not instance.under_way:
                instance.alive = self._clock()
            instance.under_way += 1

    def record_end(self, url: str, calls: int = 1, *, answered: bool) -> None:
        """Count ``calls`` calls that ended at this instance: it ``answered`` them, or they were given up."""
        with self._changed:
            instance = self._instance(url)
            instance.under_way -= calls
            if answered:
                instance.record_answer(self._clock())
            if self._waiting:
                self._changed.notify_all()

    def _instance(self, url: str) -> _Instance:
        instance = self._instances.get(url)
        if instance is None:
            instance = self._instances[url] = _Instance()
        return instance

    def is_answering(self, url: str) -> bool:
        """Return whether this instance has answered within ``LATELY_SECONDS``, or has no call to answer."""
        with self._changed:
            instance = self._instances.get(url)
            return instance is None or _is_answering(instance, self._clock(), LATELY_SECONDS)

    def silence(self, url: str) -> tuple[int, float]:
        """Return how many calls this instance has under way, and for how many seconds it has answered none of them."""
        with self._changed:
            instance = self._instances.get(url)
            if instance is None or instance.under_way <= 0:
                return 0, 0.0
            return instance.under_way, self._clock() - instance.alive

    def calls_left(self) -> int:
        """Return how many calls could begin at all instances that answer, or ``most`` if no instance answers."""
        with self._changed:
            return self._count_left()[0]

    def lanes_to_lease(self, most: int) -> int:
        """Return how many lanes to lease now: at most ``most``, and either 0 or at least half of what fits."""
        with self._changed:
            return self._count_lanes(most)

    def wait_for_lanes(self, most: int, until: float) -> int:
        """Wait for room until ``until`` (monotonic seconds), and return what ``lanes_to_lease`` returns then."""
        with self._changed:
            while not (lanes := self._count_lanes(most)) and (seconds := until - time.monotonic()) > 0:
                self._waiting += 1
                try:
                    self._changed.wait(seconds)
                finally:
                    self._waiting -= 1
            return lanes

    def _count_lanes(self, most: int) -> int:
        left, of = self._count_left()
        return min(most, left) if left >= max(1, min(most, of) // 2) else 0

    def _count_left(self) -> tuple[int, int]:
        """Return how many calls could begin now, and how many could begin if no call were under way."""
        now = self._clock()
        answering = [instance for instance in self._instances.values() if _is_answering(instance, now)]
        if not answering:
            return self._most, self._most
        of = sum(min(self._most, self._connections + instance.pace(now)) for instance in answering)
        return of - sum(instance.under_way for instance in answering), of


def _is_answering(instance: _Instance, now: float, lately: float = HANGS_SECONDS) -> bool:
    return instance.under_way <= 0 or now - instance.alive < lately
