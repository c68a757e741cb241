"""Erase from the archive: a session, or what is too old or too much."""

from __future__ import annotations

from sqlalchemy import ColumnElement, any_, delete, func, literal_column, or_, select

from kato_tasks.adapters.sql.database import Database
from kato_tasks.adapters.sql.names import each_of
from kato_tasks.adapters.sql.rows import escape
from kato_tasks.adapters.sql.tables import events

SESSIONS_AT_ONCE = 500
SHORTENED_AT_ONCE = 50
"""How many sessions one statement shortens: each is a condition of its own, which an index answers."""

_session, _position = events.c.session_id, events.c.position


class Eraser:
    """What is taken out of the table."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def forget(self, session: str) -> int:
        """See ``Archive.forget``."""
        with self._database.errors(), self._database.writing() as connection:
            return connection.execute(delete(events).where(_session == escape(session))).rowcount

    def prune(self, before_ms: int | None, keep: int | None, limit: int) -> int:
        """See ``Archive.prune``."""
        gone = 0
        if before_ms is not None:
            newer = events.alias("newer")
            is_not_newest = (
                select(newer.c.position).where(newer.c.session_id == _session, newer.c.position > _position).exists()
            )
            gone += self._erase(events.c.applied_ms < before_ms, is_not_newest, limit=limit)
        after = ""
        while keep is not None and gone < limit:
            sessions = self._sessions(after)
            gone += self._shorten(self._too_long(sessions, max(1, keep)), limit - gone)
            if len(sessions) < SESSIONS_AT_ONCE:
                break
            after = sessions[-1]
        return gone

    def _erase(self, *conditions: ColumnElement[bool], limit: int) -> int:
        """Erase up to ``limit`` rows by their addresses: rows never change, so an address stays a row's own."""
        if limit <= 0:
            return 0
        address: ColumnElement[int] = literal_column(f"{events.name}.{'rowid' if self._database.is_sqlite else 'ctid'}")
        chosen = select(address).select_from(events).where(*conditions).limit(limit)
        if not self._database.is_sqlite:
            # Locking them lets two that prune at once erase different rows.
            chosen = chosen.with_for_update(skip_locked=True)
            these = address == any_(func.array(chosen.scalar_subquery()))
        else:
            these = address.in_(chosen)
        with self._database.errors(), self._database.writing() as connection:
            return connection.execute(delete(events).where(these)).rowcount

    def _sessions(self, after: str) -> list[str]:
        """Return the next sessions by name. Each is one step in the index, however long the sessions are."""
        inner = events.alias("inner_events")
        first = select(func.min(_session).label("session_id")).where(_session > after)
        walk = first.cte("walk", recursive=True)
        following = select(func.min(inner.c.session_id)).where(inner.c.session_id > walk.c.session_id)
        walk = walk.union_all(select(following.scalar_subquery()).where(walk.c.session_id.is_not(None)))
        query = select(walk.c.session_id).where(walk.c.session_id.is_not(None)).limit(SESSIONS_AT_ONCE)
        with self._database.errors(), self._database.reading() as connection:
            return list(connection.execute(query).scalars())

    def _too_long(self, sessions: list[str], keep: int) -> list[tuple[str, int]]:
        """Return those of the sessions that have more than ``keep`` events, with the last position that goes."""
        each = each_of(sessions, self._database.is_sqlite)
        goes = (
            select(_position)
            .where(_session == each.c.value)
            .order_by(_position.desc())
            .offset(keep)
            .limit(1)
            .scalar_subquery()
        )
        with self._database.errors(), self._database.reading() as connection:
            rows = connection.execute(select(each.c.value, goes)).all()
        return [(session, position) for session, position in rows if position is not None]

    def _shorten(self, sessions: list[tuple[str, int]], limit: int) -> int:
        """Erase up to ``limit`` events of these sessions, up to the position of each."""
        gone = 0
        for begin in range(0, len(sessions), SHORTENED_AT_ONCE):
            some = sessions[begin : begin + SHORTENED_AT_ONCE]
            meant = or_(*[(_session == session) & (_position <= position) for session, position in some])
            gone += self._erase(meant, limit=limit - gone)
        return gone


__all__ = ["Eraser"]
