"""Sum up the figures of partitions, per shard and of the whole."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

from kato_tasks.bootstrap import Runtime
from kato_tasks.ports.figures import PartitionFigures


class Counts(BaseModel):
    """Figures of some partitions. ``backlog`` counts the events that are appended and not applied yet."""

    model_config = ConfigDict(frozen=True)

    backlog: int = 0
    oldest_unapplied_seconds: float | None = None
    appended: int = 0
    applied: int = 0
    sessions_unapplied: int = 0
    lanes_due: int = 0
    """lanes that are leased, due, or wait for a due time"""
    dead_letters: int = 0
    parked: int = 0
    scheduled: int = 0
    """events kept for a later append (countdown, eta)"""
    unpublished: int = 0
    """task messages that wait for the broker"""
    fenced: int = 0
    rebuilt: int = 0
    reordered: int = 0
    """rebuilds after which KATO holds events with vectors in an order that differs from the one it made them in"""
    leftovers: int = 0
    learns_unknown: int = 0
    ltm_lost: int = 0
    """nodes whose patterns KATO lost, where no person has acknowledged the loss"""
    rebuild_wanted: int = 0
    """nodes whose patterns are in doubt, and which were not rebuilt since"""
    unreadable_lanes: int = 0
    """lanes whose own rows in the store cannot be read, so that their sessions stand still"""


class ShardStatus(Counts):
    """The figures of one shard."""

    shard: int


def read_counts(rt: Runtime) -> Counts:
    """Return the figures of all partitions together, and nothing else. Raises StoreUnavailable."""
    return summed(rt.figures.partitions())


def summed(partitions: Sequence[PartitionFigures]) -> Counts:
    """Return the figures of these partitions together: their sums, and the age of the oldest event of all."""
    ages = [part.oldest_unapplied_seconds for part in partitions if part.oldest_unapplied_seconds is not None]
    total = {
        name: sum(getattr(part, name) for part in partitions)
        for name in Counts.model_fields
        if name != "oldest_unapplied_seconds"
    }
    return Counts(oldest_unapplied_seconds=max(ages, default=None), **total)
