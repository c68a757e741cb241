"""The port `ApiKeys`: keys of HTTP callers, kept without what opens."""

from __future__ import annotations

from dataclasses import replace

import pytest
import redis

from kato_tasks.adapters.redis.api_keys import ALL, RedisApiKeys
from kato_tasks.domain.api_keys import make_key
from kato_tasks.errors import UnreadableRow


def test_keys_are_kept_as_they_are_until_they_are_revoked(client: redis.Redis) -> None:
    keys = RedisApiKeys(client)
    assert keys.all() == []
    old, _ = make_key(("write",), name="ä 'shop'", session_prefix="shop-", requests_per_second=0.5, backlog=7, now_ms=1)
    new, _ = make_key(("admin", "read"), now_ms=2)
    keys.add(new)
    keys.add(old)
    assert keys.all() == [old, new]
    assert keys.revoke(old.id)
    assert not keys.revoke(old.id)
    assert keys.all() == [new]


def test_what_opens_is_nowhere_in_the_store(client: redis.Redis) -> None:
    key, text = make_key(("write",), now_ms=1)
    RedisApiKeys(client).add(key)
    secret = text.split("_", 2)[2]
    assert secret not in str(client.hgetall(ALL))


def test_a_key_that_cannot_be_read_is_named_and_lets_nobody_in(client: redis.Redis) -> None:
    keys = RedisApiKeys(client)
    key, _ = make_key(("write",), now_ms=1)
    keys.add(replace(key, id="0123456789ab"))
    client.hset(ALL, "0123456789ab", "{}")
    with pytest.raises(UnreadableRow, match="revoke it and make a new one"):
        keys.all()
