"""Signs of life: what workers and beat write into the store every few seconds, for ``kato-tasks status``.

A process that ends well takes its sign back. One that was killed or hangs goes on standing there with a sign that
ages, is shown as gone, and is forgotten after a while.
"""

from __future__ import annotations

import json
import os
import socket
from typing import Any

from pydantic import BaseModel, ConfigDict

from kato_tasks.engine.store_retry import raise_errors
from kato_tasks.ports.operating import GiveSign, SignOf
from kato_tasks.ports.store import Store

EVERY_SECONDS = 3.0
GONE_SECONDS = 15.0
"""A worker that has given no sign for so long is gone: killed, stopped, or cut off from the store."""
FORGET_SECONDS = 600.0
BEAT_GONE_SECONDS = 60.0
"""Beat publishes a sweep every 5 s; a second beat takes over from a dead one after 15 s."""
BEAT_FORGET_SECONDS = 7 * 86_400.0


class AboutWorker(BaseModel):
    """What a worker says of itself. ``queues``: those that it takes messages from."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str
    pid: int
    host: str
    pool: str = ""
    concurrency: int = 0
    queues: list[str] = []
    version: str = ""
    started_ms: int = 0
    stopping: bool = False

    @property
    def id(self) -> str:
        """Return the text under which the store keeps this worker's sign: its name, host and process id."""
        return f"{self.name} {self.host} {self.pid}"


class AboutBeat(BaseModel):
    """What a beat says of itself when it has published."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    host: str
    pid: int
    version: str = ""


def worker_lives(store: Store, about: AboutWorker) -> int:
    """A worker's sign; returns the store's clock (ms). Raises StoreUnavailable."""
    return _give(store, "worker", about.id, about.model_dump(), FORGET_SECONDS)


def worker_ends(store: Store, about: AboutWorker) -> None:
    """Take a worker's sign back. Raises StoreUnavailable."""
    _give(store, "worker", about.id, None, FORGET_SECONDS)


def beat_published(store: Store, version: str) -> None:
    """Beat's sign: it has published just now. Raises StoreUnavailable."""
    about = AboutBeat(host=socket.gethostname(), pid=os.getpid(), version=version)
    _give(store, "beat", f"{about.host} {about.pid}", about.model_dump(), BEAT_FORGET_SECONDS)


def _give(store: Store, of: SignOf, id_: str, about: dict[str, Any] | None, keep_seconds: float) -> int:
    text = "" if about is None else json.dumps(about)
    (now_ms,) = raise_errors(store.execute([GiveSign(of, id_, text, int(keep_seconds * 1000))]))
    return int(now_ms)
