"""The record of a replay is kept until it is retired, and then for a time."""

from __future__ import annotations

import pytest
import redis

from kato_tasks.adapters.redis.replays import REPLAYS, RedisReplays
from kato_tasks.domain.replays import LaneReplay, Replay, ReplayRequest
from kato_tasks.testing.waiting import wait_until


@pytest.fixture
def client(redis_url: str) -> redis.Redis:
    return redis.Redis.from_url(redis_url, decode_responses=True)


@pytest.fixture
def replays(client: redis.Redis) -> RedisReplays:
    replays = RedisReplays(client)
    for number, id_ in enumerate(("first", "second")):
        replay = Replay(id_, ReplayRequest("rebuild"), parts=2, created_ms=number + 1)
        assert replays.create(replay, [[LaneReplay(f"{id_}-{part}", "n", "t")] for part in range(2)]) == {}
    return replays


def test_a_retired_record_is_listed_until_its_time_ends_and_then_nothing_of_it_is_left(
    replays: RedisReplays, client: redis.Redis
) -> None:
    replays.retire("first", 60)
    assert [one.id for one in replays.all()] == ["second", "first"]
    assert len(list(replays.all_lanes("first"))) == 2
    replays.retire("first", 1)
    wait_until(lambda: replays.read("first") is None, 10, "the record is gone")
    assert [one.id for one in replays.all()] == ["second"]
    replays.release("first", ["first-0", "first-1"])
    assert list(client.scan_iter(f"{REPLAYS}first*")) == []
    assert client.zrange(f"{REPLAYS}all", 0, -1) == ["second"]


def test_no_other_record_expires(replays: RedisReplays, client: redis.Redis) -> None:
    replays.retire("first", 60)
    replays.retire("no such replay", 60)
    assert {client.ttl(key) for key in client.scan_iter(f"{REPLAYS}second*")} == {-1}
    assert 0 < client.ttl(f"{REPLAYS}first:1") <= 60


def test_a_record_that_is_retired_at_once_is_gone(replays: RedisReplays, client: redis.Redis) -> None:
    replays.retire("first", 0)
    assert replays.read("first") is None
    assert [one.id for one in replays.all()] == ["second"]
    assert list(client.scan_iter(f"{REPLAYS}first*")) == []
