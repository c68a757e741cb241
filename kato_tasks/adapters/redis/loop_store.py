"""The store for one event loop: whatever its tasks ask at the same time shares a round trip."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import DataError, NoScriptError, ReadOnlyError, RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from kato_tasks.adapters.redis.answers import no_answer
from kato_tasks.adapters.redis.operations import Call, Retention
from kato_tasks.adapters.redis.room import Share
from kato_tasks.adapters.redis.scripts import NAMES, script
from kato_tasks.adapters.redis.store import (
    StoreRun,
    answer_of,
    check_memory,
    grow,
    not_an_address,
    options,
    prepared,
    words,
)
from kato_tasks.errors import KatoTasksError, StoreFull, StoreWentBack
from kato_tasks.ports.effects import Effect
from kato_tasks.ports.log import Append, BindNodes

ENTRIES_AT_ONCE = 200
"""Entries in one round trip, unless one operation has more: a few milliseconds of the loop's time."""
CONNECTIONS = 4


class _Asked:
    """What one caller asks in one ``execute``, and the answers so far."""

    def __init__(self, operations: Sequence[Effect[Any]], future: asyncio.Future[list[Any]]) -> None:
        self.operations = operations
        self.answers: list[Any] = [None] * len(operations)
        self.future = future
        self.sent = 0
        self._open = len(operations)

    def answer(self, index: int, answer: Any) -> None:
        self.answers[index] = answer
        self._open -= 1
        if not self._open and not self.future.done():
            self.future.set_result(self.answers)

    def fail(self, exc: Exception) -> None:
        if not self.future.done():
            self.future.set_exception(exc)
            self.future.exception()  # The caller may have gone meanwhile.


