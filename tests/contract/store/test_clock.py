"""The store's clock goes back: a step, or a failover to a host that is behind. Nothing waits for it to catch up."""

from __future__ import annotations

from kato_tasks import ports
from kato_tasks.adapters.redis.keys import prefix
from kato_tasks.domain.ids import lane_of, partition_of
from tests.contract.store.log import Log, new_token, numbered

P = partition_of(lane_of("n"))
TWENTY_MINUTES = 1_200_000
LIMIT, LEASE = 200_000, 300


def now_ms(log: Log) -> int:
    seconds, micros = log.redis.time()
    return int(seconds) * 1000 + int(micros) // 1000


def test_a_lane_whose_due_time_lies_beyond_any_wait_is_due_now(log: Log) -> None:
    log.append("n", *numbered("a", 1, 1))
    ahead = now_ms(log) + TWENTY_MINUTES
    log.redis.zadd(f"{prefix(P)}pend:n", {"a": ahead})
    log.redis.zadd(f"{prefix(P)}ready", {"n": ahead})
    assert log.lease("n", new_token()) is None
    assert log.do(ports.ClockBack(P, LIMIT, LEASE)) == 1
    assert log.taken("n", new_token()).session == "a"


def test_a_due_time_that_may_have_been_meant_is_kept(log: Log) -> None:
    log.append("n", *numbered("a", 1, 1))
    ahead = now_ms(log) + LIMIT // 2
    log.redis.zadd(f"{prefix(P)}pend:n", {"a": ahead})
    log.redis.zadd(f"{prefix(P)}ready", {"n": ahead})
    assert log.do(ports.ClockBack(P, LIMIT, LEASE)) == 0
    assert log.redis.zscore(f"{prefix(P)}ready", "n") == ahead


def test_the_lease_of_a_dead_holder_ends_though_the_clock_went_back(log: Log) -> None:
    log.append("n", *numbered("a", 1, 1))
    log.taken("n", new_token(), ms=TWENTY_MINUTES)
    assert log.do(ports.ClockBack(P, LIMIT, LEASE)) == 1
    assert log.comes("n", new_token()).session == "a"


def test_a_mark_that_stands_for_longer_than_it_was_set_for_is_taken(log: Log) -> None:
    """Else whose turn the sweep is stays decided until the clock has caught up."""
    key = "kt:{sweep}:turn"
    log.redis.set(key, "1", px=TWENTY_MINUTES)
    assert log.do(ports.SetMark("sweep", 0, 900)) is True
    assert log.do(ports.SetMark("sweep", 0, 900)) is False
    assert 0 < log.redis.pttl(key) <= 900
