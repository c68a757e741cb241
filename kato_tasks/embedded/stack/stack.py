"""Run the embedded stack as processes of this machine: Redis, an embedded KATO, worker, beat, Flower, HTTP server.

Each part is a process group of its own, tied to the life of the process that started it.
"""

from __future__ import annotations

import contextlib
import fcntl
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

from kato_tasks.embedded.stack import archive, pdeathsig
from kato_tasks.embedded.stack.env_file import write_environment
from kato_tasks.embedded.stack.logs import Follower, Level, last_lines
from kato_tasks.embedded.stack.parts import NoRedis, Part, clients, servers, settings_of
from kato_tasks.embedded.stack.ports import Ports, PortTaken
from kato_tasks.embedded.stack.processes import Hurry, bury, ended
from kato_tasks.embedded.stack.returning import DEATHS, WITHIN_SECONDS, Deaths

START_SECONDS = 60.0
LAST_LINES = 15
POLL_SECONDS = 0.05
TRIES = 3


class StackFailed(RuntimeError):
    """Raised when the stack cannot start, or a part of it ended.

    ``part`` says which part it is, and ``log`` holds what the part wrote last.
    """

    def __init__(self, reason: str, part: str = "", log: Sequence[str] = ()) -> None:
        super().__init__(reason)
        self.part = part
        self.log = list(log)


