"""Whether the store keeps what it acknowledged. A worker says it once at its start, and starts anyway."""

from __future__ import annotations

import redis
from redis.exceptions import RedisError

from kato_tasks.adapters.redis.answers import redis_errors


def persistence_problem(client: redis.Redis) -> str | None:
    """Tell what the store would lose when its process ends, and what to set; None when its append-only file is on."""
    with redis_errors():
        about = client.info("persistence")
    if about.get("aof_enabled"):
        return None
    try:
        snapshots = bool(client.config_get("save").get("save"))
    except RedisError:
        # Where Redis is a hosted service, CONFIG is renamed or forbidden.
        return "appendonly is off: a crash loses what was appended since the last snapshot, if there are any"
    if snapshots:
        return "appendonly is off: a crash loses every event since the last snapshot; set appendonly yes"
    return "appendonly is off and nothing is saved: a restart loses every event; set appendonly yes"


__all__ = ["persistence_problem"]
