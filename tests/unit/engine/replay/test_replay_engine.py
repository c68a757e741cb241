"""What a replay computes: the history of a lane as one, the copies of events, and what KATO must hold after them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from kato_tasks.domain.events import parse_event
from kato_tasks.domain.log_entry import Logged, entry_of
from kato_tasks.domain.replays import LaneReplay, Replay, ReplayRequest
from kato_tasks.domain.stm import pattern_name
from kato_tasks.engine.replay.copying import copies_of
from kato_tasks.engine.replay.expecting import expect
from kato_tasks.engine.replay.history import LaneHistory
from kato_tasks.errors import UnreadableRow
from kato_tasks.ports.archive import ArchivedEvent, LanePlace
from kato_tasks.ports.replays import LanePage, ReadLane

ID = "0123456789ab"


def event(order: int, session: str, position: int, *strings: str, dead: bool = False, **more: Any) -> ArchivedEvent:
    raw: dict[str, Any] = {"session_id": session, "timestamp": f"2026-01-01T00:00:{order:02d}Z"}
    raw |= more or {"observation": {"strings": list(strings)}}
    entry = entry_of(parse_event(raw), event_id=f"{session}-{position}", wanted=True)
    text = entry.text[:2] + "1764000000000" + entry.text[2:]  # as append.lua writes it
    return ArchivedEvent(session, position, "n", "n", order, 1764000000000, text, dead)


def learn(order: int, session: str, position: int, *, dead: bool = False) -> ArchivedEvent:
    return event(order, session, position, dead=dead, event_type="learn")


# ----------------------------------------------------------------------------------------------------- copies


def test_a_copy_is_sent_as_the_event_was_and_nobody_waits_for_it() -> None:
    ((entry, order),) = copies_of([event(7, "s ü", 3, "b", "a")], ID)
    assert (entry.session_id, entry.event_id, entry.wants_result, order) == (f"replay:{ID}:s ü", "s ü-3", False, 7)
    original = Logged.parse(1, event(7, "s ü", 3, "b", "a").entry)
    copied = Logged.parse(1, entry.text)
    assert (copied.body, copied.head, copied.content, copied.wanted) == (original.body, original.head, "s", False)


def test_dead_letters_and_what_came_later_are_not_copied() -> None:
    events = [event(1, "s", 1, "a"), event(2, "s", 2, "b", dead=True), event(3, "s", 3, "c")]
    assert [order for _, order in copies_of(events, ID)] == [1, 3]
    until = 1767225600000 + 2_000
    assert [order for _, order in copies_of([*events, event(9, "s", 4, "d")], ID, until)] == [1]


def test_an_event_that_cannot_be_read_is_not_copied_as_something_else() -> None:
    broken = ArchivedEvent("s", 4, "n", "n", 1, 1, "what is this")
    with pytest.raises(UnreadableRow, match="position 4 of session 's'"):
        copies_of([broken], ID)


# --------------------------------------------------------------------------------------------------- expected


def test_each_learn_counts_the_pattern_of_its_own_session() -> None:
    history = [
        event(1, "a", 1, "x", "y"),
        event(2, "b", 1, "x", "y"),
        event(3, "a", 2, "z"),
        event(4, "b", 2, "z"),
        learn(5, "a", 3),
        learn(6, "b", 3),
        event(7, "a", 4, "q"),
        learn(8, "a", 5),
        event(9, "b", 4, "w"),
    ]
    found = expect(history)
    assert found.patterns == {pattern_name([["x", "y"], ["z"]]): 2}  # one symbol in all makes no pattern
    assert found.stms == {"b": [["w"]]}
    assert (found.events, found.gaps, found.unnamed) == (9, {}, 0)


def test_a_clear_forgets_and_a_dead_learn_counts_nothing() -> None:
    cleared = event(3, "a", 3, event_type="clear_stm")
    history = [event(1, "a", 1, "x"), event(2, "a", 2, "y"), cleared, learn(4, "a", 4, dead=True)]
    found = expect(history)
    assert (found.patterns, found.stms, found.events) == ({}, {}, 3)


def test_the_stm_of_a_pattern_is_the_newest_thousand_events() -> None:
    history = [event(i % 60, "a", i, f"{i}") for i in range(1, 1_051)]
    assert expect(history).stms["a"] == [[f"{i}"] for i in range(51, 1_051)]


def test_a_pattern_of_vectors_is_counted_without_a_name() -> None:
    seen = event(1, "a", 1, observation={"strings": ["x"], "vectors": [[0.5, 1.0]]})
    found = expect([seen, event(2, "a", 2, "y"), learn(3, "a", 3)])
    assert (found.patterns, found.unnamed) == ({}, 1)


def test_a_position_that_is_in_no_history_is_named() -> None:
    assert expect([event(1, "a", 2, "x"), event(2, "b", 1, "x"), event(3, "b", 3, "x")]).gaps == {"a": 1, "b": 2}


# ---------------------------------------------------------------------------------------------------- history


class Shelves:
    """A store and an archive of one lane: the store has dropped what is archived up to `archived`."""

    def __init__(self, events: Sequence[ArchivedEvent], archived: int) -> None:
        self.events = list(events)
        self.archived = archived
        self.moves_at_once = False

    def run(self) -> str:
        return ""

    def execute(self, operations: Sequence[Any]) -> list[Any]:
        (read,) = operations
        assert isinstance(read, ReadLane)
        kept = [one for one in self.events if one.lane_order > self.archived]
        page = [one for one in kept if one.lane_order > read.after][: read.limit]
        applied = self.events[-1].lane_order
        reached = page[-1].lane_order if page else applied
        answer = LanePage(kept[0].lane_order if kept else 0, applied, tuple(page), reached)
        if self.moves_at_once:
            self.archived = self.events[-1].lane_order
        return [answer]

    def of_lanes(self, places: Sequence[LanePlace]) -> list[tuple[ArchivedEvent, ...]]:
        (place,) = places
        found = [one for one in self.events if place.after < one.lane_order <= self.archived]
        return [tuple(found[: place.limit])]


class Many:
    """A store and an archive of several lanes."""

    def __init__(self, lanes: dict[str, Shelves]) -> None:
        self._lanes = lanes

    def run(self) -> str:
        return ""

    def execute(self, operations: Sequence[Any]) -> list[Any]:
        return [self._lanes[one.lane].execute([one])[0] for one in operations]

    def of_lanes(self, places: Sequence[LanePlace]) -> list[tuple[ArchivedEvent, ...]]:
        return [self._lanes[place.lane].of_lanes([place])[0] for place in places]


@pytest.mark.parametrize("archived", [0, 1, 5, 9, 10])
@pytest.mark.parametrize("moves", [False, True])
def test_a_lanes_history_is_whole_wherever_the_archive_ends_and_when_it_moves_on_meanwhile(
    archived: int, *, moves: bool
) -> None:
    shelves = Shelves([event(i, "a", i, "x") for i in range(1, 11)], archived)
    shelves.moves_at_once = moves
    history = LaneHistory(shelves, shelves)  # type: ignore[arg-type]
    assert [one.lane_order for one in history.events("n", 10)] == list(range(1, 11))
    page = history.page("n", 3, 4, last=5)
    assert ([one.lane_order for one in page.events], page.reached, page.applied) == ([4, 5], 5, 10)


def test_several_lanes_are_read_side_by_side_to_their_ends() -> None:
    events = [event(i, "a", i, "x") for i in range(1, 11)]
    shelves = Shelves(events, 0)
    many = Many({"n": shelves, "m": Shelves(events[:3], 2), "empty": Shelves(events[:1], 1)})
    history = LaneHistory(many, many)  # type: ignore[arg-type]
    read: dict[str, list[int]] = {"n": [], "m": [], "empty": []}
    for lane, some in history.events_of({"n": 9, "m": 3, "empty": 0}, 4):
        read[lane] += [one.lane_order for one in some]
    assert read == {"n": list(range(1, 10)), "m": [1, 2, 3], "empty": []}


def test_a_place_of_a_forgotten_session_is_passed() -> None:
    shelves = Shelves([event(1, "a", 1, "x"), event(4, "a", 2, "y")], 1)
    history = LaneHistory(shelves, shelves)  # type: ignore[arg-type]
    assert [one.lane_order for one in history.events("n", 4)] == [1, 4]


# ---------------------------------------------------------------------------------------------------- records


def test_records_are_read_as_they_were_kept_and_later_fields_are_left_out() -> None:
    lane = LaneReplay("n", "n", "n~1", known="PTRN|x", abandoned=("n~0",))
    assert LaneReplay.load(lane.dump()) == lane
    replay = Replay(ID, ReplayRequest("as_of", session_id="s", position=3), sessions={"s": "t"}, differences=("d",))
    assert Replay.load(replay.dump()) == replay
    assert Replay.load(replay.dump().replace('{"id"', '{"later":1,"id"')) == replay
    with pytest.raises(UnreadableRow):
        Replay.load("[]")
