"""The port ``Replays`` on Redis.

kt:{replay}:all                zset    id -> ms at which it was created
kt:{replay}:<id>               string  the record (JSON)
kt:{replay}:<id>:<part>        hash    lane -> how far it is (JSON)
kt:{replay}:<id>:<part>:lease  string  token of the process that works on the part; expires
kt:{replay}:busy               hash    lane -> id of the replay that has it
kt:{replay}:until              string  ms up to which REPLAY_EVENTS_PER_SECOND is used up; expires
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import redis

from kato_tasks.adapters.redis.answers import answers_of, redis_errors
from kato_tasks.domain.replays import ENDED, LaneReplay, Replay
from kato_tasks.errors import StoreFailed
from kato_tasks.ports.replays import Replays

REPLAYS = "kt:{replay}:"
LANES_AT_ONCE = 1_000
UNUSED_MS = 3_000
"""So much of the rate that was not used may be used later: beside a load of live events a part has few turns."""
TRIES = 100
"""How often a change of a record is tried again that another process made at the same time."""


class RedisReplays(Replays):
    """Keep the record of replays; all keys lie in one slot of a Cluster."""

    def __init__(self, client: redis.Redis) -> None:
        self._redis = client

    def create(self, replay: Replay, parts: Sequence[Sequence[LaneReplay]]) -> dict[str, str]:
        """See ``Replays.create``."""
        if others := self.take(replay.id, [lane.lane for part in parts for lane in part]):
            return others
        for number, part in enumerate(parts):
            self.note_lanes(replay.id, number, part)
        pipe = self._redis.pipeline(transaction=True)
        pipe.set(f"{REPLAYS}{replay.id}", replay.dump())
        pipe.zadd(f"{REPLAYS}all", {replay.id: replay.created_ms})
        answers_of(pipe)
        return {}

    def read(self, replay_id: str) -> Replay | None:
        """See ``Replays.read``."""
        with redis_errors():
            text = self._redis.get(f"{REPLAYS}{replay_id}")
        return None if text is None else Replay.load(str(text))

    def change(self, replay_id: str, **fields: object) -> Replay:
        """See ``Replays.change``."""
        return self._change(replay_id, fields, although_ended=False)

    def reopen(self, replay_id: str, task_id: str) -> Replay:
        """See ``Replays.reopen``."""
        fields = {"state": "running", "ended_ms": 0, "reason": "", "task_id": task_id, "differences": ()}
        return self._change(replay_id, {**fields, "more_differences": 0}, although_ended=True)

    def _change(self, replay_id: str, fields: Mapping[str, object], *, although_ended: bool) -> Replay:
        key = f"{REPLAYS}{replay_id}"
        with redis_errors():
            for _ in range(TRIES):
                with self._redis.pipeline(transaction=True) as pipe:
                    pipe.watch(key)  # type: ignore[no-untyped-call]
                    text = pipe.get(key)
                    if text is None:
                        raise StoreFailed(f"there is no replay {replay_id}")
                    found = Replay.load(str(text))
                    if found.state in ENDED and not although_ended:
                        return found
                    changed: Replay = replace(found, **fields)  # type: ignore[arg-type]
                    pipe.multi()
                    pipe.set(key, changed.dump())
                    try:
                        pipe.execute()
                    except redis.WatchError:
                        continue
                    return changed
        raise StoreFailed(f"the record of replay {replay_id} is changed too often by other processes")

    def all(self) -> list[Replay]:
        """See ``Replays.all``."""
        with redis_errors():
            ids: Any = self._redis.zrevrange(f"{REPLAYS}all", 0, -1)
            texts: Any = self._redis.mget([f"{REPLAYS}{one}" for one in ids]) if ids else []
            if gone := [one for one, text in zip(ids, texts, strict=True) if text is None]:
                self._redis.zrem(f"{REPLAYS}all", *gone)
        return [Replay.load(text) for text in texts if text is not None]

    def lanes(self, replay_id: str, part: int) -> dict[str, LaneReplay]:
        """See ``Replays.lanes``."""
        with redis_errors():
            rows: Any = self._redis.hgetall(f"{REPLAYS}{replay_id}:{part}")
        return {str(lane): LaneReplay.load(text) for lane, text in rows.items()}

    def all_lanes(self, replay_id: str) -> Iterator[LaneReplay]:
        """See ``Replays.all_lanes``."""
        found = self.read(replay_id)
        for part in range(found.parts if found is not None else 0):
            yield from self.lanes(replay_id, part).values()

    def note_lanes(self, replay_id: str, part: int, lanes: Sequence[LaneReplay]) -> None:
        """See ``Replays.note_lanes``."""
        for some in _chunks(lanes):
            with redis_errors():
                self._redis.hset(f"{REPLAYS}{replay_id}:{part}", mapping={lane.lane: lane.dump() for lane in some})

    def take(self, replay_id: str, lanes: Sequence[str]) -> dict[str, str]:
        """See ``Replays.take``."""
        taken: list[str] = []
        for some in _chunks(lanes):
            pipe = self._redis.pipeline(transaction=False)
            for lane in some:
                pipe.hsetnx(f"{REPLAYS}busy", lane, replay_id)
            taken += [lane for lane, got in zip(some, answers_of(pipe), strict=True) if got]
        missed = sorted(set(lanes) - set(taken))
        others = {lane: other for lane, other in self.holders(missed).items() if other != replay_id}
        if others:
            self.release(replay_id, taken)
        return others

    def release(self, replay_id: str, lanes: Sequence[str]) -> None:
        """See ``Replays.release``."""
        for some in _chunks(lanes):
            mine = [lane for lane, holder in self.holders(some).items() if holder == replay_id]
            if mine:
                with redis_errors():
                    self._redis.hdel(f"{REPLAYS}busy", *mine)

    def holders(self, lanes: Sequence[str]) -> Mapping[str, str]:
        """See ``Replays.holders``."""
        found: dict[str, str] = {}
        for some in _chunks(lanes):
            with redis_errors():
                ids: Any = self._redis.hmget(f"{REPLAYS}busy", list(some))
            found |= {lane: str(one) for lane, one in zip(some, ids, strict=True) if one is not None}
        return found

    def lease_part(self, replay_id: str, part: int, token: str, seconds: float) -> bool:
        """See ``Replays.lease_part``."""
        key, ms = f"{REPLAYS}{replay_id}:{part}:lease", int(seconds * 1000)
        with redis_errors():
            if self._redis.set(key, token, nx=True, px=ms):
                return True
            if self._redis.get(key) != token:
                return False
            return bool(self._redis.pexpire(key, ms))

    def free_part(self, replay_id: str, part: int, token: str) -> None:
        """See ``Replays.free_part``."""
        key = f"{REPLAYS}{replay_id}:{part}:lease"
        with redis_errors():
            if self._redis.get(key) == token:
                self._redis.delete(key)

    def take_share(self, events: int, per_second: int) -> float:
        """See ``Replays.take_share``. It keeps the moment up to which the rate is used up, by the server's clock."""
        key = f"{REPLAYS}until"
        with redis_errors():
            for _ in range(TRIES):
                with self._redis.pipeline(transaction=True) as pipe:
                    pipe.watch(key)  # type: ignore[no-untyped-call]
                    seconds, micros = pipe.time()
                    now_ms = int(seconds) * 1000 + int(micros) / 1000
                    until_ms = max(float(pipe.get(key) or now_ms), now_ms - UNUSED_MS)
                    if until_ms > now_ms:
                        return (until_ms - now_ms) / 1000
                    pipe.multi()
                    pipe.set(key, until_ms + events * 1000 / per_second, px=int(events * 1000 / per_second) + 60_000)
                    try:
                        pipe.execute()
                    except redis.WatchError:
                        continue
                    return 0.0
        return 1.0

    def retire(self, replay_id: str, seconds: int) -> None:
        """See ``Replays.retire``. What lists replays takes its id from the list later."""
        found = self.read(replay_id)
        if found is None:
            return
        pipe = self._redis.pipeline(transaction=True)
        for key in [f"{REPLAYS}{replay_id}", *(f"{REPLAYS}{replay_id}:{part}" for part in range(found.parts))]:
            pipe.expire(key, seconds)
        answers_of(pipe)


def _chunks(items: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for start in range(0, len(items), LANES_AT_ONCE):
        yield items[start : start + LANES_AT_ONCE]


__all__ = ["RedisReplays"]
