"""Waiting until everything is applied, and what is left when it is not."""

import time
from dataclasses import dataclass, replace

import redis

from kato_tasks.adapters.redis.keys import prefix
from kato_tasks.domain.ids import PARTITIONS
from tests.chaos.views import Views


@dataclass(frozen=True, slots=True)
class Left:
    """What is still to be done."""

    sessions: int
    """with unapplied events, and not parked"""
    asks: int
    outbox: int
    predicts: int = 0
    """of sessions that are not parked, and not answered"""

    def __bool__(self) -> bool:
        return bool(self.sessions or self.outbox or self.predicts)


def left(rig: Views) -> Left:
    pipe = rig.view.pipeline(transaction=False)
    for partition in range(PARTITIONS):
        p = prefix(partition)
        pipe.zrange(f"{p}since", 0, -1)
        pipe.smembers(f"{p}parked")
        pipe.zcard(f"{p}owed")
        pipe.llen(f"{p}outbox")
    rows = pipe.execute()
    sessions = sum(len(set(rows[i]) - set(rows[i + 1])) for i in range(0, len(rows), 4))
    return Left(sessions, sum(rows[2::4]), sum(rows[3::4]))


def with_predicts(rig: Views, found: Left) -> Left:
    """The same, and how many sessions still have predicts that nobody has answered."""
    parked = {str(one) for partition in range(PARTITIONS) for one in rig.view.smembers(f"{prefix(partition)}parked")}
    asking = [str(key).split(":asks:", 1)[1] for key in rig.view.scan_iter("kt:*:asks:*", count=5_000)]
    return replace(found, predicts=sum(session not in parked for session in asking))


def until_drained(rig: Views, seconds: float) -> tuple[float, Left]:
    """Seconds that it took, and what is left (nothing, if all went well)."""
    begin = time.monotonic()
    now = Left(-1, 0, 0)
    while time.monotonic() - begin < seconds:
        try:
            now = left(rig)
            if not now:
                now = with_predicts(rig, now)
        except redis.RedisError:
            time.sleep(0.2)
            continue
        if not now:
            break
        time.sleep(0.1)
    return time.monotonic() - begin, now
