"""The archive of the embedded stack: where it is, which tables it gets, and what is said where it cannot be used."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

import pytest

from kato_tasks.bootstrap import archive_schema
from kato_tasks.embedded.stack.archive import FILE, ArchiveUnusable, address_in, prepare
from kato_tasks.settings import Settings
from kato_tasks.testing.services import free_port


@pytest.mark.parametrize("name", ["plain", "my data", "100%", "50%20", "what?", "no 1 #2", "データ", "a@b:c"])
def test_a_directory_of_any_name_has_its_archive_in_itself(tmp_path: Path, name: str) -> None:
    data = tmp_path / name
    data.mkdir()
    prepare(address_in(data), {})
    assert (data / FILE).stat().st_size > 0
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_tables_of_an_earlier_version_are_upgraded_and_newer_ones_refused(tmp_path: Path) -> None:
    url = address_in(tmp_path)
    prepare(url, {})
    with contextlib.closing(archive_schema(Settings(archive_url=url))) as tables:
        newest = tables.status().newest
        tables.downgrade("0001")
        prepare(url, {"KATO_TASKS_KATO_URLS": "http://127.0.0.1:1", "RANK_SORT_ALGO": "frequency"})
        assert tables.status().revision == newest
    _write_revision(tmp_path / FILE, "9999")
    with pytest.raises(ArchiveUnusable, match=r"is of revision 9999, which a later version .* made"):
        prepare(url, {})


def test_what_cannot_be_an_archive_is_said_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"no database, only some text that is long enough to be read as a header" * 20)
    for url, words in (
        (address_in(tmp_path), "is no SQLite database: name another file"),
        ("mysql://host/db", "KATO_TASKS_ARCHIVE_URL: 'mysql://host/db' is no database that works here"),
        (f"postgresql://me:secret@127.0.0.1:{free_port()}/history", "the archive at postgresql://me:"),
    ):
        with pytest.raises(ArchiveUnusable, match=words) as refused:
            prepare(url, {})
        assert "secret" not in str(refused.value)


def _write_revision(file: Path, revision: str) -> None:
    with contextlib.closing(sqlite3.connect(file)) as database:
        (table,) = database.execute("SELECT name FROM sqlite_master WHERE name LIKE '%version%'").fetchone()
        database.execute(f"UPDATE {table} SET version_num = ?", (revision,))  # noqa: S608  a name of ours
        database.commit()
