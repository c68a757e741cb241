"""The port ``Figures`` on Redis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import redis

from kato_tasks.adapters.redis.answers import answers_of, ms_of, redis_errors
from kato_tasks.adapters.redis.keys import ACKNOWLEDGED, CALL_COUNTS, OPEN_CIRCUIT, SIGNS, prefix
from kato_tasks.adapters.redis.persistence import persistence_problem
from kato_tasks.domain.ids import PARTITIONS
from kato_tasks.ports.figures import (
    LifeSign,
    LostLanes,
    PartitionFigures,
    Place,
    Stalled,
    SweepFigures,
    WaitingFigures,
    WholeFigures,
)
from kato_tasks.ports.operating import SignOf

_COUNTED = ("appended", "applied", "fenced", "rebuilt", "reordered", "leftovers", "learns_unknown", "moved")
_WIDTH = 11
_SWEEP_WIDTH = 8


class RedisFigures:
    """Read figures of all partitions together in one round trip."""

    def __init__(self, client: redis.Redis) -> None:
        self._redis = client

    def now_ms(self) -> int:
        """See ``Figures.now_ms``."""
        with redis_errors():
            return ms_of(self._redis.time())

    def persistence_problem(self) -> str | None:
        """See ``Figures.persistence_problem``."""
        return persistence_problem(self._redis)

    def partitions(self) -> list[PartitionFigures]:
        """See ``Figures.partitions``."""
        pipe = self._redis.pipeline(transaction=False)
        pipe.time()
        for partition in range(PARTITIONS):
            p = prefix(partition)
            # The stats are read last, so that nothing applied meanwhile makes a lane look idle with a backlog.
            pipe.zrange(f"{p}since", 0, 0, withscores=True)
            pipe.zcard(f"{p}since")
            pipe.zcard(f"{p}ready")
            pipe.hlen(f"{p}dead")
            pipe.scard(f"{p}parked")
            pipe.zcard(f"{p}later")
            pipe.llen(f"{p}outbox")
            pipe.scard(f"{p}ltm_lost")
            pipe.scard(f"{p}wanted")
            pipe.scard(f"{p}unreadable")
            pipe.hmget(f"{p}stats", _COUNTED)
        time, *answers = answers_of(pipe)
        now_ms = ms_of(time)
        rows = [answers[i : i + _WIDTH] for i in range(0, len(answers), _WIDTH)]
        return [_partition(partition, row, now_ms) for partition, row in enumerate(rows)]

    def sweep(self, *, overdue_ms: int, owed_ms: int, unseen_ms: int, ahead_ms: int) -> list[SweepFigures]:
        """See ``Figures.sweep``; two round trips, of which the first asks for the store's clock."""
        now = self.now_ms()
        pipe = self._redis.pipeline(transaction=False)
        for partition in range(PARTITIONS):
            p = prefix(partition)
            pipe.zcount(f"{p}ready", "-inf", now)
            pipe.zcount(f"{p}ready", "-inf", now - overdue_ms)
            pipe.zcount(f"{p}ready", f"({now + ahead_ms}", "+inf")
            pipe.zcount(f"{p}owed", "-inf", now - owed_ms)
            pipe.zcount(f"{p}later", "-inf", now)
            pipe.zcount(f"{p}waiting", "-inf", now - unseen_ms)
            pipe.llen(f"{p}outbox")
            pipe.scard(f"{p}unarchived")
        counts = answers_of(pipe)
        return [
            SweepFigures(partition, *counts[partition * _SWEEP_WIDTH : (partition + 1) * _SWEEP_WIDTH])
            for partition in range(PARTITIONS)
        ]

    def waiting(
        self, busy: Sequence[int], standing: frozenset[int], unpublished: Sequence[int], most: int
    ) -> WaitingFigures:
        """See ``Figures.waiting``."""
        pipe = self._redis.pipeline(transaction=False)
        for partition in busy:
            p = prefix(partition)
            pipe.zrange(f"{p}failing", 0, most - 1, withscores=True)
            pipe.zcard(f"{p}failing")
            pipe.zrange(f"{p}since", 0, most - 1, withscores=True) if partition in standing else pipe.echo("")
        for partition in unpublished:
            pipe.lindex(f"{prefix(partition)}outbox", 0)
        pipe.time()
        *answers, time = answers_of(pipe)
        stalled = []
        for i, partition in enumerate(busy):
            failing, count, since = answers[3 * i : 3 * i + 3]
            stalled.append(Stalled(partition, _timed(failing), int(count), _timed(since or ())))
        return WaitingFigures(ms_of(time), stalled, answers[3 * len(busy) :])

    def errors_of(self, places: Sequence[Place]) -> dict[Place, str]:
        """See ``Figures.errors_of``."""
        pipe = self._redis.pipeline(transaction=False)
        for partition, session in places:
            pipe.hmget(f"{prefix(partition)}s:{session}", "err", "pk")
        found: dict[Place, str] = {}
        for place, row in zip(places, answers_of(pipe, raise_on_error=False), strict=True):
            if isinstance(row, Exception):
                continue  # Its row is broken, and the lane's next holder says so.
            error, parked = row
            if parked is None:
                found[place] = str(error or "")
        return found

    def whole(self, lost: Sequence[int], most: int, doubtful: Sequence[int] = ()) -> WholeFigures:
        """See ``Figures.whole``."""
        pipe = self._redis.pipeline(transaction=False)
        pipe.time()
        for key in SIGNS.values():
            pipe.hgetall(f"{key}about")
            pipe.zrange(f"{key}seen", 0, -1, withscores=True)
        pipe.hgetall(ACKNOWLEDGED)
        for partition in lost:
            pipe.srandmember(f"{prefix(partition)}ltm_lost", most)
        for partition in doubtful:
            pipe.srandmember(f"{prefix(partition)}wanted", most)
        for partition in range(PARTITIONS):
            pipe.hlen(f"{prefix(partition)}ltm_known")
        time, workers, workers_seen, beats, beats_seen, listeners, listeners_seen, rows, *rest = answers_of(pipe)
        named, known = rest[: len(lost) + len(doubtful)], rest[len(lost) + len(doubtful) :]
        sizes = {partition: int(size) for partition, size in enumerate(known) if size}
        return WholeFigures(
            now_ms=ms_of(time),
            workers=_signs(workers, workers_seen),
            beats=_signs(beats, beats_seen),
            listeners=_signs(listeners, listeners_seen),
            acknowledged=rows,
            lost_lanes=sorted(str(lane) for lanes in named[: len(lost)] for lane in lanes),
            doubtful_lanes=sorted(str(lane) for lanes in named[len(lost) :] for lane in lanes),
            losses_acknowledged=sizes,
        )

    def acknowledged_losses(self, partitions: Sequence[int], most: int) -> dict[str, str]:
        """See ``Figures.acknowledged_losses``."""
        pipe = self._redis.pipeline(transaction=False)
        for partition in partitions:
            pipe.hscan(f"{prefix(partition)}ltm_known", 0, count=most)
        return {str(lane): str(said) for _, some in answers_of(pipe) for lane, said in some.items()}

    def lost_lanes(self) -> LostLanes:
        """See ``Figures.lost_lanes``."""
        pipe = self._redis.pipeline(transaction=False)
        for partition in range(PARTITIONS):
            pipe.smembers(f"{prefix(partition)}ltm_lost")
            pipe.hgetall(f"{prefix(partition)}ltm_known")
        answers = answers_of(pipe)
        lost = frozenset(str(lane) for lanes in answers[::2] for lane in lanes)
        known = {str(lane): str(said) for rows in answers[1::2] for lane, said in rows.items() if lane not in lost}
        return LostLanes(lost, known)

    def doubtful_lanes(self) -> frozenset[str]:
        """See ``Figures.doubtful_lanes``."""
        pipe = self._redis.pipeline(transaction=False)
        for partition in range(PARTITIONS):
            pipe.smembers(f"{prefix(partition)}wanted")
        return frozenset(str(lane) for lanes in answers_of(pipe) for lane in lanes)

    def call_counts(self) -> dict[str, int]:
        """See ``Figures.call_counts``."""
        with redis_errors():
            rows: Any = self._redis.hgetall(CALL_COUNTS)
        return {str(name): int(count) for name, count in rows.items()}

    def open_circuits(self, urls: Sequence[str]) -> dict[str, str]:
        """See ``Figures.open_circuits``."""
        with redis_errors():
            found: Any = self._redis.mget([f"{OPEN_CIRCUIT}{url}" for url in urls])
        return {url: str(why) for url, why in zip(urls, found, strict=True) if why is not None}

    def last_sign_ms(self, of: SignOf) -> int | None:
        """See ``Figures.last_sign_ms``."""
        with redis_errors():
            last: Any = self._redis.zrange(f"{SIGNS[of]}seen", -1, -1, withscores=True)
        return int(last[0][1]) if last else None


def _partition(partition: int, row: Sequence[Any], now_ms: int) -> PartitionFigures:
    oldest, unapplied, ready, dead, parked, later, outbox, lost, wanted, unreadable, stats = row
    appended, applied, fenced, rebuilt, reordered, leftovers, unknown, moved = (int(value or 0) for value in stats)
    return PartitionFigures(
        partition=partition,
        appended=appended,
        applied=applied,
        oldest_unapplied_seconds=max(0.0, (now_ms - oldest[0][1]) / 1000) if oldest else None,
        moved_seconds=max(0.0, (now_ms - moved) / 1000) if moved else None,
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
        rebuild_wanted=wanted,
        unreadable_lanes=unreadable,
    )


def _timed(rows: Any) -> list[tuple[str, float]]:
    return [(str(session), float(ms)) for session, ms in rows]


def _signs(about: Mapping[str, str], seen: Sequence[tuple[str, float]]) -> list[LifeSign]:
    return [LifeSign(about[name], int(ms)) for name, ms in seen if name in about]
