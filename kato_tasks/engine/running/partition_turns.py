"""Decide in which order a wake-up asks its partitions for lanes, and for how many."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

FULL_SHARE = 8
"""A partition that has more lanes than it may give is asked for this many, so that few calls fill a lease."""


class PartitionTurns:
    """The partitions of a wake-up, in the order in which they are asked for lanes. Not thread-safe."""

    def __init__(self, partitions: Sequence[int]) -> None:
        self._partitions = deque(partitions)
        self._full: set[int] = set()
        """those that lately gave as many lanes as they might, and so have more of them"""

    def take_round(self, lanes: int) -> Iterator[dict[int, int]]:
        """Yield groups of partitions, each for one lease of ``lanes`` at most, with how many each of them may give.

        Every partition comes up once. Each costs a call of the store, so a group ends where it is sure to fill up.
        """
        left = len(self._partitions)
        while left > 0:
            group = self._next_group(min(lanes, left), lanes)
            self._partitions.rotate(-len(group))
            left -= len(group)
            full = self._full.intersection(group)
            if full:
                share = (lanes - len(group) + len(full)) // len(full)
                yield {p: share if p in full else 1 for p in group}
            else:
                yield dict.fromkeys(group, lanes // len(group))

    def _next_group(self, most: int, lanes: int) -> list[int]:
        group: list[int] = []
        expected = 0
        for partition in islice(self._partitions, most):
            group.append(partition)
            expected += FULL_SHARE if partition in self._full else 0
            if expected >= lanes:
                break
        return group

    def note(self, shares: Mapping[int, int], answers: Sequence[Any]) -> None:
        """Note which of these partitions gave as many lanes as they might."""
        for (partition, share), answer in zip(shares.items(), answers, strict=True):
            if not isinstance(answer, Exception) and len(answer) >= share:
                self._full.add(partition)
            else:
                self._full.discard(partition)
