"""A circuit breaker per KATO instance, shared by all workers: while it is open, no lane's call is sent.

It opens after N consecutive failures (refused connections, time-outs, 5xx, answers that are not KATO's). While it is
open, one worker per interval sends a probe: a cheap read of its own with a short time-out. A probe that KATO answers
closes the circuit; the first failure after that opens it again. Every caller is told at once to wait, so an outage
costs KATO one small read per interval, holds no lane, and fails no task.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from kato_tasks.engine.drain.kato_answers import meaning
from kato_tasks.engine.drain.kato_api import counts_as_failure
from kato_tasks.engine.drain.misdirection import MISDIRECTIONS
from kato_tasks.engine.running.room import Room
from kato_tasks.errors import KatoCircuitOpen, KatoError, KatoUnavailable, NoConnectionFree
from kato_tasks.ports.kato import KatoCalls, KatoReply, KatoRequest, KatoTransport
from kato_tasks.telemetry.log_events import say

log = logging.getLogger(__name__)
VIEW_SECONDS = 0.5
"""How long a process relies on what it last saw of the shared state."""
TROUBLE_FAILURES = 2
"""So many failures in a row are trouble, and are said. A single one is not, unless nobody listens there at all."""
SILENT_SECONDS = 4.0
"""An instance that answers none of its calls for so long is in trouble: their time-outs come much later."""
TROUBLE_AGAIN_SECONDS = 1.0
"""How often a process tells the others of trouble that goes on."""


class BreakerState(Protocol):
    """What all workers share about one KATO instance."""

    def look(self, url: str) -> tuple[str | None, bool]:
        """What the last failure was, while the circuit is open (None: it is closed); and whether there is trouble."""
        ...

    def open(self, url: str, seconds: float, why: str) -> None:
        """Open it; the opening expires after ``seconds``."""
        ...

    def close(self, url: str) -> None: ...

    def may_probe(self, url: str, interval_seconds: float) -> bool:
        """True for exactly one caller per interval, who sends the probe."""
        ...

    def trouble_goes_on(self, url: str, for_seconds: float, *, told: bool = False) -> bool:
        """The instance is in trouble, for so long already; True for the one caller who says so in its log.

        ``told``: the caller has said it in words of its own, so somebody says the end as well.
        """
        ...

    def trouble_ended(self, url: str) -> float | None:
        """It answers again; for one caller how long the trouble was (seconds), if somebody had said that it began."""
        ...


PROBE_PATH = "/sessions/kato-tasks-probe/exists"
"""Asks after a KATO session that does not exist: a read that touches KATO's own store and changes nothing."""


@dataclass(slots=True)
class _View:
    failures: int = 0
    is_open: bool = False
    why: str = ""
    seen_at: float = 0.0
    troubled: bool = False
    """it was in trouble, as far as this process knows, and nobody may have said yet that this is over"""
    troubled_at: float = -TROUBLE_AGAIN_SECONDS


class CircuitBreaker:
    """One process's side of the breaker. Thread-safe. ``closed`` is told whose circuit this process has closed."""

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
        """Whether calls to this instance must wait."""
        return self._view(url).is_open

    def may_probe(self, url: str) -> bool:
        """Whether this caller sends the probe of this interval."""
        return self._state.may_probe(url, self.interval_seconds)

    def refusal(self, url: str) -> KatoCircuitOpen:
        """What a call that is not sent ends with."""
        why = self._view(url).why
        return KatoCircuitOpen(
            f"KATO at {url} is failing ({why or 'as another worker saw'}); "
            f"it is asked once in {self.interval_seconds:g} s, and this waits"
        )

    def succeeded(self, url: str) -> None:
        """KATO answered a lane's call."""
        view = self._views.get(url)
        if view is None or (not view.failures and not view.is_open and not view.troubled):
            return
        with self._lock:
            was_open, view.failures, view.is_open = view.is_open, 0, False
            was_troubled = view.troubled or was_open
            # Something else may still answer on another route. Then the end is said later, or by another process.
            view.troubled = was_troubled and bool(MISDIRECTIONS.told(url))
            is_over = was_troubled and not view.troubled
        if was_open:
            self._close(url)
        lasted = self._state.trouble_ended(url) if is_over else None
        if lasted is not None:
            say(log, logging.WARNING, "kato.recovered", url=url, lasted=f"{lasted:.1f}s")

    def failed(self, url: str, why: str = "", *, unreached: bool = False, misdirected: bool = False) -> None:
        """A call failed, or a probe; ``why`` is one line for a person.

        ``unreached``: there was no connection to be had; ``misdirected``: something else answered.
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
            say(log, logging.INFO, "breaker.opened", url=url, reason=why)
        self._state.open(url, max(30.0, self.interval_seconds * 10), why[:300])

    def probed(self, url: str, answered: bool, why: str = "") -> None:
        """What became of a probe. After one that was answered, the next failure opens the circuit again."""
        if not answered:
            self.failed(url, why)
            return
        with self._lock:
            view = self._views.setdefault(url, _View())
            view.failures, view.is_open, view.seen_at = self._threshold - 1, False, time.monotonic()
            view.troubled = True  # until a lane's call is answered, too
        self._close(url)

    def silent(self, url: str, calls: int, seconds: float) -> None:
        """The instance has answered none of this process's calls for so long."""
        if seconds >= SILENT_SECONDS:
            calls_named = f"{calls} call{'s' * (calls != 1)}"
            why = f"it has not answered for {seconds:.0f} s; {calls_named} under way"
            self._in_trouble(url, self._view(url), why, seconds)

    def _in_trouble(self, url: str, view: _View, why: str, for_seconds: float = 0.0, *, silently: bool = False) -> None:
        """Say so, unless somebody has; ``silently``: whoever reads the answer says so (see ``misdirection``)."""
        now = time.monotonic()
        with self._lock:
            view.troubled = True
            if now - view.troubled_at < TROUBLE_AGAIN_SECONDS:
                return
            view.troubled_at = now
        if self._state.trouble_goes_on(url, for_seconds, told=silently) and not MISDIRECTIONS.told(url):
            say(log, logging.WARNING, "kato.troubled", url=url, reason=why)

    def _close(self, url: str) -> None:
        self._state.close(url)
        self._closed(url)
        say(log, logging.INFO, "breaker.closed", url=url)

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


