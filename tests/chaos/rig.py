"""What a chaos run stands on: a store and a broker of its own, a KATO, two workers; all real processes."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import redis

from kato_tasks.testing.rabbitmq import RabbitmqServer
from kato_tasks.testing.services import KatoServer, RedisServer, ServiceFailed, keeper_of, spawn
from kato_tasks.testing.waiting import wait_until
from tests.chaos.gateway import GatewayProcess
from tests.chaos.recorder import serve
from tests.chaos.scale import Scale
from tests.chaos.views import Views

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


@dataclass(frozen=True, slots=True)
class RealKato:
    """A KATO that runs already, in the place of the embedded one."""

    url: str
    restart: Sequence[str] = ()
    """the command that ends KATO and starts it again; TERM or KILL is put behind it"""
    parts: Mapping[str, int] = field(default_factory=dict)
    """process ids of what it keeps its state in, by name: they are stopped for a while"""


class Rig(Views):
    """Services and workers of one run, and views into them."""

    def __init__(
        self,
        exits: ExitStack,
        directory: Path,
        scale: Scale,
        seed: int,
        broker: str,
        real: RealKato | None = None,
    ) -> None:
        self.directory = directory
        self.scale = scale
        self.real = real
        # A KATO that ran before knows the names of earlier runs.
        tag = f"-{uuid.uuid4().hex[:5]}" if real is not None else ""
        self.store = RedisServer(directory / "store")
        self.broker: RedisServer | RabbitmqServer = (
            RabbitmqServer(directory / "rabbitmq") if broker == "rabbitmq" else RedisServer(directory / "broker")
        )
        services: list[RedisServer | RabbitmqServer | KatoServer] = [self.store, self.broker]
        self.kato: KatoServer | GatewayProcess
        if real is None:
            self.kato = KatoServer(directory / "kato", "--journal", "--history", "50000")
            services.append(self.kato)
        else:
            self.kato = GatewayProcess(real.url, seed, serve)
            exits.callback(self.kato.stop)
        for service in services:
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
            "KATO_TASKS_KATO_CONNECTIONS": str(scale.kato_connections),
            "KATO_TASKS_BACKOFF_BASE_SECONDS": "0.25",
            "KATO_TASKS_BACKOFF_CAP_SECONDS": "5",
            "KATO_TASKS_MAX_RETRIES": "30",
            "KATO_TASKS_VISIBILITY_TIMEOUT_SECONDS": "30",
            "C_FORCE_ROOT": "1",
            "PYTHONFAULTHANDLER": "1",
            "PYTHONPATH": str(CHECKOUT),
        }
        view = redis.Redis(port=self.store.port, db=2, decode_responses=True, socket_timeout=10)
        super().__init__(self.kato.url, view, tag)
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
