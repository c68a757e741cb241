"""Show on stderr what the stack does: the parts as they become ready, and the lines of their logs, in colour."""

from __future__ import annotations

import contextlib
import re
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

import click

from kato_tasks.cli.layout import fold
from kato_tasks.cli.output import bar_width, in_colour
from kato_tasks.domain.visible import visible
from kato_tasks.embedded.stack.logs import Level, brief

if TYPE_CHECKING:
    from rich.table import Table

_COLOURS = {"redis": "red", "kato": "magenta", "worker": "green", "beat": "yellow", "flower": "cyan"}
_LEVELS = {"info": None, "warning": "yellow", "error": "red"}
WIDTH = 8
MOST_ROWS = 5
"""The most rows of a terminal that one line of a log takes. The log file holds the whole line."""

_HOUSEKEEPING = re.compile(r"kato_tasks\.(sweep|keep_alive)\b")
_ASKED_TOO_EARLY = re.compile(r"Inspect method \w+ failed")


def _is_no_news(level: Level, text: str) -> bool:
    """Return whether only the log file needs this line.

    Such lines are about beat's periodic tasks, and about Flower's first look at a worker that is still starting.
    """
    return (level == "info" and bool(_HOUSEKEEPING.search(text))) or bool(_ASKED_TOO_EARLY.search(text))


class Screen:
    """Shows text on stderr. It is thread-safe, because the lines of the parts come from another thread.

    With ``quiet``, only the parts' warnings and errors are shown. With ``data_on_stdout``, stdout is kept for JSON, so
    tables go to stderr too.
    """

    def __init__(self, *, quiet: bool, data_on_stdout: bool = False) -> None:
        from rich.console import Console

        self._tables = Console(highlight=False, stderr=data_on_stdout)
        self._quiet = quiet
        self._lock = threading.Lock()
        self._open = False
        self.hides_warnings = False
        """While this is True, the parts' warnings are hidden, because the stop itself causes them."""

    def say(self, text: str = "", *, bold: bool = False, fg: str | None = None) -> None:
        """Show one line of the command's own."""
        with self._lock:
            self._close()
            self._echo(_styled(text, bold=bold, fg=fg))

    def field(self, name: str, value: str) -> None:
        """Show a name and its value."""
        with self._lock:
            self._close()
            self._echo(f"  {_styled(name.ljust(WIDTH), bold=True)} {visible(value)}")

    def begin(self, text: str) -> None:
        """Begin a line that ``add`` makes longer."""
        with self._lock:
            self._close()
            self._echo(f"  {visible(text):{WIDTH + 3}}", newline=False)
            self._open = True

    def add(self, name: str) -> None:
        """Add the name of something that is done to the growing line."""
        with self._lock:
            self._echo(click.style(" ✓ ", fg="green") + visible(name) + " ", newline=False)

    def end(self, text: str) -> None:
        """End the growing line with this text."""
        with self._lock:
            if self._open:
                self._echo("  " + click.style(visible(text), dim=True))
                self._open = False

    def show(self, table: Table) -> None:
        """Show a person what the command found."""
        from rich.padding import Padding

        with self._lock:
            self._close()
            self._tables.print(Padding(table, (1, 2), expand=False))

    @contextlib.contextmanager
    def progress(self, what: str, total: int) -> Iterator[Callable[[int], None]]:
        """Show a progress bar with rate and remaining time, and yield the function that moves it.

        The bar is shown only on a terminal, and it is removed at its end.
        """
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        with Progress(
            TextColumn(f"  {what:{WIDTH + 3}}"),
            BarColumn(bar_width()),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]:,.0f}/s", style="dim"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
            disable=not sys.stderr.isatty(),
        ) as bar:
            row, started = bar.add_task(what, total=total, rate=0.0), time.monotonic()

            def move(done: int) -> None:
                rate = done / max(time.monotonic() - started, 0.001)
                bar.update(row, completed=done, rate=rate)

            yield move

    def line(self, part: str, level: Level, text: str) -> None:
        """Show a line that a part wrote to its log."""
        if self.hides_warnings or _is_no_news(level, text) or (self._quiet and level == "info"):
            return
        with self._lock:
            self._close()
            for row in self._rows(brief(text)):
                self._echo(f"{self._name(part)} {_styled(row, fg=_LEVELS[level])}")

    def tail(self, part: str, lines: Iterable[str]) -> None:
        """Show the last lines of a part that failed."""
        with self._lock:
            self._close()
            for text in lines:
                self._echo(f"{self._name(part)} {visible(text)}")

    def _name(self, part: str) -> str:
        return click.style(f"{part:{WIDTH}}│", fg=_COLOURS.get(part))

    @staticmethod
    def _rows(text: str) -> list[str]:
        """Return the text as a few rows of a terminal's width; without a terminal, as one line."""
        shown = visible(text)
        if not sys.stderr.isatty():
            return [shown]
        rows = fold(shown, shutil.get_terminal_size().columns - WIDTH - 3)
        return rows if len(rows) <= MOST_ROWS else [*rows[: MOST_ROWS - 1], f"{rows[MOST_ROWS - 1][:-1]}…"]

    def _close(self) -> None:
        if self._open:
            self._echo("")
            self._open = False

    def _echo(self, text: str, *, newline: bool = True) -> None:
        click.echo(text, err=True, nl=newline, color=in_colour())


def _styled(text: str, *, bold: bool = False, fg: str | None = None) -> str:
    """Return the text in this style, with every other control sequence written out."""
    return click.style(visible(text), bold=bold, fg=fg) if bold or fg else visible(text)
