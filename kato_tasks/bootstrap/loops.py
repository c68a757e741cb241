"""What an event loop has open: one store client and one listener for results, both shared by all its tasks.

They are opened at a loop's first use and closed when it shuts down its asynchronous generators, as ``asyncio.run``,
uvicorn and pytest's plug-ins have it do before they close it. A forked child opens its own.
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
        """Let so many calls begin in one round of the loop; of thousands at once the others wait for the next rounds.

        Each has some tenths of a millisecond of validation before it first waits for anything.
        """
        while self._begun >= CALLS_A_ROUND:  # noqa: ASYNC110  it is the next round that is waited for
            await asyncio.sleep(0)
        if not self._begun:
            asyncio.get_running_loop().call_soon(self._next_round)
        self._begun += 1

    def _next_round(self) -> None:
        self._begun = 0

    async def ask(self, asks: StoreProtocol[T]) -> T:
        """What comes of a protocol that asks the store."""
        return await carry_out_async(self.store.execute, asks)

    def part(self, name: Any, make: Callable[[], T]) -> T:
        """Something else that this loop has one of, made when it is first asked for; it has ``aclose``."""
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
    """The running loop's pieces, with a store that was found fit. Raises StoreUnavailable or ConfigurationError."""
    found = await on_this_loop()
    await found.store.checked()
    return found


async def on_this_loop() -> LoopRuntime:
    """The running loop's pieces, as they are; nothing is asked of anybody."""
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
    """Stands still until the loop shuts down; a loop has no other hook for what is to be closed on it."""
    try:
        yield
    finally:
        with _lock:
            if (known := _runtimes.get(loop)) is not None and known[0] is mine:
                del _runtimes[loop]
        await mine.aclose()


def _after_fork() -> None:
    """A child must neither use nor close what its parent goes on using, so it keeps it untouched."""
    global _lock, _runtimes
    _of_parent.append(_runtimes)
    _lock, _runtimes = threading.Lock(), {}


os.register_at_fork(after_in_child=_after_fork)

__all__ = ["LoopRuntime", "loop_runtime", "on_this_loop"]
