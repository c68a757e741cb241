"""What is erased is exactly what was asked for, and the newest event of a session stays."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from kato_tasks.adapters.sql import erasing
from kato_tasks.adapters.sql.archive import SqlArchive
from tests.contract.archive.history import archived, places, run


def test_a_session_is_forgotten_and_its_neighbours_are_not(archive: SqlArchive) -> None:
    archive.write([*run("a", 1, 5), *run("aa", 1, 2)])
    assert archive.forget("a") == 5
    assert archive.forget("a") == 0
    assert places(archive.of_time(None, None)) == [("aa", 1), ("aa", 2)]


def test_events_that_were_applied_before_a_time_go_but_for_each_session_its_newest(archive: SqlArchive) -> None:
    archive.write([archived("old", n, applied_ms=n) for n in range(1, 6)])
    archive.write([archived("new", n, applied_ms=n) for n in range(1, 10)])
    assert archive.prune(before_ms=7) == 4 + 6
    assert places(archive.of_session("old")) == [("old", 5)]
    assert places(archive.of_session("new")) == [("new", n) for n in (7, 8, 9)]
    assert archive.prune(before_ms=7) == 0


def test_of_each_session_the_newest_events_stay(archive: SqlArchive) -> None:
    archive.write([*run("a", 1, 10), *run("b", 1, 3), *run("c", 5, 9)])
    assert archive.prune(keep=3) == 7 + 2
    assert archive.heads(["a", "b", "c"]) == {"a": 10, "b": 3, "c": 9}
    assert [e.position for e in archive.of_session("a")] == [8, 9, 10]
    assert archive.prune(keep=3) == 0


@pytest.mark.parametrize("keep", [0, 1])
def test_the_newest_event_stays_even_where_none_should(archive: SqlArchive, keep: int) -> None:
    archive.write(run("a", 1, 4))
    assert archive.prune(before_ms=10**15, keep=keep) == 3
    assert archive.heads(["a"]) == {"a": 4}


def test_no_more_is_erased_than_the_limit_and_the_next_call_goes_on(archive: SqlArchive) -> None:
    archive.write([*run("a", 1, 10), *run("b", 1, 10)])
    assert [archive.prune(keep=2, limit=6) for _ in range(4)] == [6, 6, 4, 0]
    assert [archive.prune(before_ms=10**15, limit=1) for _ in range(3)] == [1, 1, 0]


def test_many_sessions_are_gone_through_in_pages(archive: SqlArchive, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(erasing, "SESSIONS_AT_ONCE", 4)
    names = [f"s{n:02}" for n in range(12)] + ["\x00", "ü"]
    archive.write([event for name in names for event in run(name, 1, 3)])
    assert archive.prune(keep=1) == 2 * len(names)
    assert archive.heads(names) == dict.fromkeys(names, 3)


def test_nothing_is_erased_where_no_bound_is_set(archive: SqlArchive) -> None:
    archive.write(run("a", 1, 4))
    assert archive.prune() == 0
    assert archive.count() == 4


def test_two_that_prune_at_once_erase_each_event_once(archive: SqlArchive) -> None:
    archive.write([event for n in range(20) for event in run(f"s{n}", 1, 30, applied_ms=1)])
    with ThreadPoolExecutor(2) as threads:
        erased = list(threads.map(lambda _: sum(archive.prune(before_ms=2, limit=50) for _ in range(20)), range(2)))
    assert sum(erased) == 20 * 29
    assert archive.count() == 20
