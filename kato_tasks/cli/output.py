"""What commands print. Every line goes through ``put`` or ``talk``, which show control characters written out.

Data on stdout: JSON, tables, fields. On a terminal they are laid out for its width; elsewhere a row is a line.
Talk on stderr: sentences, each a line.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import click

from kato_tasks.cli.layout import Line, field_lines, table_lines
from kato_tasks.domain.visible import visible, visible_id, visible_json

_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))
ID_CHARS = 40
"""Of a longer id a table shows both ends; ``sessions show`` and ``--json`` have the whole."""


def put(text: str = "", *, bold: bool = False) -> None:
    """One line on stdout."""
    _emit([(text, bold)])


def talk(message: str) -> None:
    """A sentence on stderr."""
    click.echo(visible(message), err=True)


def show_json(value: Any, *, indent: int | None = 2) -> None:
    """One JSON document on stdout. What would steer a terminal is escaped as JSON does it, so it reads back."""
    click.echo(visible_json(json.dumps(value, indent=indent, ensure_ascii=False)))


def show_table(
    columns: Sequence[str], rows: Sequence[Sequence[object]], *, right: frozenset[int] = frozenset()
) -> None:
    """Rows under column names; ``right``: indexes of columns that are aligned to the right.

    On a terminal that is too narrow the rows are stacked. Ids go through ``short_id`` before they come here.
    """
    texts = [[visible(str(cell)) for cell in row] for row in rows]
    for line in table_lines(columns, texts, right, _width()):
        _emit(line)


def show_fields(fields: Sequence[tuple[str, object]]) -> None:
    """Names and values, one below the other."""
    for line in field_lines([(name, visible(str(value))) for name, value in fields], _width()):
        _emit(line)


def short_id(text: str) -> str:
    """An id for a table: written out, and of a long one the middle left out."""
    return visible_id(text, ID_CHARS)


def seconds(value: float | None) -> str:
    """A duration for a person."""
    if value is None:
        return "-"
    if value < 60:
        return f"{value:.1f} s"
    minutes, rest = divmod(int(value), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


def ago(ms: float | None, now_ms: float) -> str:
    """How long ago something was (or in how long it is), in one unit."""
    if ms is None:
        return "-"
    past = (now_ms - ms) / 1000
    amount = abs(past)
    size, unit = next((one for one in _UNITS if amount >= one[0]), _UNITS[-1])
    text = f"{int(amount // size)} {unit}"
    return f"{text} ago" if past >= 0 else f"in {text}"


def moment(ms: float, now_ms: float) -> str:
    """A time for a person: when, and how long ago."""
    return f"{datetime.fromtimestamp(ms / 1000, UTC):%Y-%m-%d %H:%M:%S} UTC, {ago(ms, now_ms)}"


def count(number: int, singular: str, plural: str | None = None) -> str:
    """``1 row``, ``2,000 rows``."""
    return f"{number:,} {singular if number == 1 else plural or singular + 's'}"


def bar_width() -> int:
    """How wide a progress bar is drawn, so that what stands beside it keeps its words."""
    return max(4, min(36, shutil.get_terminal_size().columns - 64))


def room_beside_bar() -> int:
    """How long the name of a progress bar may be."""
    return max(8, min(ID_CHARS, shutil.get_terminal_size().columns - bar_width() - 46))


def in_colour() -> bool | None:
    """Whether colour was forbidden (False, by NO_COLOR) or is decided by where the output goes (None)."""
    return False if os.environ.get("NO_COLOR") else None


def _width() -> int | None:
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def _emit(line: Line) -> None:
    shown = [(visible(text), bold) for text, bold in line]
    click.echo("".join(click.style(text, bold=True) if bold else text for text, bold in shown), color=in_colour())
