"""Turns lines into mapped rows, both for comparing a file and for importing it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from kato_tasks.importer.blocks import Block, Blocks
from kato_tasks.importer.errors import BadInput, RowRejected
from kato_tasks.importer.mapping import Columns, Mapper, cells_mapper, check_header, objects_mapper
from kato_tasks.importer.records import (
    Form,
    Record,
    Texts,
    csv_records,
    header_cells,
    json_records,
    not_utf8,
    sniff_delimiter,
)
from kato_tasks.importer.source import Source

MappedRow = tuple[int, int, Any, str | None]
"""First and last line in the block (from 0), and the standard event of the row, or the reason why it has none."""


@dataclass(slots=True)
class Reader:
    """Turns the lines of a file into rows, by its form, its mapping and the header of a CSV."""

    columns: Columns
    form: Form
    delimiter: str | None = None
    guessed: bool = False
    """Whether the form was not given, so that a first line of another form is reported as an error."""
    header: str | None = field(default=None, init=False)
    _mapper: Mapper | None = field(default=None, init=False)

    def begin(self, blocks: Blocks, source: Source) -> None:
        """Read the header of a CSV. Raises BadInput when it is missing or lacks a column."""
        if self.form == "jsonl":
            self._mapper = objects_mapper(self.columns)
            return
        if not self.columns.mapped:
            raise BadInput("no column is given for the session; add --session COLUMN")
        line = blocks.header()
        if line is None:
            raise BadInput(f"{source.name} is empty; a CSV file begins with its column names")
        try:
            text = line.decode()
        except UnicodeDecodeError:
            raise not_utf8(source.name, line, 0, 1) from None
        self.begin_with(text, source.name)

    def begin_with(self, header: str | None, name: str) -> None:
        """Begin with a header that is known already; raises BadInput when it lacks a column."""
        if self.form == "jsonl":
            self._mapper = objects_mapper(self.columns)
            return
        self.header = header or ""
        self.delimiter = self.delimiter or sniff_delimiter(self.header, self.columns.used())
        cells = header_cells(self.header, self.delimiter)
        check_header(self.columns, cells, name)
        self._mapper = cells_mapper(self.columns, cells)

    def check_form(self, block: Block, name: str) -> None:
        """Raise BadInput when the form was guessed and the first line shows that the guess is wrong."""
        line = block.lines[0].lstrip()
        if self.guessed and self.form == "jsonl" and line and not line.startswith(b"{"):
            raise BadInput(
                f"{name} is read as JSON lines, and its first line is no JSON object; if it is a CSV, "
                "add --format csv, else --format jsonl"
            )

    def records(self, texts: Texts, first: int, lengthen: Callable[[], bool]) -> Iterator[Record]:
        """Yield the records of a block, beginning at line ``first``; ``lengthen`` adds a line to the block."""
        if self.form == "csv":
            return csv_records(texts, first, lengthen, self.delimiter or ",")
        return json_records(texts, first)

    def rows(self, texts: Texts, first: int, lengthen: Callable[[], bool]) -> Iterator[MappedRow]:
        """Yield the mapped rows of a block, beginning at line ``first``; ``lengthen`` adds a line to the block."""
        for record in self.records(texts, first, lengthen):
            yield self.mapped(record)

    def mapped(self, record: Record) -> MappedRow:
        """Map a record to a row."""
        assert self._mapper is not None
        if record.reason is not None:
            return record.first, record.last, None, record.reason
        try:
            return record.first, record.last, self._mapper(record.value), None
        except RowRejected as exc:
            return record.first, record.last, None, str(exc)


def all_rows(reader: Reader, source: Source) -> Iterator[tuple[Block, MappedRow]]:
    """Yield every row of a source, with its block."""
    blocks = Blocks(source, None)
    reader.begin(blocks, source)
    while block := blocks.read():
        natural = len(block.lines)

        def lengthen(block: Block = block, natural: int = natural) -> bool:
            return blocks.lengthen(block, natural)

        for row in reader.rows(Texts(block), 0, lengthen):
            yield block, row
        blocks.close(block)
