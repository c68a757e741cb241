"""The services a benchmark measures against: one Redis, one KATO (the embedded one), Celery workers, all processes."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import redis

from kato_tasks.testing.services import KatoServer, RedisServer, keeper_of, spawn
from kato_tasks.testing.waiting import wait_until

CHECKOUT = Path(__file__).resolve().parents[1]


class KatoProbe:
    """Looks into the embedded KATO over one kept connection."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=30)

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """The JSON of one call; raises AssertionError when the answer is no 200."""
        text = None if body is None else json.dumps(body)
        for last in (False, True):
            try:
                self._connection.request(method, path, text, {"Content-Type": "application/json"})
                answer = self._connection.getresponse()
                break
            except (http.client.HTTPException, OSError):
                # KATO closes what was idle for 5 s.
                self._connection.close()
                if last:
                    raise
        raw = answer.read()
        assert answer.status == 200, f"{method} {path}: {answer.status} {raw[:200]!r}"
        return json.loads(raw)

    def stats(self) -> dict[str, Any]:
        return dict(self.ask("GET", "/_embedded/stats"))

    def reset(self) -> None:
        self.ask("POST", "/_embedded/reset", {})

    def create(self, node: str) -> str:
        config = {"process_predictions": False}
        return str(self.ask("POST", "/sessions", {"node_id": node, "config": config})["session_id"])

    def stm(self, kato_session: str) -> list[list[str]]:
        return list(self.ask("GET", f"/_embedded/sessions/{quote(kato_session)}")["stm"])

    def journal(self, node: str) -> list[str]:
        """Unique ids of all observations on a node, in the order in which they were applied."""
        return list(self.ask("GET", f"/_embedded/journal?node={quote(node, safe='')}")["applied"])


@dataclass
class Stack:
    """What runs, and how to reach it."""

    directory: Path
    redis_server: RedisServer
    kato_url: str
    kato: KatoProbe
    environment: dict[str, str]
    checkout: Path = CHECKOUT
    """where the workers' code is"""
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def db(self, number: int) -> redis.Redis:
        return redis.Redis(port=self.redis_server.port, db=number, decode_responses=True)

    def worker(self, exits: ExitStack, name: str, app: str, *options: str) -> None:
        """Start a Celery worker and wait until it answers."""
        command = [sys.executable, "-m", "celery", "-A", app, "worker", "--loglevel", "WARNING", "-n", f"{name}@bench"]
        log = exits.enter_context((self.directory / f"{name}.log").open("wb"))
        process = spawn([*command, *options], log, dict(os.environ) | self.environment, self.checkout)
        exits.enter_context(keeper_of(process.pid))
        exits.callback(_stop, process)
        self.workers.append(process)
        check = [sys.executable, "-m", "celery", "-A", app, "inspect", "ping", "-d", f"{name}@bench", "--timeout", "2"]

        def answers() -> bool:
            assert process.poll() is None, (self.directory / f"{name}.log").read_text()
            done = subprocess.run(
                check, env=dict(os.environ) | self.environment, cwd=self.checkout, capture_output=True, check=False
            )
            return done.returncode == 0

        wait_until(answers, 60, f"worker {name} answers")


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(15)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(5)


@contextmanager
def stack(
    *kato_options: str, kato_url: str = "", checkout: Path = CHECKOUT, settings: Mapping[str, str] | None = None
) -> Iterator[Stack]:
    """Redis and the embedded KATO, or the KATO that runs at an address; this process's environment points at them."""
    with ExitStack() as exits:
        directory = Path(exits.enter_context(tempfile.TemporaryDirectory(prefix="kato-bench-")))
        redis_server = RedisServer(directory / "redis")
        redis_server.start()
        exits.callback(redis_server.stop)
        if not kato_url:
            kato_server = KatoServer(directory / "kato", "--journal", *kato_options)
            kato_server.start()
            exits.callback(kato_server.stop)
            kato_url = kato_server.url
        base = redis_server.url.removesuffix("/0")
        environment = {
            "KATO_TASKS_BROKER_URL": f"{base}/0",
            "KATO_TASKS_RESULT_BACKEND": f"{base}/1",
            "KATO_TASKS_STORE_URL": f"{base}/2",
            "KATO_TASKS_KATO_URLS": kato_url,
            "BENCH_BROKER_URL": f"{base}/3",
            "BENCH_KATO_URL": kato_url,
            "BENCH_TIMES": str(directory / "times"),
            "C_FORCE_ROOT": "1",
            "PYTHONPATH": os.pathsep.join(dict.fromkeys([str(checkout), str(CHECKOUT)])),
            **(settings or {}),
        }
        (directory / "times").mkdir()
        before = {name: os.environ.get(name) for name in environment}
        os.environ.update(environment)
        try:
            yield Stack(directory, redis_server, kato_url, KatoProbe(kato_url), environment, checkout)
        finally:
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value


def busy_wait(condition: Any, timeout: float, what: str, every: float = 0.01) -> None:
    """Wait for a condition with little delay after it comes true."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {timeout} s")
        time.sleep(every)
