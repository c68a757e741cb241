"""The one loop that reads any source: read, take in, acknowledge; over and over, whatever is away for a while."""

from __future__ import annotations

import contextlib
import logging
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Literal

from kato_tasks.api.reader_lease import ReaderLease
from kato_tasks.bootstrap import Runtime
from kato_tasks.celery_tasks.wakeups import get_ready
from kato_tasks.engine.store_retry import raise_errors
from kato_tasks.errors import KatoTasksError, SourceUnavailable, StoreFull, StoreUnavailable
from kato_tasks.listeners.figures import ListenerFigures
from kato_tasks.listeners.intake import Intake, Taken
from kato_tasks.listeners.options import ListenOptions
from kato_tasks.ports.listening import CountPredictions
from kato_tasks.ports.sources import MessageSource
from kato_tasks.telemetry.log_events import log_event

log = logging.getLogger(__name__)
READ_SECONDS = 0.5
"""How long a read waits for a first message; meanwhile nobody notices that the listener is to stop."""
STAND_BY_SECONDS = 1.0
FIRST_WAIT_SECONDS = 0.2
LONGEST_WAIT_SECONDS = 10.0
LAG_SECONDS = 5.0
BACKLOG_SECONDS = 0.5
State = Literal["starting", "standing by", "reading", "held up", "reconnecting", "stopping"]


class Listener:
    """Reads one source until it is told to stop.

    ``on_step`` is called at each of its steps, some of them a second: whoever watches it knows by that that it goes on.
    """

    def __init__(
        self,
        rt: Runtime,
        source: MessageSource,
        options: ListenOptions,
        *,
        stop: threading.Event,
        on_step: Callable[[], None] = lambda: None,
    ) -> None:
        self._rt = rt
        self._source = source
        self._options = options
        self._stop = stop
        self._on_step = on_step
        self.figures = ListenerFigures()
        self.state: State = "starting"
        self._intake = Intake(rt, source.name, options, self.figures)
        get_ready()  # a thread of its own appends, and wakes lanes
        self._lease: ReaderLease | None = None
        self._failed = 0
        self._lag_at = 0.0
        self._backlog_at = 0.0
        self._backlog = 0

    def run(self) -> None:
        """Read until ``stop`` is set; then end what is under way and give the source back."""
        while not self._stop.is_set():
            try:
                self._read_source()
            except (SourceUnavailable, StoreUnavailable) as exc:
                self._failed += 1
                self._become("reconnecting")
                log_event(log, logging.WARNING, "listener.interrupted", source=self._source.name, error=exc)
            finally:
                self._close()
            if not self._stop.is_set() and self._failed:
                self._wait(self._backoff())
        self._become("stopping")

    def _backoff(self) -> float:
        longest = min(LONGEST_WAIT_SECONDS, FIRST_WAIT_SECONDS * 2 ** min(self._failed, 10))
        return float(longest * random.uniform(0.5, 1.0))

    def _wait(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while not self._stop.is_set() and (left := until - time.monotonic()) > 0:
            self._on_step()
            self._stop.wait(min(left, 1.0))

    def _become(self, state: State) -> None:
        if state != self.state:
            self.state = state
            log_event(log, logging.INFO, "listener.state", source=self._source.name, state=state)
        self._on_step()

    def _close(self) -> None:
        self._source.close()
        lease, self._lease = self._lease, None
        if lease is not None:
            with contextlib.suppress(KatoTasksError):  # it ends by itself
                lease.give_back()

    def _read_source(self) -> None:
        """Take the source when nobody else reads it, and read it until the listener is to stop or has lost it."""
        if not self._take():
            return
        self._source.open()
        if not self._may_read():  # what it must hold may be known only now
            return
        self._intake.bodies.load()
        with ThreadPoolExecutor(1, thread_name_prefix="kato_tasks append") as appender:
            self._read_and_append(appender)

    def _read_and_append(self, appender: ThreadPoolExecutor) -> None:
        """Read and decode the next batch while the one before it is appended. Batches are appended one by one."""
        before: tuple[list[Taken], Future[None]] | None = None
        came = time.monotonic()
        while not self._stop.is_set() and self._may_read():
            if self._is_held_up():
                if before is not None:  # it is in the log, whatever the sink does
                    self._finish(*before)
                    before = None
                self._source.idle(BACKLOG_SECONDS)
                continue
            # While a batch is under way nobody waits for the next one, because that one is to be acknowledged soon.
            messages = self._source.read(self._options.batch, 0.0 if before is not None else READ_SECONDS)
            self._become("reading")
            batch = self._intake.read(messages)
            if before is not None:
                self._finish(*before)
                before = None
                batch = self._still_mine(batch)
                self._failed = 0
            if batch:
                before = (batch, appender.submit(self._intake.append, batch))
                came = time.monotonic()
            elif self._options.until_idle and time.monotonic() - came > self._options.until_idle:
                self._stop.set()
            self._look_at_lag()
        if before is not None:
            self._finish(*before)

    def _take(self) -> bool:
        """Wait until this listener may open the source. Returns False if it is to stop first."""
        while not self._stop.is_set():
            if self._may_read():
                return True
            self._become("standing by")
            self._wait(STAND_BY_SECONDS)
        return False

    def _may_read(self) -> bool:
        name = self._source.reader_lease
        if not name:
            return True
        if self._lease is None:
            self._lease = ReaderLease(self._rt.store, name)
        return self._lease.hold()

    def _is_held_up(self) -> bool:
        """Return whether the sink has more to send than it may, so that nothing is to be read."""
        if not self._options.sink:
            return False
        now = time.monotonic()
        if now - self._backlog_at > BACKLOG_SECONDS:
            self._backlog_at = now
            counts = self._rt.store.execute([CountPredictions(p, self._options.sink) for p in range(256)])
            self._backlog = sum(raise_errors(counts))
        if self._backlog <= self._options.sink_backlog:
            return False
        self._become("held up")
        return True

    def _finish(self, batch: list[Taken], appending: Future[None]) -> None:
        """Wait until the batch is appended, however long the store is away or full, and acknowledge it."""
        tried = 0
        while batch:
            try:
                if tried:
                    self._intake.append(batch)
                else:
                    appending.result()
                break
            except StoreUnavailable as exc:
                if self._stop.is_set():
                    return  # what is not acknowledged comes again
                if not tried:
                    log_event(log, logging.WARNING, "listener.held_up", source=self._source.name, error=exc)
                tried += 1
                self._become("held up")
                longest = 1.0 if isinstance(exc, StoreFull) else min(5.0, FIRST_WAIT_SECONDS * 2 ** min(tried, 6))
                self._source.idle(longest * random.uniform(0.5, 1.0))
                batch = self._still_mine(batch)
        if batch:
            self._source.acknowledge([one.message for one in batch])
            fresh = [one.event_id for one in batch if one.is_fresh]
            self._intake.bodies.drop(fresh, all_new=not any(one.message.redelivered for one in batch))

    def _still_mine(self, batch: list[Taken]) -> list[Taken]:
        """Return what a rebalance has not given to another reader since it was read."""
        mine = {id(message) for message in self._source.keep([one.message for one in batch])}
        return [one for one in batch if id(one.message) in mine]

    def _look_at_lag(self) -> None:
        now = time.monotonic()
        if now - self._lag_at > LAG_SECONDS:
            self._lag_at = now
            self.figures.lag = self._source.lag()


__all__ = ["Listener"]
