"""The port ``ApiKeys`` on Redis.

kt:{keys}:all    hash    id -> the key without its secret (JSON)
"""

from __future__ import annotations

import redis

from kato_tasks.adapters.redis.answers import redis_errors
from kato_tasks.domain.api_keys import ApiKey
from kato_tasks.errors import UnreadableRow

ALL = "kt:{keys}:all"


class RedisApiKeys:
    """Keep keys in one hash: there are few of them, and a server reads them all."""

    def __init__(self, client: redis.Redis) -> None:
        self._redis = client

    def add(self, key: ApiKey) -> None:
        """See ``ApiKeys.add``."""
        with redis_errors():
            self._redis.hset(ALL, key.id, key.dump())

    def revoke(self, key_id: str) -> bool:
        """See ``ApiKeys.revoke``."""
        with redis_errors():
            return bool(self._redis.hdel(ALL, key_id))

    def all(self) -> list[ApiKey]:
        """See ``ApiKeys.all``. Raises UnreadableRow for a key that cannot be read, since others may stand on it."""
        with redis_errors():
            rows = dict(self._redis.hgetall(ALL))
        keys = [_loaded(str(key_id), str(text)) for key_id, text in rows.items()]
        return sorted(keys, key=lambda key: (key.created_ms, key.id))


def _loaded(key_id: str, text: str) -> ApiKey:
    try:
        return ApiKey.load(text)
    except (ValueError, KeyError, TypeError):
        raise UnreadableRow(
            f"the key {key_id!r} is of another version or broken: revoke it and make a new one"
        ) from None
