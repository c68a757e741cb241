"""The store without a server: fakeredis runs the store's own Lua scripts in this process.

fakeredis knows nothing of ``INFO`` and of ``redis.sha1hex``, which the store uses, so both are answered here. What it
cannot do at all is to run out of memory, to restart, and to refuse a key of another Cluster slot.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Sequence
from typing import Any

import redis
from fakeredis import FakeAsyncRedisConnection, FakeRedisConnection, FakeServer
from redis import asyncio as aioredis
from redis.asyncio.retry import Retry as LoopRetry
from redis.backoff import NoBackoff
from redis.retry import Retry

from kato_tasks.adapters.redis.store import StoreRun, options

_OPTIONS = {**options(5.0), "health_check_interval": 0}


class FakeStoreServer:
    """One store in memory, for as many clients of one process as like, in threads and event loops."""

    def __init__(self) -> None:
        self.server = FakeServer(version=(7, 0))
        self.run_id = uuid.uuid4().hex
        self._teach_lua()

    def connect(self, run: StoreRun | None = None) -> redis.Redis:
        """A client as ``adapters.redis.store.connect`` opens one on a server."""
        pool = redis.ConnectionPool(
            connection_class=_Connection,
            retry=Retry(NoBackoff(), 0),
            redis_connect_func=(run or StoreRun()).on_connect,
            store=self,
            **_OPTIONS,
        )
        return redis.Redis(connection_pool=pool)

    def connect_loop(self, run: StoreRun) -> aioredis.Redis:
        """The same for an event loop."""
        pool = aioredis.ConnectionPool(
            connection_class=_LoopConnection,
            retry=LoopRetry(NoBackoff(), 0),
            protocol=2,
            redis_connect_func=run.on_loop_connect,
            store=self,
            **_OPTIONS,
        )
        return aioredis.Redis(connection_pool=pool)

    def _teach_lua(self) -> None:
        """Give the scripts ``redis.sha1hex``; fakeredis makes its Lua at the first script, and keeps it."""
        with self.connect() as client:
            client.eval("return 1", 0)
        lua: Any = vars(self.server)["_lua_runtime"]
        lua.eval("function(sha1hex) redis.sha1hex = sha1hex end")(_sha1hex)

    def forget_everything(self) -> None:
        """Be as empty as at the start."""
        with self.connect() as client:
            client.flushall()

    def answer(self, words: Sequence[Any]) -> bytes | None:
        """What a server says to this command, if fakeredis does not know it."""
        if str(words[0]).upper() != "INFO":
            return None
        sections = {
            "server": f"redis_version:7.0.0\r\nrun_id:{self.run_id}\r\n",
            "memory": "used_memory:0\r\nmaxmemory:0\r\nmaxmemory_policy:noeviction\r\n",
            "persistence": "aof_enabled:1\r\n",
        }
        wanted = [str(word).lower() for word in words[1:]] or list(sections)
        return "".join(sections.get(name, "") for name in wanted).encode()


def _sha1hex(text: bytes) -> bytes:
    return hashlib.sha1(text, usedforsecurity=False).hexdigest().encode()


class _Connection(FakeRedisConnection):
    def __init__(self, *args: Any, store: FakeStoreServer, **kwargs: Any) -> None:
        self._store = store
        super().__init__(*args, server=store.server, **kwargs)

    def send_command(self, *args: Any, **kwargs: Any) -> None:
        if (answer := self._store.answer(args)) is None:
            super().send_command(*args, **kwargs)
            return
        self.get_socket().put_response(answer)


class _LoopConnection(FakeAsyncRedisConnection):
    def __init__(self, *args: Any, store: FakeStoreServer, **kwargs: Any) -> None:
        self._store = store
        super().__init__(*args, server=store.server, **kwargs)

    async def send_command(self, *args: Any, **kwargs: Any) -> None:
        if (answer := self._store.answer(args)) is None:
            await super().send_command(*args, **kwargs)
            return
        if self._sock is None:
            await self.connect()
        assert self._sock is not None
        self._sock.put_response(answer)
