"""Sessions that expire, lanes whose sessions take turns, and a KATO that is not there yet.

Most of it drains in this process, with real stores: which piece of work comes when is then the test's choice.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from kato_tasks import append_events, session_status
from kato_tasks.bootstrap import Runtime, runtime, terms_of
from kato_tasks.domain.ids import PARTITIONS
from kato_tasks.domain.results import SessionStatus
from kato_tasks.engine.running.drainer import Drainer
from kato_tasks.engine.running.lease_renewal import LeaseRenewer
from kato_tasks.testing.services import KatoServer, RedisServer
from kato_tasks.testing.waiting import wait_until
from tests.integration.system import Json, System, drained


@pytest.fixture(scope="module")
def system(redis_server: RedisServer, kato: KatoServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    redis_server.start()
    kato.start()
    system = System(
        redis_server,
        redis_server,
        kato,
        tmp_path_factory.mktemp("expiry"),
        backoff_base_seconds="0.2",
        lease_seconds="3",
    )
    with system.here():
        yield system


@pytest.fixture
def rt(system: System) -> Runtime:
    """An empty system, without workers."""
    system.empty()
    return runtime()


def drain(rt: Runtime, drainer: Drainer | None = None) -> bool:
    """Drain what is due now, as one wake-up of all shards would; nothing is due afterwards."""
    while (drainer or rt.drainer).drain_partitions(range(PARTITIONS)).lanes:
        pass
    return True


def observed(session: str, *steps: str, node: str | None = None, **more: object) -> Json:
    seen = {"strings": list(steps), **more}
    return {"session_id": session, "node_id": node, "observation": seen}


def status(session: str) -> SessionStatus:
    found = session_status(session)
    assert found is not None
    return found


def epoch(session: str) -> int:
    bound = status(session).binding
    assert bound is not None
    return bound.epoch


def short_lived(rt: Runtime, seconds: int) -> Drainer:
    """A drainer whose KATO sessions live for this time."""
    terms = terms_of(rt.settings)
    terms = replace(terms, kato=replace(terms.kato, ttl_seconds=seconds))
    return Drainer(rt.store, rt.kato, LeaseRenewer(rt.store, 1.0), terms)


# ------------------------------------------------------------------------------- expiry


def test_a_session_that_kato_dropped_is_rebuilt_and_bound_anew(system: System, rt: Runtime) -> None:
    """Invariant 6. Falls when `rebuilt` in engine/binding.py sends nothing, or `fence` binds the old session."""
    append_events([observed("a", f"{i}", "z") for i in range(300)])
    drain(rt)
    before = status("a").binding
    assert before is not None
    assert before.epoch == 1
    system.faults({"kind": "expire", "route": "observe-sequence", "count": 1})
    append_events([observed("a", "after")])
    drain(rt)
    after = status("a")
    assert after.binding is not None
    assert after.binding.epoch == 2
    assert after.binding.kato_session_id != before.kato_session_id
    assert (after.cursor, after.state) == (301, "idle")
    assert system.stm("a") == [*(sorted([f"{i}", "z"]) for i in range(300)), ["after"]]


def test_a_session_whose_time_is_over_is_rebuilt_before_anything_is_sent(system: System, rt: Runtime) -> None:
    drainer = short_lived(rt, 1)
    append_events([observed("a", f"{i}", emotives={"joy": float(i)}) for i in range(20)])
    drain(rt, drainer)
    first = status("a").binding
    assert first is not None
    wait_until(lambda: system.ask("stats")["sessions_live"] == 0, 10, "KATO drops it", every=0.1)
    append_events([observed("a", "after")])
    drain(rt, drainer)
    assert epoch("a") == 2
    assert system.stm("a") == [*([f"{i}"] for i in range(20)), ["after"]]
    assert system.ask("stats")["overlaps"] == 0


def test_an_expired_session_with_an_empty_stm_starts_anew(system: System, rt: Runtime) -> None:
    append_events([observed("a", "x"), observed("a", "y"), {"session_id": "a", "event_type": "learn"}])
    drain(rt)
    system.faults({"kind": "expire", "count": 1})
    append_events([observed("a", "new")])
    drain(rt)
    assert system.stm("a") == [["new"]]
    frequencies = [p["frequency"] for p in system.ask("patterns?node=a").values()]
    assert frequencies == [1], "a rebuild never trains the node again"


def test_a_session_that_expires_before_its_learn_still_learns_all_of_it_once(system: System, rt: Runtime) -> None:
    """Invariants 3 and 6."""
    append_events([observed("a", s) for s in "abc"])
    drain(rt)
    system.faults({"kind": "expire", "count": 1})
    append_events([{"session_id": "a", "event_type": "learn"}])
    drain(rt)
    drained(["a"])
    wait_until(lambda: [p["data"] for p in system.ask("patterns?node=a").values()] == [[["a"], ["b"], ["c"]]], 5)
    assert [p["frequency"] for p in system.ask("patterns?node=a").values()] == [1]


def test_a_rebuild_brings_back_the_newest_thousand_and_no_more(system: System, rt: Runtime) -> None:
    append_events([observed("a", f"{i}") for i in range(1_300)])
    drain(rt)
    assert len(system.stm("a")) == 1_000
    system.faults({"kind": "expire", "count": 1})
    append_events([observed("a", "after")])
    drain(rt)
    assert epoch("a") == 2
    assert system.stm("a") == [*([f"{i}"] for i in range(301, 1_300)), ["after"]]


def test_a_rebuild_brings_back_vectors_under_the_names_that_kato_gave_them(system: System, rt: Runtime) -> None:
    append_events([observed("a", "x", vectors=[[1.0, 2.0]]), observed("a", vectors=[[3.0, 4.0]]), observed("a", "y")])
    drain(rt)
    before = system.stm("a")
    assert any("VCTR" in symbol for event in before for symbol in event)
    system.faults({"kind": "expire", "count": 1})
    append_events([observed("a", "after")])
    drain(rt)
    assert system.stm("a") == [*before, ["after"]]


def test_a_vector_whose_metadata_speaks_of_vectors_is_learned_with_the_rest(system: System, rt: Runtime) -> None:
    """Invariants 3 and 6. Falls when what an observation is is guessed from its text."""
    seen = observed("a", vectors=[[1.0, 2.0]], metadata={"vectors": [], "of": {"vectors": []}})
    append_events([observed("a", "x"), seen, observed("a", "y")])
    drain(rt)
    system.faults({"kind": "expire", "count": 1})
    append_events([observed("a", "z")])
    drain(rt)
    before = system.stm("a")
    assert len(before) == 4
    append_events([{"session_id": "a", "event_type": "learn"}])
    drain(rt)
    drained(["a"])
    wait_until(lambda: [p["data"] for p in system.ask("patterns?node=a").values()] == [before], 5)


def test_every_session_survives_a_kato_that_lost_everything(system: System, rt: Runtime) -> None:
    sessions = [f"s{i}" for i in range(30)]
    append_events([observed(s, f"{i}") for i in range(5) for s in sessions])
    drain(rt)
    system.faults({"kind": "lose_all"})
    append_events([observed(s, "after") for s in sessions])
    drain(rt)
    wait_until(lambda: drain(rt) and all(status(s).state == "idle" for s in sessions), 20)
    for session in sessions:
        assert system.stm(session) == [*([f"{i}"] for i in range(5)), ["after"]]


# ------------------------------------------------------------------------------- lanes


def test_two_sessions_of_one_lane_never_overlap(system: System, rt: Runtime) -> None:
    """Invariant 2. Falls when lane_of returns the node_id as it is."""
    names = ["a-b", "a_b", "a b", "a.b"]
    system.faults({"kind": "delay_after", "seconds": 0.02})
    append_events([observed(f"of {n}", f"{i}", node=n) for i in range(40) for n in names])
    stop = threading.Event()

    def drainer() -> None:
        mine = Drainer(rt.store, rt.kato, LeaseRenewer(rt.store, 1.0), replace(rt.drainer.options, slice_seconds=0.1))
        while not stop.is_set():
            mine.drain_partitions(range(PARTITIONS))

    with ThreadPoolExecutor(4) as pool:
        ends = [pool.submit(drainer) for _ in range(4)]
        try:
            for i in range(40, 80):
                append_events([observed(f"of {n}", f"{i}", node=n) for n in names])
            drained([f"of {n}" for n in names])
        finally:
            stop.set()
        for end in ends:
            end.result()
    stats = system.ask("stats")
    assert (stats["overlaps"], stats["late_landings"]) == (0, 0)
    assert stats["observes"] == 4 * 80
    for n in names:
        assert system.stm(f"of {n}") == [[f"{i}"] for i in range(80)]


def test_a_session_in_backoff_does_not_hold_the_others_of_its_lane(system: System, rt: Runtime) -> None:
    """Invariant 5. Falls when `defer` ends the lane's slice, or next_work ignores due times."""
    append_events([observed("ill", "x", node="n")])
    drain(rt)
    rt.redis.config_resetstat()
    system.faults({"kind": "unavailable", "route": "observe-sequence", "count": 1})
    append_events([observed("ill", "y", node="n")])
    ill_first = Drainer(rt.store, rt.kato, LeaseRenewer(rt.store, 1.0), rt.drainer.options)
    ill_first.options = replace(
        ill_first.options, retry=replace(ill_first.options.retry, base_seconds=1_000, cap_seconds=1_000)
    )
    drain(rt, ill_first)
    assert status("ill").state == "waiting"
    append_events([observed("well", f"{i}", node="n") for i in range(10)])
    drain(rt)
    assert status("well").cursor == 10
    assert status("ill").cursor == 1
    assert status("ill").state == "waiting"


