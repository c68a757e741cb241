"""Notice when sessions move on: one look at the store for all that are watched by a process, again and again."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from kato_tasks.bootstrap.loops import LoopRuntime, loop_runtime
from kato_tasks.errors import KatoTasksError
from kato_tasks.ports.front_sessions import FindFrontSession, FrontState
from kato_tasks.telemetry.log_events import log_event

log = logging.getLogger(__name__)
LOOK_SECONDS = 0.2
"""How often the store is looked at while anything is watched."""
AT_ONCE = 500
"""Sessions in one round trip."""


@dataclass(slots=True)
class Watched:
    """A session that is watched: where it stands, and what is told when that changes."""

    lane: str
    session: str
    state: FrontState | None = None
    changed: asyncio.Event = field(default_factory=asyncio.Event)


class SessionWatch:
    """Watches sessions on one event loop. Its task ends when nothing is watched any more."""

    def __init__(self) -> None:
        self._entries: dict[int, Watched] = {}
        self._task: asyncio.Task[None] | None = None

    @contextlib.asynccontextmanager
    async def watching(self, lane: str, session: str, state: FrontState) -> AsyncIterator[Watched]:
        """Watch a session that stands at ``state``, for as long as the context lasts."""
        watched = Watched(lane, session, state)
        self._entries[id(watched)] = watched
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._look_again(), name="kato_tasks sessions")
        try:
            yield watched
        finally:
            del self._entries[id(watched)]

    async def aclose(self) -> None:
        """Stop looking."""
        if self._task is not None:
            self._task.cancel()

    async def _look_again(self) -> None:
        away = False
        try:
            while self._entries:
                try:
                    await self._look(await loop_runtime())
                    away = False
                except KatoTasksError as exc:
                    if not away:
                        log_event(log, logging.WARNING, "http.sessions_unseen", error=exc)
                    away = True
                await asyncio.sleep(LOOK_SECONDS)
        finally:
            self._task = None

    async def _look(self, here: LoopRuntime) -> None:
        watched = list(self._entries.values())
        for start in range(0, len(watched), AT_ONCE):
            some = watched[start : start + AT_ONCE]
            found = await here.store.execute([FindFrontSession(one.lane, one.session) for one in some])
            for one, state in zip(some, found, strict=True):
                if not isinstance(state, BaseException) and state != one.state:
                    one.state = state
                    one.changed.set()


__all__ = ["SessionWatch", "Watched"]
