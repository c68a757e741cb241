"""The archive is pruned by age and by count while the system lives, and never while a replay needs what is in it."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from dataclasses import replace

import pytest

from kato_tasks import append_events, forget_session
from kato_tasks.api.pruning import DAY_MS, prune_archive
from kato_tasks.api.replays.calls import cancel_replay, replay_status, start_replay
from kato_tasks.bootstrap import Runtime, archive_schema, runtime
from kato_tasks.celery_app import app
from kato_tasks.celery_tasks.tasks import prune_archive as task
from kato_tasks.domain.replays import ENDED, ReplayRequest
from kato_tasks.testing.services import KatoServer, RedisServer
from kato_tasks.testing.waiting import wait_until
from tests.integration.system import System, drained

THREADS = ["--pool", "threads", "--concurrency", "4"]
PATIENCE = 60


@pytest.fixture(scope="module")
def place(redis_server: RedisServer, kato: KatoServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    directory = tmp_path_factory.mktemp("pruning")
    archive_url = f"sqlite:///{directory / 'archive.sqlite'}"
    system = System(redis_server, redis_server, kato, directory, sweep_seconds="0.2", archive_url=archive_url)
    archive_schema(system.settings).upgrade()
    with system.here():
        yield system


@pytest.fixture
def system(place: System) -> System:
    place.empty()
    with sqlite3.connect(place.directory / "archive.sqlite") as database:
        database.execute("DELETE FROM kato_events")
    return place


def keeping(**retention: float) -> Runtime:
    """The pieces of this process, with this retention."""
    rt = runtime()
    return replace(rt, settings=rt.settings.model_copy(update=retention))


@contextlib.contextmanager
def workers_keep(system: System, **retention: str) -> Iterator[None]:
    """While this lasts, workers that are started have this retention."""
    before = dict(system.environment)
    system.environment |= {f"KATO_TASKS_{name.upper()}": value for name, value in retention.items()}
    try:
        yield
    finally:
        system.environment = before


def observed(session: str, first: int, last: int) -> None:
    append_events(
        [
            {"session_id": session, "event_id": f"{session}-{i}", "observation": {"strings": [f"{i}"]}}
            for i in range(first, last + 1)
        ]
    )


def archived(system: System) -> None:
    wait_until(lambda: not list(system.redis.scan_iter("kt:*:unarchived")), PATIENCE, "everything is archived")


def positions(session: str) -> list[int]:
    archive = runtime().archive
    assert archive is not None
    return [event.position for event in archive.of_session(session)]


def age(system: System, days: float, where: str) -> None:
    """Make rows as old as this."""
    with sqlite3.connect(system.directory / "archive.sqlite") as database:
        database.execute(f"UPDATE kato_events SET applied_ms = applied_ms - {int(days * DAY_MS)} WHERE {where}")  # noqa: S608


def test_a_live_archive_is_pruned_by_count_and_by_age(system: System) -> None:
    with workers_keep(system, archive_keep_days="30", archive_keep_events="5"), system.workers(THREADS):
        observed("many", 1, 12)
        observed("old", 1, 4)
        drained(["many", "old"])
        archived(system)
        age(system, 31, "session_id = 'old' AND position <= 2")
        observed("many", 13, 13)
        task.delay()
        wait_until(lambda: len(positions("old")) == 2, PATIENCE, "the old ones are gone")
        assert positions("old") == [3, 4]
        wait_until(lambda: len(positions("many")) == 5, PATIENCE, "the many are fewer")
        drained(["many"])
        archived(system)
        assert positions("many") == [9, 10, 11, 12, 13] or positions("many") == [8, 9, 10, 11, 12, 13]
        assert system.stm("many") == [[f"{i}"] for i in range(1, 14)], "what the store holds is left alone"


def test_what_is_not_archived_is_not_erased_however_old(system: System) -> None:
    observed("a", 1, 3)
    rt = keeping(archive_keep_days=0.0000001, archive_keep_events=1)
    rt.drainer.drain_partitions(range(256), later=lambda _: None)
    drained(["a"])
    assert prune_archive(rt, 5.0).events == 0
    assert len(rt.sessions.events("a", "a")) == 3


def test_nothing_is_pruned_while_a_replay_runs(system: System) -> None:
    """Falls when pruning does not ask for replays."""
    with system.workers(THREADS):
        observed("a", 1, 6)
        drained(["a"])
        archived(system)
    rt = keeping(archive_keep_events=1)
    replay = start_replay(rt, ReplayRequest("rebuild"))
    held = prune_archive(rt, 5.0)
    assert (held.events, held.replay) == (0, replay.id)
    assert len(positions("a")) == 6
    cancel_replay(rt, replay.id)
    assert prune_archive(rt, 5.0).events == 5
    archive = rt.archive
    assert archive is not None
    assert archive.first_gap("a") == ("a", 6)
    assert archive.first_gap("b") is None


def test_a_replay_of_what_was_pruned_does_not_switch(system: System) -> None:
    with system.workers(THREADS):
        observed("a", 1, 6)
        append_events([{"session_id": "a", "event_id": "l", "event_type": "learn"}])
        observed("a", 7, 7)
        drained(["a"])
        archived(system)
        assert prune_archive(keeping(archive_keep_events=1), 5.0).events > 0
        replay = start_replay(runtime(), ReplayRequest("rebuild"))
        wait_until(lambda: replay_status(runtime(), replay.id).state in ENDED, PATIENCE, "the replay ends")
        assert replay_status(runtime(), replay.id).state == "failed"
        assert forget_session("a").history is False


def test_without_a_retention_nothing_is_pruned(system: System) -> None:
    with system.workers(THREADS):
        observed("a", 1, 6)
        drained(["a"])
        archived(system)
    assert prune_archive(runtime(), 1.0).events == 0
    assert len(positions("a")) == 6


def test_beat_has_the_archive_pruned_every_hour() -> None:
    assert app.conf.beat_schedule["kato-prune-archive"]["schedule"] == 3600.0
