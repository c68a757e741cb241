"""Events of callers at the same time are appended together, and each caller is told of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from kato_tasks import history
from kato_tasks.api.append import read_event
from kato_tasks.api.group_commit import GroupCommit
from kato_tasks.bootstrap.loops import LoopRuntime, loop_runtime
from kato_tasks.domain.log_entry import Entry
from kato_tasks.domain.observations import DEFAULT_LIMITS
from kato_tasks.errors import StoreFailed, StoreUnavailable
from tests.integration.http.server import event
from tests.integration.system import System


def entries_of(*events: dict[str, Any]) -> list[Entry]:
    return [read_event(index, one, DEFAULT_LIMITS) for index, one in enumerate(events)]


class Counted:
    """Counts the groups of a commit, and fails those that hold the event ``broken``."""

    def __init__(self, here: LoopRuntime, broken: str = "", exc: Exception | None = None) -> None:
        self.sizes: list[int] = []
        self._append, self._broken, self._exc = here.protocol.append_each, broken, exc
        here.protocol.append_each = self  # type: ignore[method-assign]

    def __call__(self, entries: Sequence[Entry], **words: Any) -> Any:
        self.sizes.append(len(entries))
        if self._exc is not None and any(entry.event_id == self._broken for entry in entries):
            raise self._exc
        return self._append(entries, **words)


def test_200_events_at_once_take_two_store_calls(system: System, name: str) -> None:
    """The first goes by itself, and all that come until it is answered go with the second."""

    async def run() -> list[int]:
        here = await loop_runtime()
        counted, commit = Counted(here), GroupCommit(here)
        many = [entries_of(event(name, f"e{i}")) for i in range(200)]
        placed = await asyncio.gather(*(commit.append(entries) for entries in many))
        await commit.settle()
        assert [one.appended.position for (one,) in placed] == list(range(1, 201))
        return counted.sizes

    assert len(asyncio.run(run())) <= 2
    assert [one["event_id"] for one in history(name)] == [f"e{i}" for i in range(200)]


def test_the_lanes_of_a_group_are_woken_without_the_sweep(system: System, name: str) -> None:
    async def run() -> None:
        commit = GroupCommit(await loop_runtime())
        await commit.append(entries_of(event(name)))
        await commit.settle()

    system.empty()
    asyncio.run(run())
    assert len(list(system.redis.scan_iter("kt:{w*}:wake"))) == 1


def test_each_caller_is_told_of_its_own_events(system: System, name: str) -> None:
    async def run() -> None:
        commit = GroupCommit(await loop_runtime())
        calls = [
            entries_of(event(name, "a"), event(name, "b")),
            entries_of(event(name, "a")),
            entries_of(event(f"{name} 2", "c", node_id="one")),
            entries_of(event(f"{name} 2", "d", node_id="other"), event(f"{name} 2", "e")),
        ]
        first, again, other, refused = await asyncio.gather(*(commit.append(entries) for entries in calls))
        assert [one.appended.position for one in first] == [1, 2]
        assert (again[0].appended.duplicate, again[0].appended.position) == (True, 1)
        assert other[0].appended.position == 1
        assert refused[0].other_node is not None
        assert refused[0].other_node.field == "node_id"
        assert refused[1].appended.position == 2
        await commit.settle()

    asyncio.run(run())


def test_a_broken_session_fails_its_own_caller_alone(system: System, name: str) -> None:
    async def run() -> None:
        here = await loop_runtime()
        Counted(here, "broken", StoreFailed("its row is broken"))
        commit = GroupCommit(here)
        calls = [entries_of(event(name, event_id)) for event_id in ("a", "broken", "b")]
        told = await asyncio.gather(*(commit.append(entries) for entries in calls), return_exceptions=True)
        assert isinstance(told[1], StoreFailed)
        assert [one[0].appended.position for one in (told[0], told[2]) if not isinstance(one, BaseException)] == [1, 2]

    asyncio.run(run())


def test_a_store_that_is_away_fails_those_who_asked_and_nobody_after(system: System, name: str) -> None:
    async def run() -> None:
        here = await loop_runtime()
        Counted(here, "away", StoreUnavailable("away"))
        commit = GroupCommit(here)
        with pytest.raises(StoreUnavailable):
            await commit.append(entries_of(event(name, "away")))
        (placed,) = await commit.append(entries_of(event(name, "back")))
        assert placed.appended.position == 1

    asyncio.run(run())


def test_a_caller_that_goes_takes_nobody_with_it(system: System, name: str) -> None:
    async def run() -> None:
        commit = GroupCommit(await loop_runtime())
        tasks = [asyncio.ensure_future(commit.append(entries_of(event(name, f"e{i}")))) for i in range(6)]
        await asyncio.sleep(0)
        tasks[3].cancel()
        told = await asyncio.gather(*tasks, return_exceptions=True)
        assert [isinstance(one, BaseException) for one in told] == [False, False, False, True, False, False]

    asyncio.run(run())
    kept = [one["event_id"] for one in history(name)]
    assert [one for one in kept if one != "e3"] == ["e0", "e1", "e2", "e4", "e5"]
