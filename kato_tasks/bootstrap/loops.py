"""Open the pieces of an event loop: one store client and one listener for results, both shared by all its tasks.

They are opened when they are first used on the loop. They are closed when the loop shuts down its asynchronous
generators, which ``asyncio.run``, uvicorn and pytest's plug-ins let it do before they close it. A forked child opens
its own.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncGenerator, Callable
from typing import Any, TypeVar

from kato_tasks.adapters.redis.loop_store import LoopStore
from kato_tasks.bootstrap.outside import doubles
from kato_tasks.bootstrap.runtime import retention_of
from kato_tasks.engine.append import AppendProtocol
from kato_tasks.engine.store_protocol import StoreProtocol, carry_out_async
from kato_tasks.settings import Settings, settings

CALLS_A_ROUND = 20
T = TypeVar("T")


class LoopRuntime:
    """The pieces of one event loop."""

    def __init__(self, config: Settings) -> None:
        self.settings = config
        outside = doubles()
        self.store = LoopStore(
            config.store_url,
            retention_of(config),
            full_share=config.store_full_share,
            connect=outside.loop_store if outside is not None else None,
        )
        self.protocol = AppendProtocol(self.store.run)
        self._parts: dict[Any, Any] = {}
        self._begun = 0

    async def turn(self) -> None:
        """Let ``CALLS_A_ROUND`` calls begin in one round of the loop. Further calls wait for the next rounds.

        Each call validates for some tenths of a millisecond before it first waits for anything, so thousands of calls
        at once would keep the loop's other tasks waiting.
        """
        while self._begun >= CALLS_A_ROUND:  # noqa: ASYNC110  this waits for the next round
            await asyncio.sleep(0)
        if not self._begun:
            asyncio.get_running_loop().call_soon(self._next_round)
        self._begun += 1

    def _next_round(self) -> None:
        self._begun = 0

    async def ask(self, asks: StoreProtocol[T]) -> T:
        """Carry out a protocol that asks the store, and return its result."""
        return await carry_out_async(self.store.execute, asks)

    def part(self, name: Any, make: Callable[[], T]) -> T:
        """Return the part of this loop with this name, and make it with ``make`` when it is first asked for.

        A part must have ``aclose``, which is called when the loop's pieces are closed.
        """
        if name not in self._parts:
            self._parts[name] = make()
        part: T = self._parts[name]
        return part

    async def aclose(self) -> None:
        """Close what this loop has open: the parts that were made for it, and its store client."""
        for part in self._parts.values():
            await part.aclose()
        await self.store.aclose()


_lock = threading.Lock()
_runtimes: dict[asyncio.AbstractEventLoop, tuple[LoopRuntime, AsyncGenerator[None, None]]] = {}
_of_parent: list[Any] = []


async def loop_runtime() -> LoopRuntime:
    """Return the running loop's pieces, after checking that the store is fit for use.

    Raises StoreUnavailable or ConfigurationError.
    """
    found = await on_this_loop()
    await found.store.check()
    return found


async def on_this_loop() -> LoopRuntime:
    """Return the running loop's pieces as they are, without asking the store anything."""
    loop = asyncio.get_running_loop()
    known = _runtimes.get(loop)
    if known is not None and known[0].settings is settings():
        return known[0]
    found = LoopRuntime(settings())
    closing = _closed_with_loop(loop, found)
    with _lock:
        for other in [one for one in _runtimes if one.is_closed()]:
            del _runtimes[other]
        _runtimes[loop] = (found, closing)
    await anext(closing)
    if known is not None:
        await known[0].aclose()
    return found


async def _closed_with_loop(loop: asyncio.AbstractEventLoop, mine: LoopRuntime) -> AsyncGenerator[None, None]:
    """Wait until the loop shuts down, then close ``mine``. A loop has no other hook for closing something on it."""
    try:
        yield
    finally:
        with _lock:
            if (known := _runtimes.get(loop)) is not None and known[0] is mine:
                del _runtimes[loop]
        await mine.aclose()


def _after_fork() -> None:
    """Set the parent's pieces aside: a child must neither use nor close what its parent goes on using."""
    global _lock, _runtimes
    _of_parent.append(_runtimes)
    _lock, _runtimes = threading.Lock(), {}


os.register_at_fork(after_in_child=_after_fork)

__all__ = ["LoopRuntime", "loop_runtime", "on_this_loop"]
