"""Find the workers and the beat that gave a sign of life lately, and the queues that no worker serves."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from kato_tasks.api.signs import BEAT_GONE_SECONDS, GONE_SECONDS, AboutBeat, AboutListener, AboutWorker
from kato_tasks.domain.ids import CONTROL_QUEUE, queue_of
from kato_tasks.ports.figures import LifeSign, WholeFigures

T = TypeVar("T", bound=BaseModel)


class WorkerStatus(BaseModel):
    """A worker and the age of its last sign of life, ``sign_seconds``.

    A worker without a sign is ``gone`` after 15 s, and is forgotten after 10 min. ``serves_all`` says whether it takes
    messages from every shard's queue and from kato.control; if it does not, ``queues`` names the ones it serves.
    ``up_seconds`` is how long it had been running when it gave that sign.
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
    """the queues from which it takes messages"""
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


class ListenerStatus(AboutListener):
    """A listener as it said, and the age of its last sign of life, ``sign_seconds``; after 15 s it is ``gone``."""

    sign_seconds: float
    gone: bool

    @property
    def shown_state(self) -> str:
        """Return how it stands now; of one that is gone nobody knows more."""
        return "gone" if self.gone else self.state


class Presence(BaseModel):
    """The workers, sorted by name, the listeners, and the beat, if one has published within a week."""

    model_config = ConfigDict(frozen=True)

    workers: list[WorkerStatus]
    beat: BeatStatus | None
    listeners: list[ListenerStatus] = []

    @property
    def live(self) -> list[WorkerStatus]:
        """Return the workers that gave a sign lately and have not announced that they are stopping."""
        return [worker for worker in self.workers if worker.state == "live"]

    def unserved(self, shards: Iterable[int]) -> list[int]:
        """Return those of the shards whose queue is served by no live worker."""
        served = {queue for worker in self.live for queue in worker.takes}
        return [shard for shard in shards if queue_of(shard) not in served]

    @property
    def beat_is_missed(self) -> bool:
        """Return whether beat is overdue to publish. A system that was just started is given time for that."""
        if self.beat is not None:
            return self.beat.published_seconds > BEAT_GONE_SECONDS
        return any(worker.up_seconds > BEAT_GONE_SECONDS for worker in self.live)

    @property
    def control_is_unserved(self) -> bool:
        """Return whether workers are running, but none of them takes messages from the control queue."""
        return bool(self.live) and not any(CONTROL_QUEUE in worker.takes for worker in self.live)


def presence_of(whole: WholeFigures, shards: int) -> Presence:
    """Return which workers and beat are there, judging by their signs of life; ``shards`` is the number of shards."""
    now_ms = whole.now_ms
    needed = {CONTROL_QUEUE, *map(queue_of, range(shards))}
    workers = [_worker(about, ms, now_ms, needed) for about, ms in _read(AboutWorker, whole.workers)]
    # A worker that was killed and started again under the same name is running, not gone.
    there = {worker.name for worker in workers if worker.state != "gone"}
    shown = [worker for worker in workers if worker.state != "gone" or worker.name not in there]
    found = [
        BeatStatus(**about.model_dump(), published_seconds=max(0.0, (now_ms - ms) / 1000), published_ms=ms)
        for about, ms in _read(AboutBeat, whole.beats)
    ]
    last = max(found, key=lambda beat: beat.published_ms, default=None)
    listeners = [_listener(about, ms, now_ms) for about, ms in _read(AboutListener, whole.listeners)]
    return Presence(
        workers=sorted(shown, key=lambda worker: (worker.name, worker.pid)),
        beat=last,
        listeners=sorted(listeners, key=lambda listener: (listener.source, listener.gone, listener.host, listener.pid)),
    )


def _listener(about: AboutListener, ms: int, now_ms: int) -> ListenerStatus:
    age = abs(now_ms - ms) / 1000
    return ListenerStatus(**about.model_dump(), sign_seconds=age, gone=age > GONE_SECONDS)


def _worker(about: AboutWorker, ms: int, now_ms: int, needed: set[str]) -> WorkerStatus:
    age = abs(now_ms - ms) / 1000  # a sign from the future was given before the store's clock went back
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
    """Return what each process said of itself and when it gave its last sign (ms), leaving out what cannot be read."""
    found = []
    for sign in signs:
        try:
            found.append((kind.model_validate(json.loads(sign.about)), sign.at_ms))
        except (ValueError, ValidationError):
            continue
    return found
