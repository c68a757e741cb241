"""A KATO session in use is written to before it expires, under its lane's lease; one that nobody uses is let go."""

from __future__ import annotations

import json
import os
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kato_tasks import append_events, session_status
from kato_tasks.bootstrap import Runtime, runtime, terms_of
from kato_tasks.domain.ids import PARTITIONS, default_node, lane_of, partition_of
from kato_tasks.engine.running.drainer import Drainer
from kato_tasks.engine.running.lease_renewal import LeaseRenewer
from kato_tasks.ports.lanes import AcquireLanes, Batch, Defer, KeepAlive, Lease
from kato_tasks.testing.services import KatoServer, RedisServer
from kato_tasks.testing.waiting import wait_until
from tests.integration.recovering import a_system, expected, learning, new_name, run_of
from tests.integration.system import System

REAL = os.environ.get("KATO_URL", "")
TTL = 2  # seconds; the setting allows no less than 60
SOON_MS = 1_500


@pytest.fixture(scope="module")
def system(redis_server: RedisServer, kato: KatoServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    with a_system(redis_server, tmp_path_factory.mktemp("alive"), kato) as system:
        yield system


@pytest.fixture
def rt(system: System) -> Runtime:
    system.kato.reset()
    return runtime()


@pytest.fixture
def drainer(rt: Runtime) -> Drainer:
    terms = terms_of(rt.settings)
    short = replace(terms, kato=replace(terms.kato, ttl_seconds=TTL))
    return Drainer(rt.store, rt.kato, LeaseRenewer(rt.store, 1.0), short)


def drain(drainer: Drainer) -> None:
    while drainer.drain_partitions(range(PARTITIONS)).lanes:
        pass


_partitions: set[int] = set()


def own_name() -> str:
    """A session that has its partition for itself, since `KeepAlive` looks at all sessions of one."""
    while True:
        session = new_name()
        partition = partition_of(lane_of(default_node(session)))
        if partition not in _partitions:
            _partitions.add(partition)
            return session


def kept_alive(rt: Runtime, session: str, *, used_ms: int = 60_000, soon_ms: int = SOON_MS) -> int:
    (found,) = rt.store.execute([KeepAlive(partition_of(lane_of(default_node(session))), soon_ms, used_ms, 100)])
    return int(found)


def lives(system: System, session: str) -> bool:
    status = session_status(session)
    assert status is not None
    assert status.binding is not None
    path = f"{system.kato.url}/sessions/{status.binding.kato_session_id}/exists"
    with urllib.request.urlopen(path, timeout=5) as answer:  # noqa: S310  an address of ours
        return bool(json.loads(answer.read())["exists"])


def test_a_kato_session_in_use_outlives_its_time_to_live(system: System, rt: Runtime, drainer: Drainer) -> None:
    session = own_name()
    append_events(run_of(session, 3))
    drain(drainer)
    began = time.monotonic()

    def twice_its_time() -> bool:
        if kept_alive(rt, session):
            drain(drainer)
        return time.monotonic() - began > 2 * TTL + 0.5

    wait_until(twice_its_time, 10, every=0.2)
    assert lives(system, session)
    assert system.stm(session) == expected(3)
    status = session_status(session)
    assert status is not None
    assert (status.state, status.binding and status.binding.epoch) == ("idle", 1)


@pytest.mark.skipif(not REAL, reason="KATO_URL names no real KATO")
def test_a_real_kato_session_in_use_outlives_its_time_to_live_with_the_config_that_it_has(
    redis_server: RedisServer, kato: KatoServer, tmp_path: Path
) -> None:
    """Beside one that is left alone, and is gone by then."""
    ttl, config = 8, '{"recall_threshold": 0.3, "max_predictions": 20}'
    with a_system(redis_server, tmp_path, kato, kato_urls=REAL, kato_session_config=config, kato_timeout_seconds="20"):
        rt = runtime()
        terms = terms_of(rt.settings)
        terms = replace(terms, kato=replace(terms.kato, ttl_seconds=ttl))
        drainer = Drainer(rt.store, rt.kato, LeaseRenewer(rt.store, 1.0), terms)
        kept, left = new_name("cfg"), new_name("cfg")
        append_events([*run_of(kept, 3), *run_of(left, 3)])
        drain(drainer)
        first = bound(kept)

        def left_alone_it_is_gone() -> bool:
            if kept_alive(rt, kept, soon_ms=6_000):
                drain(drainer)
            return not asked(f"{bound(left)}/exists")["exists"]

        wait_until(left_alone_it_is_gone, 60, every=0.5)
        assert bound(kept) == first
        assert asked(f"{first}/stm")["stm"] == expected(3)
        assert asked(f"{first}/cognition-data")["cognition_data"]["time"] == 3
        assert asked(f"{first}/config")["config"].items() >= json.loads(config).items()


def bound(session: str) -> str:
    """The address of the KATO session that serves a session."""
    status = session_status(session)
    assert status is not None
    assert status.binding is not None
    return f"{status.binding.kato_url}/sessions/{status.binding.kato_session_id}"


def asked(path: str) -> Any:
    with urllib.request.urlopen(path, timeout=20) as answer:  # noqa: S310  an address of ours
        return json.loads(answer.read())


def test_a_kato_session_that_nobody_used_lately_is_let_go(system: System, rt: Runtime, drainer: Drainer) -> None:
    session = own_name()
    append_events(run_of(session, 3))
    drain(drainer)

    def gone() -> bool:
        assert kept_alive(rt, session, used_ms=-60_000) == 0
        return not lives(system, session)

    wait_until(gone, 3 * TTL, every=0.1)
    append_events(run_of(session, 1, 3))
    drain(drainer)
    assert system.stm(session) == expected(4), "and rebuilt when something comes"


def test_a_session_with_an_empty_stm_has_nothing_to_keep(system: System, rt: Runtime, drainer: Drainer) -> None:
    session = own_name()
    append_events([*run_of(session, 2), learning(session, f"{session}/learn")])
    drain(drainer)
    assert kept_alive(rt, session) == 0


def test_it_is_written_to_only_under_the_lanes_lease(system: System, rt: Runtime, drainer: Drainer) -> None:
    """Invariant 2."""
    session = own_name()
    lane, partition = lane_of(default_node(session)), partition_of(lane_of(default_node(session)))
    append_events([*run_of(session, 2)])
    drain(drainer)
    append_events(run_of(session, 1, 2))
    (works,) = rt.store.execute([AcquireLanes(partition, "another", 5_000, 1, Batch(1, 1_000))])
    assert [work.lane for work in works] == [lane]
    before = system.ask("stats")["requests"].get("extend", 0)
    assert kept_alive(rt, session, soon_ms=60_000) == 1
    drain(drainer)
    assert system.ask("stats")["requests"].get("extend", 0) == before, "another worker holds the lane"
    rt.store.execute([Defer(Lease(lane, "another", 5_000, Batch(1, 1_000)), session, 0, 0, 0, "", go_on=False)])
    drain(drainer)
    assert system.stm(session) == expected(3)
    status = session_status(session)
    assert status is not None
    assert status.state == "idle"
