"""Write rows so that writing them twice is harmless, and say where another event is kept.

Almost always every row is new, so PostgreSQL first gets them by COPY into the table itself, which is the fastest way.
If one of them is kept already, all are copied into a temporary table, and those that are new go over from there.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from sqlalchemy import Connection, Table, func, select
from sqlalchemy.dialects import postgresql, sqlite

from kato_tasks.adapters.sql.database import Database
from kato_tasks.adapters.sql.rows import EVENT_ID, POSITION, SESSION, Row, unescape
from kato_tasks.adapters.sql.tables import COLUMNS, events, incoming
from kato_tasks.errors import UnreadableRow
from kato_tasks.ports.archive import ArchiveConflict

_TYPES = {"TEXT": "text", "BIGINT": "int8", "INTEGER": "int4", "BOOLEAN": "bool"}


def write_rows(database: Database, rows: Sequence[Row]) -> list[ArchiveConflict]:
    """Keep the rows, which are in the order of session and position, in one transaction.

    Returns the positions at which another event is kept. Raises UnreadableRow for text or numbers that cannot be kept.
    """
    distinct, conflicts = _without_repetitions(rows)
    if distinct:
        write = _into_sqlite if database.is_sqlite else _into_postgresql
        try:
            conflicts += write(database, distinct)
        except (UnicodeEncodeError, OverflowError) as exc:
            raise UnreadableRow(f"an event cannot be kept as text and numbers, so none was archived ({exc})") from None
    return conflicts


def _without_repetitions(rows: Iterable[Row]) -> tuple[list[Row], list[ArchiveConflict]]:
    distinct: list[Row] = []
    conflicts: list[ArchiveConflict] = []
    for row in rows:
        if not distinct or distinct[-1][:2] != row[:2]:
            distinct.append(row)
        elif distinct[-1][EVENT_ID] != row[EVENT_ID]:
            conflicts.append(_conflict(row[SESSION], row[POSITION], row[EVENT_ID], distinct[-1][EVENT_ID]))
    return distinct, conflicts


def _conflict(session: str, position: int, event_id: str, known_id: str) -> ArchiveConflict:
    return ArchiveConflict(unescape(session), position, unescape(event_id), unescape(known_id))


# ----------------------------------------------------------------------------------- PostgreSQL


def _into_postgresql(database: Database, rows: Sequence[Row]) -> list[ArchiveConflict]:
    from psycopg.errors import UniqueViolation

    try:
        with database.writing() as connection:
            _copy(connection, events, rows)
    except UniqueViolation:
        return _beside_what_is_kept(database, rows)
    return []


def _beside_what_is_kept(database: Database, rows: Sequence[Row]) -> list[ArchiveConflict]:
    ordered = select(incoming).order_by(incoming.c.session_id, incoming.c.position)
    add = postgresql.insert(events).from_select(COLUMNS, ordered).on_conflict_do_nothing()
    same_place = (events.c.session_id == incoming.c.session_id) & (events.c.position == incoming.c.position)
    differing = (
        select(incoming.c.session_id, incoming.c.position, incoming.c.event_id, events.c.event_id.label("known_id"))
        .join(events, same_place)
        .where(events.c.event_id != incoming.c.event_id)
        .order_by(incoming.c.session_id, incoming.c.position)
    )
    with database.writing() as connection:
        incoming.create(connection)
        _copy(connection, incoming, rows)
        connection.execute(add)
        return [_conflict(*row) for row in connection.execute(differing)]


def _copy(connection: Connection, table: Table, rows: Sequence[Row]) -> None:
    import psycopg

    driver: Any = connection.connection.driver_connection
    try:
        with (
            driver.cursor() as cursor,
            cursor.copy(f"COPY {table.name} ({', '.join(COLUMNS)}) FROM STDIN (FORMAT BINARY)") as copy,
        ):
            copy.set_types([_TYPES[str(table.c[name].type)] for name in COLUMNS])
            for row in rows:
                copy.write_row(row)
    except psycopg.Error:
        if driver.closed:
            connection.invalidate()  # SQLAlchemy did not see it break
        raise


# --------------------------------------------------------------------------------------- SQLite


def _into_sqlite(database: Database, rows: Sequence[Row]) -> list[ArchiveConflict]:
    add = str(sqlite.insert(events).on_conflict_do_nothing().compile(dialect=sqlite.dialect()))
    with database.writing() as connection:
        done = connection.exec_driver_sql(add, list(rows), execution_options={"preserve_rowcount": True})
        return [] if done.rowcount == len(rows) else list(_differing(connection, rows))


def _differing(connection: Connection, rows: Sequence[Row]) -> Iterator[ArchiveConflict]:
    asked = json.dumps([(row[SESSION], row[POSITION]) for row in rows])
    places = func.json_each(asked).table_valued("key", "value")
    session, position = (func.json_extract(places.c.value, path) for path in ("$[0]", "$[1]"))
    kept = (events.c.session_id == session) & (events.c.position == position)
    query = select(places.c.key, events.c.event_id).join_from(places, events, kept).order_by(places.c.key)
    for at, known_id in connection.execute(query):
        row = rows[at]
        if row[EVENT_ID] != known_id:
            yield _conflict(row[SESSION], row[POSITION], row[EVENT_ID], known_id)


__all__ = ["write_rows"]
