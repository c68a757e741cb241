"""Read the archive in pages, each of which begins after the last row of the one before.

No cursor stays open at the server between pages, and no transaction. A page is as many rows as take about 2 MB.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, func, literal, select, tuple_

from kato_tasks.adapters.sql.database import Database
from kato_tasks.adapters.sql.names import each_of
from kato_tasks.adapters.sql.rows import READ, escape, event_of, unescape
from kato_tasks.adapters.sql.tables import events
from kato_tasks.ports.archive import ArchivedEvent, ArchivedLane, LanePlace

FIRST_PAGE, MOST_ROWS, PAGE_CHARS = 100, 2_000, 2_000_000
NAMES_AT_ONCE = 5_000
LANES_AT_ONCE = 16
COUNTED = 100_000
"""Up to about how many events PostgreSQL is asked to count them, instead of estimating their number."""

_session, _position = events.c.session_id, events.c.position
_ENTRY = READ.index("entry")


class Reader:
    """What is asked of the table."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def of_session(self, session: str, after: int, limit: int | None) -> Iterator[ArchivedEvent]:
        """See ``Archive.of_session``."""
        return self._events([_session == escape(session), _position > after], ["position"], limit)

    def of_lane(self, lane: str, after: int, limit: int | None) -> Iterator[ArchivedEvent]:
        """See ``Archive.of_lane``. A store that went back may have given a place twice."""
        return self._events(*_of_lane(lane, after), limit)

    def of_lanes(self, places: Sequence[LanePlace]) -> list[tuple[ArchivedEvent, ...]]:
        """See ``Archive.of_lanes``. Several lanes share a connection: to take one is dearer than to read a page."""
        found: list[tuple[ArchivedEvent, ...]] = []
        for begin in range(0, len(places), LANES_AT_ONCE):
            with self._database.errors(), self._database.reading() as connection:
                found += [self._lane_page(connection, place) for place in places[begin : begin + LANES_AT_ONCE]]
        return found

    def _lane_page(self, connection: Connection, place: LanePlace) -> tuple[ArchivedEvent, ...]:
        found: list[ArchivedEvent] = []
        chars = 0

        def rows_of(query: Select[Any]) -> Sequence[Any]:
            return connection.execute(query).all()

        for rows in self._pages(*_of_lane(place.lane, place.after), place.limit, rows_of):
            found += map(event_of, rows)
            chars += _chars(rows)
            if chars >= PAGE_CHARS:
                break
        return tuple(found)

    def of_time(
        self, since_ms: int | None, until_ms: int | None, lane: str | None, limit: int | None
    ) -> Iterator[ArchivedEvent]:
        """See ``Archive.of_time``."""
        conditions: list[ColumnElement[bool]] = []
        if since_ms is not None:
            conditions.append(events.c.time_ms >= since_ms)
        if until_ms is not None:
            conditions.append(events.c.time_ms < until_ms)
        if lane is not None:
            conditions.append(events.c.lane == escape(lane))
        return self._events(conditions, ["time_ms", "session_id", "position"], limit)

    def _events(
        self, conditions: Sequence[ColumnElement[bool]], order: Sequence[str], limit: int | None
    ) -> Iterator[ArchivedEvent]:
        for rows in self._pages(conditions, order, limit, self._rows):
            yield from map(event_of, rows)

    def _pages(
        self,
        conditions: Sequence[ColumnElement[bool]],
        order: Sequence[str],
        limit: int | None,
        rows_of: Callable[[Select[Any]], Sequence[Any]],
    ) -> Iterator[Sequence[Any]]:
        by = [events.c[name] for name in order]
        places = [READ.index(name) for name in order]
        query = select(*[events.c[name] for name in READ]).where(*conditions).order_by(*by)
        following = query
        page, left = FIRST_PAGE, limit
        while left is None or left > 0:
            size = page if left is None else min(page, left)
            rows = rows_of(following.limit(size))
            yield rows
            if len(rows) < size:
                return
            left = None if left is None else left - size
            page = max(1, min(MOST_ROWS, size * 4, PAGE_CHARS * size // _chars(rows)))
            last = [literal(rows[-1][place], column.type) for place, column in zip(places, by, strict=True)]
            following = query.where(tuple_(*by) > tuple_(*last) if len(by) > 1 else by[0] > last[0])

    def heads(self, sessions: Sequence[str]) -> dict[str, int]:
        """See ``Archive.heads``. Each one is a step in the index, however long the session is."""
        found: dict[str, int] = {}
        for begin in range(0, len(sessions), NAMES_AT_ONCE):
            names = [escape(session) for session in sessions[begin : begin + NAMES_AT_ONCE]]
            each = each_of(names, self._database.is_sqlite)
            head = select(func.max(_position)).where(_session == each.c.value).scalar_subquery()
            rows = self._rows(select(each.c.value, head))
            found |= {unescape(session): position for session, position in rows if position is not None}
        return found

    def lanes(self, after: str, limit: int) -> list[ArchivedLane]:
        """See ``Archive.lanes``."""
        query = (
            select(
                events.c.lane,
                func.count(),
                func.count(_session.distinct()),
                func.max(events.c.lane_order),
            )
            .where(events.c.lane > escape(after))
            .group_by(events.c.lane)
            .order_by(events.c.lane)
            .limit(max(0, limit))
        )
        return [ArchivedLane(unescape(lane), *counts) for lane, *counts in self._rows(query)]

    def sessions_of_lane(self, lane: str) -> dict[str, int]:
        """See ``Archive.sessions_of_lane``."""
        query = select(_session, func.max(_position)).where(events.c.lane == escape(lane)).group_by(_session)
        return {unescape(session): position for session, position in self._rows(query)}

    def first_time(self, session: str) -> int | None:
        """See ``Archive.first_time``."""
        query = select(events.c.time_ms).where(_session == escape(session)).order_by(_position).limit(1)
        rows = self._rows(query)
        return rows[0][0] if rows else None

    def first_gap(self, lane: str) -> tuple[str, int] | None:
        """See ``Archive.first_gap``."""
        first = func.min(_position)
        query = select(_session, first).where(events.c.lane == escape(lane)).group_by(_session).having(first > 1)
        rows = self._rows(query.order_by(_session).limit(1))
        return (unescape(rows[0][0]), int(rows[0][1])) if rows else None

    def count(self) -> int:
        """See ``Archive.count``. PostgreSQL's planner knows how large the table is; few rows are counted."""
        everything = select(func.count()).select_from(events)
        with self._database.errors(), self._database.reading() as connection:
            if not self._database.is_sqlite:
                plan = connection.exec_driver_sql(f"EXPLAIN (FORMAT JSON) SELECT 1 FROM {events.name}").scalar_one()  # noqa: S608  a name of ours
                plan = json.loads(plan) if isinstance(plan, str) else plan
                if (estimated := int(plan[0]["Plan"]["Plan Rows"])) > COUNTED:
                    return estimated
            return int(connection.execute(everything).scalar_one())

    def _rows(self, query: Select[Any]) -> Sequence[Any]:
        with self._database.errors(), self._database.reading() as connection:
            return connection.execute(query).all()


def _of_lane(lane: str, after: int) -> tuple[list[ColumnElement[bool]], list[str]]:
    """Return what is asked of a lane, and the order in which it is read."""
    conditions = [events.c.lane == escape(lane), events.c.lane_order > after]
    return conditions, ["lane_order", "session_id", "position"]


def _chars(rows: Sequence[Any]) -> int:
    return sum([len(row[_ENTRY]) for row in rows])


__all__ = ["Reader"]
