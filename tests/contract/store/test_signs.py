"""What the store keeps for a person: signs of life, sessions whose tries fail, when something moved, what is known."""

from __future__ import annotations

import time
from typing import Any

from kato_tasks import ports
from kato_tasks.adapters.redis.keys import ACKNOWLEDGED, prefix
from kato_tasks.domain.ids import partition_of
from kato_tasks.testing.waiting import wait_until
from tests.contract.store.log import Log, binding, numbered

WORKERS = "kt:{signs}:worker:"


def names(log: Log) -> list[str]:
    assert set(log.redis.hkeys(f"{WORKERS}about")) == set(log.redis.zrange(f"{WORKERS}seen", 0, -1))
    return [str(name) for name in log.redis.zrange(f"{WORKERS}seen", 0, -1)]


def failing(log: Log, node: str) -> list[str]:
    return [str(session) for session in log.redis.zrange(f"{prefix(partition_of(node))}failing", 0, -1)]


def lost(log: Log, node: str) -> tuple[set[str], dict[str, str]]:
    p = prefix(partition_of(node))
    known = {str(lane): str(how) for lane, how in log.redis.hgetall(f"{p}ltm_known").items()}
    return set(map(str, log.redis.smembers(f"{p}ltm_lost"))), known


def test_a_sign_has_the_stores_time_is_taken_back_and_forgotten_after_a_while(log: Log) -> None:
    before = int(time.time() * 1000) - 1_000
    assert log.do(ports.GiveSign("worker", "a", '{"pid":1}', 60_000)) > before
    log.do(ports.GiveSign("worker", "b", '{"pid":2}', 60_000))
    assert names(log) == ["a", "b"]
    log.do(ports.GiveSign("worker", "b", "", 60_000))
    assert names(log) == ["a"]
    log.redis.zadd(f"{WORKERS}seen", {"a": before - 100_000})
    log.do(ports.GiveSign("worker", "c", "{}", 60_000))
    assert names(log) == ["c"]


def test_so_many_signs_are_kept_at_most_however_many_processes_come_and_go(log: Log) -> None:
    for i in range(6):
        log.do(ports.GiveSign("worker", f"w{i}", "{}", 60_000, most=3))
        log.redis.zadd(f"{WORKERS}seen", {f"w{i}": int(time.time() * 1000) - 1_000 + i})
    assert names(log) == ["w3", "w4", "w5"]


def test_a_session_whose_try_failed_stands_among_the_failing_until_a_try_succeeds(log: Log) -> None:
    log.append("n", *numbered("s", 1, 2))
    work, held = log.taken("n", "t"), log.held("n", "t")
    again = log.do(ports.Defer(held, "s", 0, 1, 0, "KATO answered 500")).work
    assert failing(log, "n") == ["s"]
    assert again is not None
    first = log.redis.zscore(f"{prefix(partition_of('n'))}failing", "s")
    wait_until(lambda: time.time() * 1000 > float(first or 0) + 2, 5)
    again = log.do(ports.Defer(held, "s", 0, 2, 0, "KATO answered 500 again")).work
    assert log.redis.zscore(f"{prefix(partition_of('n'))}failing", "s") == first, "since the first of these tries"
    assert again is not None
    log.commit(held, work)
    assert failing(log, "n") == []


def test_a_session_that_waits_for_a_person_is_not_among_the_failing(log: Log) -> None:
    ends: dict[str, ports.Effect[Any]] = {
        "s": ports.Park(log.held("n", "t"), "s", "{}"),
        "z": ports.ParkByHand("n", "z", "{}"),
    }
    for session, end in ends.items():
        log.append("n", *numbered(session, 1, 1))
        log.comes("n", "t")
        log.do(ports.Defer(log.held("n", "t"), session, 0, 1, 0, "why"))
        assert failing(log, "n") == [session]
        log.do(end)
        assert failing(log, "n") == []
        log.expire_lease("n")


def test_a_commit_says_when_something_was_applied_last(log: Log) -> None:
    stats = f"{prefix(partition_of('n'))}stats"
    log.append("n", *numbered("s", 1, 1))
    assert log.redis.hget(stats, "moved") is None
    log.drained("n")
    assert abs(int(log.redis.hget(stats, "moved") or 0) - time.time() * 1000) < 60_000


def test_an_acknowledged_loss_of_patterns_comes_back_when_kato_loses_them_again(log: Log) -> None:
    log.append("n", *numbered("s", 1, 1))
    log.taken("n", "t")
    loss = ports.Bind(log.held("n", "t"), "s", 0, binding(), ltm_lost=True)
    log.do(loss)
    assert lost(log, "n") == ({"n"}, {})
    assert log.do(ports.AcknowledgeLost(partition_of("n"), ("n", "never lost"), "by me")) == 1
    assert lost(log, "n") == (set(), {"n": "by me"})
    assert log.do(ports.AcknowledgeLost(partition_of("n"), ("n",), "again")) == 0
    log.do(loss)
    assert lost(log, "n")[0] == {"n"}


def test_what_was_acknowledged_of_the_whole_is_kept_by_its_id(log: Log) -> None:
    log.do(ports.KeepAcknowledgement("no-beat", "first"))
    log.do(ports.KeepAcknowledgement("no-beat", "second"))
    assert log.redis.hgetall(ACKNOWLEDGED) == {"no-beat": "second"}
