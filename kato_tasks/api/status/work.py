"""What waits, and why: sessions whose last try failed, partitions where nothing moves, messages nobody published."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict

from kato_tasks.adapters.redis.keys import prefix
from kato_tasks.api.status.counts import Partition, asked
from kato_tasks.bootstrap import Runtime

STUCK_SECONDS = 10.0
"""An event that waits for so long while nothing is applied in its partition: nothing moves."""
LASTING_SECONDS = 5.0
"""A session whose tries have failed for so long carries an error; a single failed try is no news."""
UNPUBLISHED_SECONDS = 10.0
"""A message that is kept for so long was not published by the sweeps that came by since."""
LOOKED_AT = 100
"""Failing sessions that are looked into, of all."""
OF_EACH = 20
"""Sessions of each partition that are looked at, the oldest."""
SHOWN = 10


class Failing(BaseModel):
    """A session whose tries fail: since when, and what the last one met."""

    model_config = ConfigDict(frozen=True)

    session_id: str
    seconds: float
    error: str


@dataclass(frozen=True, slots=True)
class Waiting:
    """What does not go on.

    ``failing``: a few of the ``failing_count`` sessions, longest first. ``stuck_seconds``: how long the oldest event
    waits in a partition where nothing moves, though no error and no person is what it waits for; None: there is none.
    ``unpublished_seconds``: how long the oldest message waits; None: there is none, or no version wrote it down.
    """

    failing: tuple[Failing, ...]
    failing_count: int
    stuck_seconds: float | None
    stuck_partitions: tuple[int, ...]
    """the partitions in which nothing moves"""
    unpublished_seconds: float | None


def read_waiting(rt: Runtime, partitions: Sequence[Partition]) -> Waiting:
    """Two round trips at most, and none when nothing waits. Raises StoreUnavailable."""
    busy = [part for part in partitions if part.counts.lanes_due or part.counts.backlog]
    kept = [part for part in partitions if part.counts.unpublished]
    if not busy and not kept:
        return Waiting((), 0, None, (), None)
    pipe = rt.redis.pipeline(transaction=False)
    for part in busy:
        p = prefix(part.partition)
        pipe.zrange(f"{p}failing", 0, OF_EACH - 1, withscores=True)
        pipe.zcard(f"{p}failing")
        pipe.zrange(f"{p}since", 0, OF_EACH - 1, withscores=True) if _stands(part) else pipe.echo("")
    for part in kept:
        pipe.lindex(f"{prefix(part.partition)}outbox", 0)
    pipe.time()
    *answers, (now_s, now_us) = asked(pipe)
    now_ms = int(now_s) * 1000 + int(now_us) // 1000
    rows = [(part.partition, *answers[3 * i : 3 * i + 3]) for i, part in enumerate(busy)]
    failing = sorted((float(ms), at, str(session)) for at, first, _, _ in rows for session, ms in first)[:LOOKED_AT]
    waits = [(float(ms), at, str(session)) for at, _, _, since in rows for session, ms in since or ()]
    errors, others = _looked_into(rt, failing, waits)
    found = [
        Failing(session_id=session, seconds=max(0.0, (now_ms - ms) / 1000), error=errors[partition, session])
        for ms, partition, session in failing
        if errors.get((partition, session))
    ]
    stuck = [(ms, partition) for ms, partition, session in waits if (partition, session) in others]
    count = sum(int(total) for _, _, total, _ in rows) - (len(failing) - len(found))
    return Waiting(
        failing=tuple(found),
        failing_count=count,
        stuck_seconds=max((max(0.0, (now_ms - ms) / 1000) for ms, _ in stuck), default=None),
        stuck_partitions=tuple(sorted({partition for _, partition in stuck})),
        unpublished_seconds=_oldest(answers[3 * len(busy) :], now_ms),
    )


def _stands(part: Partition) -> bool:
    """Whether an event waits in this partition while nothing was applied there for as long."""
    oldest, moved = part.counts.oldest_unapplied_seconds, part.moved_seconds
    return oldest is not None and oldest > STUCK_SECONDS and (moved is None or moved > STUCK_SECONDS)


Session = tuple[float, int, str]
At = tuple[int, str]


def _looked_into(rt: Runtime, failing: Sequence[Session], waits: Sequence[Session]) -> tuple[dict[At, str], set[At]]:
    """The error of each session that has one; and of those that wait, which have none and are not parked."""
    places = list(dict.fromkeys((partition, session) for _, partition, session in [*failing, *waits]))
    if not places:
        return {}, set()
    pipe = rt.redis.pipeline(transaction=False)
    for partition, session in places:
        pipe.hmget(f"{prefix(partition)}s:{session}", "err", "pk")
    errors: dict[At, str] = {}
    others: set[At] = set()
    for place, row in zip(places, asked(pipe, raise_on_error=False), strict=True):
        if isinstance(row, Exception):
            continue  # its row is broken, which its lane's next holder says
        error, parked = row
        if parked is not None:
            continue
        if error:
            errors[place] = str(error)
        else:
            others.add(place)
    return errors, others


def _oldest(messages: Sequence[str | None], now_ms: int) -> float | None:
    ages = []
    for text in messages:
        try:
            ages.append((now_ms - int(json.loads(text or "{}")["kept_ms"])) / 1000)
        except (ValueError, KeyError, TypeError):
            continue  # an earlier version kept it, or it cannot be read
    return max((max(0.0, age) for age in ages), default=None)
