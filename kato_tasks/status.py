"""How the whole stands: backlog, dead letters, parked sessions, per shard and in all; KATO and the broker."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal

import redis
from kombu.exceptions import KombuError
from kombu.exceptions import OperationalError as BrokerError
from pydantic import BaseModel, ConfigDict

from kato_tasks.adapters.redis.keys import prefix
from kato_tasks.bootstrap import Runtime
from kato_tasks.domain.ids import PARTITIONS, shard_of
from kato_tasks.errors import KatoTasksError, StoreUnavailable
from kato_tasks.ports import KatoRequest, KatoTransport

PROBE_SECONDS = 2.0


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
    unreadable_lanes: int = 0
    """lanes whose own rows in the store cannot be read: their sessions stand still"""
    """nodes whose patterns KATO lost"""


class ShardStatus(Counts):
    shard: int


class Reached(BaseModel):
    """A service that was asked; ``error`` is None when it answered."""

    model_config = ConfigDict(frozen=True)

    url: str
    error: str | None = None
    session_config: str | None = None
    """of a KATO instance: why it does not take the session config; empty when it does; None: it was not asked yet"""


class Status(Counts):
    """``health`` is degraded for each of the ``reasons``."""

    health: Literal["healthy", "degraded"]
    reasons: list[str]
    kato: list[Reached]
    broker: Reached
    shards: list[ShardStatus]


@dataclass(frozen=True, slots=True)
class _Partition:
    partition: int
    counts: Counts


_COUNTED = ("appended", "applied", "fenced", "rebuilt", "reordered", "leftovers", "learns_unknown")


def read_status(rt: Runtime) -> Status:
    """Everything as of now: one round trip to the store, one question to each KATO and the broker.

    Raises StoreUnavailable; KATO and the broker may be away (then the status is degraded).
    """
    partitions = _read_partitions(rt.redis)
    shards: dict[int, list[Counts]] = {shard: [] for shard in range(rt.settings.shards)}
    for part in partitions:
        shards[shard_of(part.partition, rt.settings.shards)].append(part.counts)
    total = _sum([part.counts for part in partitions])
    with ThreadPoolExecutor(max_workers=8) as pool:
        asked = [pool.submit(_ask_kato, rt.kato, url) for url in rt.settings.kato_instances]
        broker = pool.submit(_ask_broker)
        kato, reached = [_checked(rt, future.result()) for future in asked], broker.result()
    reasons = _reasons(total, kato, reached)
    return Status(
        **total.model_dump(),
        health="degraded" if reasons else "healthy",
        reasons=reasons,
        kato=kato,
        broker=reached,
        shards=[ShardStatus(shard=shard, **_sum(counts).model_dump()) for shard, counts in shards.items()],
    )


def read_counts(rt: Runtime) -> Counts:
    """The figures alone, of everything. Raises StoreUnavailable."""
    return _sum([part.counts for part in _read_partitions(rt.redis)])


def _read_partitions(client: redis.Redis) -> list[_Partition]:
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
    try:
        (now_s, now_us), *answers = pipe.execute()
    except redis.RedisError as exc:
        raise StoreUnavailable(f"Redis does not answer: {exc}") from exc
    now_ms = int(now_s) * 1000 + int(now_us) // 1000
    width = 10
    rows = [answers[i : i + width] for i in range(0, len(answers), width)]
    return [_Partition(partition, _counts(row, now_ms)) for partition, row in enumerate(rows)]


def _counts(row: Sequence[Any], now_ms: int) -> Counts:
    oldest, unapplied, ready, dead, parked, later, outbox, lost, unreadable, stats = row
    appended, applied, fenced, rebuilt, reordered, leftovers, unknown = (int(value or 0) for value in stats)
    return Counts(
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


def _sum(counts: Sequence[Counts]) -> Counts:
    ages = [c.oldest_unapplied_seconds for c in counts if c.oldest_unapplied_seconds is not None]
    summed = {
        name: sum(getattr(c, name) for c in counts)
        for name in Counts.model_fields
        if name != "oldest_unapplied_seconds"
    }
    return Counts(oldest_unapplied_seconds=max(ages, default=None), **summed)


def _reasons(total: Counts, kato: Sequence[Reached], broker: Reached) -> list[str]:
    reasons = []
    if total.parked:
        reasons.append(f"{total.parked} session(s) parked: kato-tasks sessions list --state parked")
    if total.dead_letters:
        reasons.append(f"{total.dead_letters} dead letter(s): kato-tasks dead-letters list")
    if total.ltm_lost:
        reasons.append(f"KATO lost the patterns of {total.ltm_lost} node(s)")
    if total.unreadable_lanes:
        reasons.append(
            f"the rows of {total.unreadable_lanes} lane(s) in the store cannot be read, and their sessions wait: "
            "the workers' log names them as lane.unreadable; restore these rows"
        )
    reasons += [f"KATO at {one.url} does not answer: {one.error}" for one in kato if one.error]
    reasons += [one.session_config for one in kato if one.session_config]
    if broker.error:
        reasons.append(f"the broker at {broker.url} does not answer: {broker.error}")
    return reasons


def _ask_kato(kato: KatoTransport, url: str) -> Reached:
    request = KatoRequest(url, "GET", "/health", "health", timeout_seconds=PROBE_SECONDS)
    try:
        status = kato.send(request).status
    except KatoTasksError as exc:
        return Reached(url=url, error=str(exc))
    return Reached(url=url, error=None if status == 200 else f"/health answered {status}")


def _checked(rt: Runtime, reached: Reached) -> Reached:
    return reached.model_copy(update={"session_config": rt.check.told(reached.url)})


def _ask_broker() -> Reached:
    from kato_tasks.celery_app import addresses, home_app

    shown = addresses()["broker_url"]
    try:
        with home_app().connection_for_write(connect_timeout=PROBE_SECONDS) as connection:
            connection.ensure_connection(max_retries=1, interval_start=0, interval_step=0, timeout=PROBE_SECONDS)
    except (KombuError, BrokerError, OSError) as exc:
        return Reached(url=shown, error=str(exc) or type(exc).__name__)
    return Reached(url=shown)
