"""Append the events of callers on one event loop together: what comes while the store is asked goes with the next call.

So a single event costs a share of a round trip, and a burst of them costs few.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence

from kato_tasks.api.append import warn_of_shared_names
from kato_tasks.bootstrap.loops import LoopRuntime
from kato_tasks.bootstrap.waking import waker
from kato_tasks.domain.log_entry import Entry
from kato_tasks.engine.appended import AppendedEntry
from kato_tasks.engine.wakeup_marks import set_marks
from kato_tasks.errors import KatoTasksError, StoreFailed

MOST_ENTRIES = 1_000
"""Entries in one group, unless one caller has more."""
WAKE_SECONDS = 0.02
"""After a wake-up the next one is sent so much later, for all that was appended meanwhile: each asks the store."""
Placed = Sequence[AppendedEntry]


class GroupCommit:
    """Appends entries in groups, one group after the other, in the order in which the callers came."""

    def __init__(self, here: LoopRuntime) -> None:
        self._here = here
        self._waiting: deque[tuple[Sequence[Entry], asyncio.Future[Placed]]] = deque()
        self._committing: asyncio.Task[None] | None = None
        self._to_wake: set[int] = set()
        self._waking: asyncio.Task[None] | None = None

    async def append(self, entries: Sequence[Entry]) -> Placed:
        """Append entries in their order, and return what became of each once the store has them all.

        An entry that names another node than its session's is told so in its place. Raises StoreUnavailable, StoreFull
        or StoreFailed. A caller that is cancelled has appended its entries or not.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Placed] = loop.create_future()
        self._waiting.append((entries, future))
        if self._committing is None:
            self._committing = loop.create_task(self._commit_groups(), name="kato_tasks group commit")
        return await future

    async def settle(self) -> None:
        """Return when everything that was handed in is appended and its lanes are woken."""
        while tasks := [task for task in (self._committing, self._waking) if task is not None]:
            await asyncio.wait(tasks)

    async def _commit_groups(self) -> None:
        try:
            while self._waiting:
                group = self._next_group()
                try:
                    await self._commit(group)
                except StoreFailed as exc:
                    await self._commit_each(group, exc)
                except Exception as exc:
                    _fail(group, exc)
        finally:
            self._committing = None

    def _next_group(self) -> list[tuple[Sequence[Entry], asyncio.Future[Placed]]]:
        group: list[tuple[Sequence[Entry], asyncio.Future[Placed]]] = []
        room = MOST_ENTRIES
        while self._waiting and (not group or len(self._waiting[0][0]) <= room):
            entries, future = self._waiting.popleft()
            if not future.done():  # its caller may have gone
                group.append((entries, future))
                room -= len(entries)
        return group

    async def _commit(self, group: Sequence[tuple[Sequence[Entry], asyncio.Future[Placed]]]) -> None:
        entries = [entry for some, _ in group for entry in some]
        if not entries:
            return
        posted = await self._here.ask(self._here.protocol.append_each(entries))
        start = 0
        for some, future in group:
            if not future.done():
                future.set_result(posted.placed[start : start + len(some)])
            start += len(some)
        warn_of_shared_names(posted.shared_names)
        self._wake(posted.wake)

    async def _commit_each(
        self, group: Sequence[tuple[Sequence[Entry], asyncio.Future[Placed]]], exc: StoreFailed
    ) -> None:
        """Append what one caller's broken session kept the others from, each by itself."""
        if len(group) == 1:
            _fail(group, exc)
            return
        for one in group:
            try:
                await self._commit([one])
            except KatoTasksError as its:
                _fail([one], its)

    def _wake(self, partitions: frozenset[int]) -> None:
        """Wake lanes beside the next group. Its callers need not wait for that: the sweep finds what stays asleep."""
        self._to_wake |= partitions
        if self._to_wake and self._waking is None:
            self._waking = asyncio.get_running_loop().create_task(self._wake_lanes(), name="kato_tasks wake")

    async def _wake_lanes(self) -> None:
        try:
            while self._to_wake:
                partitions, self._to_wake = self._to_wake, set()
                shards = await self._here.ask(set_marks(partitions, self._here.settings.shards))
                if shards:
                    await waker().wake_from_loop(shards)
                await asyncio.sleep(WAKE_SECONDS)
        except KatoTasksError:
            self._to_wake = set()  # the sweep wakes them
        finally:
            self._waking = None

    async def aclose(self) -> None:
        """Wait until everything is appended."""
        await self.settle()


def _fail(group: Sequence[tuple[Sequence[Entry], asyncio.Future[Placed]]], exc: Exception) -> None:
    for _, future in group:
        if not future.done():
            future.set_exception(exc)
            future.exception()  # the caller may go meanwhile


__all__ = ["GroupCommit"]
