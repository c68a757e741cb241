"""What a client must never do is counted, and only that."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import httpx
import pytest

from kato_tasks.testing.waiting import wait_until
from tests.contract.kato.client import Kato, KatoSession
from tests.integration.embedded.conftest import Start
from tests.integration.embedded.control import apart, faults, history, in_flight, stats


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as pool:
        yield pool


def held(kato: Kato, pool: ThreadPoolExecutor, session: KatoSession, timeout: float = 10) -> Future[httpx.Response]:
    """One observe that KATO holds for a while before it applies it, and that has arrived."""
    faults(kato, {"kind": "delay", "route": "observe", "count": 1, "seconds": 0.4})
    future = apart(pool, session, "held", timeout)
    in_flight(kato, 1)
    return future


def settled(kato: Kato) -> dict[str, int]:
    in_flight(kato, 0)
    return stats(kato)


def test_calls_one_after_another_do_not_overlap(start: Start) -> None:
    kato = start()
    one = kato.session()
    two = kato.session(one.node)
    for number in range(50):
        (one if number % 2 else two).observe("x")
        two.predictions()
    assert settled(kato)["overlaps"] == 0


def test_two_sessions_of_one_node_at_once_overlap(kato: Kato, pool: ThreadPoolExecutor) -> None:
    one = kato.session()
    two = kato.session(one.node)
    held(kato, pool, one)
    two.observe("x")
    assert settled(kato)["overlaps"] == 1


def test_a_read_overlaps_too(kato: Kato, pool: ThreadPoolExecutor) -> None:
    one = kato.session()
    two = kato.session(one.node)
    held(kato, pool, one)
    two.predictions()
    assert settled(kato)["overlaps"] == 1


def test_nodes_with_one_sanitised_name_overlap(kato: Kato, pool: ThreadPoolExecutor) -> None:
    one = kato.session("a-b")
    two = kato.session("a b")
    held(kato, pool, one)
    two.observe("x")
    assert settled(kato)["overlaps"] == 1


def test_different_nodes_do_not_overlap(kato: Kato, pool: ThreadPoolExecutor) -> None:
    one, two = kato.session(), kato.session()
    held(kato, pool, one)
    two.observe("x")
    answered = settled(kato)
    assert (answered["overlaps"], answered["max_in_flight"]) == (0, 2)


def test_every_pair_is_counted(kato: Kato, pool: ThreadPoolExecutor) -> None:
    sessions = [kato.session("shared") for _ in range(3)]
    faults(kato, {"kind": "delay", "route": "observe", "count": 2, "seconds": 0.4})
    apart(pool, sessions[0], "x")
    in_flight(kato, 1)
    apart(pool, sessions[1], "x")
    in_flight(kato, 2)
    sessions[2].observe("x")
    assert settled(kato)["overlaps"] == 3


def test_calls_sent_together_are_seen_to_overlap(start: Start, pool: ThreadPoolExecutor) -> None:
    kato = start(latency=0.05)
    sessions = [kato.session("shared") for _ in range(4)]
    for future in [apart(pool, session, "x") for session in sessions]:
        assert future.result().status_code == 200
    assert settled(kato)["overlaps"] > 0


def test_a_call_whose_client_has_gone_lands_late_and_overlaps_nothing(kato: Kato, pool: ThreadPoolExecutor) -> None:
    session = kato.session()
    future = held(kato, pool, session, timeout=0.1)
    with pytest.raises(httpx.ReadTimeout):
        future.result()
    assert session.time() == 0
    wait_until(lambda: session.time() == 1, 5, "the held observe lands")
    answered = settled(kato)
    assert (answered["overlaps"], answered["late_landings"]) == (0, 1)


def test_what_lands_after_its_session_was_deleted_changes_nothing(kato: Kato, pool: ThreadPoolExecutor) -> None:
    old = kato.session()
    future = held(kato, pool, old, timeout=0.1)
    with pytest.raises(httpx.ReadTimeout):
        future.result()
    assert old.ask("DELETE").status_code == 200
    new = kato.session(old.node)
    new.observe("x")
    answered = settled(kato)
    assert (answered["overlaps"], answered["late_landings"], answered["late_refused"]) == (0, 0, 1)
    assert history(old) | {"alive": False, "applied": []} == history(old)


def test_a_call_on_a_session_that_is_deleted_meanwhile_is_no_overlap(kato: Kato, pool: ThreadPoolExecutor) -> None:
    old = kato.session()
    held(kato, pool, old)
    assert old.ask("DELETE").status_code == 200
    kato.session(old.node).observe("x")
    assert settled(kato)["overlaps"] == 0


def test_creating_a_session_overlaps_nothing(kato: Kato, pool: ThreadPoolExecutor) -> None:
    session = kato.session()
    held(kato, pool, session)
    kato.session(session.node)
    assert settled(kato)["overlaps"] == 0
