"""The breaker: a run of failures opens it for all workers, one call per interval goes through, a success closes it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from kato_tasks.engine.breaker import CircuitBreaker, GuardedKato
from kato_tasks.errors import KatoCircuitOpen, KatoUnavailable, OutcomeUnknown
from kato_tasks.ports import KatoCalls, KatoReply, KatoRequest

URL, OTHER = "http://one", "http://two"


class Shared:
    """What the workers share, on a clock of the test's own."""

    def __init__(self) -> None:
        self.now = 0.0
        self.opened: dict[str, float] = {}
        self.probed: dict[str, float] = {}

    def is_open(self, url: str) -> bool:
        return self.opened.get(url, 0.0) > self.now

    def open(self, url: str, seconds: float) -> None:
        self.opened[url] = self.now + seconds

    def close(self, url: str) -> None:
        self.opened.pop(url, None)

    def may_probe(self, url: str, interval_seconds: float) -> bool:
        if self.probed.get(url, -1.0) > self.now:
            return False
        self.probed[url] = self.now + interval_seconds
        return True


@pytest.fixture
def shared(monkeypatch: pytest.MonkeyPatch) -> Shared:
    state = Shared()
    state.now = 1_000.0
    monkeypatch.setattr("kato_tasks.engine.breaker.time.monotonic", lambda: state.now)
    return state


def worker(shared: Shared) -> CircuitBreaker:
    return CircuitBreaker(shared, failures=3, interval_seconds=2.0)


def passes(breaker: CircuitBreaker, url: str = URL) -> bool:
    try:
        breaker.check(url)
    except KatoCircuitOpen:
        return False
    return True


def test_fewer_failures_in_a_row_than_the_threshold_leave_it_closed(shared: Shared) -> None:
    breaker = worker(shared)
    for _ in range(10):
        breaker.failed(URL)
        breaker.failed(URL)
        breaker.succeeded(URL)
    assert all(passes(breaker) for _ in range(5))


def test_an_open_circuit_lets_one_call_per_interval_through_over_all_workers(shared: Shared) -> None:
    workers = [worker(shared) for _ in range(4)]
    for _ in range(3):
        workers[0].failed(URL)
    sent = 0
    for _ in range(200):
        shared.now += 0.1
        for one in workers:
            if passes(one):
                sent += 1
                one.failed(URL)
    # 20 seconds: a call per two seconds, and what the others sent until they heard of it.
    assert 10 <= sent <= 10 + 1 + 3 * 6


def test_others_hear_of_it_within_half_a_second(shared: Shared) -> None:
    first, second = worker(shared), worker(shared)
    assert passes(second)
    for _ in range(3):
        first.failed(URL)
    shared.probed[URL] = shared.now + 2
    shared.now += 0.6
    assert not passes(second)


def test_the_success_of_the_call_that_was_let_through_closes_it_for_all(shared: Shared) -> None:
    first, second = worker(shared), worker(shared)
    for _ in range(3):
        first.failed(URL)
    shared.now += 1
    assert passes(second), "the probe of this interval"
    assert not passes(first)
    second.succeeded(URL)
    shared.now += 0.6
    assert all(passes(one) for one in (first, second) for _ in range(5))


def test_a_probe_that_fails_keeps_it_open(shared: Shared) -> None:
    breaker = worker(shared)
    for _ in range(3):
        breaker.failed(URL)
    for _ in range(30):
        shared.now += 2.0
        assert passes(breaker)
        assert not passes(breaker)
        breaker.failed(URL)
    assert shared.is_open(URL)


def test_each_instance_has_a_circuit_of_its_own(shared: Shared) -> None:
    breaker = worker(shared)
    for _ in range(3):
        breaker.failed(URL)
    assert passes(breaker)
    assert not passes(breaker)
    assert all(passes(breaker, OTHER) for _ in range(5))


def test_an_open_circuit_that_nobody_confirms_closes_by_itself(shared: Shared) -> None:
    breaker = worker(shared)
    for _ in range(3):
        breaker.failed(URL)
    shared.now += 31
    assert all(passes(worker(shared)) for _ in range(5))


# ------------------------------------------------------------------------ what counts as a failure


class Calls:
    """Calls that end at once with what the test says."""

    def __init__(self, outcome: Any) -> None:
        self._outcome = outcome
        self._begun: list[Any] = []
        self.sent = 0

    def __len__(self) -> int:
        return len(self._begun)

    def begin(self, request: KatoRequest, tag: Any) -> None:
        self.sent += 1
        self._begun.append(tag)

    def wait(self) -> Sequence[tuple[Any, KatoReply | None, Exception | None]]:
        begun, self._begun = self._begun, []
        if isinstance(self._outcome, Exception):
            return [(tag, None, self._outcome) for tag in begun]
        return [(tag, self._outcome, None) for tag in begun]

    def close(self) -> None: ...


class Transport:
    def __init__(self, calls: KatoCalls) -> None:
        self._calls = calls

    def calls(self) -> KatoCalls:
        return self._calls

    def send(self, request: KatoRequest) -> KatoReply:
        raise AssertionError("not asked for here")


def send(calls: KatoCalls) -> Exception | KatoReply | None:
    calls.begin(KatoRequest(URL, "GET", "/", "r"), "tag")
    ((tag, reply, error),) = calls.wait()
    assert tag == "tag"
    return error or reply


@pytest.mark.parametrize(
    ("outcome", "opens"),
    [
        (KatoUnavailable("refused"), True),
        (OutcomeUnknown("time-out"), True),
        (KatoReply(500, b""), True),
        (KatoReply(503, b""), True),
        (KatoReply(404, b""), False),
        (KatoReply(422, b""), False),
        (KatoReply(200, b""), False),
    ],
)
def test_refused_connections_time_outs_and_5xx_are_failures_and_a_definite_answer_is_none(
    shared: Shared, outcome: Any, opens: bool
) -> None:
    calls = Calls(outcome)
    guarded = GuardedKato(Transport(calls), worker(shared)).calls()
    ends = [send(guarded) for _ in range(10)]
    refused = sum(isinstance(end, KatoCircuitOpen) for end in ends)
    # Three failures open it, one more call is this interval's probe.
    assert (calls.sent, refused) == ((4, 6) if opens else (10, 0))


def test_a_call_that_the_circuit_refuses_ends_like_one_that_was_never_sent(shared: Shared) -> None:
    guarded = GuardedKato(Transport(Calls(KatoReply(500, b""))), worker(shared)).calls()
    for _ in range(4):
        send(guarded)
    guarded.begin(KatoRequest(URL, "GET", "/", "r"), "tag")
    assert len(guarded) == 1
    assert isinstance(guarded.wait()[0][2], KatoUnavailable)
    assert len(guarded) == 0
