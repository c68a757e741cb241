"""Print what commands say. Every line goes through ``put`` or ``talk``, which write out control characters.

Data goes to stdout: JSON, tables and fields. On a terminal they are laid out for its width; elsewhere a row is a line.
Messages go to stderr: sentences, each on a line of its own.
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
"""A table shows only both ends of a longer id. ``sessions show`` and ``--json`` print the whole id."""


def put(text: str = "", *, bold: bool = False) -> None:
    """Print one line on stdout."""
    _emit([(text, bold)])


def talk(message: str) -> None:
    """Print a sentence on stderr."""
    click.echo(visible(message), err=True)


def show_json(value: Any, *, indent: int | None = 2) -> None:
    """Print one JSON document on stdout. Control characters are escaped as in JSON, so the document reads back."""
    click.echo(visible_json(json.dumps(value, indent=indent, ensure_ascii=False)))


def show_table(
    columns: Sequence[str], rows: Sequence[Sequence[object]], *, right: frozenset[int] = frozenset()
) -> None:
    """Print rows under column names. ``right`` holds the indexes of the columns that are aligned to the right.

    On a terminal that is too narrow the rows are stacked. Ids go through ``short_id`` before they come here.
    """
    texts = [[visible(str(cell)) for cell in row] for row in rows]
    for line in table_lines(columns, texts, right, _width()):
        _emit(line)


def show_fields(fields: Sequence[tuple[str, object]]) -> None:
    """Print names and values, one below the other."""
    for line in field_lines([(name, visible(str(value))) for name, value in fields], _width()):
        _emit(line)


def short_id(text: str) -> str:
    """Return an id for a table: control characters are written out, and the middle of a long id is left out."""
    return visible_id(text, ID_CHARS)


def seconds(value: float | None) -> str:
    """Return a duration as a person reads it."""
    if value is None:
        return "-"
    if value < 60:
        return f"{value:.1f} s"
    minutes, rest = divmod(int(value), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


def ago(ms: float | None, now_ms: float) -> str:
    """Return how long ago something was, or in how long it will be, in one unit."""
    if ms is None:
        return "-"
    past = (now_ms - ms) / 1000
    amount = abs(past)
    size, unit = next((one for one in _UNITS if amount >= one[0]), _UNITS[-1])
    text = f"{int(amount // size)} {unit}"
    return f"{text} ago" if past >= 0 else f"in {text}"


def moment(ms: float, now_ms: float) -> str:
    """Return a time as a person reads it: when it was, and how long ago."""
    return f"{datetime.fromtimestamp(ms / 1000, UTC):%Y-%m-%d %H:%M:%S} UTC, {ago(ms, now_ms)}"


def count(number: int, singular: str, plural: str | None = None) -> str:
    """Return a number with its noun, as in ``1 row`` or ``2,000 rows``."""
    return f"{number:,} {singular if number == 1 else plural or singular + 's'}"


def bar_width() -> int:
    """Return how wide a progress bar is drawn, so that there is room for the words beside it."""
    return max(4, min(36, shutil.get_terminal_size().columns - 64))


def room_beside_bar() -> int:
    """Return how long the name of a progress bar may be."""
    return max(8, min(ID_CHARS, shutil.get_terminal_size().columns - bar_width() - 46))


def in_colour() -> bool | None:
    """Return False if NO_COLOR forbids colour, or None if the destination of the output decides."""
    return False if os.environ.get("NO_COLOR") else None


def _width() -> int | None:
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def _emit(line: Line) -> None:
    shown = [(visible(text), bold) for text, bold in line]
    click.echo("".join(click.style(text, bold=True) if bold else text for text, bold in shown), color=in_colour())
