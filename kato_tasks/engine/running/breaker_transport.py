"""A transport behind the circuit breaker: what it sends, refuses and probes, and what the breaker learns of that."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from kato_tasks.engine.drain.kato_answers import counts_as_failure, find_meaning
from kato_tasks.engine.running.breaker import SILENT_SECONDS, CircuitBreaker
from kato_tasks.engine.running.call_figures import CallFigures
from kato_tasks.engine.running.room import Room
from kato_tasks.errors import KatoError, KatoUnavailable, NoConnectionFree, OutcomeUnknown
from kato_tasks.ports.kato import KatoCalls, KatoReply, KatoRequest, KatoTransport

PROBE_PATH = "/sessions/kato-tasks-probe/exists"
"""Asks after a KATO session that does not exist: a read that touches KATO's own store and changes nothing."""


class BreakerTransport:
    """A transport whose calls go through a circuit breaker, and are counted in ``room`` and in ``figures``."""

    def __init__(
        self, inner: KatoTransport, breaker: CircuitBreaker, room: Room, figures: CallFigures | None = None
    ) -> None:
        self._inner = inner
        self._breaker = breaker
        self._room = room
        self._figures = figures or CallFigures()

    def calls(self, *, wakeable: bool = False) -> KatoCalls:
        """See ``ports.KatoTransport.calls``."""
        return _BreakerCalls(self._inner.calls(wakeable=wakeable), self._breaker, self._room, self._figures)

    def send(self, request: KatoRequest) -> KatoReply:
        """See ``ports.KatoTransport.send``. It goes past the breaker, for a person's single question."""
        return self._inner.send(request)


class _Probe:
    """The tag of a probe, for which no lane waits."""


_PROBE = _Probe()


class Sent(NamedTuple):
    """A call that is under way: its caller's tag, where it goes, and when it began (monotonic seconds)."""

    tag: Any
    url: str
    route: str
    began: float


Ended = tuple[Any, KatoReply | None, Exception | None]


class _BreakerCalls:
    def __init__(self, inner: KatoCalls, breaker: CircuitBreaker, room: Room, figures: CallFigures) -> None:
        self._inner = inner
        self._breaker = breaker
        self._room = room
        self._figures = figures
        self._counted: Counter[str] = Counter()
        """the part of the room that these calls take"""
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
        self._inner.begin(request, Sent(tag, request.url, request.route, time.monotonic()))
        self._counted[request.url] += 1
        self._room.record_begin(request.url)

    def wait(self, timeout: float | None = None) -> Sequence[Ended]:
        if self._refused:
            refused, self._refused = self._refused, []
            return refused
        ended: list[Ended] = []
        for (tag, url, route, began), reply, error in self._wait(timeout):
            if reply is not None or isinstance(error, OutcomeUnknown):  # all others were never sent
                self._figures.note(url, route, reply.status if reply is not None else None, time.monotonic() - began)
            congested = isinstance(error, NoConnectionFree) and self._room.is_answering(url)
            self._uncount(url, 1, answered=reply is not None)
            if tag is _PROBE:
                self._breaker.record_probe(url, reply is not None and answers_probe(reply), _why(reply, error))
                continue
            if congested:
                pass  # it answers others of our calls: that there are too many of them is no failure of its
            elif isinstance(error, KatoError) or (reply is not None and counts_as_failure(reply)):
                other = reply is not None and (reply.status == 200 or find_meaning(reply) == "misdirected")
                unreached = isinstance(error, KatoUnavailable) and not isinstance(error, NoConnectionFree)
                self._breaker.record_failure(url, _why(reply, error), unreached=unreached, misdirected=other)
                if self._breaker.is_open(url):
                    # What waits for a connection behind the calls that failed is not sent any more.
                    refusal = self._breaker.refusal(url)
                    ended += [(tag, None, refusal) for tag in self.withdraw(url)]
            elif reply is not None:
                self._breaker.record_success(url)
            ended.append((tag, reply, error))
        return ended

    def _wait(self, timeout: float | None) -> Sequence[tuple[Any, KatoReply | None, Exception | None]]:
        """Wait as asked, and notice an instance that answers nothing long before its calls time out."""
        while len(self._inner) and (timeout is None or timeout > SILENT_SECONDS):
            began = time.monotonic()
            ended = self._inner.wait(SILENT_SECONDS)
            waited = time.monotonic() - began
            if ended or waited < SILENT_SECONDS * 0.9:
                return ended  # perhaps nothing: it was woken
            for url, calls in self._counted.items():
                if calls > 0:
                    self._breaker.record_silence(url, *self._room.silence(url))
            timeout = None if timeout is None else timeout - waited
        return self._inner.wait(timeout)

    def _uncount(self, url: str, calls: int, *, answered: bool) -> None:
        self._counted[url] -= calls
        self._room.record_end(url, calls, answered=answered)

    def adopt(self, other: _BreakerCalls) -> None:
        self._inner.adopt(other._inner)
        self._counted.update(other._counted)
        other._counted = Counter()
        self._refused += other._refused
        other._refused = []

    def withdraw(self, url: str) -> Sequence[Any]:
        withdrawn = self._inner.withdraw(url)
        self._uncount(url, len(withdrawn), answered=False)
        return [sent.tag for sent in withdrawn if sent.tag is not _PROBE]

    def wake(self) -> None:
        self._inner.wake()

    def close(self) -> None:
        self._inner.close()
        for url, calls in self._counted.items():
            self._room.record_end(url, calls, answered=False)
        self._counted = Counter()
        self._refused = []


def _why(reply: KatoReply | None, error: Exception | None) -> str:
    """Return what went wrong with a call, in one line."""
    return str(error) if reply is None else f"it answered {reply.status}"


def answers_probe(reply: KatoReply) -> bool:
    """Return whether this is KATO's own answer to the probe, and not that of something before it."""
    if reply.status != 200:
        return False
    try:
        answer = json.loads(reply.body)
    except ValueError:
        return False
    return isinstance(answer, dict) and "exists" in answer
