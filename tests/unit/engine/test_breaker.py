"""The breaker: a run of failures opens it for all workers, one call per interval goes through, a success closes it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from kato_tasks.engine.running.breaker import CircuitBreaker
from kato_tasks.engine.running.breaker_transport import BreakerTransport, Sent
from kato_tasks.engine.running.call_figures import CallFigures
from kato_tasks.engine.running.room import Room
from kato_tasks.errors import KatoCircuitOpen, KatoUnavailable, LeaseLost, NoConnectionFree, OutcomeUnknown
from kato_tasks.ports.kato import KatoCalls, KatoReply, KatoRequest

URL, OTHER = "http://one", "http://two"


class Shared:
    """What the workers share, on a clock of the test's own."""

    def __init__(self) -> None:
        self.now = 0.0
        self.opened: dict[str, float] = {}
        self.why = ""
        self.probed: dict[str, float] = {}
        self.troubles: dict[str, float] = {}

    def is_open(self, url: str) -> bool:
        return self.opened.get(url, 0.0) > self.now

    def look(self, url: str) -> tuple[str | None, bool]:
        return self.why if self.is_open(url) else None, url in self.troubles

    def open(self, url: str, seconds: float, why: str) -> None:
        self.opened[url] = self.now + seconds
        self.why = why

    def close(self, url: str) -> None:
        self.opened.pop(url, None)

    def may_probe(self, url: str, interval_seconds: float) -> bool:
        if self.probed.get(url, -1.0) > self.now:
            return False
        self.probed[url] = self.now + interval_seconds
        return True

    def trouble_goes_on(self, url: str, for_seconds: float, *, told: bool = False) -> bool:
        began = url not in self.troubles
        self.troubles.setdefault(url, self.now - for_seconds)
        return began and not told

    def trouble_ended(self, url: str) -> float | None:
        since = self.troubles.pop(url, None)
        return None if since is None else self.now - since


@pytest.fixture
def shared(monkeypatch: pytest.MonkeyPatch) -> Shared:
    state = Shared()
    state.now = 1_000.0
    monkeypatch.setattr("kato_tasks.engine.running.breaker.time.monotonic", lambda: state.now)
    return state


def worker(shared: Shared) -> CircuitBreaker:
    return CircuitBreaker(shared, failures=3, interval_seconds=2.0)


def passes(breaker: CircuitBreaker, url: str = URL) -> bool:
    return not breaker.is_open(url)


def test_fewer_failures_in_a_row_than_the_threshold_leave_it_closed(shared: Shared) -> None:
    breaker = worker(shared)
    for _ in range(10):
        breaker.record_failure(URL)
        breaker.record_failure(URL)
        breaker.record_success(URL)
    assert all(passes(breaker) for _ in range(5))


def test_an_open_circuit_is_probed_once_per_interval_over_all_workers_and_no_call_passes(shared: Shared) -> None:
    workers = [worker(shared) for _ in range(4)]
    for _ in range(3):
        workers[0].record_failure(URL)
    shared.now += 0.6
    probes = 0
    for _ in range(200):
        shared.now += 0.1
        for one in workers:
            assert not passes(one)
            if one.may_probe(URL):
                probes += 1
                one.record_probe(URL, False)
    # 20 seconds, a probe per two.
    assert 10 <= probes <= 11


def test_others_hear_of_it_within_half_a_second(shared: Shared) -> None:
    first, second = worker(shared), worker(shared)
    assert passes(second)
    for _ in range(3):
        first.record_failure(URL)
    shared.now += 0.6
    assert not passes(second)


def test_a_probe_that_is_answered_closes_it_for_all(shared: Shared) -> None:
    first, second = worker(shared), worker(shared)
    for _ in range(3):
        first.record_failure(URL)
    shared.now += 1
    assert not passes(second)
    second.record_probe(URL, True)
    shared.now += 0.6
    assert all(passes(one) for one in (first, second) for _ in range(5))


