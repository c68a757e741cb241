"""A replay's shadow lane keeps no history of its own: what was applied and is not in an STM leaves the store."""

from __future__ import annotations

import pytest

from kato_tasks import ports
from kato_tasks.adapters.redis.keys import prefix
from kato_tasks.adapters.redis.operations import Retention
from kato_tasks.domain.ids import partition_of
from tests.contract.store.conftest import MakeLog
from tests.contract.store.log import Log, learn, new_token, numbered

NODE = "n_of_a_replay"
SESSION = "replay:0123456789ab:a"


@pytest.fixture
def log(remembering: MakeLog) -> Log:
    made = remembering(Retention(archiving="1"))
    made.do(ports.OpenShadow(NODE, "0123456789ab", [SESSION]))
    return made


def apply_run(log: Log) -> None:
    """Apply the observations that are next."""
    token = new_token()
    log.commit(log.held(NODE, token), log.taken(NODE, token), go_on=False)


def kept(log: Log) -> list[str]:
    return [str(text) for text in log.redis.lrange(f"{prefix(partition_of(NODE))}log:{SESSION}", 0, -1)]


def test_copies_leave_the_store_once_they_are_applied_and_learned(log: Log) -> None:
    log.append(NODE, *numbered(SESSION, 1, 3), learn(SESSION, "l"))
    apply_run(log)
    assert len(kept(log)) == 4, "the STM can be made again"
    log.apply_learn(NODE)
    assert kept(log) == []
    assert log.state(NODE, SESSION)["cur"] == "4"


def test_what_comes_after_the_learn_is_applied_and_can_be_read_again(log: Log) -> None:
    log.append(NODE, *numbered(SESSION, 1, 2), learn(SESSION, "l"), *numbered(SESSION, 4, 6))
    apply_run(log)
    log.apply_learn(NODE)
    work = log.taken(NODE, new_token())
    assert [entry.position for entry in work.entries] == [4, 5, 6]
    (entries,) = log.all(ports.ReadLog(NODE, SESSION, 4, 6))
    assert [entry.position for entry in entries] == [4, 5, 6]


def test_a_shadow_lane_is_not_archived_and_counts_what_it_applied(log: Log) -> None:
    log.append(NODE, *numbered(SESSION, 1, 3))
    log.drained(NODE)
    assert log.do(ports.ReadUnarchived(partition_of(NODE), 100, 1_000)) == []
    assert log.order(NODE) == []
    assert log.do(ports.ReadLaneState(NODE))[0] == 3
