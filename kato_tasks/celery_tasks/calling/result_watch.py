"""Listens for results in Celery's Redis result backend, with one connection for all that an event loop awaits.

The backend writes a result under its key and publishes it on a channel of the same name. Each key is read once its
subscription is confirmed, so that no result falls between the two; all keys are read every ``LOOK_SECONDS``, in case a
message was lost with its connection.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from celery.backends.redis import RedisBackend
from celery.states import READY_STATES
from redis import asyncio as aioredis
from redis.exceptions import RedisError

from kato_tasks.telemetry.log_events import log_event

log = logging.getLogger(__name__)
LOOK_SECONDS = 2.0
ANSWER_SECONDS = 5.0
AT_ONCE = 500
"""Keys in one command."""
Meta = dict[str, Any]
_CONNECTIONS: Mapping[str, Any] = {
    "": aioredis.Connection,
    "Connection": aioredis.Connection,
    "SSLConnection": aioredis.SSLConnection,
    "UnixDomainSocketConnection": aioredis.UnixDomainSocketConnection,
}
_NOT_OURS = ("connection_class", "max_connections", "socket_timeout", "health_check_interval", "retry_on_timeout")
"""Arguments of Celery's own client that these connections do not get."""


def can_be_watched(backend: Any) -> bool:
    """Whether this backend can be subscribed to; other backends are polled."""
    return type(backend) is RedisBackend and _connection_class(backend) is not None


def _connection_class(backend: Any) -> Any:
    given = backend.connparams.get("connection_class")
    return _CONNECTIONS.get(given.__name__ if given else "")


class ResultWatch:
    """Waits for results on one event loop. It runs two asyncio tasks, which end when nothing is awaited any more."""

    def __init__(
        self, connection: Callable[..., Any], decode: Callable[[Any], Meta], key_of: Callable[[str], Any]
    ) -> None:
        self._connection = connection
        self._decode = decode
        self._key_of = key_of
        self._waiting: dict[bytes, list[asyncio.Future[Meta]]] = {}
        self._asked: set[bytes] = set()
        self._confirmed: set[bytes] = set()
        self._changed = asyncio.Event()
        self._listening: Any = None
        self._looking: Any = None
        self._reader: asyncio.Task[None] | None = None
        self._tender: asyncio.Task[None] | None = None
        self._next_look = 0.0

    @classmethod
    def of(cls, backend: Any) -> ResultWatch:
        """Return a watch of this Redis result backend."""
        given = {name: value for name, value in backend.connparams.items() if name not in _NOT_OURS}
        given["socket_connect_timeout"] = given.get("socket_connect_timeout") or ANSWER_SECONDS
        connection = partial(_connection_class(backend), protocol=2, **given)
        return cls(connection, backend.decode_result, backend.get_key_for_task)

    def meta(self, task_id: str) -> asyncio.Future[Meta]:
        """Return a future of the task's meta data, which is set when the task has ended; cancel it to stop waiting."""
        loop = asyncio.get_running_loop()
        name = self._key_of(task_id)
        key = name if isinstance(name, bytes) else str(name).encode()
        future: asyncio.Future[Meta] = loop.create_future()
        self._waiting.setdefault(key, []).append(future)
        future.add_done_callback(partial(self._left, key))
        self._changed.set()
        if self._tender is None:
            self._tender = loop.create_task(self._tend(), name="kato_tasks results")
        return future

    async def aclose(self) -> None:
        """Close the connections; the next ``meta`` opens new ones."""
        for task in (self._tender, self._reader):
            if task is not None:
                task.cancel()
        await self._disconnect()

    def _left(self, key: bytes, future: asyncio.Future[Meta]) -> None:
        futures = self._waiting.get(key)
        if futures is not None:
            futures.remove(future)
            if not futures:
                del self._waiting[key]
        self._changed.set()

    # ------------------------------------------------------------- the tender

    async def _tend(self) -> None:
        """Keep up the subscriptions and read keys while anything is awaited."""
        loop = asyncio.get_running_loop()
        pause = 0.05
        try:
            while self._waiting or self._asked:
                self._changed.clear()
                try:
                    await self._subscribe()
                    await self._look(self._due(loop.time()))
                    pause = 0.05
                except (RedisError, OSError) as exc:
                    if pause == 0.05:
                        log_event(log, logging.WARNING, "results.unseen", error=exc)
                    await self._disconnect()
                    await asyncio.sleep(pause)
                    pause = min(2 * pause, 1.0)
                    continue
                try:
                    await asyncio.wait_for(self._changed.wait(), max(0.01, self._next_look - loop.time()))
                except TimeoutError:
                    continue
        finally:
            self._tender = None

    async def _subscribe(self) -> None:
        if self._listening is None:
            connection = self._connection(socket_timeout=None)
            await connection.connect()
            self._listening, self._asked, self._next_look = connection, set(), 0.0
        new, old = self._waiting.keys() - self._asked, self._asked - self._waiting.keys()
        for command, keys in (("SUBSCRIBE", list(new)), ("UNSUBSCRIBE", list(old))):
            for start in range(0, len(keys), AT_ONCE):
                await self._listening.send_command(command, *keys[start : start + AT_ONCE])
        self._asked = (self._asked | new) - old
        self._confirmed -= old
        if self._reader is None and (self._asked or old):
            self._reader = asyncio.get_running_loop().create_task(self._read(self._listening))

    def _due(self, now: float) -> list[bytes]:
        """Return the keys to read now: those with a newly confirmed subscription, and all every ``LOOK_SECONDS``."""
        confirmed, self._confirmed = self._confirmed, set()
        if now < self._next_look:
            return [key for key in confirmed if key in self._waiting]
        self._next_look = now + LOOK_SECONDS
        return list(self._waiting)

    async def _look(self, keys: list[bytes]) -> None:
        if self._looking is None and keys:
            self._looking = self._connection(socket_timeout=ANSWER_SECONDS)
        for start in range(0, len(keys), AT_ONCE):
            some = keys[start : start + AT_ONCE]
            await self._looking.send_command("MGET", *some)
            for key, payload in zip(some, await self._looking.read_response(), strict=True):
                if payload is not None:
                    self._tell(key, payload)

    # ------------------------------------------------------------- the reader

    async def _read(self, connection: Any) -> None:
        """Read what is published until there is no subscription left."""
        try:
            while connection is self._listening:
                kind, key, what = await connection.read_response()
                if kind == b"message":
                    self._tell(key, what)
                elif kind == b"subscribe":
                    self._confirmed.add(key)
                    self._changed.set()
                elif kind == b"unsubscribe" and not what and not self._asked and not self._waiting:
                    return
        except (RedisError, OSError):
            if connection is self._listening:
                self._listening = None
        finally:
            if self._reader is asyncio.current_task():
                self._reader = None
            self._changed.set()

    def _tell(self, key: bytes, payload: Any) -> None:
        """Hand a final result to those who wait for it; earlier states are published too, and are ignored."""
        futures = [one for one in self._waiting.get(key, ()) if not one.done()]
        if not futures:
            return
        try:
            meta = self._decode(payload)
        except Exception as exc:
            for one in futures:
                one.set_exception(exc)
            return
        if meta["status"] in READY_STATES:
            for one in futures:
                one.set_result(meta)

    async def _disconnect(self) -> None:
        connections = [one for one in (self._listening, self._looking) if one is not None]
        self._listening = self._looking = None
        for connection in connections:
            await connection.disconnect(nowait=True)


__all__ = ["ResultWatch", "can_be_watched"]
