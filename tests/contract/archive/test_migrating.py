"""The tables can be made, taken up and taken down while others write and read, and nothing of others is touched."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import text

from kato_tasks.adapters.sql.archive import SqlArchive, open_archive
from kato_tasks.adapters.sql.database import Database
from kato_tasks.adapters.sql.schema import SqlSchema, open_schema
from kato_tasks.adapters.sql.tables import REVISION
from kato_tasks.errors import ArchiveUnavailable, ConfigurationError
from tests.contract.archive.history import places, run

FIRST = "0001"


@pytest.fixture
def schema(empty_url: str) -> Iterator[SqlSchema]:
    with contextlib.closing(open_schema(empty_url)) as schema:
        assert isinstance(schema, SqlSchema)
        yield schema


def execute(url: str, *statements: str) -> int:
    """Carry out statements as somebody else, and return how many rows the last one changed."""
    changed = 0
    with contextlib.closing(Database(url)) as database, database.writing() as connection:
        for statement in statements:
            changed = connection.execute(text(statement)).rowcount
    return changed


def say_revision(url: str, revision: str) -> None:
    """Let the tables be of a revision, without a change to them."""
    with contextlib.closing(Database(url)) as database, database.writing() as connection:
        connection.execute(text("UPDATE kato_events_version SET version_num = :it"), {"it": revision})


def indexes(url: str) -> set[str]:
    from sqlalchemy import inspect

    with contextlib.closing(Database(url)) as database, database.reading() as connection:
        return {str(index["name"]) for index in inspect(connection).get_indexes("kato_events")}


def test_an_empty_database_gets_the_tables_and_a_second_upgrade_changes_nothing(
    schema: SqlSchema, empty_url: str
) -> None:
    before = schema.status()
    assert (before.revision, before.newest) == (None, REVISION)
    assert before.problem is not None
    assert "kato-tasks db upgrade" in before.problem
    assert schema.upgrade() == schema.upgrade() == schema.status()
    assert (schema.status().revision, schema.status().problem) == (REVISION, None)
    with contextlib.closing(open_archive(empty_url)) as archive:
        archive.check()


def test_this_version_works_with_the_tables_of_the_version_before(schema: SqlSchema, empty_url: str) -> None:
    schema.upgrade()
    assert schema.downgrade(FIRST).revision == FIRST
    assert "kato_events_lane_time" not in indexes(empty_url)
    with contextlib.closing(open_archive(empty_url)) as archive:
        archive.check()
        assert archive.write(run("a", 1, 3)) == []
        assert places(archive.of_time(None, None, lane="n")) == [("a", 1), ("a", 2), ("a", 3)]
    assert schema.upgrade().revision == REVISION
    assert "kato_events_lane_time" in indexes(empty_url)


def test_the_tables_go_up_and_down_while_others_write_and_read_and_nothing_is_lost(
    schema: SqlSchema, empty_url: str
) -> None:
    """Falls when PostgreSQL does not create an index concurrently: a writer would wait for longer than it may."""
    schema.upgrade()
    over = threading.Event()

    def write(archive: SqlArchive, who: int) -> int:
        turn = 0
        while not over.is_set() or turn < 5:
            assert archive.write(run(f"s{who}", 20 * turn + 1, 20 * turn + 25)) == []
            turn += 1
        return 20 * turn + 5

    def read(archive: SqlArchive) -> int:
        seen = 0
        while not over.is_set():
            positions = [event.position for event in archive.of_session("s0", limit=200)]
            assert positions == list(range(1, len(positions) + 1))
            assert [e.position for e in archive.of_time(None, None, lane="n", limit=10)]
            archive.lanes()
            seen += 1
        return seen

    with contextlib.ExitStack() as stack:
        archive = stack.enter_context(contextlib.closing(open_archive(empty_url)))
        assert isinstance(archive, SqlArchive)
        archive.write(run("s0", 1, 20))
        threads = stack.enter_context(ThreadPoolExecutor(3))
        stack.callback(over.set)
        writers = [threads.submit(write, archive, who) for who in range(2)]
        reader = threads.submit(read, archive)
        for _ in range(8):
            assert schema.downgrade(FIRST).revision == FIRST
            assert schema.upgrade().revision == REVISION
        over.set()
        assert reader.result(60) > 0
        heads = {f"s{who}": writer.result(60) for who, writer in enumerate(writers)}
        assert archive.heads(["s0", "s1"]) == heads
        assert archive.count() == sum(heads.values())


def test_two_upgrades_at_once_wait_for_each_other(empty_url: str) -> None:
    """Falls without the advisory lock. Each is in a process of its own, as two operators would have it."""
    import subprocess
    import sys

    program = (
        "import sys; from kato_tasks.adapters.sql.schema import open_schema; "
        "s = open_schema(sys.argv[1]); print(s.upgrade().revision); s.close()"
    )
    running = [
        subprocess.Popen([sys.executable, "-c", program, empty_url], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for _ in range(2)
    ]
    ended = [process.communicate(timeout=60) for process in running]
    assert [(out.decode().strip(), err.decode()) for out, err in ended] == [(REVISION, "")] * 2


def test_a_table_of_that_name_that_is_somebody_elses_stays_as_it_is(schema: SqlSchema, empty_url: str) -> None:
    execute(empty_url, "CREATE TABLE kato_events (mine TEXT)", "INSERT INTO kato_events VALUES ('precious')")
    with pytest.raises(ArchiveUnavailable, match="has a table of that name which `kato-tasks db upgrade` did not make"):
        schema.upgrade()
    assert schema.status().revision is None
    assert execute(empty_url, "UPDATE kato_events SET mine = 'still' WHERE mine = 'precious'") == 1


def test_other_tables_of_the_database_are_left_alone(schema: SqlSchema, empty_url: str) -> None:
    execute(
        empty_url,
        "CREATE TABLE alembic_version (version_num TEXT)",
        "INSERT INTO alembic_version VALUES ('theirs')",
        "CREATE TABLE events (id TEXT)",
    )
    schema.upgrade()
    assert execute(empty_url, "UPDATE alembic_version SET version_num = 'mine' WHERE version_num = 'theirs'") == 1
    assert schema.status().revision == REVISION


def test_tables_of_a_version_that_is_too_new_are_refused_and_left_alone(schema: SqlSchema, empty_url: str) -> None:
    schema.upgrade()
    one_newer, two_newer = f"{int(REVISION) + 1:04}", f"{int(REVISION) + 2:04}"
    with contextlib.closing(open_archive(empty_url)) as archive:
        say_revision(empty_url, one_newer)
        archive.check()
        assert schema.upgrade().revision == one_newer
        say_revision(empty_url, two_newer)
        with pytest.raises(ConfigurationError, match=f"kato-tasks db downgrade {REVISION}"):
            archive.check()
        with pytest.raises(ConfigurationError, match="which a later version of kato_tasks made"):
            schema.downgrade(FIRST)
        assert schema.status().problem is not None


def test_a_revision_that_is_none_is_refused_with_those_that_there_are(schema: SqlSchema) -> None:
    schema.upgrade()
    with pytest.raises(ConfigurationError, match=r"no revision '0000'.*0001, 0002"):
        schema.downgrade("0000")
    assert schema.status().revision == REVISION


def test_nothing_is_taken_down_where_there_are_no_tables(schema: SqlSchema) -> None:
    with pytest.raises(ConfigurationError, match="has no tables of the archive yet"):
        schema.downgrade(FIRST)


def test_an_upgrade_that_was_cut_short_can_be_repeated(schema: SqlSchema, empty_url: str) -> None:
    """On PostgreSQL an index that is created concurrently stays behind, and cannot be used. Falls without its DROP."""
    schema.upgrade()
    schema.downgrade(FIRST)
    execute(empty_url, "CREATE INDEX kato_events_lane_time ON kato_events (lane)")
    assert schema.upgrade().revision == REVISION
