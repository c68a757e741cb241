"""The store for event loops answers as the blocking one does, also where the server forgets, fills up or fails over."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from dataclasses import replace
from typing import Any, Self, TypeVar

import pytest

from kato_tasks import ports
from kato_tasks.adapters.redis import room
from kato_tasks.adapters.redis.keys import prefix
from kato_tasks.adapters.redis.loop_store import ENTRIES_AT_ONCE, LoopStore
from kato_tasks.adapters.redis.operations import Retention
from kato_tasks.adapters.redis.store import connect
from kato_tasks.domain.ids import partition_of
from kato_tasks.engine.append import AppendProtocol, Mailbox
from kato_tasks.engine.store_protocol import StoreProtocol, carry_out_async
from kato_tasks.errors import ConfigurationError, NodeConflict, StoreFailed, StoreFull, StoreUnavailable
from kato_tasks.testing.services import RedisServer
from tests.contract.store.log import Log, numbered, observation
from tests.contract.store.test_another_run import logs, loses_everything, on, opened

T = TypeVar("T")


def run(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(work)


class Opened:
    """A store of the running loop and the protocol on it, as `kato_tasks.bootstrap.loops` puts them together."""

    def __init__(self, url: str, kind: type[LoopStore] = LoopStore) -> None:
        self.store = kind(url, Retention(), full_share=0.9)
        self.protocol = AppendProtocol(self.store.run)

    async def __aenter__(self) -> Self:
        await self.store.check()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.store.aclose()

    async def ask(self, asks: StoreProtocol[T]) -> T:
        return await carry_out_async(self.store.execute, asks)


def test_it_carries_out_an_append_as_the_blocking_store_does(redis_url: str) -> None:
    """Several sessions, more events than a script takes at once, ids that are known, two with another body."""
    events = [*numbered("a", 1, 1_500), *numbered("b", 1, 3), observation("a", "a-1")]
    changed = replace(observation("a", "a-2"), digest="another")

    async def main() -> tuple[Any, Any]:
        async with Opened(redis_url) as here:
            first = await here.ask(here.protocol.append(events))
            return first, await here.ask(here.protocol.append([*events, changed]))

    first, second = run(main())
    with connect(redis_url) as client:
        assert Log(client).events("a", "a") == [f"a-{i}" for i in range(1, 1_501)]
        dead = client.hgetall(f"{prefix(partition_of('a'))}dead")
        assert len(dead) == 2
        client.flushall()
        mailbox = Mailbox(Log(client).store)
        assert (first, second) == (mailbox.append(events), mailbox.append([*events, changed]))


def test_an_operation_that_is_refused_takes_nobody_elses_answer_and_its_script_is_loaded_again(redis_url: str) -> None:
    with connect(redis_url) as client:
        client.set(f"{prefix(7)}later", "no sorted set")
        client.script_flush()

    async def main() -> list[Any]:
        async with Opened(redis_url) as here:
            many: list[ports.Effect[Any]] = [ports.SetMark("wake-up", i, 60_000) for i in range(ENTRIES_AT_ONCE)]
            return await here.store.execute(
                [*many, ports.DueScheduled(7, 1, 1), ports.KeepUnpublished("\ud800", "x"), *many]
            )

    answers = run(main())
    assert answers[:ENTRIES_AT_ONCE] == [True] * ENTRIES_AT_ONCE
    assert [type(one) for one in answers[ENTRIES_AT_ONCE : ENTRIES_AT_ONCE + 2]] == [StoreFailed, StoreFailed]
    assert answers[ENTRIES_AT_ONCE + 2 :] == [False] * ENTRIES_AT_ONCE


def test_of_callers_on_one_loop_that_expect_one_position_exactly_one_appends(redis_url: str) -> None:
    async def main() -> list[Any]:
        async with Opened(redis_url) as here:
            races = (here.ask(here.protocol.append([observation("a", f"e{i}")], expected=0)) for i in range(20))
            return await asyncio.gather(*races)

    placed = [posted.placed[0] for posted in run(main())]
    assert sorted(one.stands_at or 0 for one in placed) == [0, *[1] * 19]
    assert [one.appended.position for one in placed if one.stands_at is None] == [1]


class LostAtTheAppend(LoopStore):
    """The store goes down and comes back empty right before the append is sent, and another process is quicker."""

    server: RedisServer
    lost = False

    async def execute(self, operations: Sequence[ports.Effect[Any]]) -> list[Any]:
        if not self.lost and any(isinstance(one, ports.Append) for one in operations):
            self.lost = True
            await asyncio.to_thread(loses_everything, self.server)
            Mailbox(opened(self.server)).append([observation("a", "quicker")])
        return await super().execute(operations)


def test_an_append_with_a_remembered_node_is_not_carried_out_by_another_run_of_the_store(
    own_redis: RedisServer,
) -> None:
    LostAtTheAppend.server = own_redis

    async def main() -> None:
        async with Opened(own_redis.url, LostAtTheAppend) as here:
            with pytest.raises(NodeConflict):
                await here.ask(here.protocol.append([on("a", "1", "team")]))

    run(main())
    assert logs(own_redis) == ["log:a"]


def test_a_full_store_accepts_nothing_and_is_asked_once_a_second(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        with connect(redis_url) as client:
            async with Opened(redis_url) as here:
                client.config_set("maxmemory", int(client.info("memory")["used_memory"] / 0.95))
                monkeypatch.setattr(room, "LOOK_SECONDS", 0.0)
                with pytest.raises(StoreFull, match="STORE_FULL_SHARE"):
                    await here.ask(here.protocol.append([observation("a", "1")]))
                (kept,) = await here.store.execute([ports.KeepUnpublished("a", "{}")])
                assert kept is None, "what the drains need is written"

    try:
        run(main())
    finally:
        with connect(redis_url) as client:
            client.config_set("maxmemory", 0)


def test_a_store_that_may_drop_keys_is_refused_until_it_is_mended(redis_url: str) -> None:
    async def main() -> None:
        with connect(redis_url) as client:
            client.config_set("maxmemory-policy", "allkeys-lru")
            here = Opened(redis_url)
            for _ in range(2):
                with pytest.raises(ConfigurationError, match="allkeys-lru"):
                    await here.store.check()
            client.config_set("maxmemory-policy", "noeviction")
            async with here:
                await here.ask(here.protocol.append([observation("a", "1")]))

    try:
        run(main())
    finally:
        with connect(redis_url) as client:
            client.config_set("maxmemory-policy", "noeviction")


def test_whoever_waits_behind_a_round_trip_that_timed_out_is_told_with_it(own_redis: RedisServer) -> None:
    """Falls without `_refuse`: each round trip would wait its own second, and there are ten."""

    async def main() -> float:
        store = LoopStore(own_redis.url, Retention(), timeout=1.0)
        await store.check()
        own_redis.pause()
        try:
            began = asyncio.get_running_loop().time()
            full = ports.BindNodes(0, [(f"s{i}", "", f"s{i}") for i in range(ENTRIES_AT_ONCE)])
            answers = await asyncio.gather(*(store.execute([full]) for _ in range(10)), return_exceptions=True)
            assert all(isinstance(answer, StoreUnavailable) for answer in answers)
            return asyncio.get_running_loop().time() - began
        finally:
            own_redis.resume()
            await store.aclose()

    assert run(main()) < 3


def test_a_caller_that_is_cancelled_while_its_operations_wait_has_none_of_them_sent(redis_url: str) -> None:
    async def main() -> None:
        store = LoopStore(redis_url, Retention())
        await store.check()
        gone = asyncio.ensure_future(store.execute([ports.SetMark("wake-up", 1, 60_000)]))
        stays = asyncio.ensure_future(store.execute([ports.SetMark("wake-up", 2, 60_000)]))
        asyncio.get_running_loop().call_soon(gone.cancel)
        assert await stays == [True]
        assert gone.cancelled()
        await store.aclose()

    run(main())
    with connect(redis_url) as client:
        assert not client.exists("kt:{w001}:wake")
