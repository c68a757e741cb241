"""Data on stdout: JSON, or tables (drawn with rich on a terminal, plain columns otherwise)."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

import click


def show_json(value: Any) -> None:
    """One JSON document on stdout."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def show_table(
    columns: Sequence[str], rows: Sequence[Sequence[object]], *, right: frozenset[int] = frozenset()
) -> None:
    """Rows under column names; ``right``: indexes of columns that are aligned to the right."""
    cells = [[str(cell) for cell in row] for row in rows]
    if sys.stdout.isatty():
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, pad_edge=False, header_style="bold")
        for index, name in enumerate(columns):
            table.add_column(name, justify="right" if index in right else "left", overflow="fold")
        for row in cells:
            table.add_row(*(Text(cell) for cell in row))
        Console().print(table)
        return
    widths = [max(len(row[i]) for row in [list(columns), *cells]) for i in range(len(columns))]
    for row in [list(columns), *cells]:
        padded = [c.rjust(w) if i in right else c.ljust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True))]
        click.echo("  ".join(padded).rstrip())


def show_fields(fields: Sequence[tuple[str, object]]) -> None:
    """Names and values, one per line."""
    width = max(len(name) for name, _ in fields)
    for name, value in fields:
        click.echo(f"{click.style(name.ljust(width), bold=True)}  {value}")


def talk(message: str) -> None:
    """A sentence on stderr."""
    click.echo(message, err=True)


def seconds(value: float | None) -> str:
    """A duration for a person."""
    if value is None:
        return "-"
    if value < 60:
        return f"{value:.1f} s"
    minutes, rest = divmod(int(value), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


def count(number: int, singular: str, plural: str | None = None) -> str:
    """``1 row``, ``2,000 rows``."""
    return f"{number:,} {singular if number == 1 else plural or singular + 's'}"
