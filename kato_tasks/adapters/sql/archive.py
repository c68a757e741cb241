"""The port ``Archive`` on a SQL database."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import Select, inspect, select, table, text
from sqlalchemy import column as named

from kato_tasks.adapters.sql.database import Database
from kato_tasks.adapters.sql.erasing import Eraser
from kato_tasks.adapters.sql.failing import UPGRADE
from kato_tasks.adapters.sql.reading import Reader
from kato_tasks.adapters.sql.rows import rows_of
from kato_tasks.adapters.sql.tables import REVISION, VERSION_TABLE
from kato_tasks.adapters.sql.writing import write_rows
from kato_tasks.errors import ConfigurationError
from kato_tasks.ports.archive import Archive, ArchiveConflict, ArchivedEvent, ArchivedLane, LanePlace


class SqlArchive(Archive):
    """Keeps history in one table. Threads may share it, and a forked child gets connections of its own."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._reader = Reader(database)
        self._eraser = Eraser(database)

    def check(self) -> None:
        """See ``Archive.check``."""
        revision = revision_in(self._database)
        if not self._database.is_sqlite:
            require_unicode(self._database)
        if (problem := problem_of(revision)) is not None:
            raise ConfigurationError(f"KATO_TASKS_ARCHIVE_URL: the database {self._database.where} {problem}")

    def write(self, events: Sequence[ArchivedEvent]) -> list[ArchiveConflict]:
        """See ``Archive.write``. Also raises UnreadableRow for an entry that is broken; nothing was written then."""
        rows = rows_of(events)
        with self._database.errors():
            return write_rows(self._database, rows)

    def heads(self, sessions: Sequence[str]) -> Mapping[str, int]:
        """See ``Archive.heads``."""
        return self._reader.heads(sessions)

    def of_session(self, session: str, after: int = 0, limit: int | None = None) -> Iterator[ArchivedEvent]:
        """See ``Archive.of_session``."""
        return self._reader.of_session(session, after, limit)

    def of_lane(self, lane: str, after: int = 0, limit: int | None = None) -> Iterator[ArchivedEvent]:
        """See ``Archive.of_lane``."""
        return self._reader.of_lane(lane, after, limit)

    def of_lanes(self, places: Sequence[LanePlace]) -> list[tuple[ArchivedEvent, ...]]:
        """See ``Archive.of_lanes``."""
        return self._reader.of_lanes(places)

    def of_time(
        self, since_ms: int | None, until_ms: int | None, *, lane: str | None = None, limit: int | None = None
    ) -> Iterator[ArchivedEvent]:
        """See ``Archive.of_time``."""
        return self._reader.of_time(since_ms, until_ms, lane, limit)

    def lanes(self, after: str = "", limit: int = 1_000) -> list[ArchivedLane]:
        """See ``Archive.lanes``."""
        return self._reader.lanes(after, limit)

    def sessions_of_lane(self, lane: str) -> Mapping[str, int]:
        """See ``Archive.sessions_of_lane``."""
        return self._reader.sessions_of_lane(lane)

    def first_time(self, session: str) -> int | None:
        """See ``Archive.first_time``."""
        return self._reader.first_time(session)

    def first_gap(self, lane: str) -> tuple[str, int] | None:
        """See ``Archive.first_gap``."""
        return self._reader.first_gap(lane)

    def forget(self, session: str) -> int:
        """See ``Archive.forget``."""
        return self._eraser.forget(session)

    def prune(self, *, before_ms: int | None = None, keep: int | None = None, limit: int = 10_000) -> int:
        """See ``Archive.prune``."""
        return self._eraser.prune(before_ms, keep, limit)

    def count(self) -> int:
        """See ``Archive.count``."""
        return self._reader.count()

    def close(self) -> None:
        """See ``Archive.close``."""
        self._database.close()


def open_archive(url: str) -> Archive:
    """Return the archive at ``postgresql://…`` or ``sqlite:////path``. It connects when it is first used."""
    return SqlArchive(Database(url))


def revision_in(database: Database) -> str | None:
    """Return the revision of the database's schema; None if it has none. Raises ArchiveUnavailable."""
    with database.errors(), database.reading() as connection:
        if not inspect(connection).has_table(VERSION_TABLE):
            return None
        revisions: Select[Any] = select(named("version_num")).select_from(table(VERSION_TABLE))
        found: Sequence[Any] = connection.execute(revisions).scalars().all()
        return str(found[0]) if found else None


def problem_of(revision: str | None) -> str | None:
    """Return why this version cannot work with a schema, and what to do about it; None if it can."""
    if revision is None:
        return f"has no tables of the archive yet: {UPGRADE}"
    if not revision.isdigit() or int(revision) > int(REVISION) + 1:
        return (
            f"is of revision {revision}, which a later version of kato_tasks made (this one knows {REVISION}): "
            f"install that version, or run `kato-tasks db downgrade {REVISION}` of it"
        )
    if int(revision) < int(REVISION) - 1:
        return f"is of revision {revision}, and this version needs {REVISION}: {UPGRADE}"
    return None


def require_unicode(database: Database) -> None:
    """Raise ConfigurationError for a PostgreSQL database that cannot hold every text."""
    with database.errors(), database.reading() as connection:
        encoding = connection.execute(text("SHOW server_encoding")).scalar_one()
    if encoding != "UTF8":
        raise ConfigurationError(
            f"KATO_TASKS_ARCHIVE_URL: the database {database.where} has the encoding {encoding}, which cannot hold "
            "every text: create it with ENCODING 'UTF8'"
        )


__all__ = ["SqlArchive", "open_archive", "problem_of", "require_unicode", "revision_in"]
