"""The archive port's suite runs on a PostgreSQL server and on an SQLite file."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from kato_tasks.adapters.sql.archive import SqlArchive, open_archive
from kato_tasks.adapters.sql.schema import open_schema
from kato_tasks.testing.postgres import PostgresServer, postgres_programs
from tests.services import unreachable


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """An SQLite file that is not there yet."""
    return f"sqlite:///{tmp_path}/archive.sqlite"


@pytest.fixture(params=["postgresql", "sqlite"])
def empty_url(request: pytest.FixtureRequest) -> str:
    """A database without tables."""
    name = "postgres_url" if request.param == "postgresql" else "sqlite_url"
    url: str = request.getfixturevalue(name)
    return url


@pytest.fixture
def url(empty_url: str) -> str:
    """A database with the archive's tables."""
    with contextlib.closing(open_schema(empty_url)) as schema:
        schema.upgrade()
    return empty_url


@pytest.fixture
def archive(url: str) -> Iterator[SqlArchive]:
    with contextlib.closing(open_archive(url)) as archive:
        archive.check()
        assert isinstance(archive, SqlArchive)
        yield archive


@pytest.fixture
def on_postgres(postgres_url: str) -> Iterator[SqlArchive]:
    """The archive on PostgreSQL, for what SQLite has not."""
    with contextlib.closing(open_schema(postgres_url)) as schema:
        schema.upgrade()
    with contextlib.closing(open_archive(postgres_url)) as archive:
        assert isinstance(archive, SqlArchive)
        yield archive


@pytest.fixture
def own_postgres(tmp_path: Path) -> Iterator[PostgresServer]:
    """A PostgreSQL of the test's own, with the archive's tables, which it may stop and configure."""
    if postgres_programs() is None:
        unreachable("postgresql")
    server = PostgresServer(tmp_path / "postgresql")
    with contextlib.ExitStack() as stack:
        stack.callback(server.kill)
        server.start()
        with contextlib.closing(open_schema(server.url)) as schema:
            schema.upgrade()
        yield server
