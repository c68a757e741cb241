"""Set the marks that keep a shard from having two wake-ups outstanding, and two workers from doing the same sweep."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from kato_tasks.domain.ids import shard_of
from kato_tasks.engine.store_protocol import StoreProtocol, carry_out
from kato_tasks.engine.store_retry import raise_errors
from kato_tasks.ports.store import Store
from kato_tasks.ports.waiting_tasks import ClearMark, MarkOf, SetMark

WAKE_SECONDS = 60
"""How long a wake-up may wait in its queue, and how long its mark stands. The sweep notices a lost one earlier."""
OVERDUE_SECONDS = 1
"""How long the mark of a wake-up that overtakes a queue stands."""
ARCHIVING_SECONDS = 60
"""How long the mark of an archiving task stands, after which another is sent: the one before it was lost."""


class WakeupMarks:
    """Sets and clears the marks in a store. Every method raises StoreUnavailable if the store does not answer."""

    def __init__(self, store: Store, shards: int) -> None:
        self._store = store
        self._shards = shards

    def set(self, partitions: Iterable[int]) -> list[int]:
        """Mark the shards of these partitions as having a wake-up outstanding, and return those that had none."""
        return carry_out(self._store, set_marks(partitions, self._shards))

    def set_overtaking(self, shards: Iterable[int]) -> list[int]:
        """Mark these shards as having an overtaking wake-up on its way, and return those that had none."""
        return carry_out(self._store, _set_new_marks("overtaking", sorted(shards), OVERDUE_SECONDS))

    def clear(self, shard: int) -> None:
        """Record that a wake-up of the shard starts, or counts as lost, so that the next append sends another."""
        raise_errors(self._store.execute([ClearMark("wake-up", shard)]))

    def set_archiving(self, shards: Iterable[int]) -> list[int]:
        """Mark these shards as having an archiving task on its way, and return those that had none."""
        return carry_out(self._store, _set_new_marks("archiving", sorted(shards), ARCHIVING_SECONDS))

    def clear_archiving(self, shard: int) -> None:
        """Record that the shard's archiving task has ended, so that the next sweep may send another."""
        raise_errors(self._store.execute([ClearMark("archiving", shard)]))

    def take_sweep(self, seconds: float) -> bool:
        """Take the turn to sweep, so that no other worker can take it for ``seconds``.

        Returns False if another worker has the turn.
        """
        (taken,) = raise_errors(self._store.execute([SetMark("sweep", 0, max(1, int(seconds * 1000)))]))
        return bool(taken)


def set_marks(partitions: Iterable[int], shards: int) -> StoreProtocol[list[int]]:
    """Do what ``WakeupMarks.set`` does, as a protocol for the caller to carry out."""
    return _set_new_marks("wake-up", sorted({shard_of(p, shards) for p in partitions}), WAKE_SECONDS)


def _set_new_marks(of: MarkOf, shards: Sequence[int], seconds: int) -> StoreProtocol[list[int]]:
    if not shards:
        return []
    new = raise_errors((yield [SetMark(of, shard, seconds * 1000) for shard in shards]))
    return [shard for shard, is_new in zip(shards, new, strict=True) if is_new]
