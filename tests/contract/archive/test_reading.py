"""What is kept can be read by session, by lane and by time, in pages, and in no more than was asked for."""

from __future__ import annotations

import random

import pytest

from kato_tasks.adapters.sql import reading
from kato_tasks.adapters.sql.archive import SqlArchive
from kato_tasks.domain.ids import lane_of
from kato_tasks.ports.archive import ArchivedLane, LanePlace
from tests.contract.archive.history import BEGIN_MS, archived, places, run


@pytest.fixture(autouse=True)
def short_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "FIRST_PAGE", 3)
    monkeypatch.setattr(reading, "MOST_ROWS", 7)


def test_a_session_is_read_in_its_order_over_many_pages(archive: SqlArchive) -> None:
    events = run("a", 1, 50)
    archive.write([*run("B", 1, 5), *reversed(events), *run("b", 1, 5)])
    assert list(archive.of_session("a")) == events
    assert list(archive.of_session("a", after=20)) == events[20:]
    assert list(archive.of_session("a", after=20, limit=11)) == events[20:31]
    assert list(archive.of_session("a", after=20, limit=0)) == []
    assert list(archive.of_session("a", after=50)) == []
    assert list(archive.of_session("nobody")) == []


@pytest.mark.parametrize("length", [1, 2, 3, 4, 9, 10, 11, 17])
def test_a_page_that_is_just_full_is_no_end_and_no_repetition(archive: SqlArchive, length: int) -> None:
    archive.write(run("a", 1, length))
    assert places(archive.of_session("a")) == [("a", n) for n in range(1, length + 1)]


def test_long_entries_make_short_pages(archive: SqlArchive, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "PAGE_CHARS", 1_000)
    archive.write(run("a", 1, 30, text="y" * 900))
    assert len(list(archive.of_session("a"))) == 30


def test_a_lane_is_read_in_the_order_in_which_it_was_applied(archive: SqlArchive) -> None:
    """Two events may have one place in it, after a store went back: then session and position decide."""
    events = [archived(f"s{n % 3}", n, node="lane", order=n) for n in range(1, 40)]
    again = [archived("z", n, node="lane", order=n) for n in (9, 10, 11)]
    archive.write(random.Random(7).sample([*events, *again], 42))
    archive.write(run("s0", 100, 110, node="elsewhere"))
    expected = sorted([*events, *again], key=lambda event: (event.lane_order, event.session))
    assert list(archive.of_lane(lane_of("lane"))) == expected
    assert list(archive.of_lane(lane_of("lane"), after=20)) == [e for e in expected if e.lane_order > 20]
    assert list(archive.of_lane(lane_of("lane"), after=20, limit=8)) == [e for e in expected if e.lane_order > 20][:8]


def test_several_lanes_are_read_each_after_its_place_and_up_to_its_limit(archive: SqlArchive) -> None:
    events = {f"n{n}": [archived(f"s{n}", at, node=f"n{n}", order=at) for at in range(1, 31)] for n in range(20)}
    archive.write([event for some in events.values() for event in some])
    wanted = [LanePlace(lane_of(node), n, 2 * n) for n, node in enumerate(events)]
    found = archive.of_lanes([*wanted, LanePlace("nowhere", 0, 5), LanePlace(lane_of("n1"), 0, 100)])
    assert found[:-2] == [tuple(some[n : 3 * n]) for n, some in enumerate(events.values())]
    assert found[-2:] == [(), tuple(events["n1"])]
    assert archive.of_lanes([]) == []


def test_a_lane_of_large_events_is_read_in_parts(archive: SqlArchive, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "PAGE_CHARS", 2_000)
    archive.write(run("a", 1, 30, node="lane", text="y" * 900))
    (found,) = archive.of_lanes([LanePlace(lane_of("lane"), 0, 30)])
    assert 1 <= len(found) < 10


