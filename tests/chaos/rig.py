"""What a chaos run stands on: a store, a broker of its own, the embedded KATO, two workers; all real processes."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import quote

import redis

from kato_tasks.adapters.redis.keys import prefix
from kato_tasks.domain.ids import partition_of
from tests.chaos.gateway import GatewayProcess
from tests.chaos.oracle import comparable, pattern_name
from tests.chaos.scale import Scale
from tests.services import KatoServer, RabbitmqServer, RedisServer, ServiceFailed, keeper_of, spawn
from tests.waiting import wait_until

CHECKOUT = Path(__file__).resolve().parents[2]
POOLS = ("prefork", "threads")


class Worker:
    """One ``celery worker`` in a process group of its own, that can be replaced."""

    def __init__(self, directory: Path, environment: dict[str, str], pool: str, slots: int, number: int) -> None:
        self.pool = pool
        self.paused = False
        self.name = f"{pool}-{number}"
        self.log = directory / f"worker-{self.name}.log"
        command = [sys.executable, "-m", "celery", "-A", "kato_tasks", "worker", "-P", pool, "-c", str(slots)]
        command += ["--loglevel", "INFO", "-n", f"{self.name}@chaos"]
        with self.log.open("wb") as log:
            self.process = spawn(command, log, environment, CHECKOUT)
        self._keeper = keeper_of(self.process.pid)

    def signal(self, number: signal.Signals) -> None:
        """To the worker and its pool's children."""
        # The group outlives its leader as long as a child does.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)

    def terminate(self) -> None:
        """A warm shutdown: to the worker alone, which tells its children."""
        if self.process.poll() is None:
            self.process.terminate()

    def wait(self, seconds: float) -> bool:
        """Whether it ended in time; its keeper goes with it."""
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        with self._keeper:
            self._keeper.kill()
        return True

    def end_with_stacks(self) -> None:
        """Kill it, with every thread's stack in its log first (faulthandler answers SIGABRT)."""
        self.signal(signal.SIGABRT)
        self.wait(3)
        self.kill()

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        self.wait(10)

    def ready(self) -> bool:
        """Raises ServiceFailed when it ended by itself."""
        text = self.log.read_bytes()
        if b" ready." in text:
            return True
        if self.process.poll() not in (None, -signal.SIGKILL, -signal.SIGTERM):
            raise ServiceFailed(f"worker {self.name} ended at its start:\n{text[-2000:].decode(errors='replace')}")
        return False


class Rig:
    """Services and workers of one run, and views into them."""

    def __init__(self, exits: ExitStack, directory: Path, scale: Scale, seed: int, broker: str) -> None:
        self.directory = directory
        self.scale = scale
        self.store = RedisServer(directory / "store")
        self.broker: RedisServer | RabbitmqServer = (
            RabbitmqServer(directory / "rabbitmq") if broker == "rabbitmq" else RedisServer(directory / "broker")
        )
        self.kato = KatoServer(directory / "kato", "--journal", "--history", "50000")
        for service in (self.store, self.broker, self.kato):
            service.start()
            exits.callback(service.close if isinstance(service, RabbitmqServer) else service.stop)
        self.gateway = GatewayProcess(self.kato.url, seed)
        exits.callback(self.gateway.stop)
        base = self.store.url.removesuffix("/0")
        self.settings = {
            "KATO_TASKS_BROKER_URL": self.broker.url,
            "KATO_TASKS_RESULT_BACKEND": f"{base}/1",
            "KATO_TASKS_STORE_URL": f"{base}/2",
            # Half of the lanes reach the one KATO through a gateway, half without it.
            "KATO_TASKS_KATO_URLS": f"{self.kato.url},{self.gateway.url}",
            "KATO_TASKS_LEASE_SECONDS": str(scale.lease_seconds),
            "KATO_TASKS_KATO_TIMEOUT_SECONDS": str(scale.kato_timeout_seconds),
            "KATO_TASKS_BACKOFF_BASE_SECONDS": "0.25",
            "KATO_TASKS_BACKOFF_CAP_SECONDS": "5",
            "KATO_TASKS_MAX_RETRIES": "30",
            "KATO_TASKS_VISIBILITY_TIMEOUT_SECONDS": "30",
            "C_FORCE_ROOT": "1",
            "PYTHONFAULTHANDLER": "1",
            "PYTHONPATH": str(CHECKOUT),
        }
        self.view = redis.Redis(port=self.store.port, db=2, decode_responses=True, socket_timeout=10)
        self.workers: list[Worker] = []
        self._started = 0
        self._lock = threading.Lock()
        exits.callback(self.close)

    # ------------------------------------------------------------ workers

    def start_worker(self, pool: str) -> Worker:
        with self._lock:
            self._started += 1
            number = self._started
        worker = Worker(self.directory, dict(os.environ) | self.settings, pool, self.scale.slots, number)
        with self._lock:
            self.workers.append(worker)
        return worker

    def start_workers(self) -> None:
        for pool in POOLS:
            self.start_worker(pool)
        wait_until(lambda: all(worker.ready() for worker in self.workers), 60, "the workers are ready")

    def replace(self, worker: Worker) -> None:
        """Start another of the same pool in its place."""
        with self._lock:
            self.workers.remove(worker)
        self.start_worker(worker.pool)

    def close(self) -> None:
        for worker in self.workers:
            worker.signal(signal.SIGCONT)
            worker.terminate()
        for worker in self.workers:
            if not worker.wait(15):
                worker.kill()
        self.view.close()

    # --------------------------------------------------------------- KATO

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """The JSON of one call to the embedded KATO; None for a 404."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(  # noqa: S310  an address of ours
            self.kato.url + path, data, {"Content-Type": "application/json"}, method=method
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310  an address of ours
                return json.loads(answer.read())
        except urllib.error.HTTPError as exc:
            if exc.code == 404:
                return None
            raise

    def stats(self) -> dict[str, Any]:
        return dict(self.ask("GET", "/_embedded/stats"))

    def set_faults(self, rules: list[dict[str, Any]], seed: int) -> None:
        self.ask("POST", "/_embedded/faults", {"rules": rules, "seed": seed})

    def kato_session(self, kato_session: str) -> dict[str, Any] | None:
        return self.ask("GET", f"/_embedded/sessions/{quote(kato_session, safe='')}")  # type: ignore[no-any-return]

    def patterns(self, node: str) -> dict[str, int]:
        """Pattern → frequency of a node; by the oracle's name where vectors are in it."""
        found = self.ask("GET", f"/_embedded/patterns?node={quote(node, safe='')}") or {}
        counted: Counter[str] = Counter()
        for name, row in found.items():
            if row["data"] and sum(map(len, comparable(row["data"]))) < 2:
                continue  # one vector and what is near it: a pattern only if something was
            counted[pattern_name(row["data"]) if row["data"] else name] += int(row["frequency"])
        return dict(counted)

    def node_of(self, session: str) -> str:
        """The node that the store has written down for a session, as KATO is told it."""
        return str(self.view.hget(f"{prefix(partition_of(session))}nodes", session) or "")

    def store_ms(self) -> int:
        """The store's clock; the machine's own (they are one) while it is down."""
        try:
            seconds, micros = self.view.time()
        except redis.RedisError:
            return int(time.time() * 1000)
        return int(seconds) * 1000 + int(micros) // 1000
