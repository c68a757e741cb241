"""The moment at which a client goes decides between an overlap and a late landing."""

import pytest

from kato_tasks.embedded.kato import traffic as module
from kato_tasks.embedded.kato.sessions import Sessions
from kato_tasks.embedded.kato.traffic import Call, Traffic


class Clock:
    now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


@pytest.fixture
def sessions() -> Sessions:
    return Sessions(journal=0, history=0)


@pytest.fixture
def traffic(sessions: Sessions) -> Traffic:
    return Traffic(lambda: sessions)


def two_calls(traffic: Traffic, sessions: Sessions) -> tuple[Call, Call]:
    first, second = (
        traffic.arrive(f"/sessions/{sessions.create('n', None, None, {}).id}/observe", None) for _ in range(2)
    )
    return first, second


def test_a_client_that_goes_as_the_next_call_arrives_did_not_overlap(
    traffic: Traffic, sessions: Sessions, clock: Clock
) -> None:
    # Its closing and the next call may be read in either order.
    first, second = two_calls(traffic, sessions)
    clock.now += module.SAME_MOMENT / 2
    traffic.leave(first)
    traffic.finish(second)
    traffic.finish(first)
    assert (traffic.overlaps, traffic.in_flight) == (0, 0)


def test_a_client_that_waited_on_while_the_next_call_ran_overlapped(
    traffic: Traffic, sessions: Sessions, clock: Clock
) -> None:
    first, second = two_calls(traffic, sessions)
    clock.now += module.SAME_MOMENT * 2
    traffic.leave(first)
    traffic.finish(second)
    traffic.finish(first)
    assert (traffic.overlaps, traffic.in_flight) == (1, 0)


def test_a_call_that_was_answered_and_then_loses_its_connection_is_counted_once(
    traffic: Traffic, sessions: Sessions, clock: Clock
) -> None:
    first, second = two_calls(traffic, sessions)
    for call in (first, second):
        traffic.finish(call)
        traffic.leave(call)
        traffic.landed(call, applied=True)
    assert (traffic.overlaps, traffic.late_landings, traffic.in_flight) == (1, 0, 0)