def test_a_stretch_of_time_is_read_oldest_first_from_its_begin_to_before_its_end(archive: SqlArchive) -> None:
    rng = random.Random(3)
    events = [archived(f"s{n % 4}", n, node=f"n{n % 2}", seconds=rng.randrange(20)) for n in range(1, 60)]
    archive.write(events)
    timed = [(event, BEGIN_MS + 1000 * _seconds(event.entry)) for event in events]
    order = sorted(timed, key=lambda one: (one[1], one[0].session, one[0].position))
    assert list(archive.of_time(None, None)) == [event for event, _ in order]
    since, until = BEGIN_MS + 4_000, BEGIN_MS + 15_000
    within = [event for event, at in order if since <= at < until]
    assert list(archive.of_time(since, until)) == within
    assert list(archive.of_time(since, until, limit=10)) == within[:10]
    lane = lane_of("n1")
    assert list(archive.of_time(since, None, lane=lane)) == [e for e, at in order if at >= since and e.lane == lane]
    assert list(archive.of_time(until, since)) == []


def _seconds(entry: str) -> int:
    head = entry.split("\n")[2]
    return int(head.split('"ts":"2026-01-01T00:00:')[1][:2])


def test_times_are_read_whatever_their_offset_and_before_1970(archive: SqlArchive) -> None:
    texts = ("2026-01-01T01:00:00+01:00", "2025-12-31T23:59:59.999Z", "1969-12-31T23:59:59Z")
    for position, text in enumerate(texts, 1):
        event = archived("a", position, seconds=0)
        entry = event.entry.replace('"ts":"2026-01-01T00:00:00Z"', f'"ts":"{text}"')
        assert text in entry
        archive.write([type(event)("a", position, "n", "n", position, 0, entry)])
        assert archive.first_time("a") == BEGIN_MS
    assert [e.position for e in archive.of_time(None, None)] == [3, 2, 1]
    assert [e.position for e in archive.of_time(None, 0)] == [3]


def test_heads_are_those_of_the_sessions_that_have_any(archive: SqlArchive) -> None:
    archive.write([*run("a", 1, 5), *run('"b\\', 3, 4), *run("c\x00", 2, 2)])
    assert archive.heads(["a", '"b\\', "c\x00", "nobody", "c"]) == {"a": 5, '"b\\': 4, "c\x00": 2}
    assert archive.heads([]) == {}


def test_many_heads_are_asked_for_at_once(archive: SqlArchive, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "NAMES_AT_ONCE", 100)
    names = [f"s{n}" for n in range(1_050)]
    archive.write([archived(name, n % 7 + 1) for n, name in enumerate(names)])
    assert archive.heads([*names, "x"]) == {name: n % 7 + 1 for n, name in enumerate(names)}


def test_lanes_are_told_with_their_counts_and_in_pages_by_name(archive: SqlArchive) -> None:
    archive.write([archived(f"s{n % 3}", n, node="b", order=n) for n in range(1, 10)])
    archive.write([*run("x", 1, 2, node="a"), *run("y", 1, 1, node="Z"), *run("z", 1, 1, node="ü")])
    lanes = [ArchivedLane("Z", 1, 1, 1), ArchivedLane("a", 2, 1, 2), ArchivedLane("b", 9, 3, 9)]
    assert archive.lanes(limit=3) == lanes
    assert archive.lanes(after="a", limit=1) == [lanes[2]]
    assert archive.lanes(after=lane_of("ü")) == []
    assert len(archive.lanes()) == 4


def test_the_sessions_of_a_lane_are_told_with_their_heads(archive: SqlArchive) -> None:
    archive.write([*run("a", 1, 9, node="l"), *run("b", 4, 6, node="l"), *run("c", 1, 3, node="m")])
    assert archive.sessions_of_lane("l") == {"a": 9, "b": 6}
    assert archive.sessions_of_lane("nowhere") == {}


def test_the_first_time_is_that_of_the_first_position(archive: SqlArchive) -> None:
    archive.write([archived("a", 2, seconds=5), archived("a", 3, seconds=1)])
    assert archive.first_time("a") == BEGIN_MS + 5_000
    assert archive.first_time("nobody") is None
