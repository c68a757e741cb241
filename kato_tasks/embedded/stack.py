"""The embedded stack: Redis, an embedded KATO, a worker, beat and Flower as processes of this machine.

Each part is a process group of its own, tied to the life of the process that started it.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from kato_tasks.embedded import tied
from kato_tasks.embedded.logs import Follower, Level, last_lines
from kato_tasks.embedded.parts import PORTS, NoRedis, Part, clients, free_port, servers, settings_of

START_SECONDS = 60.0
LAST_LINES = 15
POLL_SECONDS = 0.05
TRIES = 3


class StackFailed(RuntimeError):
    """The stack cannot start, or a part of it ended. ``part`` and ``log`` say which and what it last wrote."""

    def __init__(self, reason: str, part: str = "", log: Sequence[str] = ()) -> None:
        super().__init__(reason)
        self.part = part
        self.log = list(log)


class Stack:
    """All parts. As a context manager it is started at the beginning and stopped at the end, whatever happens.

    ``data`` keeps the event log and the ports for the next start; None is a directory of its own that goes
    at the end. ``settings`` are more environment variables for every part. ``on_ready`` hears the name of
    each part that is ready, ``on_line`` hears what parts write from then on.

    Call from the main thread: the kernel ties a part to the thread that started it.
    """

    def __init__(
        self,
        data: Path | None = None,
        *,
        concurrency: int = 2,
        loglevel: str = "INFO",
        settings: Mapping[str, str] | None = None,
        on_ready: Callable[[str], None] = lambda _: None,
        on_line: Callable[[str, Level, str], None] = lambda *_: None,
    ) -> None:
        self._keep = data is not None
        self._wanted = data
        self.data = Path()
        self.ports: dict[str, int] = {}
        self._concurrency = concurrency
        self._loglevel = loglevel
        self._settings = dict(settings or {})
        self._on_ready = on_ready
        self._on_line = on_line
        self._lock: IO[str] | None = None
        self._running: list[tuple[Part, subprocess.Popen[bytes]]] = []
        self._follower: Follower | None = None

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()

    @property
    def environment(self) -> dict[str, str]:
        """The settings with which another process uses this stack."""
        return settings_of(self.ports) | self._settings

    @property
    def urls(self) -> dict[str, str]:
        """Where each part listens; empty for those that do not."""
        return {part.name: part.url for part, _ in self._running}

    @property
    def pids(self) -> dict[str, int]:
        return {part.name: process.pid for part, process in self._running}

    def log_of(self, name: str) -> Path:
        """The log file of a part."""
        return self.data / "logs" / f"{name}.log"

    # ------------------------------------------------------------------ start

    def start(self) -> None:
        """Start every part and return when all are ready. Raises StackFailed."""
        self._open_data()
        for tries_left in reversed(range(TRIES)):
            self.ports = {name: free_port(self.ports.get(name, 0)) for name in PORTS}
            try:
                self._start_parts()
                break
            except StackFailed as exc:
                # Somebody else took a port between our look and the part's start.
                taken = any("in use" in line.lower() for line in exc.log)
                if not (taken and tries_left):
                    raise
                self._end(self._running)
                self.ports = {}
        if self._keep:
            (self.data / "ports.json").write_text(json.dumps(self.ports))
        self._follower = Follower([self.log_of(part.name) for part, _ in self._running], self._on_line)
        self._follower.start()

    def _start_parts(self) -> None:
        try:
            first = servers(self.ports, self.data)
        except NoRedis as exc:
            raise StackFailed(str(exc)) from None
        self._start_all(first)
        self._start_all(clients(self.ports, self.data, concurrency=self._concurrency, loglevel=self._loglevel))

    def _open_data(self) -> None:
        if self._wanted is None:
            self.data = Path(tempfile.mkdtemp(prefix="kato-tasks-"))
        else:
            self.data = self._wanted.absolute()
        try:
            for part in ("logs", "redis", "beat"):
                (self.data / part).mkdir(parents=True, exist_ok=True)
            self._lock = (self.data / "lock").open("w")
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StackFailed(
                f"{self.data} is in use by another stack; stop that one, or give another directory"
            ) from None
        except OSError as exc:
            raise StackFailed(f"{self.data} cannot be used: {exc.strerror}; give another directory") from None
        # The same addresses as last time: KATO's are written down in the bindings.
        with contextlib.suppress(OSError, ValueError, AttributeError):
            saved = json.loads((self.data / "ports.json").read_text())
            self.ports = {name: int(port) for name, port in saved.items() if name in PORTS}

    def _start_all(self, parts: Iterable[Part]) -> None:
        """Start these together, and return when all of them are ready."""
        waiting = []
        for part in parts:
            self._running.append((part, self._spawn(part)))
            waiting.append(part)
        deadline = time.monotonic() + START_SECONDS
        while waiting:
            self.check()
            for part in [part for part in waiting if part.ready()]:
                waiting.remove(part)
                self._on_ready(part.name)
            if waiting and time.monotonic() > deadline:
                name = waiting[0].name
                raise StackFailed(
                    f"{name} is not ready after {START_SECONDS:.0f} s", name, last_lines(self.log_of(name), LAST_LINES)
                )
            time.sleep(POLL_SECONDS)

    def _spawn(self, part: Part) -> subprocess.Popen[bytes]:
        # FLOWER_ variables are options of Flower: those of the user's own would change this one.
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("FLOWER_")}
        tie = [sys.executable, "-IS", tied.__file__, str(os.getpid()), str(int(part.tied_signal))]
        with self.log_of(part.name).open("ab") as log:
            return subprocess.Popen(
                [*tie, *part.command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**inherited, "PYTHONUNBUFFERED": "1", **self.environment, **part.environment},
                start_new_session=True,
            )

    # ------------------------------------------------------------------ watch

    def check(self) -> None:
        """Raise StackFailed when a part has ended."""
        for part, process in self._running:
            if _ended(process):
                code = process.wait()
                how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
                raise StackFailed(f"{part.name} {how}", part.name, last_lines(self.log_of(part.name), LAST_LINES))

    # ------------------------------------------------------------------- stop

    def stop(self) -> None:
        """End every part, those that use others first, and remove what is temporary. Signals only hurry it on."""
        with _Hurry() as hurry:
            self._end(self._running, hurry)
            if self._follower is not None:
                self._follower.stop()
                self._follower = None
            if self._lock is not None:
                self._lock.close()
                self._lock = None
            if not self._keep and self.data != Path():
                shutil.rmtree(self.data, ignore_errors=True)

    def _end(self, running: list[tuple[Part, subprocess.Popen[bytes]]], hurry: _Hurry | None = None) -> None:
        together = [(part, process) for part, process in running if part.name not in ("redis", "kato")]
        alone = [[pair] for pair in reversed(running) if pair not in together]
        for group in [list(reversed(together)), *alone]:
            for _, process in group:
                if not _ended(process):
                    process.terminate()
            started = time.monotonic()
            for part, process in group:
                while not _ended(process):
                    if (hurry and hurry.asked) or time.monotonic() - started > part.stop_seconds:
                        break
                    time.sleep(POLL_SECONDS)
                # Unreaped until here, so the group's number cannot have become somebody else's.
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    if process.returncode is None:
                        os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        running.clear()


def _ended(process: subprocess.Popen[bytes]) -> bool:
    """Whether it ended; it is not reaped by asking."""
    if process.returncode is not None:
        return True
    try:
        return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return True


class _Hurry:
    """While it is open, SIGINT and SIGTERM do not raise: they ask for a quicker end."""

    def __init__(self) -> None:
        self.asked = False
        self._before: dict[int, object] = {}

    def __enter__(self) -> Self:
        def ask(*_: object) -> None:
            self.asked = True

        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            self._before[number] = signal.signal(number, ask)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
