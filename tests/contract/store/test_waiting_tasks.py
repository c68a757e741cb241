"""claim, park, complete: a task finds its result, or its lane, or a place to wait, and none is ever forgotten."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

from kato_tasks import ports
from kato_tasks.adapters.redis.operations import Retention
from kato_tasks.domain.ids import partition_of
from tests.contract.store.conftest import MakeLog
from tests.contract.store.log import Log, new_token, numbered, observation, predict
from tests.waiting import wait_until


def owed(log: Log, age_ms: int = -1) -> list[ports.Parked]:
    return log.do(ports.Owed(partition_of("n"), age_ms, 100))


def test_a_claim_finds_the_result_that_is_there(log: Log) -> None:
    log.append("n", *numbered("a", 1, 1))
    log.commit(log.held("n", "t"), log.taken("n", "t"), results=[("a-1", '{"r":1}')])
    assert log.claim("n", "a", "a-1", token="u").result == '{"r":1}'
    assert not list(log.redis.scan_iter("*:lease:*"))


def test_a_claim_takes_a_free_lane_with_the_claimed_session_first(log: Log) -> None:
    log.append("n", *numbered("first", 1, 2))
    log.append("n", *numbered("mine", 1, 2))
    found = log.claim("n", "mine", "mine-1", token="t").work
    assert found is not None
    assert found.session == "mine"
    assert log.do(ports.Renew(log.held("n", "t"))) is True


def test_a_claim_of_a_session_that_waits_takes_the_lanes_other_work(log: Log) -> None:
    log.append("n", *numbered("ill", 1, 1))
    log.taken("n", "t")
    log.do(ports.Defer(log.held("n", "t"), "ill", 60_000, 1, 0, "why"))
    log.append("n", *numbered("well", 1, 1))
    found = log.claim("n", "ill", "ill-1", token="u").work
    assert found is not None
    assert found.session == "well"


def test_a_claim_that_finds_nothing_due_leaves_the_lane_free(log: Log) -> None:
    log.append("n", *numbered("ill", 1, 1))
    log.taken("n", "t")
    log.do(ports.Defer(log.held("n", "t"), "ill", 60_000, 1, 0, "why"))
    assert log.claim("n", "ill", "ill-1", token="u") == ports.Claimed()
    assert not list(log.redis.scan_iter("*:lease:*"))
    assert log.lease("n", "v") is None


def test_a_claim_without_a_task_parks_nothing(log: Log) -> None:
    log.append("n", *numbered("a", 1, 1))
    log.taken("n", "t")
    assert log.claim("n", "a", "a-1", token="u") == ports.Claimed()
    assert not list(log.redis.scan_iter("*:w:*"))


def test_a_parked_task_comes_back_with_the_commit_of_its_event(log: Log) -> None:
    log.append("n", *numbered("a", 1, 2))
    work = log.taken("n", "t")
    log.claim("n", "a", "a-1", task_id="one", request='{"n":1}')
    log.claim("n", "a", "a-1", task_id="two", request='{"n":2}')
    log.claim("n", "a", "a-2", task_id="three", request='{"n":3}', position=2)
    done = log.commit(log.held("n", "t"), work, results=[("a-1", "{}"), ("a-2", "[]")])
    assert done.completed == (
        ports.Parked("a", "a-1", "{}", {"one": '{"n":1}', "two": '{"n":2}'}),
        ports.Parked("a", "a-2", "[]", {"three": '{"n":3}'}),
    )


def test_a_task_parked_twice_waits_once(log: Log) -> None:
    log.append("n", *numbered("a", 1, 1))
    work = log.taken("n", "t")
    for _ in range(2):
        log.claim("n", "a", "a-1", task_id="one", request='{"n":1}')
    done = log.commit(log.held("n", "t"), work, results=[("a-1", "{}")])
    assert done.completed == (ports.Parked("a", "a-1", "{}", {"one": '{"n":1}'}),)


def test_a_parked_task_of_a_dead_holder_stays_owed_until_it_was_completed(log: Log) -> None:
    """Falls when commit.lua leaves out `owed`, or owed.lua takes an entry away before its unpark."""
    log.append("n", *numbered("a", 1, 1))
    work = log.taken("n", "t")
    log.claim("n", "a", "a-1", task_id="one", request="{}")
    log.commit(log.held("n", "t"), work, results=[("a-1", '{"r":1}')])
    assert owed(log, 60_000) == []
    expected = [ports.Parked("a", "a-1", '{"r":1}', {"one": "{}"})]
    assert owed(log) == expected
    assert owed(log, 60_000) == []  # put back to now: another sweep does not take it at once
    assert owed(log) == expected
    log.do(ports.Unpark("n", "a", "a-1", "one"))
    log.do(ports.Unpark("n", "a", "a-1", "one"))
    assert owed(log) == []
    assert not list(log.redis.scan_iter("*:w:*"))


def test_of_two_parked_tasks_the_second_stays_owed_when_the_first_is_completed(log: Log) -> None:
    log.append("n", *numbered("a", 1, 1))
    work = log.taken("n", "t")
    for task in ("one", "two"):
        log.claim("n", "a", "a-1", task_id=task, request="{}")
    log.commit(log.held("n", "t"), work, results=[("a-1", "{}")])
    log.do(ports.Unpark("n", "a", "a-1", "one"))
    assert owed(log) == [ports.Parked("a", "a-1", "{}", {"two": "{}"})]


def test_tasks_that_race_with_the_commit_get_the_result_or_are_completed_by_it(log: Log) -> None:
    """No forgotten task. Falls when claim.lua parks before it looks for the result and does not look again."""
    for round_ in range(25):
        session = f"s{round_}"
        log.append("n", observation(session, "e"))
        work = log.taken("n", "t")
        go = threading.Barrier(5)

        def claim(task: int, session: str = session, go: threading.Barrier = go) -> ports.Claimed:
            go.wait()
            return log.claim("n", session, "e", task_id=f"{task}", request="{}")

        def commit(work: ports.Work = work, go: threading.Barrier = go) -> ports.Proceeded:
            go.wait()
            return log.commit(log.held("n", "t"), work, results=[("e", "{}")])

        with ThreadPoolExecutor(5) as pool:
            claims = [pool.submit(claim, task) for task in range(4)]
            committed = pool.submit(commit).result()
            served = {f"{task}" for task, c in enumerate(claims) if c.result().result is not None}
        completed = {task for parked in committed.completed for task in parked.requests}
        assert served | completed == {"0", "1", "2", "3"}
        assert not served & completed


def test_an_event_applied_long_ago_is_known_without_its_result(remembering: MakeLog) -> None:
    log = remembering(Retention(result_ms=50))
    log.append("n", *numbered("a", 1, 1))
    log.commit(log.held("n", "t"), log.taken("n", "t"), results=[("a-1", "{}")])
    wait_until(lambda: not list(log.redis.scan_iter("*:r:*")), 5)
    assert log.claim("n", "a", "a-1", token="u", task_id="one").applied


def test_a_result_that_expired_before_its_task_was_completed_leaves_nothing_owed(remembering: MakeLog) -> None:
    log = remembering(Retention(result_ms=50))
    log.append("n", *numbered("a", 1, 1))
    work = log.taken("n", "t")
    log.claim("n", "a", "a-1", task_id="one", request="{}")
    log.commit(log.held("n", "t"), work, results=[("a-1", "{}")])
    wait_until(lambda: not list(log.redis.scan_iter("*:r:*")), 5)
    assert owed(log) == []


def test_a_task_may_wait_for_a_predict(log: Log) -> None:
    log.append("n", *numbered("a", 1, 1), predict("a", "p"))
    token = new_token()
    work = log.taken("n", token)
    log.claim("n", "a", "p", position=0, task_id="one", request="{}")
    work_of_predict = log.commit(log.held("n", token), work).work
    assert work_of_predict is not None
    done = log.commit(log.held("n", token), work_of_predict, answers="p", results=[("p", "[]")])
    assert done.completed == (ports.Parked("a", "p", "[]", {"one": "{}"}),)
