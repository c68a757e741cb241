"""The marks that keep a shard from having two wake-ups outstanding, and a sweep from being done by two workers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from kato_tasks.domain.ids import shard_of
from kato_tasks.engine.store_protocol import StoreProtocol, carry_out
from kato_tasks.engine.store_retry import raise_errors
from kato_tasks.ports.store import Store
from kato_tasks.ports.waiting_tasks import ClearMark, MarkOf, SetMark

WAKE_SECONDS = 60
"""How long a wake-up waits in its queue at most, and its mark stands; the sweep notices earlier that it is lost."""
OVERDUE_SECONDS = 1
"""How long the mark of a wake-up stands that overtakes a queue."""


class WakeupMarks:
    """The marks in a store. Every method raises StoreUnavailable when it does not answer."""

    def __init__(self, store: Store, shards: int) -> None:
        self._store = store
        self._shards = shards

    def set(self, partitions: Iterable[int]) -> list[int]:
        """The shards of these partitions that had no wake-up outstanding and are now marked as having one."""
        return carry_out(self._store, setting_marks(partitions, self._shards))

    def set_overtaking(self, shards: Iterable[int]) -> list[int]:
        """Those of the shards that no overtaking wake-up is on its way to, now marked as having one."""
        return carry_out(self._store, _marked("overtaking", sorted(shards), OVERDUE_SECONDS))

    def clear(self, shard: int) -> None:
        """Say that a wake-up of the shard starts, or counts as lost: the next append sends another."""
        raise_errors(self._store.execute([ClearMark("wake-up", shard)]))

    def take_sweep(self, seconds: float) -> bool:
        """Take the sweep's turn, for this many seconds no other worker can; False: another worker has it."""
        (taken,) = raise_errors(self._store.execute([SetMark("sweep", 0, max(1, int(seconds * 1000)))]))
        return bool(taken)


def setting_marks(partitions: Iterable[int], shards: int) -> StoreProtocol[list[int]]:
    """Do what ``WakeupMarks.set`` does, for whoever carries out the protocol."""
    return _marked("wake-up", sorted({shard_of(p, shards) for p in partitions}), WAKE_SECONDS)


def _marked(of: MarkOf, shards: Sequence[int], seconds: int) -> StoreProtocol[list[int]]:
    if not shards:
        return []
    new = raise_errors((yield [SetMark(of, shard, seconds * 1000) for shard in shards]))
    return [shard for shard, is_new in zip(shards, new, strict=True) if is_new]