class LoopStore:
    """Carry out the store operations of ``ports`` for the tasks of one event loop.

    One task sends what waits, a round trip at a time, and ends when nothing waits. A caller that is cancelled therefore
    breaks no connection, because what it asked was sent whole or is not sent at all.
    """

    def __init__(
        self,
        url: str,
        retention: Retention,
        *,
        full_share: float = 1.0,
        timeout: float = 5.0,
        connect: Callable[[StoreRun], Redis] | None = None,
    ) -> None:
        self._run = StoreRun()
        self._redis: Redis = connect(self._run) if connect is not None else _connect(url, self._run, timeout)
        self._retention = retention
        self._share = Share(full_share)
        self._waiting: deque[_Asked] = deque()
        self._sender: asyncio.Task[None] | None = None
        self._checked = False

    def run(self) -> str:
        """Return the run of the server that the newest connection belongs to."""
        return self._run.run_id

    async def check(self) -> None:
        """Return when the store has been found fit. Raises StoreUnavailable or ConfigurationError."""
        if not self._checked:
            await self._ask(())

    async def execute(self, operations: Sequence[Effect[Any]]) -> list[Any]:
        """See ``ports.Store.execute``; no operations at all give the loop's other tasks a turn."""
        if not operations:
            await asyncio.sleep(0)
            return []
        return await self._ask(operations)

    async def _ask(self, operations: Sequence[Effect[Any]]) -> list[Any]:
        loop = asyncio.get_running_loop()
        asked = _Asked(operations, loop.create_future())
        self._waiting.append(asked)
        if self._sender is None:
            self._sender = loop.create_task(self._send(), name="kato_tasks store")
        return await asked.future

    async def aclose(self) -> None:
        """Close the connections; the next operation opens new ones."""
        await self._redis.aclose()

    # ------------------------------------------------------------- the sender

    async def _send(self) -> None:
        taken: list[tuple[_Asked, int]] = []
        try:
            while self._waiting:
                taken = self._taken()
                try:
                    answers = await self._exchange([asked.operations[i] for asked, i in taken])
                except Exception as exc:
                    for asked, _ in taken:
                        asked.fail(exc)
                    if not self._checked or isinstance(exc.__cause__, RedisTimeoutError):
                        # Each of them would wait as long, one after the other, and nothing of them was sent.
                        self._refuse(exc)
                    continue
                for (asked, i), answer in zip(taken, answers, strict=True):
                    asked.answer(i, answer)
        finally:
            self._sender = None
            # Only a loop that ends leaves callers waiting here.
            for asked in (*(one for one, _ in taken), *self._waiting):
                asked.future.cancel()
            self._waiting.clear()

    def _taken(self) -> list[tuple[_Asked, int]]:
        """Return what is sent next: one operation of each caller in turn, in the order in which the callers came."""
        taken: list[tuple[_Asked, int]] = []
        room = ENTRIES_AT_ONCE
        while self._waiting and room > 0:
            asked = self._waiting.popleft()
            if asked.future.done():
                continue  # The caller was cancelled, or another of its operations failed.
            if not asked.operations:
                if self._checked:
                    asked.future.set_result([])
                    continue
                self._waiting.append(asked)
                break
            taken.append((asked, asked.sent))
            room -= _weight(asked.operations[asked.sent])
            asked.sent += 1
            if asked.sent < len(asked.operations):
                self._waiting.append(asked)
        return taken

    def _refuse(self, exc: Exception) -> None:
        while self._waiting:
            self._waiting.popleft().fail(exc)

    async def _exchange(self, operations: Sequence[Effect[Any]]) -> list[Any]:
        """Return the answers of these operations, in one round trip."""
        try:
            if not self._checked:
                check_memory(await self._redis.info("memory"))
                self._checked = True
            if not operations:
                return []
            answers, calls = prepared(operations, self._retention, await self._full() if grow(operations) else None)
            raw = await self._send_pipeline(operations, calls)
            again = {i: calls[i] for i, answer in raw.items() if isinstance(answer, NoScriptError)}
            if again:
                for name in NAMES:
                    await self._redis.script_load(script(name).text)
                raw |= await self._send_pipeline(operations, again)
        except RedisError as exc:
            raise no_answer(exc) from exc
        if any(isinstance(answer, ReadOnlyError) for answer in raw.values()):
            # The server of this connection is a replica now; see RedisStore.
            await self._redis.connection_pool.disconnect(inuse_connections=False)
        for i, answer in raw.items():
            answers[i] = answer if isinstance(answer, KatoTasksError) else answer_of(calls[i], answer)
        return answers

    async def _full(self) -> StoreFull | None:
        if self._share.is_old:
            try:
                self._share.note(await self._redis.info("memory"))
            except (RedisConnectionError, RedisTimeoutError):
                raise
            except RedisError:
                self._share.note({})  # it may not be asked: Redis itself refuses what does not fit
        try:
            self._share.check()
        except StoreFull as exc:
            return exc
        return None

    async def _connection(self) -> Any:
        """Return a connection to the run of the server that the newest connection belongs to."""
        pool = self._redis.connection_pool
        while True:
            connection: Any = await pool.get_connection()  # type: ignore[no-untyped-call]
            if getattr(connection, "kato_run", "") == self.run():
                return connection
            await connection.disconnect()  # Its server is no longer a master.
            await pool.release(connection)

    async def _send_pipeline(self, operations: Sequence[Effect[Any]], calls: Mapping[int, Call]) -> dict[int, Any]:
        """Return what Redis says to each, errors included; what is meant for another run of the store is not sent."""
        pipe: Any = self._redis.pipeline(transaction=False)
        pipe.connection = connection = await self._connection()
        run = connection.kato_run
        raw: dict[int, Any] = {}
        sent: list[int] = []
        for i, call in calls.items():
            if getattr(operations[i], "run", "") not in ("", run):
                raw[i] = StoreWentBack("the store was restarted or failed over meanwhile; nothing was written")
                continue
            pipe.execute_command(*words(call))
            sent.append(i)
        try:
            if not sent:
                await pipe.reset()
                return raw
            return raw | dict(zip(sent, await pipe.execute(raise_on_error=False), strict=True))
        except (UnicodeError, DataError) as exc:
            # Nothing was sent, because the arguments of one are not text. The others are asked without it.
            if len(sent) == 1:
                return raw | {sent[0]: exc}
            for i in sent:
                raw |= await self._send_pipeline(operations, {i: calls[i]})
            return raw


def _connect(url: str, run: StoreRun, timeout: float) -> Redis:
    try:
        return Redis.from_url(
            url,
            retry=Retry(NoBackoff(), 0),
            protocol=2,  # by 3 its pool hands out connections that the server has closed (redis-py 8.1)
            max_connections=CONNECTIONS,
            redis_connect_func=run.on_loop_connect,
            **options(timeout),
        )
    except ValueError as exc:
        raise not_an_address(exc) from None


def _weight(operation: Effect[Any]) -> int:
    if isinstance(operation, Append):
        return len(operation.entries)
    return len(operation.sessions) if isinstance(operation, BindNodes) else 1


__all__ = ["LoopStore"]
