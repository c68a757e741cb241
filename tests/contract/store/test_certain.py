"""Frequencies that a lane's own learns left: known until anything was applied of which no account was kept."""

from __future__ import annotations

import pytest

from kato_tasks import ports
from kato_tasks.adapters.redis.keys import prefix
from kato_tasks.domain.ids import partition_of
from tests.contract.store.log import Log, binding, learn, new_token, numbered, observation

RUN = "run-1"
CERTAIN = f"{prefix(partition_of('n'))}certain:n"


def learns(log: Log, pattern: str, frequency: int, *, certain: str = RUN, session: str = "a") -> ports.Commit:
    """The lane learned a pattern, which has this frequency now."""
    token, name = new_token(), new_token()
    log.append("n", learn(session, name))
    work = log.comes("n", token)
    end = work.cursor + 1
    commit = ports.Commit(
        log.held("n", token),
        session,
        new_token(),
        work.cursor,
        end,
        binding(),
        stm_start=end,
        learned=(pattern, frequency),
        certain=certain,
        go_on=False,
    )
    log.do(commit)
    return commit


def known(log: Log, pattern: str) -> tuple[int, str] | None:
    found = log.do(ports.CertainFrequency("n", pattern))
    return (found[0], found[2]) if found is not None else None


def test_what_the_lane_learned_is_known_with_the_run_of_the_store(log: Log) -> None:
    learns(log, "P", 3)
    learns(log, "Q", 1)
    assert (known(log, "P"), known(log, "Q"), known(log, "R")) == ((3, RUN), (1, RUN), None)
    log.append("n", *numbered("b", 1, 2))
    log.drained("n")
    assert known(log, "P") == (3, RUN)


def test_a_commit_that_is_repeated_keeps_account_once(log: Log) -> None:
    commit = learns(log, "P", 3)
    log.all(commit)
    assert known(log, "P") == (3, RUN)
    learns(log, "Q", 1)
    assert known(log, "P") == (3, RUN)


def test_what_another_version_applied_makes_every_frequency_unknown_for_good(log: Log) -> None:
    """It may have learned. Falls when neither certain.lua nor commit.lua compares the lane's number."""
    learns(log, "P", 3)
    log.redis.hincrby(f"{prefix(partition_of('n'))}lane:n", "seq", 1)
    assert known(log, "P") is None
    learns(log, "Q", 1)
    assert (known(log, "P"), known(log, "Q")) == (None, (1, RUN))


@pytest.mark.parametrize(("certain", "left"), [(ports.UNSURE, (1, RUN)), (ports.ALL_UNSURE, None)])
def test_a_learn_in_doubt_makes_its_pattern_or_all_patterns_unknown(
    log: Log, certain: str, left: tuple[int, str] | None
) -> None:
    """Falls when commit.lua keeps what was known before."""
    learns(log, "P", 3)
    learns(log, "Q", 1)
    learns(log, "P", 4, certain=certain)
    assert (known(log, "P"), known(log, "Q")) == (None, left)


def test_a_kato_that_lost_its_store_makes_every_frequency_unknown(log: Log) -> None:
    learns(log, "P", 3)
    log.append("n", observation("a", "more"))
    token = new_token()
    work = log.comes("n", token)
    log.do(ports.Bind(log.held("n", token), "a", work.cursor, binding(), ltm_lost=True))
    assert known(log, "P") is None


def test_so_many_patterns_are_kept_and_for_ten_minutes(log: Log) -> None:
    """Bounded. Falls when commit.lua does not ask how many there are."""
    learns(log, "P", 3)
    log.redis.hset(CERTAIN, mapping={f"P{i}": f"1 1 {RUN}" for i in range(1_000)})
    learns(log, "Q", 1)
    assert int(log.redis.hlen(CERTAIN)) == 2
    assert 0 < int(log.redis.pttl(CERTAIN)) <= 600_000


def test_the_known_pattern_of_a_lane_is_one_that_it_learned_some_time_ago(log: Log) -> None:
    """The newest one may not be visible at KATO yet, and then it would tell nothing of KATO's ClickHouse."""
    lane = f"{prefix(partition_of('n'))}lane:n"
    learns(log, "P", 1)
    learns(log, "Q", 1)
    assert log.do(ports.KnownPattern("n")) == "P"
    log.redis.hincrby(lane, "kn", -600_001)
    learns(log, "R", 1)
    assert log.do(ports.KnownPattern("n")) == "R"
    log.redis.hdel(lane, "kn")  # as a version before left it
    learns(log, "S", 1)
    assert log.do(ports.KnownPattern("n")) == "S"
