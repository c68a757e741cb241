"""The one thread of a process that publishes for its event loops, because kombu blocks.

A publish takes some tenths of a millisecond, but seconds while the broker is away. Then the error of the first message
is given at once to every message that waits for the thread, so that many of them cost only one such wait.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

from kombu.exceptions import EncodeError

CANNOT_BE_SENT = (EncodeError, TypeError)
"""What publishing raises when an option of the call can never be sent."""
T = TypeVar("T")
Loop = asyncio.AbstractEventLoop


@dataclass(frozen=True, slots=True)
class _Job:
    """One piece of work; ``blames_broker`` says whether an error means that the next jobs would fail too."""

    loop: Loop
    future: asyncio.Future[Any]
    work: Callable[[], Any]
    blames_broker: Callable[[Exception], bool]


class Publisher:
    """Carries out jobs one after another in a thread that lives as long as the process."""

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(1, "kato_tasks-publisher")
        self._lock = threading.Lock()
        self._jobs: deque[_Job] = deque()
        self._working = False
        self._outcomes: dict[Loop, list[tuple[_Job, Any, Exception | None]]] = {}

    def submit(
        self, work: Callable[[], T], blames_broker: Callable[[Exception], bool] = lambda exc: False
    ) -> asyncio.Future[T]:
        """Have the thread call ``work``, and return a future of the running loop for its result or error.

        Work whose future is cancelled before the thread begins it is not done.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        with self._lock:
            self._jobs.append(_Job(loop, future, work, blames_broker))
            if self._working:
                return future
            self._working = True
        self._executor.submit(self._work)
        return future

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._jobs:
                    self._working = False
                    return
                job = self._jobs.popleft()
            if job.future.cancelled():
                continue
            try:
                outcome, error = job.work(), None
            except Exception as exc:
                outcome, error = None, exc
            self._tell(job, outcome, error)
            if error is not None and job.blames_broker(error):
                with self._lock:
                    alike = [one for one in self._jobs if one.blames_broker(error)]
                    self._jobs = deque(one for one in self._jobs if not one.blames_broker(error))
                for one in alike:
                    self._tell(one, None, error)

    def _tell(self, job: _Job, outcome: Any, error: Exception | None) -> None:
        """Wake the job's loop, once for all outcomes that it does not know yet."""
        with self._lock:
            outcomes = self._outcomes.setdefault(job.loop, [])
            outcomes.append((job, outcome, error))
            if len(outcomes) > 1:
                return
        try:
            job.loop.call_soon_threadsafe(self._deliver, job.loop)
        except RuntimeError:  # the loop was closed meanwhile
            with self._lock:
                self._outcomes.pop(job.loop, None)

    def _deliver(self, loop: Loop) -> None:
        with self._lock:
            outcomes = self._outcomes.pop(loop, [])
        for job, outcome, error in outcomes:
            if job.future.done():
                continue
            if error is None:
                job.future.set_result(outcome)
            else:
                job.future.set_exception(error)


_lock = threading.Lock()
_publisher: Publisher | None = None


def publisher() -> Publisher:
    """Return this process's publisher; a forked child has its own."""
    global _publisher
    with _lock:
        if _publisher is None:
            _publisher = Publisher()
        return _publisher


def _after_fork() -> None:
    global _lock, _publisher
    _lock = threading.Lock()
    _publisher = None


os.register_at_fork(after_in_child=_after_fork)

__all__ = ["CANNOT_BE_SENT", "Publisher", "publisher"]
