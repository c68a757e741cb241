"""Turns lines into records: CSV rows (which may span several lines) and JSON values."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from kato_tasks.importer.blocks import CONTINUED_BYTES, CONTINUED_LINES, Block
from kato_tasks.importer.errors import BadInput
from kato_tasks.importer.source import MAX_LINE_BYTES

DELIMITERS = (",", ";", "\t", "|")
Form = Literal["csv", "jsonl"]


@dataclass(frozen=True, slots=True)
class Record:
    """A record on lines ``first`` to ``last`` of its block (from 0). ``reason`` says why it could not be read."""

    first: int
    last: int
    value: Any
    reason: str | None = None


class Texts:
    """A block's lines as text; None for a line that is not UTF-8 or too long."""

    def __init__(self, block: Block) -> None:
        self.block = block
        self._texts = _decoded_together(block) or [_decoded(line) for line in block.lines]

    def __len__(self) -> int:
        return len(self.block.lines)

    def __getitem__(self, index: int) -> str | None:
        while len(self._texts) <= index:
            self._texts.append(_decoded(self.block.lines[len(self._texts)]))
        return self._texts[index]

    def problem(self, index: int) -> str:
        """Return why a line could not be read as text."""
        line = self.block.lines[index]
        if len(line) > MAX_LINE_BYTES:
            return f"takes {self.block.sizes[index]} bytes; a line has at most {MAX_LINE_BYTES}"
        try:
            line.decode()
        except UnicodeDecodeError as exc:
            return f"is not UTF-8: {exc.reason} at byte {exc.start + 1} of the line"
        return "is no text"

    def check_all(self, name: str) -> None:
        """Raise BadInput, naming the byte and the line, if any line is not UTF-8."""
        for index in range(len(self)):
            if self[index] is None and len(self.block.lines[index]) <= MAX_LINE_BYTES:
                raise not_utf8(name, self.block.lines[index], self.block.offset_of(index), self.block.number + index)


def not_utf8(name: str, line: bytes, offset: int, number: int) -> BadInput:
    """Return the error for a file in another encoding."""
    try:
        line.decode()
        at = 0
    except UnicodeDecodeError as exc:
        at = exc.start
    return BadInput(
        f"{name} is not UTF-8 (byte {offset + at}, line {number}); convert it first, for instance with "
        "iconv -f LATIN1 -t UTF-8, and import the result; nothing was imported"
    )


def _decoded_together(block: Block) -> list[str | None] | None:
    """Decode all lines at once, which is several times faster; returns None if one is not UTF-8 or is cut off."""
    if max(map(len, block.lines)) > MAX_LINE_BYTES:
        return None
    try:
        return list(b"\n".join(block.lines).decode().split("\n"))
    except UnicodeDecodeError:
        return None


def _decoded(line: bytes) -> str | None:
    if len(line) > MAX_LINE_BYTES:
        return None
    try:
        return line.decode()
    except UnicodeDecodeError:
        return None


Lengthen = Callable[[], bool]
"""Adds a line to the block that is being read; returns False if there is none."""


def csv_records(texts: Texts, first: int, lengthen: Lengthen, delimiter: str) -> Iterator[Record]:
    """Yield the CSV rows from line ``first`` on, without empty lines; the last row may lengthen the block.

    When a quote is never closed, only the row's first line is rejected, and reading goes on after it.
    """
    if csv.field_size_limit() < CONTINUED_BYTES + MAX_LINE_BYTES:
        csv.field_size_limit(CONTINUED_BYTES + MAX_LINE_BYTES)
    index = first
    while index < len(texts):
        text = texts[index]
        if text is None:
            yield Record(index, index, None, texts.problem(index))
        elif '"' not in text:
            if text:
                yield Record(index, index, text.split(delimiter))
        else:
            record = _quoted(texts, index, lengthen, delimiter)
            yield record
            index = record.last
        index += 1


def _quoted(texts: Texts, index: int, lengthen: Lengthen, delimiter: str) -> Record:
    last = index

    def pieces() -> Iterator[str]:
        nonlocal last
        yield f"{texts[index]}\n"
        size = 0
        while last - index < CONTINUED_LINES and size <= CONTINUED_BYTES and (last + 1 < len(texts) or lengthen()):
            text = texts[last + 1]
            if text is None:
                return
            last += 1
            size += len(text)
            yield f"{text}\n"

    try:
        cells = next(csv.reader(pieces(), delimiter=delimiter, strict=True))
    except csv.Error as exc:
        reason = "opens a quote that is never closed" if "unexpected end" in str(exc) else f"is no CSV: {exc}"
        return Record(index, index, None, reason)
    return Record(index, last, cells)


def json_records(texts: Texts, first: int) -> Iterator[Record]:
    """Yield the JSON value of each line from line ``first`` on, without empty lines."""
    for index in range(first, len(texts)):
        text = texts[index]
        if text is None:
            yield Record(index, index, None, texts.problem(index))
        elif text and not text.isspace():
            try:
                yield Record(index, index, json.loads(text))
            except ValueError as exc:
                yield Record(index, index, None, f"is no JSON: {exc}")
            except RecursionError:
                yield Record(index, index, None, "is no JSON: nested too deep")


def header_cells(line: str, delimiter: str) -> list[str]:
    """Return the column names in a CSV's first line."""
    return [cell.strip() for cell in next(csv.reader([line], delimiter=delimiter), [])]


def sniff_delimiter(line: str, used: Sequence[str]) -> str:
    """Return the delimiter that finds most of the used columns in the header and, among equals, most columns."""

    def score(delimiter: str) -> tuple[int, int]:
        cells = header_cells(line, delimiter)
        return sum(column in cells for column in used), len(cells)

    return max(DELIMITERS, key=score)
