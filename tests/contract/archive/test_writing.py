"""What is written is kept once, byte for byte, no matter who writes it and how often."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from kato_tasks.adapters.sql.archive import SqlArchive
from kato_tasks.errors import UnreadableRow
from kato_tasks.ports.archive import ArchiveConflict
from tests.contract.archive.history import archived, places, run

NAMES = {
    "letters": "a",
    "umlauts and signs beyond 16 bits": "grüße 𝄞 漢字",
    "nul": "a\x00b",
    "u+0001": "\x01",
    "nul and u+0001": "\x00\x01\x01\x00\x02",
    "control characters": "\t\r\n\x1b\x7f\x02",
    "what COPY escapes": "\\N \\. \\\\ \\t \"' \v\f\b",
    "percent and braces": "%s %(a)s {0} :name ?",
    "line separator": "a\u2028b\u0085c",
    "spaces at the ends": "  a  ",
}


def test_what_is_written_is_read_as_it_was(archive: SqlArchive) -> None:
    events = [*run("a", 1, 3), archived("a", 4, dead=True), *run("b", 7, 9, node="other node")]
    assert archive.write(events) == []
    assert list(archive.of_session("a")) == events[:4]
    assert list(archive.of_session("b")) == events[4:]
    assert archive.count() == 7


def test_writing_nothing_writes_nothing(archive: SqlArchive) -> None:
    assert archive.write([]) == []
    assert archive.count() == 0


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_every_text_comes_back_and_is_told_from_its_neighbours(archive: SqlArchive, name: str) -> None:
    """Falls when `escape` leaves U+0000 or U+0001 alone."""
    event = archived(name, 1, node=f"n{name}", text=name)
    others = run(name + "\x00", 1, 2) + run(name + "\x01", 1, 2) + run(name + "x", 1, 2)
    assert archive.write([event, *others]) == []
    assert list(archive.of_session(name)) == [event]
    assert list(archive.of_lane(event.lane))[:1] == [event]
    assert archive.heads([name, name + "\x00"]) == {name: 1, name + "\x00": 2}
    assert archive.sessions_of_lane(event.lane) == {name: 1}
    assert archive.forget(name) == 1
    assert places(archive.of_session(name + "\x00")) == [(name + "\x00", 1), (name + "\x00", 2)]


def test_what_is_written_again_is_kept_once_and_as_it_was_first(archive: SqlArchive) -> None:
    first = run("a", 1, 5)
    archive.write(first)
    later = [event._replace(lane_order=event.lane_order + 100, applied_ms=1) for event in run("a", 3, 8)]
    assert archive.write(later) == []
    assert list(archive.of_session("a")) == first + later[3:]


def test_the_same_event_twice_in_one_write_is_kept_once(archive: SqlArchive) -> None:
    assert archive.write([*run("a", 1, 3), *run("a", 2, 4)]) == []
    assert places(archive.of_session("a")) == [("a", n) for n in range(1, 5)]


def test_another_event_at_a_known_position_is_answered_and_the_rest_is_kept(archive: SqlArchive) -> None:
    archive.write(run("a", 1, 3))
    other = archived("a", 2, event_id="other")
    conflicts = archive.write([archived("a", 1), other, *run("a", 3, 5), *run("b", 1, 2)])
    assert conflicts == [ArchiveConflict("a", 2, "other", "e2")]
    assert list(archive.of_session("a")) == run("a", 1, 5)
    assert places(archive.of_session("b")) == [("b", 1), ("b", 2)]


def test_two_events_for_one_position_in_one_write_are_a_conflict(archive: SqlArchive) -> None:
    conflicts = archive.write([archived("a", 1), archived("a", 1, event_id="other")])
    assert conflicts == [ArchiveConflict("a", 1, "other", "e1")]
    assert list(archive.of_session("a")) == [archived("a", 1)]


def test_an_entry_that_is_none_is_refused_and_nothing_of_the_call_is_written(archive: SqlArchive) -> None:
    broken = archived("a", 2)._replace(entry="not an entry")
    with pytest.raises(UnreadableRow, match="session 'a' at position 2"):
        archive.write([archived("a", 1), broken])
    assert archive.count() == 0


def test_writers_of_the_same_events_at_once_neither_fail_nor_write_one_twice(archive: SqlArchive) -> None:
    """Falls when a writer does not take its locks in one order (a deadlock), or does not wait for the other."""
    sessions = [f"s{n}" for n in range(40)]
    together = threading.Barrier(4)

    def write(seed: int) -> int:
        found = 0
        for turn in range(4):
            batch = [event for name in sessions for event in run(name, 1 + 5 * turn, 10 + 5 * turn)]
            # Each in an order of its own, and with events of its own beside those of all.
            rotated = batch[seed * 90 :] + batch[: seed * 90] + run(f"own{seed}", 10 * turn + 1, 10 * turn + 10)
            together.wait(30)
            found += len(archive.write(rotated))
        return found

    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(write, range(4))) == [0, 0, 0, 0]
    assert archive.heads([*sessions, "own0", "own3"]) == {**dict.fromkeys(sessions, 25), "own0": 40, "own3": 40}
    assert archive.count() == 40 * 25 + 4 * 40


def test_of_two_that_write_different_events_at_one_position_one_is_told(archive: SqlArchive) -> None:
    together = threading.Barrier(2)

    def write(who: str) -> list[ArchiveConflict]:
        together.wait(30)
        return archive.write([archived(f"s{n}", 1, event_id=f"{who}{n}") for n in range(200)])

    with ThreadPoolExecutor(2) as threads:
        mine, yours = threads.map(write, ["m", "y"])
    assert len(mine) + len(yours) == 200
    kept = {event.session: event.entry.split("\n")[1] for event in archive.of_time(None, None)}
    assert {one.session for one in mine} == {session for session, event_id in kept.items() if event_id[0] == "y"}


def test_a_large_entry_comes_back(archive: SqlArchive) -> None:
    event = archived("a", 1, text="ü𝄞" * 10_000)
    archive.write([event])
    assert list(archive.of_session("a")) == [event]