def test_a_poisoned_session_does_not_hold_the_others_of_its_lane(system: System, rt: Runtime) -> None:
    """Invariant 5: the same when a session is parked."""
    append_events([observed("ill", "x", node="n")])
    drain(rt)
    system.faults({"kind": "error_before", "route": "observe-sequence", "node": "n", "count": 1})
    stubborn = Drainer(
        rt.store,
        rt.kato,
        LeaseRenewer(rt.store, 1.0),
        replace(rt.drainer.options, retry=replace(rt.drainer.options.retry, max_retries=0), on_exhausted="park"),
    )
    append_events([observed("ill", "y", node="n")])
    drain(rt, stubborn)
    assert status("ill").state == "parked"
    append_events([observed("well", f"{i}", node="n") for i in range(5)])
    append_events([observed("ill", "z", node="n")])
    drain(rt)
    assert (status("well").cursor, status("ill").cursor, status("ill").head) == (5, 1, 3)
    parked = status("ill").parked
    assert parked is not None
    assert json.dumps(parked)


@pytest.mark.timed
def test_a_slow_lane_does_not_hold_the_others_of_its_wake_up(system: System, rt: Runtime) -> None:
    system.faults({"kind": "delay_after", "node": "slow", "route": "observe-sequence", "seconds": 1.5, "count": 1})
    append_events([observed("slow", "x", node="slow")] + [observed(f"q{i}", "x") for i in range(20)])
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(drain, rt)
        begun = time.monotonic()
        drained([f"q{i}" for i in range(20)])
        assert time.monotonic() - begun < 1.3
        assert not running.done()
        running.result()
    assert status("slow").cursor == 1


