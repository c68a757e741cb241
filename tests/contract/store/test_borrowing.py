"""A KATO session that one session of a lane left empty passes to the next one, in one script, and is never two's."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from kato_tasks import ports
from kato_tasks.adapters.redis.keys import prefix
from kato_tasks.domain.ids import partition_of
from kato_tasks.domain.kato_session import Binding, Intent
from kato_tasks.errors import LeaseLost
from tests.contract.store.log import Log, binding, learn, new_token, numbered

RUN = "run-1"


def left_empty(log: Log, session: str = "a") -> Binding:
    """The session has observed and learned, and its KATO session is idle."""
    log.append("n", *numbered(session, 1, 2), learn(session, f"{session}-l"))
    token = new_token()
    work = log.comes("n", token)
    done = log.commit(log.held("n", token), work)
    assert done.work is not None
    idle = replace(binding(time=2), stm_length=0, run=RUN, shared=True, base=2)
    commit = ports.Commit(log.held("n", token), session, new_token(), 2, 3, idle, stm_start=3)
    assert log.do(commit).work is None
    return idle


def taking(log: Log, idle: Binding, **more: Any) -> tuple[ports.Lease, ports.WriteIntent]:
    """`b` begins its first call on the KATO session of `a`."""
    log.append("n", *numbered("b", 1, 2))
    token = new_token()
    log.comes("n", token)
    held = log.held("n", token)
    intent = Intent(new_token(), "observe", 1, 2, 2, 0)
    write = ports.WriteIntent(held, "b", 0, intent, replace(idle, epoch=1), lender="a", lent=idle.dump())
    return held, replace(write, **more)


def bound(log: Log, session: str) -> Binding | None:
    found, _ = log.do(ports.ReadSession("n", session))
    return found


def test_a_kato_session_passes_from_one_session_to_the_next_with_the_intent_of_its_first_call(log: Log) -> None:
    """Invariant 2. Falls when intent.lua leaves the lender bound."""
    _, write = taking(log, left_empty(log))
    assert log.do(write) is True
    assert bound(log, "a") is None
    assert bound(log, "b") == write.binding
    assert log.do(ports.ReadSession("n", "b"))[1] == write.intent


def test_taking_a_kato_session_over_twice_is_taking_it_once(log: Log) -> None:
    """A reply may be late. Falls when intent.lua asks the lender again."""
    _, write = taking(log, left_empty(log))
    assert log.do(write) is True
    before = log.dump()
    assert log.do(write) is True
    assert log.dump() == before


def test_a_lender_that_is_bound_otherwise_keeps_its_kato_session_and_nothing_is_written(log: Log) -> None:
    """Falls when intent.lua does not compare the lender's binding."""
    idle = left_empty(log)
    _, write = taking(log, idle, lent=replace(idle, time=3).dump())
    before = log.dump()
    assert log.do(write) is False
    assert log.dump() == before
    assert bound(log, "a") == idle


@pytest.mark.parametrize(
    "what", ["has an event waiting", "has a call under way", "is parked", "is of another lane", "is no hash"]
)
def test_a_lender_that_is_not_idle_keeps_its_kato_session(log: Log, what: str) -> None:
    idle = left_empty(log)
    held, write = taking(log, idle)
    key = f"{prefix(partition_of('n'))}s:a"
    if what == "has an event waiting":
        log.append("n", *numbered("a", 4, 4))
    elif what == "has a call under way":
        log.do(ports.WriteIntent(held, "a", 3, Intent("open", "clear", 4, 4)))
    elif what == "is parked":
        log.redis.hset(key, "pk", "{}")
    elif what == "is of another lane":
        log.redis.hset(key, "lane", "m")
    else:
        log.redis.delete(key)
        log.redis.set(key, "")
    assert log.do(write) is False
    assert bound(log, "b") is None


def test_a_session_that_has_a_kato_session_takes_no_other(log: Log) -> None:
    idle = left_empty(log)
    held, write = taking(log, idle)
    own = binding()
    log.do(ports.Bind(held, "b", 0, own))
    assert log.do(write) is False
    assert (bound(log, "a"), bound(log, "b")) == (idle, own)


def test_a_holder_that_lost_its_lease_passes_nothing_on(log: Log) -> None:
    idle = left_empty(log)
    _, write = taking(log, idle)
    late = replace(write, lease=replace(write.lease, token="stale"))
    with pytest.raises(LeaseLost):
        log.do(late)
    assert bound(log, "a") == idle


def test_a_commit_whose_intent_the_store_forgot_binds_no_kato_session_that_another_may_have(log: Log) -> None:
    """Invariant 2: the store went back to before `b` took it over. Falls without the question in commit.lua."""
    idle = left_empty(log)
    held, write = taking(log, idle)
    # As the store would be: `a` is bound as ever, and `b` was only leased.
    commit = ports.Commit(held, "b", write.intent.call, 0, 2, replace(idle, time=4, stm_length=2), borrowed=True)
    log.do(commit)
    assert bound(log, "a") == idle
    assert bound(log, "b") is None
    assert log.state("n", "b")["cur"] == "2"


def test_a_commit_that_closes_the_intent_of_the_first_call_keeps_the_binding(log: Log) -> None:
    held, write = taking(log, left_empty(log))
    log.do(write)
    after = replace(write.binding or binding(), time=4, stm_length=2)
    log.do(ports.Commit(held, "b", write.intent.call, 0, 2, after, borrowed=True))
    assert bound(log, "b") == after


def test_a_session_that_gave_its_kato_session_up_says_in_which_run_until_it_has_another(log: Log) -> None:
    held, write = taking(log, left_empty(log))
    log.do(write)
    log.do(ports.Commit(held, "b", write.intent.call, 0, 2, write.binding))
    log.append("n", *numbered("a", 4, 4))
    work = log.comes("n", "next")
    assert (work.session, work.gave_up_in) == ("a", RUN)
    log.do(ports.Bind(log.held("n", "next"), "a", 3, binding()))
    assert "gr" not in log.state("n", "a")


def test_a_session_whose_learn_or_clear_is_next_goes_on_before_the_others(log: Log) -> None:
    """So that its KATO session is free for the next one. Falls when commit.lua does not prefer it."""
    for session in "ab":
        log.append("n", *numbered(session, 1, 2), learn(session, f"{session}-l"), *numbered(session, 4, 4))
    # Long ago: a turn that ends in the millisecond of the appends would not be behind the others.
    log.redis.zadd(f"{prefix(partition_of('n'))}pend:n", {"a": 1, "b": 2})
    token = new_token()
    held, turns = log.held("n", token), []
    work: ports.Work | None = log.comes("n", token)
    while work is not None:
        turns.append((work.session, work.entries[0].kind))
        work = log.commit(held, work).work
    assert turns == [("a", "o"), ("a", "l"), ("b", "o"), ("b", "l"), ("a", "o"), ("b", "o")]