def test_the_first_failure_after_an_answered_probe_opens_it_again(shared: Shared) -> None:
    """KATO may answer a cheap read and fail at everything else."""
    breaker = worker(shared)
    for _ in range(3):
        breaker.record_failure(URL)
    breaker.record_probe(URL, True)
    assert passes(breaker)
    breaker.record_failure(URL)
    assert not passes(breaker)


def test_a_success_after_an_answered_probe_forgives_the_failures_before_it(shared: Shared) -> None:
    breaker = worker(shared)
    for _ in range(3):
        breaker.record_failure(URL)
    breaker.record_probe(URL, True)
    breaker.record_success(URL)
    breaker.record_failure(URL)
    breaker.record_failure(URL)
    assert passes(breaker)


def test_each_instance_has_a_circuit_of_its_own(shared: Shared) -> None:
    breaker = worker(shared)
    for _ in range(3):
        breaker.record_failure(URL)
    assert not passes(breaker)
    assert all(passes(breaker, OTHER) for _ in range(5))


def test_an_open_circuit_that_nobody_confirms_closes_by_itself(shared: Shared) -> None:
    breaker = worker(shared)
    for _ in range(3):
        breaker.record_failure(URL)
    shared.now += 31
    assert all(passes(worker(shared)) for _ in range(5))


# ------------------------------------------------------------------------ what counts as a failure


class Calls:
    """Calls that end at once with what the test says; those of the route `exists` with an answer of their own."""

    def __init__(self, outcome: Any, probe: Any = None) -> None:
        self._outcome = outcome
        self._probe = probe
        self._begun: list[tuple[Any, Any]] = []
        self._waiting: list[Any] = []
        self.sent = 0
        self.probes: list[KatoRequest] = []

    def __len__(self) -> int:
        return len(self._begun)

    def begin(self, request: KatoRequest, tag: Any) -> None:
        if request.route == "exists":
            self.probes.append(request)
            self._begun.append((tag, self._probe))
            return
        self.sent += 1
        self._begun.append((tag, self._outcome))

    def forget(self, name: str) -> None:
        """This call never ends."""
        self._begun = [(tag, end) for tag, end in self._begun if tag[0] != name]

    def hold(self, *tags: Any) -> None:
        """These calls wait for a connection."""
        self._waiting += [Sent(tag, URL, "r", 0.0) for tag in tags]

    def wait(self, timeout: float | None = None) -> Sequence[tuple[Any, KatoReply | None, Exception | None]]:
        begun, self._begun = self._begun, []
        return [(tag, None, end) if isinstance(end, Exception) else (tag, end, None) for tag, end in begun]

    def adopt(self, other: Calls) -> None:
        self._begun += other._begun if other is not self else []

    def withdraw(self, url: str) -> Sequence[Any]:
        withdrawn, self._waiting = self._waiting, []
        return withdrawn

    def wake(self) -> None: ...

    def close(self) -> None: ...


class Transport:
    def __init__(self, calls: KatoCalls) -> None:
        self._calls = calls

    def calls(self, *, wakeable: bool = False) -> KatoCalls:
        return self._calls

    def send(self, request: KatoRequest) -> KatoReply:
        raise AssertionError("not asked for here")


def send(calls: KatoCalls, tag: str = "tag") -> Exception | KatoReply | None:
    calls.begin(KatoRequest(URL, "GET", "/", "r"), tag)
    ((ended, reply, error),) = calls.wait()
    assert ended == tag
    return error or reply


EXISTS = KatoReply(200, b'{"exists":false,"expired":false,"session_id":"kato-tasks-probe"}')


@pytest.mark.parametrize(
    ("outcome", "opens"),
    [
        (KatoUnavailable("refused"), True),
        (OutcomeUnknown("time-out"), True),
        (KatoReply(500, b""), True),
        (KatoReply(503, b""), True),
        (KatoReply(404, b'{"error":{"code":"SESSION_NOT_FOUND"}}'), False),
        (KatoReply(422, b'{"detail":[]}'), False),
        (KatoReply(200, b"{}"), False),
    ],
)
def test_refused_connections_time_outs_and_5xx_are_failures_and_a_definite_answer_is_none(
    shared: Shared, outcome: Any, opens: bool
) -> None:
    calls = Calls(outcome, KatoUnavailable("refused"))
    guarded = BreakerTransport(Transport(calls), worker(shared), Room(64, 16)).calls()
    ends = [send(guarded) for _ in range(10)]
    refused = sum(isinstance(end, KatoCircuitOpen) for end in ends)
    assert (calls.sent, refused) == ((3, 7) if opens else (10, 0))


