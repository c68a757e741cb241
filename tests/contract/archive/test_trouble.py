"""A database that is away, broken, full or not ours is named in one sentence, soon, and without a password."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import threading
import time
from pathlib import Path

import psycopg
import pytest

from kato_tasks.adapters.sql import writing
from kato_tasks.adapters.sql.archive import SqlArchive, open_archive
from kato_tasks.adapters.sql.rows import Row
from kato_tasks.adapters.sql.schema import open_schema
from kato_tasks.errors import ArchiveUnavailable, ConfigurationError
from kato_tasks.testing.postgres import USER, PostgresServer
from kato_tasks.testing.services import LOOPBACK, free_port
from kato_tasks.testing.waiting import wait_until
from tests.contract.archive.history import places, run


def refused(archive: SqlArchive) -> str:
    """The sentence of a write that is refused, which names the database and never a password."""
    with pytest.raises(ArchiveUnavailable) as raised:
        archive.write(run("a", 1, 3))
    text = str(raised.value)
    assert "\n" not in text
    assert text.startswith("the archive at ")
    assert "secret" not in text
    return text


# ---------------------------------------------------------------------------------- PostgreSQL


def test_a_connection_that_is_cut_in_the_middle_of_a_write_writes_nothing_and_the_repetition_all(
    on_postgres: SqlArchive, postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'kato_tasks'"
    copy = writing._copy

    def copy_and_cut(connection: object, table: object, rows: list[Row]) -> None:
        copy(connection, table, rows)  # type: ignore[arg-type]
        postgres_server.run_sql(cut)

    monkeypatch.setattr(writing, "_copy", copy_and_cut)
    with pytest.raises(ArchiveUnavailable):
        on_postgres.write(run("a", 1, 500))
    monkeypatch.undo()
    assert on_postgres.write(run("a", 1, 500)) == []
    assert places(on_postgres.of_session("a")) == [("a", n) for n in range(1, 501)]


def test_connections_that_were_cut_while_nobody_used_them_are_not_noticed(
    on_postgres: SqlArchive, postgres_server: PostgresServer
) -> None:
    """Falls without pool_pre_ping."""
    on_postgres.write(run("a", 1, 1))
    postgres_server.run_sql(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'kato_tasks'"
    )
    assert on_postgres.heads(["a"]) == {"a": 1}
    assert on_postgres.write(run("a", 2, 2)) == []


def test_a_server_that_is_killed_refuses_soon_and_the_archive_goes_on_once_it_is_back(
    own_postgres: PostgresServer,
) -> None:
    with contextlib.closing(open_archive(own_postgres.url)) as archive:
        assert isinstance(archive, SqlArchive)
        archive.write(run("a", 1, 3))
        own_postgres.stop()
        begin = time.monotonic()
        assert "does not answer" in refused(archive)
        with pytest.raises(ArchiveUnavailable):
            archive.heads(["a"])
        assert time.monotonic() - begin < 5
        own_postgres.start()
        assert archive.heads(["a"]) == {"a": 3}
        own_postgres.kill()
        own_postgres.start()
        assert archive.write(run("a", 1, 5)) == []
        assert archive.heads(["a"]) == {"a": 5}


def test_a_password_never_shows(own_postgres: PostgresServer) -> None:
    own_postgres.stop()
    url = own_postgres.url.replace(f"{USER}@", f"{USER}:secret@") + "?sslpassword=secret"
    with contextlib.closing(open_archive(url)) as archive:
        assert isinstance(archive, SqlArchive)
        assert f"postgresql://{USER}:***@" in refused(archive)
        with pytest.raises(ArchiveUnavailable) as raised:
            archive.check()
        assert "secret" not in str(raised.value)


@pytest.mark.parametrize("name", ["silent", "refusing"])
def test_an_address_where_no_database_answers_is_unavailable_within_five_seconds(name: str) -> None:
    import socket

    with socket.socket() as listener:
        listener.bind((LOOPBACK, 0))
        listener.listen(8)
        port = listener.getsockname()[1] if name == "silent" else free_port()
        with contextlib.closing(open_archive(f"postgresql://u:secret@{LOOPBACK}:{port}/d")) as archive:
            assert isinstance(archive, SqlArchive)
            begin = time.monotonic()
            refused(archive)
            assert time.monotonic() - begin < 5


def test_a_database_that_is_not_there_is_to_be_created(postgres_server: PostgresServer) -> None:
    postgres_server.start()
    with contextlib.closing(open_archive(postgres_server.url_of("nowhere"))) as archive:
        assert isinstance(archive, SqlArchive)
        assert "does not exist: create the database" in refused(archive)


def test_a_read_only_server_is_named_as_such(on_postgres: SqlArchive, postgres_server: PostgresServer) -> None:
    on_postgres.close()
    postgres_server.run_sql("ALTER DATABASE postgres SET default_transaction_read_only = on")
    try:
        assert "is read-only: name the primary" in refused(on_postgres)
        assert on_postgres.heads(["a"]) == {}
    finally:
        with psycopg.connect(postgres_server.url, autocommit=True) as connection:
            connection.execute("SET default_transaction_read_only = off")
            connection.execute("ALTER DATABASE postgres RESET default_transaction_read_only")
        on_postgres.close()


def test_a_user_without_rights_is_told_of_them(on_postgres: SqlArchive, postgres_server: PostgresServer) -> None:
    postgres_server.run_sql("DROP ROLE IF EXISTS stranger", "CREATE ROLE stranger LOGIN")
    with contextlib.closing(open_archive(postgres_server.url.replace(USER, "stranger", 1))) as archive:
        assert isinstance(archive, SqlArchive)
        assert "grant the user the rights" in refused(archive)


def test_a_lock_that_somebody_else_holds_is_not_waited_for_for_ever(
    postgres_url: str, on_postgres: SqlArchive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kato_tasks.adapters.sql.database.WAIT_SECONDS", 1)
    with psycopg.connect(postgres_url) as holder, contextlib.closing(open_archive(postgres_url)) as archive:
        assert isinstance(archive, SqlArchive)
        holder.execute("LOCK TABLE kato_events")
        assert "has been locked by something else for too long" in refused(archive)
        holder.rollback()
        assert archive.write(run("a", 1, 3)) == []


def test_a_database_that_cannot_hold_every_text_is_refused(postgres_server: PostgresServer) -> None:
    postgres_server.start()
    create = "CREATE DATABASE latin ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
    postgres_server.run_sql("DROP DATABASE IF EXISTS latin WITH (FORCE)", create)
    url = postgres_server.url_of("latin")
    with contextlib.closing(open_schema(url)) as schema:
        with pytest.raises(ConfigurationError, match=r"has the encoding LATIN1.*ENCODING 'UTF8'"):
            schema.upgrade()
        assert schema.status().revision is None


# ------------------------------------------------------------------------------------- both


def test_a_database_without_tables_is_told_what_to_run(empty_url: str) -> None:
    with contextlib.closing(open_archive(empty_url)) as archive:
        assert isinstance(archive, SqlArchive)
        with pytest.raises(ConfigurationError, match="has no tables of the archive yet: run `kato-tasks db upgrade`"):
            archive.check()
        assert "has no tables: run `kato-tasks db upgrade`" in refused(archive)


def test_a_forked_child_has_connections_of_its_own(url: str, archive: SqlArchive) -> None:
    """Falls when the child uses the parent's connection: their answers mix."""
    archive.write(run("a", 1, 3))
    context = multiprocessing.get_context("fork")
    answers = context.Queue()

    def child(number: int) -> None:
        try:
            archive.write(run(f"child{number}", 1, 50))
            answers.put(archive.heads(["a", f"child{number}"]))
        except BaseException as exc:
            answers.put(repr(exc))
        answers.close()
        answers.join_thread()
        os._exit(0)

    children = [context.Process(target=child, args=(n,)) for n in range(2)]
    for process in children:
        process.start()
    for n in range(20):
        archive.write(run("parent", n, n))
    got = [answers.get(timeout=30) for _ in children]
    for process in children:
        process.join(30)
    assert sorted(got, key=str) == [{"a": 3, "child0": 50}, {"a": 3, "child1": 50}]
    assert archive.heads(["parent", "child0", "child1"]) == {"parent": 19, "child0": 50, "child1": 50}


