"""Lay out tables and fields: in columns where they fit, else one row below the other. No word is lost.

Lines are lists of pieces, each a text and whether it is bold; texts are visible already (``domain.visible``).
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from functools import lru_cache

Line = list[tuple[str, bool]]
GAP = 2
INDENT = 2
LEAST_PROSE = 24
"""The width that a table's last column must have left to be folded in its place."""


def table_lines(
    columns: Sequence[str], rows: Sequence[Sequence[str]], right: frozenset[int], width: int | None
) -> list[Line]:
    """Return rows under column names. The columns in ``right`` are aligned to the right.

    A ``width`` of None sets no limit. In a table that is wider than ``width``, the last column is folded if it is text.
    A table that still does not fit is stacked: each row's first cell comes first, and the others below it, each with
    its column's name.
    """
    widths = [max(map(cells, column)) for column in zip(columns, *rows, strict=True)]
    last = len(columns) - 1
    before = sum(widths[:-1]) + GAP * last
    if width is not None and before + widths[-1] > width:
        if last in right or width - before < min(widths[-1], LEAST_PROSE):
            return _stacked(columns, rows, width)
        widths[-1] = width - before
    lines: list[Line] = []
    for index, row in enumerate([columns, *rows]):
        padded = [_padded(cell, widths[i], i in right) for i, cell in enumerate(row[:-1])]
        begun = (" " * GAP).join(padded) + " " * GAP * bool(padded)
        folded = fold(row[-1], widths[-1])
        ends = [_padded(folded[0], widths[-1], last in right), *(" " * before + more for more in folded[1:])]
        lines += [[(f"{begun}{ends[0]}".rstrip(), index == 0)], *([(more, index == 0)] for more in ends[1:])]
    return lines


def field_lines(fields: Sequence[tuple[str, str]], width: int | None) -> list[Line]:
    """Lay out names and values, one below the other. A value that is too long for a line goes on under itself."""
    names = max(cells(name) for name, _ in fields) + GAP
    lines: list[Line] = []
    for name, value in fields:
        room = None if width is None else width - names
        if room is not None and room < min(cells(value), LEAST_PROSE // 2):
            lines += [[(name, True)], *([(" " * INDENT + text, False)] for text in fold(value, (width or 0) - INDENT))]
            continue
        first, *more = [value] if room is None else fold(value, room)
        lines += [[(_padded(name, names), True), (first, False)], *([(" " * names + text, False)] for text in more)]
    return lines


def fold(text: str, width: int) -> list[str]:
    """Break a text between words into lines of at most this many columns. A longer word is broken anywhere."""
    width = max(width, 2)
    if cells(text) <= width:
        return [text]
    lines: list[str] = []
    line, used = "", 0
    for index, word in enumerate(text.split(" ")):
        needs = cells(word)
        if index and used + 1 + needs <= width:
            line, used = f"{line} {word}", used + 1 + needs
            continue
        if index:
            lines.append(line)
        line, used = word, needs
        while used > width:
            head = _head(line, width)
            lines.append(head)
            line = line[len(head) :]
            used = cells(line)
    return [*lines, line]


def cells(text: str) -> int:
    """Return how many columns of a terminal a text takes."""
    return len(text) if text.isascii() else sum(map(_cells, text))


@lru_cache(maxsize=4_096)
def _cells(char: str) -> int:
    if unicodedata.category(char) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def _head(text: str, width: int) -> str:
    taken = 0
    for index, char in enumerate(text):
        taken += _cells(char)
        if taken > width:
            return text[: max(index, 1)]
    return text


def _padded(text: str, width: int, right: bool = False) -> str:
    room = " " * max(0, width - cells(text))
    return room + text if right else text + room


def _stacked(columns: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> list[Line]:
    names = max((cells(name) for name in columns[1:]), default=0) + GAP
    lines: list[Line] = []
    for row in rows:
        lines += [[(text, True)] for text in fold(row[0], width)]
        for name, cell in zip(columns[1:], row[1:], strict=True):
            if not cell:
                continue
            room = width - INDENT - names
            label = " " * INDENT + _padded(name, names)
            if not name or room < min(cells(cell), LEAST_PROSE // 2):
                if name:
                    lines.append([(label.rstrip(), False)])
                indent = " " * INDENT * (2 if name else 1)
                lines += [[(indent + text, False)] for text in fold(cell, width - len(indent))]
                continue
            first, *more = fold(cell, room)
            lines += [[(label + first, False)], *([(" " * cells(label) + text, False)] for text in more)]
    return lines
