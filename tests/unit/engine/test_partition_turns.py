"""Which partitions a wake-up asks for lanes, and for how many."""

from __future__ import annotations

from kato_tasks.engine.running.partition_turns import FULL_SHARE, PartitionTurns
from kato_tasks.errors import StoreUnavailable


def test_every_partition_is_asked_for_its_share_at_first() -> None:
    assert list(PartitionTurns(range(16)).take_round(64)) == [dict.fromkeys(range(16), 4)]


def test_where_there_are_fewer_lanes_than_partitions_each_group_is_asked_for_one_lane_each() -> None:
    assert list(PartitionTurns(range(5)).take_round(2)) == [{0: 1, 1: 1}, {2: 1, 3: 1}, {4: 2}]


def test_a_lease_that_found_nothing_goes_on_behind_those_that_were_asked() -> None:
    turns = PartitionTurns(range(4))
    assert next(turns.take_round(2)) == {0: 1, 1: 1}
    assert next(turns.take_round(2)) == {2: 1, 3: 1}
    assert next(turns.take_round(2)) == {0: 1, 1: 1}


def test_few_of_the_partitions_that_have_more_are_asked_for_all_lanes() -> None:
    turns = PartitionTurns(range(16))
    shares = next(turns.take_round(64))
    turns.note(shares, [["lane"] * share for share in shares.values()])
    assert next(turns.take_round(4 * FULL_SHARE)) == dict.fromkeys(range(4), FULL_SHARE)
    assert next(turns.take_round(4 * FULL_SHARE)) == dict.fromkeys(range(4, 8), FULL_SHARE)


def test_partitions_that_had_less_are_asked_along_in_their_turn() -> None:
    turns = PartitionTurns(range(4))
    turns.note(dict.fromkeys(range(4), 2), [["a", "b"], ["a"], StoreUnavailable("away"), ["a", "b"]])
    assert next(turns.take_round(2 * FULL_SHARE)) == {0: FULL_SHARE - 1, 1: 1, 2: 1, 3: FULL_SHARE - 1}


def test_a_partition_that_gave_less_than_it_might_has_no_more() -> None:
    turns = PartitionTurns(range(2))
    turns.note({0: 2, 1: 2}, [["a", "b"], ["a", "b"]])
    turns.note({0: 8}, [["a"] * 7])
    assert next(turns.take_round(8)) == {0: 1, 1: 7}


def test_no_group_is_asked_for_more_lanes_than_there_is_room_for() -> None:
    for lanes in range(1, 70):
        for full in range(17):
            turns = PartitionTurns(range(16))
            turns.note(dict.fromkeys(range(full), 1), [["a"]] * full)
            groups = list(turns.take_round(lanes))
            assert all(sum(group.values()) <= lanes and min(group.values()) >= 1 for group in groups)
            assert sorted(p for group in groups for p in group) == list(range(16))
