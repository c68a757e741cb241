"""A replay that cannot be resumed now is left as it is."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
import redis

from kato_tasks.adapters.redis.replays import RedisReplays
from kato_tasks.api.replays.calls import resume_replay
from kato_tasks.domain.replays import LaneReplay, Replay, ReplayRequest
from kato_tasks.errors import ReplayBusy


def test_a_replay_whose_lane_another_one_has_is_refused_and_stays_as_it_was(redis_url: str) -> None:
    """Falls when its failed lanes begin again before all of its lanes are taken."""
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        replays = RedisReplays(client)
        failed = LaneReplay("shop", "shop", "shop~1", state="failed", problem="it differs")
        mine = Replay("0123456789ab", ReplayRequest("rebuild"), state="failed")
        assert replays.create(mine, [[failed]]) == {}
        replays.release(mine.id, ["shop"])
        assert replays.create(replace(mine, id="cdef01234567", state="running"), [[failed]]) == {}
        with pytest.raises(ReplayBusy, match="replay cdef01234567 of lane 'shop' has not ended"):
            resume_replay(cast(Any, SimpleNamespace(replays=replays)), mine.id)
        assert replays.lanes(mine.id, 0) == {"shop": failed}
        assert replays.read(mine.id) == mine
