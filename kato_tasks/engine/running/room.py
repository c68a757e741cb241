"""How much more a KATO instance can be given. Lanes that would only wait for it in a process's hands stay in the store.

KATO answers at its own pace. Whoever leases lanes faster than that makes them wait for a connection, holds their leases
meanwhile, and gives them back unsent in the end. So a process counts the calls that it has under way at each instance,
and leases further lanes only while there is room. An instance that hangs has no say in that: it would keep the lanes
of the others waiting.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

HANGS_SECONDS = 0.5
"""An instance that has calls under way and answered none of them for so long hangs, as far as room is concerned."""
LATELY_SECONDS = 5.0
"""An instance that answered since then works; for so long a call waits for a connection."""


@dataclass(slots=True)
class _Instance:
    under_way: int = 0
    alive: float = 0.0
    """when (monotonic seconds) it answered last, or was given a call while it had none"""
    second: int = 0
    answers: int = 0
    answers_before: int = 0
    """how often it answered in that second, and in the one before"""

    def answered(self, now: float) -> None:
        self.alive = now
        if int(now) != self.second:
            self.answers_before = self.pace(now)
            self.second, self.answers = int(now), 0
        self.answers += 1

    def pace(self, now: float) -> int:
        """Answers in a second, of late."""
        age = int(now) - self.second
        return max(self.answers, self.answers_before) if age == 0 else self.answers if age == 1 else 0


class Room:
    """The calls that one process has under way at each instance, from all its drivers. Thread-safe.

    An instance has room for as many calls as there are connections, which are in KATO's hands, and for as many more as
    it answers in a second, which wait for a connection; for ``most`` at all.
    """

    def __init__(self, most: int, connections: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._most = most
        self._connections = connections
        self._changed = threading.Condition()
        self._instances: dict[str, _Instance] = {}

    def begun(self, url: str) -> None:
        """A call to this instance was begun."""
        with self._changed:
            instance = self._instances.setdefault(url, _Instance())
            if not instance.under_way:
                instance.alive = self._clock()
            instance.under_way += 1

    def ended(self, url: str, calls: int = 1, *, answered: bool) -> None:
        """Calls to this instance ended: it answered them, or they were given up."""
        with self._changed:
            instance = self._instances.setdefault(url, _Instance())
            instance.under_way -= calls
            if answered:
                instance.answered(self._clock())
            self._changed.notify_all()

    def answers(self, url: str) -> bool:
        """Whether this instance answered lately, or has nothing to answer."""
        with self._changed:
            instance = self._instances.get(url)
            return instance is None or _answers(instance, self._clock(), LATELY_SECONDS)

    def silent(self, url: str) -> tuple[int, float]:
        """How many calls this instance has under way, and for how many seconds it has answered none of them."""
        with self._changed:
            instance = self._instances.get(url)
            if instance is None or instance.under_way <= 0:
                return 0, 0.0
            return instance.under_way, self._clock() - instance.alive

    def left(self) -> int:
        """How many calls could be begun at the instances that answer, together; if none does, as many as one takes."""
        with self._changed:
            return self._left()[0]

    def lanes(self, most: int) -> int:
        """How many lanes to lease now, at most so many. Not a few at a time: none, or half of what may be."""
        with self._changed:
            return self._lanes(most)

    def wait(self, most: int, until: float) -> int:
        """Wait until there are lanes to lease, or until then (monotonic seconds); how many: see ``lanes``."""
        with self._changed:
            while not (lanes := self._lanes(most)) and (seconds := until - time.monotonic()) > 0:
                self._changed.wait(seconds)
            return lanes

    def _lanes(self, most: int) -> int:
        left, of = self._left()
        return min(most, left) if left >= max(1, min(most, of) // 2) else 0

    def _left(self) -> tuple[int, int]:
        """How many calls could be begun, and how many if none were under way."""
        now = self._clock()
        answering = [instance for instance in self._instances.values() if _answers(instance, now)]
        if not answering:
            return self._most, self._most
        of = sum(min(self._most, self._connections + instance.pace(now)) for instance in answering)
        return of - sum(instance.under_way for instance in answering), of


def _answers(instance: _Instance, now: float, lately: float = HANGS_SECONDS) -> bool:
    return instance.under_way <= 0 or now - instance.alive < lately
