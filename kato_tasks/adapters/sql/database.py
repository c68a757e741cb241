"""Open the archive's database: the connections of one process, and how long each may wait."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.engine import URL
from sqlalchemy.exc import DisconnectionError

from kato_tasks.adapters.sql.failing import archive_errors
from kato_tasks.adapters.sql.patience import cut_after

CONNECT_SECONDS = 3
STATEMENT_SECONDS = 60
"""How long PostgreSQL works at one statement of ours before it stops it."""
WAIT_SECONDS = 10
"""How long to wait for a lock that another writer holds, and for one of this process's connections."""
UNANSWERED_SECONDS = 20
"""How long sent data may stay unacknowledged before a connection counts as broken."""
PING_SECONDS = 3
"""How long a connection that was kept may take to show that it still works."""
ANSWER_SECONDS = 90.0
"""How long one page of a read, or one write, may take in all."""
KEPT, AT_MOST = 2, 8
"""How many connections a process keeps, and how many it opens while more threads ask."""


class Database:
    """A PostgreSQL or SQLite database. A process connects on first use, and a forked child has its own connections."""

    def __init__(self, url: str) -> None:
        self._url = _with_driver(url)
        self._lock = threading.Lock()
        self._opened: tuple[int, Engine] | None = None
        self.is_sqlite = self._url.get_backend_name() == "sqlite"
        self.where = f"at {self._url.set(query={}).render_as_string(hide_password=True).replace('+psycopg', '')}"

    @property
    def engine(self) -> Engine:
        """This process's engine."""
        opened = self._opened
        if opened is None or opened[0] != os.getpid():
            opened = self._open()
        return opened[1]

    def _open(self) -> tuple[int, Engine]:
        with self._lock:
            if self._opened is None or self._opened[0] != os.getpid():
                if self._opened is not None:
                    self._opened[1].dispose(close=False)  # its connections are the parent's
                with self.errors():
                    self._opened = (os.getpid(), _sqlite(self._url) if self.is_sqlite else _postgresql(self._url))
            return self._opened

    def errors(self) -> contextlib.AbstractContextManager[None]:
        """Within it every error of the database is ArchiveUnavailable."""
        if self.is_sqlite:
            return archive_errors(self.where, (sqlite3.Error,))
        import psycopg

        return archive_errors(self.where, (psycopg.Error,))

    @contextlib.contextmanager
    def reading(self) -> Iterator[Connection]:
        """Give a connection on which each statement stands for itself, so that no transaction stays open."""
        engine = self.engine
        if self.is_sqlite:
            with engine.connect() as connection:
                yield connection
            return
        with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection, _bounded(connection):
            yield connection

    @contextlib.contextmanager
    def writing(self) -> Iterator[Connection]:
        """Give a connection with a transaction, which is committed at the end, or rolled back on an error."""
        with self.engine.execution_options(writes=True).connect() as connection:
            if self.is_sqlite:
                with connection.begin():
                    yield connection
                return
            with _bounded(connection), connection.begin():  # its commit is waited for no longer than the rest
                yield connection

    def close(self) -> None:
        """Close this process's connections. The next use opens others."""
        with self._lock:
            opened, self._opened = self._opened, None
            if opened is not None:
                opened[1].dispose(close=opened[0] == os.getpid())


def _bounded(connection: Connection) -> contextlib.AbstractContextManager[None]:
    return cut_after(connection.connection.driver_connection, ANSWER_SECONDS)


def _with_driver(url: str) -> URL:
    parsed = make_url(url)
    return parsed.set(drivername="postgresql+psycopg") if parsed.drivername == "postgresql" else parsed


def _postgresql(url: URL) -> Engine:
    given: dict[str, Any] = {
        "connect_timeout": CONNECT_SECONDS,
        "application_name": "kato_tasks",
        "keepalives_idle": UNANSWERED_SECONDS,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": UNANSWERED_SECONDS * 1000,
    }
    engine = create_engine(
        url,
        pool_size=KEPT,
        max_overflow=AT_MOST - KEPT,
        pool_timeout=WAIT_SECONDS,
        pool_recycle=1800,
        hide_parameters=True,
        connect_args={
            **{name: value for name, value in given.items() if name not in url.query},
            "client_encoding": "utf8",
            # A prepared statement would break when a migration changes the table, and behind a pooler.
            "prepare_threshold": None,
        },
    )

    @event.listens_for(engine, "connect")
    def limit(connection: Any, _: Any) -> None:
        connection.autocommit = True
        limits = {
            "statement_timeout": STATEMENT_SECONDS * 1000,
            "lock_timeout": WAIT_SECONDS * 1000,
            "idle_in_transaction_session_timeout": STATEMENT_SECONDS * 1000,
        }
        set_all = ", ".join(f"set_config('{name}', '{ms}', false)" for name, ms in limits.items())
        connection.execute(f"SELECT {set_all}")
        connection.autocommit = False

    @event.listens_for(engine, "checkout")
    def ping(connection: Any, _: Any, __: Any) -> None:
        import psycopg

        try:
            with cut_after(connection, PING_SECONDS):  # SQLAlchemy's own ping waits for as long as it takes
                connection.execute("SELECT 1")
                connection.rollback()
        except psycopg.Error as exc:
            raise DisconnectionError(str(exc)) from exc  # the pool then opens another one

    return engine


def _sqlite(url: URL) -> Engine:
    engine = create_engine(
        url,
        pool_size=KEPT,
        max_overflow=AT_MOST - KEPT,
        pool_timeout=WAIT_SECONDS,
        hide_parameters=True,
        connect_args={"timeout": WAIT_SECONDS},
    )

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _: Any) -> None:
        connection.isolation_level = None  # the driver would begin transactions of its own, and late
        _keep_a_write_ahead_log(connection)
        connection.execute("PRAGMA synchronous = NORMAL")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        if connection.get_execution_options().get("writes"):
            # A transaction that first reads and then writes is refused at once if another one wrote in between.
            connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def _keep_a_write_ahead_log(connection: sqlite3.Connection) -> None:
    """Let readers read while one writes. The change itself does not wait for others, so this does."""
    until = time.monotonic() + WAIT_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as exc:
            if "readonly" in str(exc):
                return  # it can be read all the same, and a write will say so
            if "locked" not in str(exc) or time.monotonic() > until:
                raise
            time.sleep(0.02)
        else:
            return


__all__ = ["Database"]
