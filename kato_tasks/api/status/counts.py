"""The figures of each partition, in one round trip."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import redis
from pydantic import BaseModel, ConfigDict

from kato_tasks.adapters.redis.keys import prefix
from kato_tasks.bootstrap import Runtime
from kato_tasks.domain.ids import PARTITIONS
from kato_tasks.errors import StoreUnavailable


class Counts(BaseModel):
    """Figures of some partitions. ``backlog``: events that are appended and not applied."""

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
    """rebuilds after which KATO holds events with vectors in another order than it made them in"""
    leftovers: int = 0
    learns_unknown: int = 0
    ltm_lost: int = 0
    """nodes whose patterns KATO lost, and nobody has acknowledged that"""
    unreadable_lanes: int = 0
    """lanes whose own rows in the store cannot be read: their sessions stand still"""


class ShardStatus(Counts):
    shard: int


@dataclass(frozen=True, slots=True)
class Partition:
    """One partition's figures. ``moved_seconds``: since something was applied there last; None: never, or not known."""

    partition: int
    counts: Counts
    moved_seconds: float | None


_COUNTED = ("appended", "applied", "fenced", "rebuilt", "reordered", "leftovers", "learns_unknown", "moved")
_WIDTH = 10


def read_counts(rt: Runtime) -> Counts:
    """The figures alone, of everything. Raises StoreUnavailable."""
    return summed([part.counts for part in read_partitions(rt.redis)])


def asked(pipe: redis.client.Pipeline, *, raise_on_error: bool = True) -> list[Any]:
    """The answers of a pipeline. Raises StoreUnavailable."""
    try:
        answers: list[Any] = pipe.execute(raise_on_error=raise_on_error)
    except redis.RedisError as exc:
        raise StoreUnavailable(f"Redis does not answer: {exc}") from exc
    return answers


def read_partitions(client: redis.Redis) -> list[Partition]:
    """Every partition's figures, in their order. Raises StoreUnavailable."""
    pipe = client.pipeline(transaction=False)
    pipe.time()
    for partition in range(PARTITIONS):
        p = prefix(partition)
        # The stats last: nothing that is applied meanwhile makes a lane look idle with a backlog.
        pipe.zrange(f"{p}since", 0, 0, withscores=True)
        pipe.zcard(f"{p}since")
        pipe.zcard(f"{p}ready")
        pipe.hlen(f"{p}dead")
        pipe.scard(f"{p}parked")
        pipe.zcard(f"{p}later")
        pipe.llen(f"{p}outbox")
        pipe.scard(f"{p}ltm_lost")
        pipe.scard(f"{p}unreadable")
        pipe.hmget(f"{p}stats", _COUNTED)
    (now_s, now_us), *answers = asked(pipe)
    now_ms = int(now_s) * 1000 + int(now_us) // 1000
    rows = [answers[i : i + _WIDTH] for i in range(0, len(answers), _WIDTH)]
    return [_partition(partition, row, now_ms) for partition, row in enumerate(rows)]


def _partition(partition: int, row: Sequence[Any], now_ms: int) -> Partition:
    oldest, unapplied, ready, dead, parked, later, outbox, lost, unreadable, stats = row
    appended, applied, fenced, rebuilt, reordered, leftovers, unknown, moved = (int(value or 0) for value in stats)
    counts = Counts(
        backlog=max(0, appended - applied),
        oldest_unapplied_seconds=max(0.0, (now_ms - oldest[0][1]) / 1000) if oldest else None,
        appended=appended,
        applied=applied,
        sessions_unapplied=unapplied,
        lanes_due=ready,
        dead_letters=dead,
        parked=parked,
        scheduled=later,
        unpublished=outbox,
        fenced=fenced,
        rebuilt=rebuilt,
        reordered=reordered,
        leftovers=leftovers,
        learns_unknown=unknown,
        ltm_lost=lost,
        unreadable_lanes=unreadable,
    )
    return Partition(partition, counts, max(0.0, (now_ms - moved) / 1000) if moved else None)


def summed(counts: Sequence[Counts]) -> Counts:
    """The figures of all of these together."""
    ages = [c.oldest_unapplied_seconds for c in counts if c.oldest_unapplied_seconds is not None]
    total = {
        name: sum(getattr(c, name) for c in counts)
        for name in Counts.model_fields
        if name != "oldest_unapplied_seconds"
    }
    return Counts(oldest_unapplied_seconds=max(ages, default=None), **total)
