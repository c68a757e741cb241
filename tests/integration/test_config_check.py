"""The session config is asked of KATO once, in real workers; of the embedded one, and of the one at KATO_URL."""

from __future__ import annotations

import contextlib
import json
import os
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from kato_tasks import append_events, session_status
from kato_tasks.adapters.redis.store import connect
from kato_tasks.adapters.redis.verdicts import RedisVerdicts
from kato_tasks.api.status import read_status
from kato_tasks.bootstrap import runtime
from kato_tasks.engine.drain.config_check import ConfigCheck
from kato_tasks.engine.drain.context import KatoSessionOptions
from kato_tasks.testing.services import KatoServer, RedisServer
from kato_tasks.testing.waiting import wait_until
from tests.integration.recovering import THREADS, a_system, expected, new_name, run_of
from tests.integration.system import System, Worker, drained

PREFORK = ["--pool", "prefork", "--concurrency", "2"]
REAL = os.environ.get("KATO_URL", "")
KATOS = ["embedded", pytest.param("real", marks=pytest.mark.skipif(not REAL, reason="KATO_URL names no real KATO"))]


@contextlib.contextmanager
def a_system_with(config: str, which: str, broker: RedisServer, kato: KatoServer, directory: Path) -> Iterator[System]:
    more = {"kato_session_config": config, "kato_timeout_seconds": "10"}
    if which == "real":
        more["kato_urls"] = REAL
    with a_system(broker, directory, kato, **more) as system:
        kato.reset()
        yield system


def said(worker: Worker) -> list[str]:
    return [line for line in worker.text().splitlines() if "session_config.not_taken" in line]


def stm(session: str) -> list[list[str]]:
    """The session's STM, as KATO itself tells it."""
    status = session_status(session)
    assert status is not None
    assert status.binding is not None
    path = f"{status.binding.kato_url}/sessions/{status.binding.kato_session_id}/stm"
    with urllib.request.urlopen(path, timeout=10) as answer:  # noqa: S310  an address of ours
        found: list[list[str]] = json.loads(answer.read())["stm"]
    return found


def states(sessions: list[str]) -> set[str]:
    return {status.state for status in map(session_status, sessions) if status is not None}


@pytest.mark.parametrize("which", KATOS)
def test_a_value_that_kato_drops_is_one_sentence_at_start_and_goes_on_once_it_is_mended(
    which: str, redis_server: RedisServer, kato: KatoServer, tmp_path: Path
) -> None:
    sessions = [new_name("cfg") for _ in range(12)]
    bad = '{"max_predictions": 20, "recall_threshold": 1.5}'
    with a_system_with(bad, which, redis_server, kato, tmp_path / "bad") as system:
        if which == "embedded":
            system.kato.stop()
        with system.workers(PREFORK) as (worker,):
            append_events([event for session in sessions for event in run_of(session, 2)])
            if which == "embedded":
                assert not said(worker), "a worker starts without KATO"
                system.kato.start()
            wait_until(lambda: bool(said(worker)), 30, "the worker says what KATO does not take")
            wait_until(lambda: states(sessions) == {"waiting"}, 30, "every session waits")
            found = read_status(runtime())
            assert found.health == "degraded"
            (reason,) = [reason for reason in found.reasons if "session config" in reason]
            assert "does not take recall_threshold 1.5 (out of range" in reason
            assert "max_predictions" not in reason
            assert "KATO_TASKS_KATO_SESSION_CONFIG" in reason
            assert (found.parked, found.dead_letters, found.applied, found.leftovers) == (0, 0, 0, 0)
            if which == "embedded":
                # The whole config, none of it, each of its keys; two processes and a parent share the answer.
                assert system.ask("stats")["requests"]["create"] <= 8
                assert system.ask("stats")["sessions_live"] == 0
        assert len(said(worker)) == 1
        system.environment["KATO_TASKS_KATO_SESSION_CONFIG"] = '{"max_predictions": 20, "recall_threshold": 0.5}'
        with system.here(), system.workers(PREFORK) as (worker,):
            drained(sessions)
            assert [stm(session) for session in sessions] == [expected(2)] * 12
            assert not said(worker)
            assert read_status(runtime()).reasons == []


def test_what_kato_takes_is_asked_for_once_by_all_processes_of_all_workers(
    redis_server: RedisServer, kato: KatoServer, tmp_path: Path
) -> None:
    sessions = [new_name("cfg") for _ in range(12)]
    with a_system_with('{"recall_threshold": 0.5}', "embedded", redis_server, kato, tmp_path) as system:
        with system.workers(PREFORK, THREADS):
            append_events([event for session in sessions for event in run_of(session, 2)])
            drained(sessions)
            append_events([event for session in sessions for event in run_of(session, 2, 2)])
            drained(sessions)
        assert [stm(session) for session in sessions] == [expected(4)] * 12
        assert system.ask("stats")["requests"]["create"] == len(sessions) + 1
        assert system.ask("stats")["sessions_live"] == len(sessions)


def test_it_is_told_to_whoever_looks_with_other_settings_than_the_workers(redis_server: RedisServer) -> None:
    redis_server.start()
    url, own = f"http://kato.test/{new_name()}", KatoSessionOptions.own_config()
    with connect(redis_server.url) as client:
        verdicts = RedisVerdicts(client)
        check = ConfigCheck(verdicts, own, {})
        assert check.read_refusal(url) == ""
        verdicts.keep_verdict(url, "of the workers", "it does not take x", 30)
        assert check.read_refusal(url) == "it does not take x"
        assert check.read_verdict(url) == "", "which is no reason to wait without it"
        verdicts.keep_verdict(url, "of mended workers", "", 30)
        assert check.read_refusal(url) == ""
