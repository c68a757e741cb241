"""Finishes the lanes whose calls to KATO outlast the task that began them.

A call under way must not cost a worker slot. So a task gives its driver away when its calls brought nothing for a
moment, and ends. One thread per process goes on with all of these, and another one reports what became of each: that
completes waiting tasks, which may take as long as the result backend does.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from typing import Generic, TypeVar

from kato_tasks.engine.running.driver import Driver, Finished
from kato_tasks.errors import StoreUnavailable
from kato_tasks.ports.kato import KatoTransport
from kato_tasks.ports.store import Store
from kato_tasks.telemetry.log_events import log_event

log = logging.getLogger(__name__)
T = TypeVar("T")
Ended = Callable[[Sequence[Finished[T]]], None]


class Background(Generic[T]):
    """The background driver of a process. Its threads start with the first driver that it takes."""

    def __init__(self, store: Store, kato: KatoTransport) -> None:
        self._store = store
        self._kato = kato
        self._changed = threading.Condition()
        self._taken: deque[tuple[Driver[T], Ended[T]]] = deque()
        self._driver: Driver[T] | None = None
        self._left = 0
        """steps whose end was not told yet"""
        self._told: SimpleQueue[tuple[Ended[T], list[Finished[T]]] | None] = SimpleQueue()
        self._ended: dict[int, tuple[Ended[T], list[Finished[T]]]] = {}
        """what ended in this turn, by whom it is to be told to"""
        self.closing = False
        self._closed = False

    def __len__(self) -> int:
        """Return how many generators are under way, or ended and not reported yet."""
        return self._left

    def take(self, driver: Driver[T], ended: Ended[T]) -> None:
        """Go on with what a driver has under way. ``ended`` is called with one or more ends, in another thread."""
        with self._changed:
            if self._closed:
                driver.close()
                return
            self._left += len(driver)
            self._taken.append((driver, ended))
            if self._driver is None:
                self._driver = Driver(self._store, self._kato, wakeable=True)
                for name, work in (("kato-background", self._run), ("kato-background-ends", self._tell)):
                    threading.Thread(target=work, args=(self._driver,), name=name, daemon=True).start()
        self._driver.wake()

    def close(self, seconds: float) -> int:
        """Wait at most ``seconds`` until everything has ended and was reported, and end. Returns how much is left.

        Nothing new is begun for the lanes meanwhile (``closing``). What is left keeps its open intent, and the next
        holder of its lane reconciles it.
        """
        self.closing = True
        deadline = time.monotonic() + seconds
        with self._changed:
            while self._left and (remaining := deadline - time.monotonic()) > 0:
                self._changed.wait(remaining)
            left, self._closed = self._left, True
        if self._driver is not None:
            self._driver.wake()
            self._told.put(None)
        return left

    def _run(self, driver: Driver[T]) -> None:
        while not self._closed:
            try:
                self._turn(driver)
            except Exception:
                # No error is known that gets here. The lanes' leases run out, and their next holders reconcile.
                log_event(log, logging.ERROR, "background.failed", exc_info=True)
        with self._changed:
            for other, _ in self._taken:
                other.close()  # it was taken and is not looked at any more, so its leases must not be renewed
            self._taken.clear()
        driver.close()

    def _turn(self, driver: Driver[T]) -> None:
        while not self._closed:
            with self._changed:
                taken = list(self._taken)
                self._taken.clear()
            for other, ended in taken:
                driver.absorb(other, self._collector(ended))
            driver.advance()
            for told in self._ended.values():
                self._told.put(told)
            self._ended.clear()
            driver.wait()

    def _collector(self, ended: Ended[T]) -> Callable[[Finished[T]], None]:
        def collect(finished: Finished[T]) -> None:
            self._ended.setdefault(id(ended), (ended, []))[1].append(finished)

        return collect

    def _tell(self, _driver: Driver[T]) -> None:
        while (told := self._told.get()) is not None:
            ended, finished = told
            try:
                ended(finished)
            except StoreUnavailable as exc:
                log_event(
                    log, logging.WARNING, "store.unavailable", lane=",".join(end.key for end in finished), error=exc
                )
            except Exception:
                # A sweep finds what was missed: waiting tasks stay owed, and lanes that are due stay in the ready set.
                log_event(log, logging.ERROR, "background.failed", exc_info=True)
            with self._changed:
                self._left -= len(finished)
                self._changed.notify_all()
