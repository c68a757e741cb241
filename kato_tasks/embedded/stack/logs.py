"""Follow the parts' log files line by line while they grow."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

Level = Literal["info", "warning", "error"]
Line = Callable[[str, Level, str], None]
"""A function that is called with the part's name, the line's level and the line."""

_TIME = r"(?P<time>\d\d:\d\d:\d\d)"
_CELERY = re.compile(rf"\[[\d-]+ {_TIME},\d+: (?P<level>DEBUG|INFO|WARNING|ERROR|CRITICAL)/[^\]]*\] ")
_REDIS = re.compile(rf"\d+:[A-Z] \d\d \w{{3}} \d{{4}} {_TIME}\.\d+ (?P<level>[.\-*#]) ")
_TORNADO = re.compile(rf"\[(?P<level>[DIWEC]) \d{{6}} {_TIME} [^\]]*\] ")
_UVICORN = re.compile(r"(?P<level>DEBUG|INFO|WARNING|ERROR|CRITICAL):\s")
_PYTHON = re.compile(r"\S+:\d+: \w*Warning: ")
_LEVELS: dict[str, Level] = {
    **dict.fromkeys(("W", "WARNING", "#"), "warning"),
    **dict.fromkeys(("E", "C", "ERROR", "CRITICAL"), "error"),
}
EVERY_SECONDS = 0.1
TAIL_BYTES = 64_000


def level_of(line: str, before: Level) -> Level:
    """Return a line's level. A line without one, as in a traceback, has the level ``before`` of the line before it."""
    for form in (_CELERY, _REDIS, _TORNADO, _UVICORN):
        if found := form.match(line):
            return _LEVELS.get(found["level"], "info")
    if _PYTHON.match(line):
        return "warning"
    return "error" if line.startswith("Traceback (") else before


def brief(line: str) -> str:
    """Return a line as it is shown.

    Of what its part puts in front, only the time of day stays. Colour shows the part and the level.
    """
    for form in (_CELERY, _REDIS, _TORNADO):
        if found := form.match(line):
            return f"{found['time']} {line[found.end() :]}"
    return line


def last_lines(log: Path, count: int) -> list[str]:
    """Return the last ``count`` lines of a log file that are not empty."""
    try:
        with log.open("rb") as text:
            text.seek(max(0, text.seek(0, 2) - TAIL_BYTES))
            lines = text.read().decode(errors="replace").splitlines()
    except OSError:
        return []
    return [line for line in lines if line.strip()][-count:]


class Follower:
    """Hands on what is written to some log files from now on. It waits for files that do not exist yet.

    Parts write to their files themselves, so a terminal that is held (Ctrl-S) never holds a part.
    """

    def __init__(self, logs: Sequence[Path], on_line: Line) -> None:
        self._on_line = on_line
        self._read = {log: log.stat().st_size if log.exists() else 0 for log in logs}
        self._rest = dict.fromkeys(logs, b"")
        self._level: dict[Path, Level] = dict.fromkeys(logs, "info")
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="logs", daemon=True)

    def start(self) -> None:
        """Start following the files, in a thread of its own."""
        self._thread.start()

    def stop(self) -> None:
        """Hand on the lines that are left, and end."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(5)

    def _run(self) -> None:
        ending = False
        while not ending:
            ending = self._stop.wait(EVERY_SECONDS)
            for log in self._read:
                self._hand_on(log)

    def _hand_on(self, log: Path) -> None:
        try:
            with log.open("rb") as text:
                text.seek(self._read[log])
                new = text.read()
        except OSError:
            return
        self._read[log] += len(new)
        *lines, self._rest[log] = (self._rest[log] + new).split(b"\n")
        for raw in lines:
            line = raw.decode(errors="replace").rstrip()
            if line:
                self._level[log] = level_of(line, self._level[log])
                self._on_line(log.stem, self._level[log], line)