class Stack:
    """Runs all parts. As a context manager it starts them at the beginning and stops them at the end, whatever happens.

    ``data`` keeps event log, KATO's state and ports for the next start; None is a directory of its own that goes
    at the end. ``ports`` are those that some parts must have, ``settings`` are more environment variables for all.
    ``archive_url`` names the database that keeps history: None is a SQLite file in that directory, empty is none.
    ``on_ready`` is called with the name of each part that is ready; ``on_line`` gets what parts write from then on.
    The caller watches the parts: it either ends all with the first that dies (``check``) or starts it again (``tend``);
    for that, ``tended``, KATO keeps its state in a temporary directory, too.

    Call from the main thread: the kernel ties a part to the thread that started it.
    """

    def __init__(
        self,
        data: Path | None = None,
        *,
        ports: Mapping[str, int] | None = None,
        tended: bool = False,
        concurrency: int = 2,
        loglevel: str = "INFO",
        settings: Mapping[str, str] | None = None,
        archive_url: str | None = None,
        on_ready: Callable[[str], None] = lambda _: None,
        on_line: Callable[[str, Level, str], None] = lambda *_: None,
    ) -> None:
        self._keep = data is not None
        self._wanted = data
        self._given = dict(ports or {})
        self._keep_kato = tended or self._keep
        self.data = Path()
        self.loss = ""
        """One sentence that says what a directory of an earlier version has lost; empty for any other directory."""
        self.archive = ""
        """The address of the archive, without a password; empty if there is none."""
        self.env_file: Path | None = None
        """The file that tells shells that source it where the stack is; None if nothing is kept."""
        self.ports: dict[str, int] = {}
        self._concurrency = concurrency
        self._loglevel = loglevel
        self._settings = dict(settings or {})
        self._archive_url = archive_url
        self._on_ready = on_ready
        self._on_line = on_line
        self._lock: IO[str] | None = None
        self._running: list[tuple[Part, subprocess.Popen[bytes]]] = []
        self._follower: Follower | None = None
        self._deaths: dict[str, Deaths] = {}
        self._due: dict[str, float] = {}
        self._coming: dict[str, float] = {}

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
        """Return the settings with which another process uses this stack.

        An archive of the user's own is not among them: its address may hold a password, and its user knows it.
        """
        own = {archive.VARIABLE: archive.address_in(self.data)} if self._archive_url is None else {}
        return settings_of(self.ports) | own | self._settings

    @property
    def urls(self) -> dict[str, str]:
        """Return the address of each part; it is empty for parts that do not listen."""
        return {part.name: part.url for part, _ in self._running}

    @property
    def pids(self) -> dict[str, int]:
        """Return the process id of each part, by its name."""
        return {part.name: process.pid for part, process in self._running}

    def log_of(self, name: str) -> Path:
        """Return the path of a part's log file."""
        return self.data / "logs" / f"{name}.log"

    # ------------------------------------------------------------------ start

    def start(self) -> None:
        """Start every part and return when all are ready. Raises StackFailed."""
        self._open_data()
        ports = Ports(self._given, self.data / "ports.json" if self._keep else None)
        if self._keep and ports.saved and not (self.data / "kato" / "kato.sqlite3").exists():
            self.loss = (
                f"{self.data} is of a version whose KATO kept nothing: its events are there, and sessions get their "
                "short-term memory back from them; patterns that were learned before are lost"
            )
        for tries_left in reversed(range(TRIES)):
            try:
                self.ports = ports.choose()
                self._start_parts()
                break
            except PortTaken as exc:
                raise StackFailed(str(exc)) from None
            except StackFailed as exc:
                # Another program took a port after we had looked at it and before the part started.
                if not any("address already in use" in line.lower() for line in exc.log):
                    raise
                if exc.part in ports.pinned:
                    raise StackFailed(str(PortTaken.by_another(exc.part, self.ports[exc.part]))) from None
                if not tries_left:
                    raise
                self._end(self._running)
        ports.remember(self.ports)
        if self._keep:
            self.env_file = write_environment(self.data / "env.sh", self.environment)
        self._follower = Follower([self.log_of(part.name) for part, _ in self._running], self._on_line)
        self._follower.start()

    def _open_archive(self) -> None:
        url = archive.address_in(self.data) if self._archive_url is None else self._archive_url
        if url and not self.archive:
            try:
                self.archive = archive.prepare(url, self.environment)
            except archive.ArchiveUnusable as exc:
                raise StackFailed(str(exc)) from None

    def _start_parts(self) -> None:
        try:
            first = self._servers()
        except NoRedis as exc:
            raise StackFailed(str(exc)) from None
        self._start_all(first, meanwhile=self._open_archive)
        self._start_all(self._clients())

    def _servers(self) -> list[Part]:
        return servers(self.ports, self.data, keep_kato=self._keep_kato)

    def _clients(self) -> list[Part]:
        return clients(self.ports, self.data, concurrency=self._concurrency, loglevel=self._loglevel)

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

    def _start_all(self, parts: Iterable[Part], *, meanwhile: Callable[[], None] = lambda: None) -> None:
        """Start these parts together, do something else meanwhile, and return when all of them are ready."""
        waiting = []
        for part in parts:
            self._running.append((part, self._spawn(part)))
            waiting.append(part)
        meanwhile()
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
        # FLOWER_ variables are options of Flower, and the user's own would change this Flower.
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("FLOWER_")}
        tie = [sys.executable, "-IS", pdeathsig.__file__, str(os.getpid()), str(int(part.tied_signal))]
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
            if ended(process):
                raise self._failed(part.name, bury(process))

    def tend(self) -> list[str]:
        """Start again the parts that have died, and return one sentence about each.

        Raises StackFailed for a part that dies again and again.
        """
        said = []
        now = time.monotonic()
        for place, (part, process) in enumerate(self._running):
            name = part.name
            if name in self._due:
                if now >= self._due[name]:
                    del self._due[name]
                    self._coming[name] = now
                    # Make the part again, because it may be judged ready by what it writes from now on.
                    fresh = next(each for each in [*self._servers(), *self._clients()] if each.name == name)
                    self._running[place] = (fresh, self._spawn(fresh))
            elif ended(process):
                self._coming.pop(name, None)
                how = bury(process)
                pause = self._deaths.setdefault(name, Deaths()).add(now)
                if pause is None:
                    raise self._failed(name, f"{how}, the {DEATHS}th time within {WITHIN_SECONDS:.0f} s")
                self._due[name] = now + pause
                said.append(f"{name} {how}{self._last_words(name, how)}; it is started again")
            elif name in self._coming and part.ready():
                took = time.monotonic() - self._coming.pop(name)
                said.append(f"{name} is back after {took:.1f} s, pid {process.pid}")
        return said

    def _failed(self, name: str, how: str) -> StackFailed:
        return StackFailed(f"{name} {how}", name, last_lines(self.log_of(name), LAST_LINES))

    def _last_words(self, name: str, how: str) -> str:
        # The log of a part that was killed does not say why.
        last = last_lines(self.log_of(name), 1) if "SIGKILL" not in how else []
        return f", its last line was: {last[0].strip()[:200]}" if last else ""

    # ------------------------------------------------------------------- stop

    def stop(self) -> None:
        """End every part, those that use others first, and remove what is temporary. Signals only hurry the end."""
        with Hurry() as hurry:
            self._end(self._running, hurry)
            if self._follower is not None:
                self._follower.stop()
                self._follower = None
            if self._lock is not None:
                self._lock.close()
                self._lock = None
            if not self._keep and self.data != Path():
                shutil.rmtree(self.data, ignore_errors=True)

    def _end(self, running: list[tuple[Part, subprocess.Popen[bytes]]], hurry: Hurry | None = None) -> None:
        together = [(part, process) for part, process in running if part.name not in ("redis", "kato")]
        alone = [[pair] for pair in reversed(running) if pair not in together]
        for group in [list(reversed(together)), *alone]:
            for _, process in group:
                if not ended(process):
                    process.terminate()
            started = time.monotonic()
            for part, process in group:
                while not ended(process):
                    if (hurry and hurry.asked) or time.monotonic() - started > part.stop_seconds:
                        break
                    time.sleep(POLL_SECONDS)
                # The process is not reaped until here, so no other group can have taken over its number.
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    if process.returncode is None:
                        os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        running.clear()