class GuardedKato:
    """A transport behind a breaker, which counts its calls in ``room``."""

    def __init__(self, inner: KatoTransport, breaker: CircuitBreaker, room: Room) -> None:
        self._inner = inner
        self._breaker = breaker
        self._room = room

    def calls(self, *, wakeable: bool = False) -> KatoCalls:
        """See ``ports.KatoTransport.calls``."""
        return _GuardedCalls(self._inner.calls(wakeable=wakeable), self._breaker, self._room)

    def send(self, request: KatoRequest) -> KatoReply:
        """See ``ports.KatoTransport.send``; not guarded: for a person's single question."""
        return self._inner.send(request)


class _Probe:
    """The tag of a probe; no lane waits for it."""


_PROBE = _Probe()
Ended = tuple[Any, KatoReply | None, Exception | None]


class _GuardedCalls:
    def __init__(self, inner: KatoCalls, breaker: CircuitBreaker, room: Room) -> None:
        self._inner = inner
        self._breaker = breaker
        self._room = room
        self._counted: Counter[str] = Counter()
        """what of the room these calls take"""
        self._refused: list[Ended] = []

    def __len__(self) -> int:
        return len(self._inner) + len(self._refused)

    def begin(self, request: KatoRequest, tag: Any) -> None:
        url = request.url
        if not self._breaker.is_open(url):
            self._begin(request, tag)
            return
        self._refused.append((tag, None, self._breaker.refusal(url)))
        if self._breaker.may_probe(url):
            probe = KatoRequest(url, "GET", PROBE_PATH, "exists", timeout_seconds=self._breaker.interval_seconds)
            self._begin(probe, _PROBE)

    def _begin(self, request: KatoRequest, tag: Any) -> None:
        self._inner.begin(request, (tag, request.url))
        self._counted[request.url] += 1
        self._room.begun(request.url)

    def wait(self, timeout: float | None = None) -> Sequence[Ended]:
        if self._refused:
            refused, self._refused = self._refused, []
            return refused
        ended: list[Ended] = []
        for (tag, url), reply, error in self._wait(timeout):
            congested = isinstance(error, NoConnectionFree) and self._room.answers(url)
            self._uncount(url, 1, answered=reply is not None)
            if tag is _PROBE:
                self._breaker.probed(url, reply is not None and answers_probe(reply), _why(reply, error))
                continue
            if congested:
                pass  # it answers others of our calls: that there are too many of them is no failure of its
            elif isinstance(error, KatoError) or (reply is not None and counts_as_failure(reply)):
                other = reply is not None and (reply.status == 200 or meaning(reply) == "misdirected")
                unreached = isinstance(error, KatoUnavailable) and not isinstance(error, NoConnectionFree)
                self._breaker.failed(url, _why(reply, error), unreached=unreached, misdirected=other)
                if self._breaker.is_open(url):
                    # What waits for a connection behind the calls that failed is not sent any more.
                    refusal = self._breaker.refusal(url)
                    ended += [(tag, None, refusal) for tag in self.withdraw(url)]
            elif reply is not None:
                self._breaker.succeeded(url)
            ended.append((tag, reply, error))
        return ended

    def _wait(self, timeout: float | None) -> Sequence[tuple[Any, KatoReply | None, Exception | None]]:
        """As asked; meanwhile an instance that answers nothing is noticed long before its calls time out."""
        while len(self._inner) and (timeout is None or timeout > SILENT_SECONDS):
            began = time.monotonic()
            ended = self._inner.wait(SILENT_SECONDS)
            waited = time.monotonic() - began
            if ended or waited < SILENT_SECONDS * 0.9:
                return ended  # perhaps nothing: it was woken
            for url, calls in self._counted.items():
                if calls > 0:
                    self._breaker.silent(url, *self._room.silent(url))
            timeout = None if timeout is None else timeout - waited
        return self._inner.wait(timeout)

    def _uncount(self, url: str, calls: int, *, answered: bool) -> None:
        self._counted[url] -= calls
        self._room.ended(url, calls, answered=answered)

    def adopt(self, other: _GuardedCalls) -> None:
        self._inner.adopt(other._inner)
        self._counted.update(other._counted)
        other._counted = Counter()
        self._refused += other._refused
        other._refused = []

    def withdraw(self, url: str) -> Sequence[Any]:
        withdrawn = self._inner.withdraw(url)
        self._uncount(url, len(withdrawn), answered=False)
        return [tag for tag, _ in withdrawn if tag is not _PROBE]

    def wake(self) -> None:
        self._inner.wake()

    def close(self) -> None:
        self._inner.close()
        for url, calls in self._counted.items():
            self._room.ended(url, calls, answered=False)
        self._counted = Counter()
        self._refused = []


def _why(reply: KatoReply | None, error: Exception | None) -> str:
    """What went wrong with a call, in one line."""
    return str(error) if reply is None else f"it answered {reply.status}"


def answers_probe(reply: KatoReply) -> bool:
    """Whether this is KATO's own answer to the probe, and not that of something before it."""
    if reply.status != 200:
        return False
    try:
        answer = json.loads(reply.body)
    except ValueError:
        return False
    return isinstance(answer, dict) and "exists" in answer