# ------------------------------------------------------------------------------- KATO away


def test_a_kato_that_comes_up_late_gets_everything_in_order(system: System) -> None:
    """No event fails, nothing is lost: a call that was never sent is no attempt."""
    system.empty()
    system.kato.kill()
    try:
        with system.workers(["--pool", "threads", "--concurrency", "2"]) as (worker,):
            sessions = [f"s{i}" for i in range(10)]
            for i in range(10):
                append_events([observed(s, f"{i}") for s in sessions])
            wait_until(lambda: all((status(s).last_error or "") for s in sessions), 20, "each has tried")
            assert any("cannot be reached" in (status(s).last_error or "") for s in sessions)
            assert {status(s).state for s in sessions} <= {"waiting", "running", "pending"}
            system.kato.start()
            drained(sessions, 40)
            for session in sessions:
                assert system.stm(session) == [[f"{i}"] for i in range(10)]
            assert worker.pid is not None
    finally:
        system.kato.start()
    stats = system.ask("stats")
    assert (stats["observes"], stats["overlaps"]) == (100, 0)


def test_a_kato_at_its_connection_limit_is_asked_again_and_loses_nothing(system: System, rt: Runtime) -> None:
    system.faults({"kind": "unavailable", "route": "observe-sequence", "rate": 0.5})
    sessions = [f"s{i}" for i in range(8)]
    for i in range(5):
        append_events([observed(s, f"{i}") for s in sessions])
        drain(rt)
    wait_until(lambda: drain(rt) and all(status(s).cursor == 5 for s in sessions), 30, every=0.05)
    for session in sessions:
        assert system.stm(session) == [[f"{i}"] for i in range(5)]
    assert system.ask("stats")["observes"] == 40
