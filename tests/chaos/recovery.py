"""How long the lanes of a killed worker stand still. The leases that are no longer renewed say which lanes it held."""

import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import redis

from kato_tasks.adapters.redis.keys import prefix
from kato_tasks.domain.ids import PARTITIONS, partition_of
from kato_tasks.testing.waiting import StillWaiting, wait_until
from tests.chaos.rig import Rig

UNRENEWED_SECONDS = 1.8
"""Longer than the interval between two renewals of a lease."""


@dataclass(slots=True)
class Recovery:
    """A lane whose holder was killed: seconds until another took it, and until it had a commit (or nothing left)."""

    lane: str
    calm: bool = False
    """KATO had no faults then"""
    taken: float | None = None
    progress: float | None = None
    seen: list[str] = field(default_factory=list)
    """how it stood, each second, while it did not go on"""


@dataclass(frozen=True, slots=True)
class Leased:
    token: str
    left_ms: int
    commits: int


def leases(rig: Rig) -> dict[str, Leased]:
    """Every lane that is leased now; none while the store is away."""
    try:
        pipe = rig.view.pipeline(transaction=False)
        now = rig.store_ms()
        for partition in range(PARTITIONS):
            pipe.zrangebyscore(f"{prefix(partition)}ready", now, now + 60_000)
        lanes = [str(lane) for found in pipe.execute() for lane in found]
        return {lane: row for lane, row in look(rig, lanes).items() if row.token}
    except redis.RedisError:
        return {}


def look(rig: Rig, lanes: Sequence[str]) -> dict[str, Leased]:
    """How these lanes stand; an empty token is no lease."""
    pipe = rig.view.pipeline(transaction=False)
    for lane in lanes:
        p = prefix(partition_of(lane))
        pipe.get(f"{p}lease:{lane}")
        pipe.pttl(f"{p}lease:{lane}")
        pipe.hget(f"{p}lane:{lane}", "seq")
    rows = pipe.execute()
    return {
        lane: Leased(str(rows[3 * i] or ""), int(rows[3 * i + 1]), int(rows[3 * i + 2] or 0))
        for i, lane in enumerate(lanes)
    }


def how_it_stands(rig: Rig, lane: str, seconds: float) -> str:
    """One line about a lane: who holds it, when it is due, what its first session waits for."""
    p, now, view = prefix(partition_of(lane)), rig.store_ms(), rig.view
    due: Any = view.zscore(f"{p}ready", lane)
    first: Any = view.zrange(f"{p}pend:{lane}", 0, 0, withscores=True)
    waits = ""
    for session, at in first:
        state: Any = view.hgetall(f"{p}s:{session}")
        kept = {name: str(state.get(name, ""))[:90] for name in ("head", "cur", "att", "un", "err")}
        waits = f"first pending due in {at - now:.0f} ms, {kept}, intent {'open' if state.get('ic') else 'none'}"
    ready = f"{due - now:.0f} ms" if due is not None else "never"
    return f"+{seconds:.1f} s lease {str(view.get(f'{p}lease:{lane}'))[:6]} ready in {ready}; {waits}"


class Recoveries:
    """Finds the lanes that a worker held when it was killed, and waits until each goes on."""

    def __init__(self, rig: Rig, killed: float, calm: bool) -> None:
        self.orphans: dict[str, Recovery] = {}
        self._rig = rig
        self._killed = killed
        self._calm = calm
        self._first: dict[str, Leased] = {}
        self._looked = 0.0

    def watch(self) -> None:
        """Blocks for a minute at most."""
        self._first = leases(self._rig)
        time.sleep(UNRENEWED_SECONDS)
        try:
            second = look(self._rig, list(self._first))
        except redis.RedisError:
            return
        least = UNRENEWED_SECONDS * 1000 * 0.9
        for lane, before in self._first.items():
            now = second[lane]
            if now.token == before.token and before.left_ms - now.left_ms >= least and now.commits == before.commits:
                self.orphans[lane] = Recovery(lane, self._calm)
        if self.orphans:
            with contextlib.suppress(StillWaiting):
                wait_until(self._all_go_on, 60, "orphaned lanes go on", every=0.05)

    def _all_go_on(self) -> bool:
        waiting = [recovery for recovery in self.orphans.values() if recovery.progress is None]
        try:
            now = time.monotonic()
            if now - self._looked > 1:
                self._looked = now
                for recovery in waiting:
                    recovery.seen.append(how_it_stands(self._rig, recovery.lane, now - self._killed))
            seen = look(self._rig, [recovery.lane for recovery in waiting])
            for recovery in waiting:
                self._note(recovery, seen[recovery.lane], now - self._killed)
        except redis.RedisError:
            return False
        return all(recovery.progress is not None for recovery in waiting)

    def _note(self, recovery: Recovery, seen: Leased, seconds: float) -> None:
        before = self._first[recovery.lane]
        if seen.token not in ("", before.token) and recovery.taken is None:
            recovery.taken = seconds
        pending = f"{prefix(partition_of(recovery.lane))}pend:{recovery.lane}"
        if seen.commits > before.commits or (not seen.token and not self._rig.view.zcard(pending)):
            recovery.progress = seconds
            recovery.taken = recovery.taken or seconds
