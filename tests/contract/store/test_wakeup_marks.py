"""The marks of wake-ups and of the sweep, on any store."""

from __future__ import annotations

from kato_tasks.domain.ids import PARTITIONS, shard_of
from kato_tasks.testing.waiting import wait_until
from tests.contract.store.pieces import SHARDS, Pieces


def test_a_shard_is_marked_once_until_its_mark_is_cleared(pieces: Pieces) -> None:
    partitions = [partition for partition in range(PARTITIONS) if shard_of(partition, SHARDS) == 3]
    assert pieces.marks.set(partitions) == [3]
    assert pieces.marks.set(partitions[:1]) == []
    pieces.marks.clear(3)
    assert pieces.marks.set(partitions[:1]) == [3]
    assert pieces.marks.set([]) == []


def test_all_shards_are_marked_in_their_order_and_those_alone_that_were_not(pieces: Pieces) -> None:
    assert pieces.marks.set([0]) == [shard_of(0, SHARDS)]
    rest = [shard for shard in range(SHARDS) if shard != shard_of(0, SHARDS)]
    assert pieces.marks.set(range(PARTITIONS)) == rest


def test_the_mark_of_an_overtaking_wake_up_stands_beside_the_others_and_for_a_second(pieces: Pieces) -> None:
    pieces.marks.set(range(PARTITIONS))
    assert pieces.marks.set_overtaking([2, 1]) == [1, 2]
    assert pieces.marks.set_overtaking([1]) == []
    pieces.marks.clear(1)
    wait_until(lambda: pieces.marks.set_overtaking([1]) == [1], 10, "the mark expires by itself")


def test_one_of_all_takes_the_sweeps_turn_until_it_is_over(pieces: Pieces) -> None:
    assert pieces.marks.take_sweep(0.2)
    wait_until(lambda: pieces.marks.take_sweep(60), 10, "the turn is over")
    assert not pieces.marks.take_sweep(60)
