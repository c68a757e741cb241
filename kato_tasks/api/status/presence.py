"""Who works: the workers and the beat that gave a sign lately, and what nobody serves."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from kato_tasks.api.signs import BEAT_GONE_SECONDS, GONE_SECONDS, AboutBeat, AboutWorker
from kato_tasks.domain.ids import CONTROL_QUEUE, queue_of
from kato_tasks.ports.figures import LifeSign, WholeFigures

T = TypeVar("T", bound=BaseModel)


class WorkerStatus(BaseModel):
    """A worker; ``sign_seconds`` is the age of its last sign. It is ``gone`` after 15 s, and forgotten after 10 min.

    ``serves_all``: every shard's queue and kato.control; ``queues`` are named where it does not.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    host: str
    pid: int
    pool: str
    concurrency: int
    serves_all: bool
    queues: list[str]
    takes: frozenset[str] = Field(exclude=True)
    """the queues that it takes messages from"""
    version: str
    up_seconds: float
    sign_seconds: float
    state: Literal["live", "stopping", "gone"]


class BeatStatus(BaseModel):
    """The beat that published last, ``published_seconds`` ago."""

    model_config = ConfigDict(frozen=True)

    host: str
    pid: int
    version: str
    published_seconds: float
    published_ms: int


class Presence(BaseModel):
    """Workers by name, and beat if one has published within a week."""

    model_config = ConfigDict(frozen=True)

    workers: list[WorkerStatus]
    beat: BeatStatus | None

    @property
    def live(self) -> list[WorkerStatus]:
        """The workers that gave a sign lately and have not said that they end."""
        return [worker for worker in self.workers if worker.state == "live"]

    def unserved(self, shards: Iterable[int]) -> list[int]:
        """Those of the shards whose queue no live worker takes messages from."""
        served = {queue for worker in self.live for queue in worker.takes}
        return [shard for shard in shards if queue_of(shard) not in served]

    @property
    def beat_is_missed(self) -> bool:
        """Whether beat has not published for long. A system that has just been started is given time for that."""
        if self.beat is not None:
            return self.beat.published_seconds > BEAT_GONE_SECONDS
        return any(worker.up_seconds > BEAT_GONE_SECONDS for worker in self.live)

    @property
    def control_is_unserved(self) -> bool:
        """Whether workers run, and none of them takes messages from the control queue."""
        return bool(self.live) and not any(CONTROL_QUEUE in worker.takes for worker in self.live)


def presence_of(whole: WholeFigures, shards: int) -> Presence:
    """Who works, as the signs say; ``shards``: how many there are."""
    now_ms = whole.now_ms
    needed = {CONTROL_QUEUE, *map(queue_of, range(shards))}
    workers = [_worker(about, ms, now_ms, needed) for about, ms in _read(AboutWorker, whole.workers)]
    # One that was killed and started again under its name is there, not gone.
    there = {worker.name for worker in workers if worker.state != "gone"}
    shown = [worker for worker in workers if worker.state != "gone" or worker.name not in there]
    found = [
        BeatStatus(**about.model_dump(), published_seconds=max(0.0, (now_ms - ms) / 1000), published_ms=ms)
        for about, ms in _read(AboutBeat, whole.beats)
    ]
    last = max(found, key=lambda beat: beat.published_ms, default=None)
    return Presence(workers=sorted(shown, key=lambda worker: (worker.name, worker.pid)), beat=last)


def _worker(about: AboutWorker, ms: int, now_ms: int, needed: set[str]) -> WorkerStatus:
    age = abs(now_ms - ms) / 1000  # a sign of the future is one from before the store's clock went back
    state: Literal["live", "stopping", "gone"] = (
        "gone" if age > GONE_SECONDS else "stopping" if about.stopping else "live"
    )
    return WorkerStatus(
        name=about.name,
        host=about.host,
        pid=about.pid,
        pool=about.pool,
        concurrency=about.concurrency,
        serves_all=needed <= set(about.queues),
        queues=[] if needed <= set(about.queues) else about.queues,
        takes=frozenset(about.queues),
        version=about.version,
        up_seconds=max(0.0, (ms - about.started_ms) / 1000) if about.started_ms else 0.0,
        sign_seconds=age,
        state=state,
    )


def _read(kind: type[T], signs: Sequence[LifeSign]) -> list[tuple[T, int]]:
    """What each process said of itself, and when it gave its last sign (ms); what cannot be read is left out."""
    found = []
    for sign in signs:
        try:
            found.append((kind.model_validate(json.loads(sign.about)), sign.at_ms))
        except (ValueError, ValidationError):
            continue
    return found