def test_a_call_that_the_circuit_refuses_ends_like_one_that_was_never_sent(shared: Shared) -> None:
    guarded = BreakerTransport(Transport(Calls(KatoReply(500, b""))), worker(shared), Room(64, 16)).calls()
    for _ in range(3):
        send(guarded)
    shared.probed[URL] = shared.now + 2
    guarded.begin(KatoRequest(URL, "GET", "/", "r"), "tag")
    assert len(guarded) == 1
    assert isinstance(guarded.wait()[0][2], KatoUnavailable)
    assert len(guarded) == 0


@pytest.mark.parametrize(
    ("answer", "closes"),
    [
        (EXISTS, True),
        (KatoReply(200, b"<html>maintenance</html>"), False),
        (KatoReply(200, b'{"status":"ok"}'), False),
        (KatoReply(401, b""), False),
        (KatoReply(500, b""), False),
        (OutcomeUnknown("time-out"), False),
    ],
)
def test_the_first_refused_call_sends_a_short_probe_and_only_kato_s_own_answer_closes_the_circuit(
    shared: Shared, answer: Any, closes: bool
) -> None:
    calls = Calls(KatoReply(500, b""), answer)
    guarded = BreakerTransport(Transport(calls), worker(shared), Room(64, 16)).calls()
    for _ in range(3):
        send(guarded)
    assert isinstance(send(guarded), KatoCircuitOpen)
    (probe,) = calls.probes
    assert (probe.method, probe.timeout_seconds) == ("GET", 2.0)
    assert len(guarded) == 1, "the probe is under way, and no lane waits for it"
    assert list(guarded.wait()) == []
    assert shared.is_open(URL) is not closes


def test_calls_that_wait_for_a_connection_when_the_circuit_opens_are_not_sent(shared: Shared) -> None:
    calls = Calls(KatoReply(500, b""))
    guarded = BreakerTransport(Transport(calls), worker(shared), Room(64, 16)).calls()
    send(guarded)
    send(guarded)
    calls.hold("a", "b")
    guarded.begin(KatoRequest(URL, "GET", "/", "r"), "third")
    ended = {tag: error for tag, _, error in guarded.wait()}
    assert set(ended) == {"a", "b", "third"}
    assert isinstance(ended["a"], KatoCircuitOpen)
    assert isinstance(ended["b"], KatoCircuitOpen)


def test_every_worker_says_why_the_circuit_is_open(shared: Shared) -> None:
    """A person who asks why a session waits must not have to find the worker that saw the failure."""
    first, second = worker(shared), worker(shared)
    for _ in range(3):
        first.record_failure(URL, "connection refused")
    shared.now += 1
    assert not passes(second)
    assert "connection refused" in str(first.refusal(URL))
    assert "connection refused" in str(second.refusal(URL))