def test_an_archive_that_was_closed_opens_again(archive: SqlArchive) -> None:
    archive.write(run("a", 1, 1))
    archive.close()
    assert archive.heads(["a"]) == {"a": 1}


def test_more_threads_than_connections_wait_for_their_turn(archive: SqlArchive) -> None:
    threads = [threading.Thread(target=lambda n=n: archive.write(run(f"t{n}", 1, 20))) for n in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert archive.heads([f"t{n}" for n in range(20)]) == {f"t{n}": 20 for n in range(20)}


# ------------------------------------------------------------------------------------ SQLite


def test_a_full_disk_is_named_and_the_write_can_be_repeated(sqlite_url: str) -> None:
    with contextlib.closing(open_schema(sqlite_url)) as schema:
        schema.upgrade()
    with contextlib.closing(open_archive(sqlite_url)) as archive:
        assert isinstance(archive, SqlArchive)
        with archive._database.reading() as connection:
            pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
            connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(ArchiveUnavailable, match="is full: make room on its disk"):
            archive.write(run("a", 1, 2_000))
        archive.close()  # the bound was the connection's
        assert archive.count() == 0
        assert archive.write(run("a", 1, 2_000)) == []


def test_a_directory_that_is_not_there_is_named(tmp_path: Path) -> None:
    with contextlib.closing(open_archive(f"sqlite:///{tmp_path}/nowhere/a.sqlite")) as archive:
        assert isinstance(archive, SqlArchive)
        assert "cannot be opened: its directory must exist" in refused(archive)


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "letter").write_text("Dear reader,\n" * 100)
    with contextlib.closing(open_archive(f"sqlite:///{tmp_path}/letter")) as archive:
        assert isinstance(archive, SqlArchive)
        assert "is no SQLite database" in refused(archive)


def test_a_file_is_read_while_another_process_writes(sqlite_url: str) -> None:
    """Falls without the write-ahead log: readers would wait for the writer."""
    with contextlib.closing(open_schema(sqlite_url)) as schema:
        schema.upgrade()
    with contextlib.closing(open_archive(sqlite_url)) as archive, contextlib.closing(open_archive(sqlite_url)) as other:
        assert isinstance(other, SqlArchive)
        archive.write(run("a", 1, 3))
        with other._database.writing() as connection:
            connection.exec_driver_sql("DELETE FROM kato_events")
            begin = time.monotonic()
            assert archive.heads(["a"]) == {"a": 3}
            assert time.monotonic() - begin < 2
        wait_until(lambda: archive.heads(["a"]) == {}, 5)
