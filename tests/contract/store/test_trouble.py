"""What all workers share of a KATO instance in trouble: said once when it begins, and once when it ends."""

from __future__ import annotations

import redis

from kato_tasks.adapters.redis.breaker import RedisBreakerState

URL = "http://kato"


def test_one_of_all_says_that_it_begins_and_one_that_it_ends(client: redis.Redis) -> None:
    workers = [RedisBreakerState(client) for _ in range(3)]
    assert [one.trouble_goes_on(URL, 4.0) for one in workers * 2] == [True] + [False] * 5
    assert all(one.look(URL) == (None, True) for one in workers)
    lasted = [one.trouble_ended(URL) for one in workers]
    assert lasted[1:] == [None, None]
    assert 4.0 <= (lasted[0] or 0.0) < 30
    assert workers[0].look(URL) == (None, False)


def test_trouble_that_comes_and_goes_is_said_once_in_a_while_and_one_that_stays_is_said_then(
    client: redis.Redis,
) -> None:
    state = RedisBreakerState(client)
    assert state.trouble_goes_on(URL, 0.0)
    assert state.trouble_ended(URL) is not None
    assert not state.trouble_goes_on(URL, 0.0)
    assert state.trouble_ended(URL) is None, "nobody heard of its begin"
    assert not state.trouble_goes_on(URL, 0.0)
    client.delete(f"kt:{{breaker}}:said:{URL}")  # half a minute is over
    assert state.trouble_goes_on(URL, 0.0)
    assert state.trouble_ended(URL) is not None


def test_the_end_is_said_of_trouble_whose_begin_was_told_in_other_words(client: redis.Redis) -> None:
    state = RedisBreakerState(client)
    assert state.trouble_goes_on(URL, 0.0)
    assert state.trouble_ended(URL) is not None
    assert not state.trouble_goes_on(URL, 0.0, told=True), "right after other trouble, which was said"
    assert state.trouble_ended(URL) is not None


def test_nobody_says_anything_while_the_store_is_away() -> None:
    state = RedisBreakerState(redis.Redis(port=1, socket_connect_timeout=1))
    assert not state.trouble_goes_on(URL, 0.0)
    assert state.trouble_ended(URL) is None
    assert state.look(URL) == (None, False)
