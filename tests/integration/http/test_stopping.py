"""A server that is told to stop, killed, or whose store is away or full: what was answered 2xx is there, once."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import quote

import httpx
import pytest

from kato_tasks import history, session_status
from kato_tasks.testing.services import KatoServer, RedisServer
from kato_tasks.testing.waiting import wait_until
from tests.integration.http.server import HttpServer, event, post
from tests.integration.recovering import THREADS, a_system
from tests.integration.system import System
from tests.integration.test_bounded import really_full

CALLERS = 6
Kind = Literal["single", "batches", "observes"]


@pytest.fixture(scope="module")
def own_system(
    redis_server: RedisServer, kato: KatoServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[System]:
    """A system whose store the tests stop and fill."""
    with a_system(redis_server, tmp_path_factory.mktemp("stopping"), kato) as system:
        system.empty()
        yield system


@pytest.fixture
def server(own_system: System, tmp_path: Path) -> Iterator[HttpServer]:
    own_system.store.start()
    server = HttpServer(tmp_path / "server", own_system.environment)
    server.start()
    yield server
    server.stop()


class Callers:
    """Clients that post one event after the other, each in a session of its own, and repeat until it is answered 2xx.

    As ``batches`` each request has several events without ids, which its Idempotency-Key names. As ``observes`` they
    speak KATO's own API, and are told at once that the store has it.
    """

    def __init__(self, server: HttpServer, name: str, kind: Kind = "single") -> None:
        self._server = server
        self._batches = kind == "batches"
        self._observes = kind == "observes"
        self._calling = threading.Event()
        self.sessions = [f"{name} {number}" for number in range(CALLERS)]
        self.accepted: dict[str, list[str]] = {session: [] for session in self.sessions}
        self.repeated = 0
        self.statuses: dict[int, int] = {}
        self._threads = [threading.Thread(target=self._call, args=(session,)) for session in self.sessions]

    def __enter__(self) -> Self:
        self._calling.set()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._calling.clear()
        for thread in self._threads:
            thread.join(60)

    def count(self) -> int:
        return sum(map(len, self.accepted.values()))

    def _call(self, session: str) -> None:
        number = 0
        with contextlib.ExitStack() as stack:
            client = stack.enter_context(self._server.client(timeout=5))
            while self._calling.is_set():
                key = f"k{number}"
                body: Any = [event(session, None, f"{key}/{i}") for i in range(5)]
                if not self._batches:
                    body = event(session, None, key)
                path, headers = "/v1/events", {"idempotency-key": key}
                if self._observes:
                    path, body = f"/sessions/{quote(session)}/observe", body["observation"]
                    headers["prefer"] = "respond-async"
                try:
                    answer = client.post(path, json=body, headers=headers)
                except httpx.HTTPError:
                    self.repeated += 1
                    time.sleep(0.05)
                    continue
                self.statuses[answer.status_code] = self.statuses.get(answer.status_code, 0) + 1
                if answer.status_code != 202:
                    self.repeated += 1
                    time.sleep(0.05)
                    continue
                self.accepted[session] += [f"{key}/{i}" for i in range(5)] if self._batches else [key]
                number += 1

    def check(self) -> None:
        """Every event that was answered 2xx is in its session's log, once, in the order of the answers."""
        for session, accepted in self.accepted.items():
            found = [one["observation"]["strings"][0] for one in history(session)]
            assert found[: len(accepted)] == accepted
            # The last request may have been carried out although its caller was never told.
            assert len(found) <= len(accepted) + 5


@pytest.mark.parametrize("kind", ["single", "batches", "observes"])
def test_a_server_killed_ten_times_under_load_loses_and_repeats_nothing(
    server: HttpServer, name: str, kind: Kind
) -> None:
    with Callers(server, name, kind) as callers:
        for _ in range(10 if kind == "single" else 3):
            seen = callers.count()
            wait_until(lambda seen=seen: callers.count() > seen + 100, 30, "there is load")  # type: ignore[misc]
            server.kill()
            server.start()
        seen = callers.count()
        wait_until(lambda: callers.count() > seen + 50, 30, "it goes on")
    assert callers.repeated >= 3
    callers.check()


def test_a_server_told_to_stop_under_load_answers_what_it_has_and_ends(server: HttpServer, name: str) -> None:
    with Callers(server, name) as callers:
        for _ in range(3):
            seen = callers.count()
            wait_until(lambda seen=seen: callers.count() > seen + 100, 30, "there is load")  # type: ignore[misc]
            began = time.monotonic()
            server.stop()
            assert time.monotonic() - began < 10
            server.start()
    assert set(callers.statuses) <= {202, 503}
    callers.check()
    assert "Traceback" not in server.text()


