"""Write signs of life: workers, beat and listeners do so every few seconds, and ``kato-tasks status`` reads them.

A process that ends in an orderly way takes its sign back. The sign of a process that was killed or hangs stays in the
store and ages: the process is shown as gone, and is forgotten after a while.
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
"""A worker that has given no sign for longer than this is gone: it was killed or stopped, or cannot reach the store."""
FORGET_SECONDS = 600.0
BEAT_GONE_SECONDS = 60.0
"""A beat that has not published for longer than this is gone.

Beat publishes a sweep every 5 s, and a second beat takes over from a dead one after 15 s.
"""
BEAT_FORGET_SECONDS = 7 * 86_400.0


class AboutWorker(BaseModel):
    """What a worker says of itself. ``queues`` names those from which it takes messages."""

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
    """What a beat says of itself whenever it has published."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    host: str
    pid: int
    version: str = ""


class AboutListener(BaseModel):
    """What a listener says of itself: what it reads and for which sink, how it stands, and how far it is.

    ``read`` to ``dead_letters`` count messages and events since it started, ``rate`` is how many messages it read per
    second lately, and ``lag`` how many wait (None: the broker does not tell). ``unsent`` counts predictions that its
    sink is still owed.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    source: str
    host: str
    pid: int
    sink: str = ""
    state: str = ""
    read: int = 0
    appended: int = 0
    duplicates: int = 0
    dead_letters: int = 0
    rate: float = 0.0
    lag: int | None = None
    unsent: int = 0
    sent: int = 0
    version: str = ""
    started_ms: int = 0

    @property
    def id(self) -> str:
        """Return the text under which the store keeps this listener's sign."""
        return f"{self.source} {self.host} {self.pid}"


def give_listener_sign(store: Store, about: AboutListener) -> int:
    """Give a listener's sign of life, and return the store's clock (ms since 1970). Raises StoreUnavailable."""
    return _give(store, "listener", about.id, about.model_dump(), FORGET_SECONDS)


def withdraw_listener_sign(store: Store, about: AboutListener) -> None:
    """Take a listener's sign of life back. Raises StoreUnavailable."""
    _give(store, "listener", about.id, None, FORGET_SECONDS)


def give_worker_sign(store: Store, about: AboutWorker) -> int:
    """Give a worker's sign of life, and return the store's clock (ms since 1970). Raises StoreUnavailable."""
    return _give(store, "worker", about.id, about.model_dump(), FORGET_SECONDS)


def withdraw_worker_sign(store: Store, about: AboutWorker) -> None:
    """Take a worker's sign of life back. Raises StoreUnavailable."""
    _give(store, "worker", about.id, None, FORGET_SECONDS)


def give_beat_sign(store: Store, version: str) -> None:
    """Give beat's sign of life: it has published just now. Raises StoreUnavailable."""
    about = AboutBeat(host=socket.gethostname(), pid=os.getpid(), version=version)
    _give(store, "beat", f"{about.host} {about.pid}", about.model_dump(), BEAT_FORGET_SECONDS)


def _give(store: Store, of: SignOf, id_: str, about: dict[str, Any] | None, keep_seconds: float) -> int:
    text = "" if about is None else json.dumps(about)
    (now_ms,) = raise_errors(store.execute([GiveSign(of, id_, text, int(keep_seconds * 1000))]))
    return int(now_ms)
