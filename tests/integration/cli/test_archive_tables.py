"""``kato-tasks db``: an operator makes the archive's tables, brings them up to date, and is told how they stand."""

from __future__ import annotations

from pathlib import Path

import pytest

from kato_tasks import append_events
from kato_tasks.adapters.redis.keys import prefix
from kato_tasks.api.archiving import archive_partitions
from kato_tasks.bootstrap import Runtime
from kato_tasks.domain.ids import PARTITIONS, partition_of
from kato_tasks.settings import extras
from tests.integration.cli.running import NOWHERE, Cli, drain

SECRET = "hunter2"


@pytest.fixture(params=["postgresql", "sqlite"])
def archive_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/archive.sqlite"
    url: str = request.getfixturevalue("postgres_url")
    return url


@pytest.fixture
def tables(cli: Cli, archive_url: str, request: pytest.FixtureRequest) -> Cli:
    """The command line with an archive that has no tables, in this process."""
    cli.settings["ARCHIVE_URL"] = archive_url
    request.getfixturevalue("live")
    return cli


def test_the_tables_are_made_and_shown_and_taken_back(tables: Cli, archive_url: str) -> None:
    ran = tables("db", "status", "--json")
    assert ran.code == 1
    bare = {"archive": archive_url, "revision": None, "newest_revision": "0002", "usable": False}
    assert ran.json == {**bare, "events": None, "keep_days": 0.0, "keep_events": 0}
    assert "has no tables of the archive yet: run `kato-tasks db upgrade`" in ran.err
    ran = tables("db", "upgrade")
    assert (ran.code, ran.out) == (0, "")
    assert f"the archive {archive_url} went from revision none to 0002" in ran.err
    assert "0002 already" in tables("db", "upgrade").err
    ran = tables("db", "status", "--json")
    assert (ran.code, ran.json["revision"], ran.json["usable"]) == (0, "0002", True)
    assert "went from revision 0002 to 0001" in tables("db", "downgrade", "0001").err
    ran = tables("db", "status")
    assert (ran.code, "works with these tables" in ran.err) == (0, True)
    ran = tables("db", "downgrade", "0000")
    assert ran.code == 2
    assert "0001, 0002 are those of this version" in ran.err


def test_an_upgrade_notes_the_lanes_of_the_store_so_that_older_history_is_archived(
    cli: Cli, live: Runtime, archive_url: str
) -> None:
    """Falls when only lanes are archived on which something is applied after the archive was set up."""
    for session in "abc":
        append_events([{"session_id": session, "node_id": f"node{session}", "observation": {"strings": ["x"]}}] * 2)
    drain(live)
    noted = [f"{prefix(partition_of(f'node{session}'))}unarchived" for session in "abc"]
    assert not live.redis.exists(*noted), "there was no archive when they were applied"
    ran = cli("db", "upgrade", ARCHIVE_URL=archive_url)
    assert ran.code == 0, ran.err
    assert "noted 3 lanes of the store" in ran.err
    assert live.redis.exists(*noted) == len(set(noted))
    from contextlib import closing

    from kato_tasks.adapters.sql.archive import open_archive

    with closing(open_archive(archive_url)) as archive:
        assert archive_partitions(live, archive, range(PARTITIONS), 30).events == 6
        assert archive.heads(["a", "b", "c"]) == {"a": 2, "b": 2, "c": 2}


def test_an_upgrade_beside_a_store_that_is_down_is_made_and_says_what_is_left_to_do(cli: Cli, archive_url: str) -> None:
    ran = cli("db", "upgrade", ARCHIVE_URL=archive_url, STORE_URL="redis://127.0.0.1:9/0")
    assert ran.code == 0, ran.err
    assert "went from revision none to 0002" in ran.err
    assert "run this again once the store answers" in ran.err
    assert "Traceback" not in ran.err


@pytest.mark.parametrize("words", [("upgrade",), ("status",), ("downgrade", "0001")])
def test_without_an_archive_there_are_no_tables(cli: Cli, inside: Runtime, words: tuple[str, ...]) -> None:
    ran = cli("db", *words)
    assert (ran.code, ran.out) == (2, "")
    assert "KATO_TASKS_ARCHIVE_URL is empty, so there is no archive; set it to postgresql://" in ran.err


def test_an_archive_that_does_not_answer_is_named_without_its_password(cli: Cli) -> None:
    ran = cli("db", "upgrade", ARCHIVE_URL=f"postgresql://u:{SECRET}@127.0.0.1:9/d", KATO_URLS=NOWHERE)
    assert (ran.code, ran.out) == (2, "")
    assert "the archive at postgresql://u:***@127.0.0.1:9/d does not answer" in ran.err
    assert len(ran.err.strip().splitlines()) == 1
    assert SECRET not in ran.err


def test_an_extra_that_is_missing_is_named(
    cli: Cli, inside: Runtime, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    cli.inside = True
    monkeypatch.setattr(extras, "missing", lambda extra: ["alembic"] if extra == "archive" else [])
    monkeypatch.setattr("kato_tasks.settings.settings", lambda: _with_archive(tmp_path))
    ran = cli("db", "status")
    assert (ran.code, ran.out) == (2, "")
    assert "kato-tasks db needs alembic, which is not installed: pip install 'kato-tasks[archive]'" in ran.err


def _with_archive(directory: Path) -> object:
    from kato_tasks.settings import Settings

    return Settings(archive_url=f"sqlite:///{directory}/a.sqlite")