@pytest.mark.parametrize("answers", [True, False])
def test_a_call_that_found_no_connection_behind_our_own_is_no_failure_of_an_instance_that_answers(
    shared: Shared, answers: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Falls when too many calls of ours open the circuit of a KATO that is only busy with them."""
    room = Room(64, 16)
    monkeypatch.setattr(room, "is_answering", lambda url: answers)
    guarded = BreakerTransport(Transport(Calls(NoConnectionFree("busy"))), worker(shared), room).calls()
    for _ in range(10):
        send(guarded)
    assert shared.is_open(URL) is not answers


def test_a_call_takes_room_until_it_ended_whatever_became_of_it(shared: Shared) -> None:
    room = Room(64, 64)
    calls = Calls(KatoReply(500, b""))
    guarded, other = (BreakerTransport(Transport(calls), worker(shared), room).calls() for _ in range(2))
    for tag in ("answered", "given up"):
        guarded.begin(KatoRequest(URL, "GET", "/", "r"), tag)
    other.begin(KatoRequest(URL, "GET", "/", "r"), "adopted")
    assert room.calls_left() == 64 - 3
    guarded.adopt(other)
    other.close()
    assert room.calls_left() == 64 - 3, "what was adopted is under way"
    calls.forget("given up")
    guarded.wait()
    guarded.close()
    assert room.calls_left() == 64


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    names = [str(record.kato_event) for record in caplog.records if hasattr(record, "kato_event")]
    return [name for name in names if name.startswith("kato.")]


def test_trouble_is_said_once_over_all_workers_when_it_begins_and_once_when_a_call_is_answered_again(
    shared: Shared, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    workers = [worker(shared) for _ in range(3)]
    workers[0].record_failure(URL, "it answered 500")
    assert said(caplog) == [], "a single failed call is no trouble"
    for _ in range(20):
        shared.now += 1
        for one in workers:
            one.record_failure(URL, "refused")
    assert said(caplog) == ["kato.troubled"]
    assert "reason=refused" in next(record.message for record in caplog.records if "troubled" in record.message)
    workers[1].record_probe(URL, True)
    assert said(caplog) == ["kato.troubled"], "a probe is not what waits"
    for one in workers:
        one.record_success(URL)
    assert said(caplog) == ["kato.troubled", "kato.recovered"]
    assert "lasted=19.0s" in caplog.text


def test_its_end_is_also_said_by_a_worker_that_has_seen_none_of_its_failures(
    shared: Shared, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    first, other = worker(shared), worker(shared)
    first.record_failure(URL)
    first.record_failure(URL)
    shared.now += 1
    assert passes(other)
    other.record_success(URL)
    assert said(caplog) == ["kato.troubled", "kato.recovered"]


def test_an_instance_that_is_silent_is_in_trouble_long_before_its_calls_time_out(
    shared: Shared, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    one = worker(shared)
    one.record_silence(URL, 2, 3.9)
    assert said(caplog) == []
    one.record_silence(URL, 2, 4.2)
    assert said(caplog) == ["kato.troubled"]
    assert "it has not answered for 4 s; 2 calls under way" in caplog.text
    one.record_success(URL)
    assert "lasted=4.2s" in caplog.text


def test_what_something_else_answers_is_told_by_whoever_reads_it_and_its_end_by_any_worker(
    shared: Shared, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    first, other = worker(shared), worker(shared)
    guarded = BreakerTransport(Transport(Calls(KatoReply(401, b""))), first, Room(64, 16)).calls()
    send(guarded)
    assert said(caplog) == []
    assert passes(other)
    other.record_success(URL)
    assert said(caplog) == ["kato.recovered"]


def test_a_refused_connection_is_trouble_at_once(shared: Shared, caplog: pytest.LogCaptureFixture) -> None:
    send(BreakerTransport(Transport(Calls(KatoUnavailable("nobody listens"))), worker(shared), Room(64, 16)).calls())
    assert said(caplog) == ["kato.troubled"]
    assert "reason=nobody listens" in caplog.text
    caplog.clear()
    send(BreakerTransport(Transport(Calls(NoConnectionFree("busy"))), worker(Shared()), Room(64, 16)).calls())
    assert said(caplog) == []


def test_only_calls_that_were_sent_are_counted(shared: Shared, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kato_tasks.engine.running.call_figures.TELL_SECONDS", 0.0)
    figures = CallFigures()
    outcomes = (KatoReply(200, b"{}"), OutcomeUnknown("time-out"), KatoUnavailable("refused"), LeaseLost("another's"))
    for outcome in outcomes:
        send(BreakerTransport(Transport(Calls(outcome)), worker(shared), Room(64, 16), figures).calls())
    endings = {name.split("\n")[2]: count for name, count in figures.take_due()}
    assert {name: endings[name] for name in endings if name in ("2xx", "none")} == {"2xx": 1, "none": 1}
