"""Make and change the archive's tables with alembic, one process at a time."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, func, select, text

from kato_tasks.adapters.sql.archive import problem_of, require_unicode, revision_in
from kato_tasks.adapters.sql.database import Database
from kato_tasks.adapters.sql.tables import REVISION
from kato_tasks.errors import ArchiveUnavailable, ConfigurationError
from kato_tasks.ports.archive_schema import ArchiveSchema, SchemaStatus

MIGRATIONS = Path(__file__).parent / "migrations"
LOCK = 4_206_118_231_870_155
"""The number of the advisory lock that a migration holds on PostgreSQL."""
PATIENCE_SECONDS = 600.0
"""How long to wait for another process that migrates."""

_one_at_a_time = threading.Lock()
"""Alembic keeps the migration that runs in variables of its modules."""


class SqlSchema(ArchiveSchema):
    """Migrates one database."""

    def __init__(self, url: str) -> None:
        self._database = Database(url)

    def status(self) -> SchemaStatus:
        """See ``ArchiveSchema.status``."""
        revision = revision_in(self._database)
        return SchemaStatus(self._database.where.removeprefix("at "), revision, REVISION, problem_of(revision))

    def upgrade(self) -> SchemaStatus:
        """See ``ArchiveSchema.upgrade``."""
        before = revision_in(self._database)
        if not self._database.is_sqlite:
            require_unicode(self._database)
        if before is not None and before > REVISION:
            return self.status()
        with self._migrating() as config:
            command.upgrade(config, REVISION)
        return self.status()

    def downgrade(self, revision: str) -> SchemaStatus:
        """See ``ArchiveSchema.downgrade``."""
        there = [one.revision for one in ScriptDirectory.from_config(_config()).walk_revisions()]
        if revision not in there:
            raise ConfigurationError(
                f"there is no revision {revision!r} to go back to: {', '.join(sorted(there))} are those of this "
                "version. To remove the archive, drop its tables"
            )
        before = revision_in(self._database)
        if before is None or before not in there:
            raise ConfigurationError(f"the database {self._database.where} {problem_of(before)}")
        with self._migrating() as config:
            command.downgrade(config, revision)
        return self.status()

    def close(self) -> None:
        """See ``ArchiveSchema.close``."""
        self._database.close()

    @contextlib.contextmanager
    def _migrating(self) -> Iterator[Config]:
        """Give alembic's configuration with a connection, while no other process migrates."""
        database = self._database
        config = _config()
        with _one_at_a_time, database.errors():
            if database.is_sqlite:
                with database.writing() as connection:  # its transaction holds the lock, and is the migration's own
                    config.attributes["connection"] = connection
                    yield config
                return
            with (
                # Not by reading(), which waits for a bounded time: an index may take hours.
                database.engine.execution_options(isolation_level="AUTOCOMMIT").connect() as holder,
                _holding(holder, database.where),
                database.engine.connect() as connection,
            ):
                connection.execute(text("SET statement_timeout = 0"))
                connection.execute(text("SET lock_timeout = 0"))
                connection.commit()
                config.attributes["connection"] = connection
                yield config
                connection.invalidate()  # its limits are off


@contextlib.contextmanager
def _holding(connection: Connection, where: str) -> Iterator[None]:
    """Hold the advisory lock. It is asked for again and again, on a connection without a transaction.

    A statement that waited for it would hold a snapshot, for which an index that is created concurrently waits.
    """
    until = time.monotonic() + PATIENCE_SECONDS
    while not connection.execute(select(func.pg_try_advisory_lock(LOCK))).scalar_one():
        if time.monotonic() > until:
            raise ArchiveUnavailable(f"the archive {where} has been under migration by another process for too long")
        time.sleep(0.1)
    try:
        yield
    finally:
        connection.execute(select(func.pg_advisory_unlock(LOCK)))


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    return config


def open_schema(url: str) -> ArchiveSchema:
    """Return the schema of the archive at this address."""
    return SqlSchema(url)


__all__ = ["SqlSchema", "open_schema"]
