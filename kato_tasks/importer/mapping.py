"""Maps a row to a standard event: which column is what."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kato_tasks.importer.errors import BadInput, RowRejected


@dataclass(frozen=True, slots=True)
class Columns:
    """The mapping options: which column holds what.

    ``node`` is a node_id for all rows, ``node_column`` a column that holds each row's. ``emotives`` are pairs of an
    emotive and its column. ``metadata`` columns go into the observation's metadata. ``prefix`` writes a string as
    ``column:value``. ``event_id`` is a column that holds each row's own id, which is unique in its session. Without a
    ``session`` column, rows are standard events already (JSONL only).
    """

    session: str | None = None
    node: str | None = None
    node_column: str | None = None
    strings: tuple[str, ...] = ()
    emotives: tuple[tuple[str, str], ...] = ()
    timestamp: str | None = None
    metadata: tuple[str, ...] = ()
    prefix: bool = False
    event_id: str | None = None

    @property
    def mapped(self) -> bool:
        """Whether rows are mapped, instead of being standard events."""
        return self.session is not None

    def used(self) -> list[str]:
        """Return every column that is read, once each."""
        single = [self.session, self.node_column, self.timestamp, self.event_id]
        named = [c for c in single if c is not None]
        return list(dict.fromkeys([*named, *self.strings, *(c for _, c in self.emotives), *self.metadata]))

    def check(self) -> None:
        """Raise BadInput if the options contradict each other or leave out the session."""
        if self.session is None:
            if self.used() or self.node is not None:
                raise BadInput("no column is given for the session; add --session COLUMN")
            return
        if self.node is not None and self.node_column is not None:
            raise BadInput("--node and --node-column exclude each other; give one")
        if not self.strings and not self.emotives:
            raise BadInput("there is nothing to observe; name columns with --strings a,b or --emotive name=column")

    def seed(self, form: str) -> bytes:
        """Return what every chain of this mapping started from in the version before; this must never change."""
        return json.dumps(
            [
                "kato-tasks import 1",
                form,
                self.session,
                self.node,
                self.node_column,
                self.strings,
                self.emotives,
                self.timestamp,
                self.metadata,
                self.prefix,
            ]
        ).encode()


Mapper = Callable[[Any], dict[str, Any]]
"""Turns a parsed row into a standard event (a plain dict); raises RowRejected."""


def check_header(columns: Columns, header: Sequence[str], name: str) -> None:
    """Raise BadInput unless each used column is in the header exactly once."""
    for column in columns.used():
        if column not in header:
            there = ", ".join(header)
            raise BadInput(f"{name} has no column {column!r}; its columns are: {there}")
        if header.count(column) > 1:
            raise BadInput(f"{name} has {header.count(column)} columns named {column!r}; rename all but one")


def cells_mapper(columns: Columns, header: Sequence[str]) -> Mapper:
    """Return a mapper for rows that are lists of cells in the header's order. Empty cells are left out."""
    at = {name: index for index, name in enumerate(header)}
    width = len(header)
    session = at[columns.session or ""]
    node = at[columns.node_column] if columns.node_column is not None else -1
    when = at[columns.timestamp] if columns.timestamp is not None else -1
    strings = [(at[c], f"{c}:" if columns.prefix else "") for c in columns.strings]
    emotives = [(name, at[c], c) for name, c in columns.emotives]
    metadata = [(c, at[c]) for c in columns.metadata]
    own = at[columns.event_id] if columns.event_id is not None else -1

    def event(cells: Sequence[str]) -> dict[str, Any]:
        if len(cells) != width:
            raise RowRejected(f"has {len(cells)} cells, and the header has {width}")
        # Give all four, because pydantic copies the default of a missing one.
        seen = [p + cells[i] for i, p in strings if cells[i]]
        observation: dict[str, Any] = {"strings": seen, "vectors": [], "emotives": {}, "metadata": {}}
        if emotives:
            observation["emotives"] = {n: _number(n, c, cells[i]) for n, i, c in emotives if cells[i]}
        if metadata:
            observation["metadata"] = {c: cells[i] for c, i in metadata if cells[i]}
        made: dict[str, Any] = {"session_id": cells[session], "observation": observation}
        if node >= 0:
            made["node_id"] = cells[node] or None
        elif columns.node is not None:
            made["node_id"] = columns.node
        if when >= 0 and cells[when]:
            made["timestamp"] = cells[when]
        if own >= 0:
            if not cells[own]:
                raise RowRejected(f"has no id in column {columns.event_id!r}; give it one that is new in its session")
            made["event_id"] = cells[own]
        return made

    return event


def objects_mapper(columns: Columns) -> Mapper:
    """Return a mapper for rows that are JSON objects: flat ones, or standard events when nothing is mapped."""
    header = columns.used()
    lists = set(columns.strings)
    mapped = cells_mapper(columns, header) if columns.mapped else None

    def event(row: Any) -> dict[str, Any]:
        if not isinstance(row, dict):
            raise RowRejected(f"is a JSON {_kind(row)}, not an object")
        if mapped is None:
            return row
        if columns.session not in row:
            raise RowRejected(f"has no field {columns.session!r}")
        seen = {c: v for c in lists if isinstance(v := row.get(c), list)}
        made = mapped([_cell(row, c) if c not in seen else "" for c in header])
        if seen:
            strings = []
            for c in columns.strings:
                values = [_text(c, v) for v in seen[c]] if c in seen else [_cell(row, c)]
                strings += [f"{c}:{v}" if columns.prefix else v for v in values if v]
            made["observation"]["strings"] = strings
        return made

    return event


def _number(name: str, column: str, cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        raise RowRejected(f"emotives.{name}: {cell[:60]!r} in column {column!r} is not a number") from None


def _cell(row: Mapping[str, Any], column: str) -> str:
    return _text(column, row.get(column))


def _text(column: str, value: Any) -> str:
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    raise RowRejected(f"{column}: is a JSON {_kind(value)}; only text, numbers, true, false and null can be mapped")


def _kind(value: Any) -> str:
    kinds = {dict: "object", list: "array", str: "string", bool: "boolean", type(None): "null"}
    return kinds.get(type(value), "number")
