"""Histories cross the store and the archive as one log, whatever moves between them meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from kato_tasks import HistoryIncomplete, InvalidEvent, events_by_node, events_by_time, history
from kato_tasks.api.history import PAGE, read_entries
from tests.unit.api.doubles import Kept, Store


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def kept(store: Store) -> Kept:
    return Kept(store)


@pytest.fixture
def archived(store: Store, kept: Kept, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The runtime of this process, with an archive. Falls back to none where a test takes it away."""
    rt = SimpleNamespace(sessions=store, store=store, archive=kept)
    for module in ("history", "node_history", "time_history"):
        monkeypatch.setattr(f"kato_tasks.api.{module}.runtime", lambda: rt)
    return rt


def positions(events: Iterator[dict[str, Any]]) -> list[int]:
    return [event["position"] for event in events]


def test_a_history_without_an_archive_is_the_stores_log(store: Store, archived: SimpleNamespace) -> None:
    archived.archive = None
    store.append("s", 3)
    first, *_ = history("s")
    assert first == {
        "event_type": "observation",
        "event_id": "s-1",
        "schema_version": 1,
        "session_id": "s",
        "node_id": "s",
        "timestamp": "2026-01-01T00:00:00Z",
        "position": 1,
        "metadata": {},
        "observation": {"strings": ["s-1"], "vectors": [], "emotives": {}, "metadata": {}},
        "data": {"at": 1},
    }
    assert positions(history("s")) == [1, 2, 3]
    assert positions(history("s", 1, 1)) == [2]
    assert positions(history("s", 9)) == []
    assert positions(history("s", 0, 0)) == []
    assert positions(history("nowhere")) == []


@pytest.mark.parametrize("trimmed", [0, 1, PAGE - 1, PAGE, PAGE + 1, 2 * PAGE + 7, 3 * PAGE])
@pytest.mark.parametrize("after", [0, PAGE])
def test_what_the_store_gave_up_is_read_from_the_archive(
    store: Store, kept: Kept, archived: SimpleNamespace, trimmed: int, after: int
) -> None:
    store.append("s", 3 * PAGE)
    kept.take("s", trimmed)
    assert positions(history("s", after)) == list(range(after + 1, 3 * PAGE + 1))
    assert positions(history("s", after, 5)) == list(range(after + 1, after + 6))


def test_what_is_archived_and_trimmed_between_two_pages_comes_once(
    store: Store, kept: Kept, archived: SimpleNamespace
) -> None:
    """Falls when the crossing remembers from one page to the next which side has what."""
    store.append("s", 5 * PAGE)
    trims = iter([10, PAGE + 50, PAGE + 60, 2 * PAGE + 1, 4 * PAGE, *[5 * PAGE] * 9])
    store.before_page = lambda: kept.take("s", next(trims))
    assert positions(history("s")) == list(range(1, 5 * PAGE + 1))
    assert not store.logs["s"], "the last page came after the last trim"


def test_what_is_archived_and_still_in_the_store_comes_once(
    store: Store, kept: Kept, archived: SimpleNamespace
) -> None:
    store.append("s", 30)
    kept.take("s", 20, trim=False)
    store.trim("s", 10)
    assert positions(history("s")) == list(range(1, 31))


def test_a_history_ends_where_the_session_ended_when_it_began(store: Store, archived: SimpleNamespace) -> None:
    store.append("s", PAGE + 1)
    store.before_page = lambda: store.append("s")
    assert positions(history("s")) == list(range(1, PAGE + 2))


def test_positions_that_neither_side_holds_are_an_error_that_names_them(
    store: Store, kept: Kept, archived: SimpleNamespace
) -> None:
    store.append("s", 9)
    store.trim("s", 3)
    with pytest.raises(HistoryIncomplete, match=r"positions 1 to 3 of session 's' are neither .* after=3 reads"):
        list(history("s"))
    assert positions(history("s", 3)) == list(range(4, 10))
    store.append("t", 9)
    kept.take("t", 5)
    del kept.rows["t", 4]
    read: list[int] = []
    with pytest.raises(HistoryIncomplete, match=r"position 4 of session 't' is neither"):
        read.extend(event["position"] for event in history("t"))
    archived.archive = None
    with pytest.raises(HistoryIncomplete, match=r"positions 1 to 5 of session 't' .* set ARCHIVE_URL"):
        list(history("t"))


def test_a_log_that_was_given_up_whole_is_incomplete_and_not_empty(store: Store, archived: SimpleNamespace) -> None:
    store.append("s", 2)
    store.trim("s", 2)
    with pytest.raises(HistoryIncomplete, match="positions 1 to 2"):
        list(history("s"))


def test_a_session_that_only_the_archive_knows_is_read_from_there(
    store: Store, kept: Kept, archived: SimpleNamespace
) -> None:
    store.append("s", 3, node="team")
    kept.take("s", 3)
    del store.known["s"]
    assert [(event["position"], event["node_id"]) for event in history("s", 1)] == [(2, "team"), (3, "team")]


def test_entries_are_read_for_a_rebuild_from_both_sides(store: Store, kept: Kept) -> None:
    store.append("s", 10)
    kept.take("s", 6)
    entries = list(read_entries(store.port, kept.port, "s", "s", 2, 6))
    assert [(entry.position, entry.event_id) for entry in entries] == [(i, f"s-{i}") for i in range(3, 9)]


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        (("",), "session_id"),
        ((7,), "session_id"),
        (("s", -1), "after"),
        (("s", True), "after"),
        (("s", 0, -1), "limit"),
    ],
)
def test_wrong_arguments_are_refused_at_the_call(arguments: Any, field: str) -> None:
    with pytest.raises(InvalidEvent) as refused:
        history(*arguments)
    assert refused.value.field == field


