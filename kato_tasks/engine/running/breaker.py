"""Keep one circuit breaker per KATO instance, shared by all workers. While it is open, no lane's call is sent.

The circuit opens after N consecutive failures: refused connections, time-outs, 5xx answers, or answers that do not come
from KATO. While it is open, one worker per interval sends a probe, which is a cheap read with a short time-out. A probe
that KATO answers closes the circuit, and the first failure after that opens it again. Every caller is told at once to
wait, so an outage costs KATO one small read per interval, holds no lane, and fails no task.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from kato_tasks.engine.drain.misdirection import MISDIRECTIONS
from kato_tasks.errors import KatoCircuitOpen
from kato_tasks.telemetry.log_events import log_event

log = logging.getLogger(__name__)
VIEW_SECONDS = 0.5
"""How long a process relies on what it last saw of the shared state."""
TROUBLE_FAILURES = 2
"""How many failures in a row are logged as trouble.

A single failure is trouble only if no connection could be made, or if something else than KATO answered.
"""
SILENT_SECONDS = 4.0
"""An instance that answers none of its calls for this long is in trouble. The calls time out much later."""
TROUBLE_AGAIN_SECONDS = 1.0
"""The time after which a process tells the others again of trouble that goes on."""


class BreakerState(Protocol):
    """The state of each KATO instance that all workers share."""

    def look(self, url: str) -> tuple[str | None, bool]:
        """Return the last failure (None if the circuit is closed), and whether the instance is in trouble."""
        ...

    def open(self, url: str, seconds: float, why: str) -> None:
        """Open the circuit because of ``why``. The opening expires after ``seconds``."""
        ...

    def close(self, url: str) -> None:
        """Close the circuit."""
        ...

    def may_probe(self, url: str, interval_seconds: float) -> bool:
        """Return True for exactly one caller per interval, which sends the probe."""
        ...

    def trouble_goes_on(self, url: str, for_seconds: float, *, told: bool = False) -> bool:
        """Record that the instance has been in trouble for ``for_seconds``. Return True if the caller is to log it.

        ``told`` says that the caller has already logged the trouble in its own words. Its end is then logged as well.
        """
        ...

    def trouble_ended(self, url: str) -> float | None:
        """Record that the instance answers again. Return, to one caller only, how many seconds the trouble lasted.

        Every other caller gets None, and so does every caller if the beginning of the trouble was not logged.
        """
        ...


@dataclass(slots=True)
class _View:
    failures: int = 0
    is_open: bool = False
    why: str = ""
    seen_at: float = 0.0
    troubled: bool = False
    """whether it was in trouble, as far as this process knows, and the end of that may not be logged yet"""
    troubled_at: float = -TROUBLE_AGAIN_SECONDS


class CircuitBreaker:
    """One process's side of the breaker. Thread-safe.

    ``state`` is what all workers share, ``failures`` is the number of failures in a row that open the circuit, and
    ``interval_seconds`` is the time between two probes. ``closed`` is called with the URL of each instance whose
    circuit this process has closed.
    """

    def __init__(
        self,
        state: BreakerState,
        *,
        failures: int = 5,
        interval_seconds: float = 2.0,
        closed: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._state = state
        self._closed = closed
        self._threshold = failures
        self.interval_seconds = interval_seconds
        self._views: dict[str, _View] = {}
        self._lock = threading.Lock()

    def is_open(self, url: str) -> bool:
        """Return whether calls to this instance must wait."""
        return self._view(url).is_open

    def may_probe(self, url: str) -> bool:
        """Return whether this caller is the one that sends the probe of this interval."""
        return self._state.may_probe(url, self.interval_seconds)

    def refusal(self, url: str) -> KatoCircuitOpen:
        """Return the error with which a call ends if it is not sent because the circuit is open."""
        why = self._view(url).why
        return KatoCircuitOpen(
            f"KATO at {url} is failing ({why or 'as another worker saw'}); "
            f"it is asked once in {self.interval_seconds:g} s, and this waits"
        )

    def record_success(self, url: str) -> None:
        """Record that KATO answered a lane's call."""
        view = self._views.get(url)
        if view is None or (not view.failures and not view.is_open and not view.troubled):
            return
        with self._lock:
            was_open, view.failures, view.is_open = view.is_open, 0, False
            was_troubled = view.troubled or was_open
            # Something else may still answer on another route. The end is then logged later, or by another process.
            view.troubled = was_troubled and bool(MISDIRECTIONS.describe(url))
            is_over = was_troubled and not view.troubled
        if was_open:
            self._close(url)
        lasted = self._state.trouble_ended(url) if is_over else None
        if lasted is not None:
            log_event(log, logging.WARNING, "kato.recovered", url=url, lasted=f"{lasted:.1f}s")

    def record_failure(self, url: str, why: str = "", *, unreached: bool = False, misdirected: bool = False) -> None:
        """Record a call or a probe that failed. ``why`` is one line for a person to read.

        ``unreached`` says that no connection could be made, and ``misdirected`` that something else than KATO answered.
        """
        view = self._view(url)
        with self._lock:
            view.failures += 1
            view.why = why[:300]
            failures, was_open = view.failures, view.is_open
            if failures >= self._threshold:
                view.is_open = True
                view.seen_at = time.monotonic()
        if failures >= TROUBLE_FAILURES or unreached or misdirected:
            self._in_trouble(url, view, why, silently=misdirected)
        if failures < self._threshold:
            return
        if not was_open:
            log_event(log, logging.INFO, "breaker.opened", url=url, reason=why)
        self._state.open(url, max(30.0, self.interval_seconds * 10), why[:300])

    def record_probe(self, url: str, answered: bool, why: str = "") -> None:
        """Record whether a probe was ``answered``. If it was, the next failure opens the circuit again."""
        if not answered:
            self.record_failure(url, why)
            return
        with self._lock:
            view = self._views.setdefault(url, _View())
            view.failures, view.is_open, view.seen_at = self._threshold - 1, False, time.monotonic()
            view.troubled = True  # this ends only when a lane's call is answered, too
        self._close(url)

    def record_silence(self, url: str, calls: int, seconds: float) -> None:
        """Record that the instance has answered none of this process's ``calls`` calls for ``seconds``."""
        if seconds >= SILENT_SECONDS:
            calls_named = f"{calls} call{'s' * (calls != 1)}"
            why = f"it has not answered for {seconds:.0f} s; {calls_named} under way"
            self._in_trouble(url, self._view(url), why, seconds)

    def _in_trouble(self, url: str, view: _View, why: str, for_seconds: float = 0.0, *, silently: bool = False) -> None:
        """Log trouble that was not logged yet. With ``silently``, ``misdirection`` logs it and says what to mend."""
        now = time.monotonic()
        with self._lock:
            view.troubled = True
            if now - view.troubled_at < TROUBLE_AGAIN_SECONDS:
                return
            view.troubled_at = now
        if self._state.trouble_goes_on(url, for_seconds, told=silently) and not MISDIRECTIONS.describe(url):
            log_event(log, logging.WARNING, "kato.troubled", url=url, reason=why)

    def _close(self, url: str) -> None:
        self._state.close(url)
        self._closed(url)
        log_event(log, logging.INFO, "breaker.closed", url=url)

    def _view(self, url: str) -> _View:
        now = time.monotonic()
        known = self._views.get(url)
        if known is not None and now - known.seen_at <= VIEW_SECONDS:
            return known
        with self._lock:
            view = self._views.setdefault(url, _View())
            stale = now - view.seen_at > VIEW_SECONDS
            if stale:
                view.seen_at = now
        if stale:
            why, troubled = self._state.look(url)
            with self._lock:
                view.troubled = view.troubled or troubled
                view.is_open = why is not None
                view.why = (why or "").removeprefix("1") or view.why
        return view
