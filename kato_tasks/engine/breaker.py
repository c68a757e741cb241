"""A circuit breaker per KATO instance, shared by all workers: while it is open, one call per interval goes through.

It opens after a run of failures without a success between (refused connections, time-outs, 5xx), and a success
of the call that was let through closes it. Everybody else is told at once to wait, so an outage costs KATO one
call per interval and fails nobody's task.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from kato_tasks.errors import KatoCircuitOpen, KatoError
from kato_tasks.instrumentation import say
from kato_tasks.ports import KatoCalls, KatoReply, KatoRequest, KatoTransport

log = logging.getLogger(__name__)
VIEW_SECONDS = 0.5
"""How long a process relies on what it last saw of the shared state."""


class BreakerState(Protocol):
    """What all workers share about one KATO instance."""

    def is_open(self, url: str) -> bool: ...

    def open(self, url: str, seconds: float) -> None:
        """Open it; it closes by itself after ``seconds`` without anybody's word."""
        ...

    def close(self, url: str) -> None: ...

    def may_probe(self, url: str, interval_seconds: float) -> bool:
        """Whether this caller is the one of this interval."""
        ...


@dataclass(slots=True)
class _View:
    failures: int = 0
    is_open: bool = False
    seen_at: float = 0.0


class CircuitBreaker:
    """One process's side of the breaker. Thread-safe."""

    def __init__(self, state: BreakerState, *, failures: int = 5, interval_seconds: float = 2.0) -> None:
        self._state = state
        self._threshold = failures
        self.interval_seconds = interval_seconds
        self._views: dict[str, _View] = {}
        self._lock = threading.Lock()

    def check(self, url: str) -> None:
        """Return when a call may be sent; raise KatoCircuitOpen when it may not."""
        view = self._view(url)
        if view.is_open and not self._state.may_probe(url, self.interval_seconds):
            raise KatoCircuitOpen(f"KATO at {url} is failing; it is asked once in {self.interval_seconds:g} s")

    def succeeded(self, url: str) -> None:
        view = self._views.get(url)
        if view is None or (not view.failures and not view.is_open):
            return
        view.failures = 0
        if view.is_open:
            self._state.close(url)
            view.is_open = False
            say(log, logging.INFO, "breaker.closed", url=url)

    def failed(self, url: str) -> None:
        view = self._view(url)
        view.failures += 1
        if view.failures >= self._threshold:
            if not view.is_open:
                say(log, logging.WARNING, "breaker.opened", url=url)
            self._state.open(url, max(30.0, self.interval_seconds * 10))
            view.is_open = True
            view.seen_at = time.monotonic()

    def _view(self, url: str) -> _View:
        now = time.monotonic()
        with self._lock:
            view = self._views.setdefault(url, _View())
        if now - view.seen_at > VIEW_SECONDS:
            view.seen_at = now
            view.is_open = self._state.is_open(url)
        return view


class GuardedKato:
    """A transport behind a breaker."""

    def __init__(self, inner: KatoTransport, breaker: CircuitBreaker) -> None:
        self._inner = inner
        self._breaker = breaker

    def calls(self) -> KatoCalls:
        """See ``ports.KatoTransport.calls``."""
        return _GuardedCalls(self._inner.calls(), self._breaker)

    def send(self, request: KatoRequest) -> KatoReply:
        """See ``ports.KatoTransport.send``; not guarded: for a person's single question."""
        return self._inner.send(request)


class _GuardedCalls:
    def __init__(self, inner: KatoCalls, breaker: CircuitBreaker) -> None:
        self._inner = inner
        self._breaker = breaker
        self._refused: list[tuple[Any, KatoReply | None, Exception | None]] = []

    def __len__(self) -> int:
        return len(self._inner) + len(self._refused)

    def begin(self, request: KatoRequest, tag: Any) -> None:
        try:
            self._breaker.check(request.url)
        except KatoCircuitOpen as exc:
            self._refused.append((tag, None, exc))
        else:
            self._inner.begin(request, (tag, request.url))

    def wait(self) -> Sequence[tuple[Any, KatoReply | None, Exception | None]]:
        if self._refused:
            refused, self._refused = self._refused, []
            return refused
        ended: list[tuple[Any, KatoReply | None, Exception | None]] = []
        for (tag, url), reply, error in self._inner.wait():
            if isinstance(error, KatoError) or (reply is not None and reply.status >= 500):
                self._breaker.failed(url)
            elif reply is not None:
                self._breaker.succeeded(url)
            ended.append((tag, reply, error))
        return ended

    def close(self) -> None:
        self._inner.close()
