"""The command line as a process of its own, and the importer in this one, both on a real Redis."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from click.testing import CliRunner

from kato_tasks.adapters.redis.keys import prefix
from kato_tasks.bootstrap import Runtime
from kato_tasks.cli import kato
from kato_tasks.domain.events import parse_event
from kato_tasks.domain.ids import PARTITIONS, partition_of
from kato_tasks.domain.log_entry import Entry, Logged, entry_of
from kato_tasks.domain.results import Appended
from kato_tasks.importer import Changed, Columns, Importer, Progress, Rejects, Summary, open_source
from kato_tasks.importer.records import Form

CHECKOUT = Path(__file__).resolve().parents[3]
NOWHERE = "http://127.0.0.1:9"
Json = dict[str, Any]


@dataclass
class Ran:
    """A command that ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        assert self.out, self.err
        return json.loads(self.out)


@dataclass
class Cli:
    """``kato-tasks …`` in a directory of its own, with settings from the environment alone."""

    directory: Path
    settings: dict[str, str] = field(default_factory=dict)
    inside: bool = False
    """run commands in this process, whose settings are the same (a process of its own takes a second to start)"""

    def environment(self, **more: str) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("KATO_TASKS_")}
        named = {f"KATO_TASKS_{name}": value for name, value in (self.settings | more).items()}
        return inherited | {"PYTHONPATH": str(CHECKOUT)} | named

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "kato_tasks.cli", *words]

    def __call__(self, *words: str, stdin: bytes | None = None, **settings: str) -> Ran:
        if self.inside and not settings:
            result = CliRunner().invoke(kato, list(words), input=stdin, prog_name="kato-tasks")
            assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
            return Ran(result.exit_code, result.stdout, result.stderr)
        done = subprocess.run(
            self.command(*words),
            input=stdin if stdin is not None else b"",
            capture_output=True,
            cwd=self.directory,
            env=self.environment(**settings),
            timeout=90,
            check=False,
        )
        return Ran(done.returncode, done.stdout.decode(), done.stderr.decode())

    def start(self, *words: str, **settings: str) -> subprocess.Popen[bytes]:
        """The same, not waited for. The caller ends it."""
        return subprocess.Popen(
            self.command(*words),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=self.directory,
            env=self.environment(**settings),
        )

    def write(self, name: str, data: str | bytes) -> str:
        path = self.directory / name
        path.write_bytes(data.encode() if isinstance(data, str) else data)
        return name


def databases(redis_url: str) -> dict[str, str]:
    base = redis_url.removesuffix("/0")
    return {"BROKER_URL": f"{base}/0", "RESULT_BACKEND": f"{base}/1", "STORE_URL": f"{base}/2"}


class Killed(BaseException):
    """Stands for the end of the process at this very place."""


@dataclass
class Imports:
    """Imports in this process. ``die_after``: appends after which the next one ends in Killed."""

    rt: Runtime
    directory: Path
    die_after: int | None = None
    dies_of: BaseException = field(default_factory=Killed)
    sent: int = 0
    calls: int = 0

    def append(self, entries: Sequence[Entry]) -> list[Appended]:
        if self.die_after is not None and self.calls >= self.die_after:
            raise self.dies_of
        self.calls += 1
        self.sent += len(entries)
        return [placed.appended for placed in self.rt.mailbox.append(entries).placed]

    def __call__(
        self,
        data: bytes | str,
        *,
        form: Form = "csv",
        learn: bool = False,
        complete: bool = False,
        die_after: int | None = None,
        of: BaseException | None = None,
        file: str = "input",
        name: str | None = None,
        changed: Changed | None = None,
        **columns: Any,
    ) -> Summary:
        self.dies_of = of or Killed()
        self.die_after, self.sent, self.calls = die_after, 0, 0
        path = self.directory / file
        path.write_bytes(data.encode() if isinstance(data, str) else data)
        mapped = {"session": "s", "strings": ("a",)} if form == "csv" else {}
        importer = Importer(
            append=self.append,
            imports=self.rt.imports,
            sessions=self.rt.sessions,
            rejects=Rejects(self.directory / "rejects.jsonl"),
            limits=self.rt.settings.limits,
            columns=Columns(**(mapped | columns)),
            form=form,
            learn=learn,
            name=name,
            changed=changed,
            on_progress=self._seen,
        )
        try:
            with open_source(str(path), complete=complete) as source:
                return importer.run(source)
        finally:
            importer.rejects.close()

    def _seen(self, progress: Progress) -> None:
        assert progress.position >= 0

    @property
    def rejects(self) -> list[Json]:
        path = self.directory / "rejects.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def log(self, session: str) -> list[Json]:
        """A session's history, as standard events."""
        key = f"{prefix(partition_of(self.rt.sessions.lane_of(session)))}log:{session}"
        texts = self.rt.redis.lrange(key, 0, -1)
        return [Logged.parse(i, str(text)).event(session) for i, text in enumerate(texts, 1)]

    def strings(self, session: str) -> list[str]:
        """What a session's history holds: each event's strings, or its type."""
        return [
            " ".join(event["observation"]["strings"]) if "observation" in event else str(event["event_type"])
            for event in self.log(session)
        ]

    def total(self) -> int:
        """Events in the whole store, counted in the logs themselves."""
        return sum(int(self.rt.redis.llen(key)) for key in self.rt.redis.scan_iter("kt:*:log:*", count=5_000))


def append(rt: Runtime, session: str, *strings: str, first: int = 1, **more: Any) -> list[Appended]:
    events = [
        {"event_id": f"e{i}", "session_id": session, "observation": {"strings": [text]}, **more}
        for i, text in enumerate(strings, first)
    ]
    entries = [entry_of(parse_event(event), event_id=str(event["event_id"])) for event in events]
    return [placed.appended for placed in rt.mailbox.append(entries).placed]


def drain(rt: Runtime) -> None:
    """Everything that is due now."""
    while rt.drainer.drain_partitions(range(PARTITIONS)).lanes:
        pass


def post(url: str, body: Json) -> None:
    """Tell the embedded KATO something."""
    httpx.post(url, json=body, timeout=5).raise_for_status()


def stm(kato_url: str, shown: dict[str, Any]) -> list[list[str]]:
    path = f"{kato_url}/sessions/{shown['binding']['kato_session_id']}/stm"
    found: list[list[str]] = httpx.get(path, timeout=5).raise_for_status().json()["stm"]
    return found
