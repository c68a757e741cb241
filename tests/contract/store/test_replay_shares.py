"""All replays together copy as many events per second as REPLAY_EVENTS_PER_SECOND says, in whichever process."""

from __future__ import annotations

import threading
import time

import pytest
import redis

from kato_tasks.adapters.redis.replays import REPLAYS, UNUSED_MS, RedisReplays

UNTIL = f"{REPLAYS}until"


@pytest.fixture
def client(redis_url: str) -> redis.Redis:
    return redis.Redis.from_url(redis_url, decode_responses=True)


@pytest.fixture
def replays(client: redis.Redis) -> RedisReplays:
    return RedisReplays(client)


def now_ms(client: redis.Redis) -> float:
    seconds, micros = client.time()
    return int(seconds) * 1000 + int(micros) / 1000


def test_a_share_is_given_at_once_and_the_next_one_when_it_is_used_up(replays: RedisReplays) -> None:
    assert replays.take_share(500, 1_000) == 0.0
    assert 0.3 < replays.take_share(500, 1_000) <= 0.5
    assert 0.3 < replays.take_share(1, 1_000) <= 0.5, "to ask again costs nothing"


def test_what_was_not_used_is_kept_for_some_seconds_and_no_longer(replays: RedisReplays, client: redis.Redis) -> None:
    client.set(UNTIL, now_ms(client) - 3_600_000)
    granted = 0
    while replays.take_share(100, 1_000) == 0.0:
        granted += 100
    assert UNUSED_MS <= granted <= UNUSED_MS + 300


def test_processes_that_ask_at_once_get_no_more_than_one_alone(redis_url: str, client: redis.Redis) -> None:
    granted: list[int] = []
    begun, ends = now_ms(client), time.monotonic() + 1.0

    def ask() -> None:
        mine = RedisReplays(redis.Redis.from_url(redis_url, decode_responses=True))
        while time.monotonic() < ends:
            wait = mine.take_share(50, 1_000)
            if wait:
                time.sleep(min(wait, 0.05))
            else:
                granted.append(50)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 300 <= sum(granted) <= now_ms(client) - begun + 50
