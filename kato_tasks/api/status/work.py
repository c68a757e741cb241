"""Find what waits, and why: sessions whose last try failed, partitions where nothing moves, unpublished messages."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict

from kato_tasks.bootstrap import Runtime
from kato_tasks.ports.figures import PartitionFigures, Place

STUCK_SECONDS = 10.0
"""Nothing moves in a partition if an event waits there for longer than this while nothing is applied there."""
LASTING_SECONDS = 5.0
"""A session is reported once its tries have failed for this long. A single failed try is not worth reporting."""
UNPUBLISHED_SECONDS = 10.0
"""A message that has been kept for longer than this was not published by any of the sweeps since then."""
LOOKED_AT = 100
"""How many failing sessions are looked into, of all partitions together."""
OF_EACH = 20
"""How many sessions of each partition are looked at, beginning with the oldest."""
SHOWN = 10


class Failing(BaseModel):
    """A session whose tries fail: for how many ``seconds``, and the ``error`` that the last try met."""

    model_config = ConfigDict(frozen=True)

    session_id: str
    seconds: float
    error: str


@dataclass(frozen=True, slots=True)
class Waiting:
    """What does not go on.

    ``failing`` lists a few of the sessions whose tries fail, the one that has failed longest first; ``failing_count``
    counts them all. ``stuck_seconds`` is how long the oldest event has been waiting in a partition where nothing moves,
    although it waits neither for an error to be mended nor for a person; it is None if there is no such event.
    ``unpublished_seconds`` is how long the oldest message has been waiting; it is None if there is no message, or if
    the version that kept it did not write the time down.
    """

    failing: tuple[Failing, ...]
    failing_count: int
    stuck_seconds: float | None
    stuck_partitions: tuple[int, ...]
    """the partitions in which nothing moves"""
    unpublished_seconds: float | None


def read_waiting(rt: Runtime, partitions: Sequence[PartitionFigures]) -> Waiting:
    """Return what does not go on in these partitions.

    This takes at most two round trips, and no round trip at all if nothing waits. Raises StoreUnavailable.
    """
    busy = [part for part in partitions if part.lanes_due or part.backlog]
    kept = [part.partition for part in partitions if part.unpublished]
    if not busy and not kept:
        return Waiting((), 0, None, (), None)
    standing = frozenset(part.partition for part in busy if _stands(part))
    read = rt.figures.waiting([part.partition for part in busy], standing, kept, OF_EACH)
    now_ms = read.now_ms
    failing = sorted((ms, one.partition, session) for one in read.stalled for session, ms in one.failing)[:LOOKED_AT]
    waits = [(ms, one.partition, session) for one in read.stalled for session, ms in one.oldest]
    errors, others = _looked_into(rt, failing, waits)
    found = [
        Failing(session_id=session, seconds=max(0.0, (now_ms - ms) / 1000), error=errors[partition, session])
        for ms, partition, session in failing
        if (partition, session) in errors
    ]
    stuck = [(ms, partition) for ms, partition, session in waits if (partition, session) in others]
    return Waiting(
        failing=tuple(found),
        failing_count=sum(one.failing_count for one in read.stalled) - (len(failing) - len(found)),
        stuck_seconds=max((max(0.0, (now_ms - ms) / 1000) for ms, _ in stuck), default=None),
        stuck_partitions=tuple(sorted({partition for _, partition in stuck})),
        unpublished_seconds=_oldest(read.messages, now_ms),
    )


def _stands(part: PartitionFigures) -> bool:
    """Return whether an event has been waiting in this partition while nothing was applied there for that long."""
    oldest, moved = part.oldest_unapplied_seconds, part.moved_seconds
    return oldest is not None and oldest > STUCK_SECONDS and (moved is None or moved > STUCK_SECONDS)


Session = tuple[float, int, str]
"""A session: since when it has been waiting or failing (ms since 1970), its partition, and its id."""


def _looked_into(
    rt: Runtime, failing: Sequence[Session], waits: Sequence[Session]
) -> tuple[dict[Place, str], set[Place]]:
    """Return the error of each session that has one, and the sessions that wait without an error and are not parked."""
    places = list(dict.fromkeys((partition, session) for _, partition, session in [*failing, *waits]))
    if not places:
        return {}, set()
    read = rt.figures.errors_of(places)
    return {place: error for place, error in read.items() if error}, {place for place in read if not read[place]}


def _oldest(messages: Sequence[str | None], now_ms: int) -> float | None:
    ages = []
    for text in messages:
        try:
            ages.append((now_ms - int(json.loads(text or "{}")["kept_ms"])) / 1000)
        except (ValueError, KeyError, TypeError):
            continue  # an earlier version kept the message, or it cannot be read
    return max((max(0.0, age) for age in ages), default=None)
