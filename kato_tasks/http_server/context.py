"""What the routes of one server process share."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from kato_tasks.api.group_commit import GroupCommit
from kato_tasks.bootstrap import Runtime
from kato_tasks.bootstrap.loops import LoopRuntime, loop_runtime
from kato_tasks.domain.log_entry import Entry
from kato_tasks.domain.observations import Limits
from kato_tasks.engine.appended import AppendedEntry
from kato_tasks.engine.store_protocol import StoreProtocol
from kato_tasks.errors import StoreFull, StoreUnavailable
from kato_tasks.http_server.access import Access
from kato_tasks.http_server.metrics import Metrics
from kato_tasks.http_server.problems import Problem

T = TypeVar("T")
STORE_PATIENCE_SECONDS = 2.0
"""How long a store that does not answer is asked again before a request is answered with 503."""


@dataclass(slots=True)
class Context:
    """The pieces of one server process. ``stopping`` is set once it is told to stop."""

    runtime: Runtime
    access: Access
    metrics: Metrics
    limits: Limits
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    held_bytes: int = 0
    """how large the bodies are that are being read or worked on"""
    started: float = field(default_factory=time.monotonic)

    @property
    def uptime_seconds(self) -> float:
        """For how long this process has served."""
        return time.monotonic() - self.started

    @contextlib.contextmanager
    def holding(self, size: int) -> Iterator[None]:
        """Count a body of this size while it is held. Raises Problem 503 where there would be too much of them."""
        if self.held_bytes + size > self.runtime.settings.http_held_bytes:
            raise Problem(
                503,
                "This server is working on as many bytes of other requests as it may (HTTP_HELD_BYTES). Nothing was "
                "accepted; repeat the request later, or send fewer events at once.",
                headers={"retry-after": "1"},
                close=True,
            )
        self.held_bytes += size
        try:
            yield
        finally:
            self.held_bytes -= size

    async def append(self, entries: Sequence[Entry]) -> Sequence[AppendedEntry]:
        """Append entries together with those of other requests, and return what became of each.

        A store that is away for a moment is asked again: the entries have their ids by now, so none is appended twice.
        Raises StoreUnavailable, StoreFull or StoreFailed.
        """

        async def append() -> Sequence[AppendedEntry]:
            here = await loop_runtime()
            commit = here.part(GroupCommit, partial(GroupCommit, here))
            return await commit.append(entries)

        return await self.patiently(append)

    async def ask(self, asks: Callable[[LoopRuntime], StoreProtocol[T]]) -> T:
        """Carry out a protocol that asks the store, again where the store is away for a moment, and return its result.

        ``asks`` makes the protocol. Raises what it raises, and StoreUnavailable, StoreFull or StoreFailed.
        """

        async def ask() -> T:
            here = await loop_runtime()
            return await here.ask(asks(here))

        return await self.patiently(ask)

    async def patiently(self, call: Callable[[], Awaitable[T]]) -> T:
        """Make a call that may be repeated, again and again while the store is away, up to STORE_PATIENCE_SECONDS."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + STORE_PATIENCE_SECONDS
        pause = 0.05
        while True:
            try:
                return await call()
            except StoreFull:
                raise
            except StoreUnavailable:
                if self.stopping.is_set() or loop.time() + pause > deadline:
                    raise
            await asyncio.sleep(pause)
            pause = min(pause * 2, 0.5)