# ------------------------------------------------------------------------------- by node


def orders(events: Iterator[dict[str, Any]]) -> list[tuple[int, str]]:
    return [(event["lane_order"], event["event_id"]) for event in events]


@pytest.fixture
def team(store: Store) -> list[tuple[int, str]]:
    """Two sessions of one node whose events were applied in turn: places and ids."""
    for _ in range(PAGE):
        store.append("a", node="team")
        store.append("b", node="team")
    ids = [f"{session}-{i}" for i in range(1, PAGE + 1) for session in "ab"]
    return list(enumerate(ids, 1))


def test_a_nodes_events_come_in_the_order_in_which_they_were_applied(
    team: list[tuple[int, str]], archived: SimpleNamespace
) -> None:
    archived.archive = None
    assert orders(events_by_node("team")) == team
    assert orders(events_by_node("team", after=7, limit=3)) == team[7:10]
    assert orders(events_by_node("team", after=2 * PAGE)) == []
    assert orders(events_by_node("nobody")) == []


def test_a_nodes_events_cross_from_the_archive_to_the_store_while_they_move(
    store: Store, kept: Kept, team: list[tuple[int, str]], archived: SimpleNamespace
) -> None:
    kept.take("a", 30)
    kept.take("b", 20)
    moved = iter(range(31, 10_000, 7))

    def move() -> None:
        kept.take("a", next(moved))
        kept.take("b", next(moved))

    store.before_page = move
    assert orders(events_by_node("team")) == team


def test_what_was_erased_leaves_a_hole_in_a_nodes_events(
    store: Store, kept: Kept, team: list[tuple[int, str]], archived: SimpleNamespace
) -> None:
    kept.take("a", PAGE)
    kept.take("b", 50)
    kept.forget("a")
    store.forget("a")
    assert orders(events_by_node("team")) == [one for one in team if one[1].startswith("b")]


def test_a_page_of_places_that_name_nobody_does_not_end_a_nodes_events(store: Store, archived: SimpleNamespace) -> None:
    archived.archive = None
    store.append("before", node="team")
    store.append("gone", 3 * PAGE, node="team")
    store.append("behind", node="team")
    store.forget("gone")
    assert orders(events_by_node("team")) == [(1, "before-1"), (3 * PAGE + 2, "behind-1")]


def test_without_an_archive_a_hole_in_a_nodes_events_is_an_error(
    store: Store, team: list[tuple[int, str]], archived: SimpleNamespace
) -> None:
    archived.archive = None
    store.trim("a", 3)
    with pytest.raises(HistoryIncomplete, match=r"places 1 to 1 in the order of lane 'team'"):
        list(events_by_node("team"))


def test_another_node_of_the_same_name_at_kato_is_left_out(store: Store, archived: SimpleNamespace) -> None:
    store.append("one", node="a-b")
    store.append("two", node="a_b")
    store.append("one")
    assert orders(events_by_node("a-b")) == [(1, "one-1"), (3, "one-2")]
    assert orders(events_by_node("a_b")) == [(2, "two-1")]


def test_a_session_stands_for_the_node_of_its_own(store: Store, archived: SimpleNamespace) -> None:
    store.append("ann 1", 2)
    assert store.known["ann 1"] != "ann 1"
    assert [(event["event_id"], event["node_id"]) for event in events_by_node("ann 1")] == [
        ("ann 1-1", "ann 1"),
        ("ann 1-2", "ann 1"),
    ]


# ------------------------------------------------------------------------------- by time


def days(events: Iterator[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(event["timestamp"][8:10], event["event_id"]) for event in events]


@pytest.fixture
def dated(store: Store) -> list[tuple[str, str]]:
    for session, node, day in [("b", "", "03"), ("a", "", "05"), ("b", "", "02"), ("c", "team", "04"), ("a", "", "04")]:
        store.append(session, node=node, timestamp=f"2026-01-{day}T00:00:00Z")
    return [("02", "b-2"), ("03", "b-1"), ("04", "a-2"), ("04", "c-1"), ("05", "a-1")]


def test_events_of_a_span_of_time_come_oldest_first_wherever_they_are(
    kept: Kept, dated: list[tuple[str, str]], archived: SimpleNamespace
) -> None:
    for step in (None, ("b", 1), ("a", 2), ("b", 2), ("c", 1)):
        if step:
            kept.take(*step)
        assert days(events_by_time()) == dated
        assert days(events_by_time("2026-01-03", "2026-01-05T00:00:00Z")) == dated[1:4]
        assert days(events_by_time(limit=2)) == dated[:2]
        assert days(events_by_time(node_id="team")) == dated[3:4]
    archived.archive = None


def test_what_is_archived_while_the_store_is_read_comes_once(
    store: Store, kept: Kept, dated: list[tuple[str, str]], archived: SimpleNamespace
) -> None:
    """Falls when the archive is read before the store."""

    def move() -> None:
        for session, to in (("a", 2), ("b", 2), ("c", 1)):
            kept.take(session, to)

    store.before_page = move
    assert days(events_by_time(limit=4)) == dated[:4]


@pytest.mark.parametrize(("since", "until", "field"), [("soon", None, "since"), (None, 7, "until")])
def test_a_time_that_is_none_is_refused_at_the_call(since: Any, until: Any, field: str) -> None:
    with pytest.raises(InvalidEvent) as refused:
        events_by_time(since, until)
    assert refused.value.field == field