def test_lines_under_way_are_told_up_to_where_the_server_was_stopped(server: HttpServer, name: str) -> None:
    sent = 0
    stopped = threading.Event()

    def stop() -> None:
        server.stop()
        stopped.set()

    def lines() -> Iterator[bytes]:
        nonlocal sent
        while not stopped.is_set() or sent % 500:
            yield json.dumps(event(name, f"e{sent}")).encode() + b"\n"
            sent += 1
            if sent == 2_000:
                threading.Thread(target=stop).start()
            if sent >= 2_000:
                time.sleep(0.01)

    with server.client() as client:
        answer = client.post("/v1/events", content=lines(), headers={"content-type": "application/x-ndjson"})
        assert answer.status_code == 207, answer.text
        told = answer.json()
        assert told["accepted"] == told["stopped"]["index"] >= 500
        assert told["stopped"]["status"] == 503
    stopped.wait(20)
    assert [one["event_id"] for one in history(name)] == [f"e{i}" for i in range(told["accepted"])]


def test_a_store_that_is_away_is_told_as_503_and_accepts_again_when_it_is_back(
    own_system: System, server: HttpServer, name: str
) -> None:
    with server.client() as client:
        assert post(client, event(name, "e0")).status_code == 202
        own_system.store.stop()
        away = post(client, event(name, "e1"))
        assert (away.status_code, away.headers["retry-after"]) == (503, "2")
        unnamed = post(client, event(name))
        (named,) = unnamed.json()["event_ids"]
        assert named["index"] == 0
        several = post(client, [event(name, "e2"), event(name), event(name)]).json()["event_ids"]
        assert [one["index"] for one in several] == [1, 2]
        ready = client.get("/readyz")
        assert (ready.status_code, ready.json()["ready"]) == (503, False)
        assert client.get("/healthz").status_code == 200
        assert "kato_tasks_store_up 0.0" in client.get("/metrics").text
        own_system.store.start()
        wait_until(lambda: post(client, event(name, named["event_id"])).status_code == 202, 10, "it is back")
        assert client.get("/readyz").status_code == 200
    assert next(one["event_id"] for one in history(name)) == "e0"


def test_a_store_that_is_restarted_is_noticed_by_no_caller(own_system: System, server: HttpServer, name: str) -> None:
    with Callers(server, name) as callers:
        for _ in range(3):
            seen = callers.count()
            wait_until(lambda seen=seen: callers.count() > seen + 50, 30, "there is load")  # type: ignore[misc]
            own_system.store.stop()
            own_system.store.start()
    callers.check()
    assert callers.statuses.get(202, 0) > 150
    assert set(callers.statuses) <= {202, 503}


def test_a_store_that_is_full_is_told_as_429_while_what_it_has_is_applied(
    own_system: System, server: HttpServer, name: str
) -> None:
    """A store that Redis itself calls full: nothing breaks, the backlog shrinks, and events are accepted again."""
    limit = int(own_system.redis.info("memory")["used_memory"]) + 3_000_000
    own_system.redis.config_set("maxmemory", limit)
    try:
        with server.client() as client:
            sent = 0
            while (
                answer := post(client, event(name, f"e{sent}", *(f"{sent} {i}" * 500 for i in range(3))))
            ).is_success:
                sent += 1
                assert sent < 3_000
            assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")
            assert answer.json()["detail"].count("STORE_FULL_SHARE") == 1
            really_full(own_system)
            lines = b"\n".join(json.dumps(event(name, f"l{i}")).encode() for i in range(3))
            answer = client.post("/v1/events", content=lines, headers={"content-type": "application/x-ndjson"})
            assert answer.status_code == 429
            for path, body in (("/sessions", {"node_id": "n" * 200}), ("/sessions/new/observe", {"strings": ["a"]})):
                assert client.post(path, json=body).status_code == 429, path
            with own_system.workers(THREADS):
                wait_until(lambda: (s := session_status(name)) and s.cursor == sent, 60, "what it has is applied")
            own_system.redis.config_set("maxmemory", limit * 4)
            wait_until(lambda: post(client, event(name, "again")).status_code == 202, 10, "there is room")
    finally:
        own_system.redis.config_set("maxmemory", 0)
    assert [one["event_id"] for one in history(name)] == [*(f"e{i}" for i in range(sent)), "again"]
