"""Awaits the results of Celery tasks: ``await result.aget(timeout=…)``."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from functools import cache, partial
from typing import TYPE_CHECKING, Any, TypeVar, overload

from celery.exceptions import TimeoutError as CeleryTimeoutError
from celery.result import AsyncResult, EagerResult, ResultSet, assert_will_not_block
from celery.states import READY_STATES

from kato_tasks.celery_tasks.calling.publishing import publisher

if TYPE_CHECKING:
    from kato_tasks.celery_tasks.typed_task import TypedResult

R = TypeVar("R")
POLL_SECONDS = (0.02, 1.0)
"""The first and the longest interval at which a result is polled if its backend cannot be subscribed to."""


class AwaitableResult(AsyncResult):
    """Celery's result of a task, which can also be awaited."""

    async def aget(self, timeout: float | None = None, propagate: bool = True) -> Any:
        """Return the task's result, as ``get`` does, without blocking the event loop.

        ``timeout`` is in seconds; None waits without a limit. Raises what ``get`` raises: the task's own error (which
        ``propagate=False`` returns instead), the error of an earlier step of its chain, or
        ``celery.exceptions.TimeoutError``. It goes on waiting while the result backend is away. A cancelled wait takes
        nothing back: the result can be awaited again.
        """
        return await _result_of(self, timeout, propagate)


@cache
def awaitable(app: Any) -> Any:
    """Return a class of awaitable results for the app: the app's own if that can be awaited already."""
    if issubclass(app.AsyncResult, AwaitableResult):
        return app.AsyncResult
    return app.subclass_with_self(AwaitableResult, name="AsyncResult")


class AwaitableEagerResult(EagerResult):
    """The result of a task that its caller carried out (``task_always_eager``)."""

    @classmethod
    def of(cls, result: Any) -> AwaitableEagerResult:
        """Return Celery's eager result as one that can be awaited."""
        return cls(result.id, result.result, result.state, traceback=result.traceback, name=result.name)

    async def aget(self, timeout: float | None = None, propagate: bool = True) -> Any:  # noqa: ARG002
        """Return the result, or raise what the task raised; there is nothing to wait for."""
        return self.get(propagate=propagate)


@overload
async def aget(result: TypedResult[R], timeout: float | None = None, propagate: bool = True) -> R: ...
@overload
async def aget(result: Any, timeout: float | None = None, propagate: bool = True) -> Any: ...
async def aget(result: Any, timeout: float | None = None, propagate: bool = True) -> Any:
    """Return what ``get`` of any Celery result returns, and let the event loop go on meanwhile.

    Args:
        result: The result of a task of ours or of yours, of a chain, a chord or a group, on any Celery app.
        timeout: How many seconds to wait at most; without it, as long as it takes. The members of a group are waited
            for side by side, each for this long.
        propagate: Raise the error of a task that failed. If it is False, the error is returned in its result's place.

    Returns:
        What the task returned; of a group, the list of what its tasks returned; None of a task that ignores results.

    Raises:
        The task's own error, or that of a step before it in its chain: see the task.
        celery.exceptions.TimeoutError: The time is over. The result can be awaited again, as after a cancellation.

    While the result backend is away it goes on waiting.
    """
    if isinstance(result, EagerResult):
        return result.get(propagate=propagate)
    if isinstance(result, ResultSet):
        waiting = [asyncio.ensure_future(aget(one, timeout, propagate)) for one in result.results]
        try:
            return list(await asyncio.gather(*waiting))
        finally:
            for one in waiting:
                one.cancel()
    return await _result_of(result, timeout, propagate)


async def _result_of(result: Any, timeout: float | None, propagate: bool) -> Any:
    if result.ignored:
        return None
    assert_will_not_block()
    if result._cache is None:
        await _wait_for_result(result, timeout, [*_steps_before(result)] if propagate else [])
    return result.maybe_throw(propagate=propagate)


def _steps_before(result: Any) -> Iterator[Any]:
    """Yield the results of the earlier steps of its chain: the first one that fails ends the chain."""
    node = result.parent
    while node:
        yield from node.results if isinstance(node, ResultSet) else [node]
        node = node.parent


async def _wait_for_result(result: Any, timeout: float | None, before: list[Any]) -> None:
    """Return when the result is there. Raises the error of an earlier step."""
    loop = asyncio.get_running_loop()
    deadline = None if timeout is None else loop.time() + timeout
    look = await _look(result)
    waiting: dict[asyncio.Future[Any], Any] = {}
    try:
        for node in (*reversed(before), result):
            if node is not result and node._cache is not None:
                node.maybe_throw()
                continue
            waiting[look(node)] = node
        while result._cache is None:
            left = None if deadline is None else max(0.0, deadline - loop.time())
            done, _ = await asyncio.wait(waiting, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            if not done:
                raise CeleryTimeoutError("The operation timed out.")
            for future in done:
                node = waiting.pop(future)
                node._maybe_set_cache(future.result())
                if node is not result:
                    node.maybe_throw()
    finally:
        for future in waiting:
            future.cancel()


async def _look(result: Any) -> Callable[[Any], asyncio.Future[Any]]:
    """Return a function that gives a future of the meta data with which a task such as this one ends."""
    from kato_tasks.bootstrap.loops import on_this_loop
    from kato_tasks.celery_tasks.calling.result_watch import ResultWatch, can_be_watched

    backend = result.backend
    if not can_be_watched(backend):
        return lambda node: asyncio.ensure_future(_poll(node))
    here = await on_this_loop()
    watch = here.part((ResultWatch, backend.url), partial(ResultWatch.of, backend))
    return lambda node: watch.meta(node.id)


async def _poll(result: Any) -> Any:
    """Poll a backend that cannot be subscribed to, in the publishing thread, and return the ended task's meta data."""
    pause, most = POLL_SECONDS
    while True:
        # The backend of that thread is asked, because an RPC backend has a queue per thread.
        meta = await publisher().submit(lambda: result.app.backend.get_task_meta(result.id))
        if meta["status"] in READY_STATES:
            return meta
        await asyncio.sleep(pause)
        pause = min(pause * 1.5, most)


@contextlib.contextmanager
def without_subscription(app: Any) -> Iterator[None]:
    """Publish without Celery's own subscription to the result.

    Celery's Redis backend subscribes to the result of each task that is sent, on a connection of the sending thread,
    and unsubscribes when the result object goes. An event loop never reads that connection, a thread only if it calls
    ``get``, which subscribes by itself before it looks for the result. Once a thread has ended, its connection stays
    open until the cycle collector finds it, and while the result backend is away each such call waits for it.
    """
    from celery.backends.redis import RedisBackend

    backend = app.backend
    # A thread-safe backend has one connection for the process. A call inside another (from Celery's signals) finds that
    # this is done already.
    if not isinstance(backend, RedisBackend) or backend.thread_safe or "on_task_call" in vars(backend):
        yield
        return
    backend.on_task_call = lambda producer, task_id: {}
    # Groups and chords subscribe once more, to learn when all of their results are there.
    backend.add_pending_result = lambda result, weak=False, start_drainer=True: result
    try:
        yield
    finally:
        del backend.on_task_call
        del backend.add_pending_result


__all__ = ["AwaitableEagerResult", "AwaitableResult", "aget", "awaitable", "without_subscription"]
