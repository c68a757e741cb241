"""claim, park, complete: a task finds its result, or its lane, or a place to wait, and none is ever forgotten."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from kato_tasks import ports
from kato_tasks.adapters.redis.keys import prefix
from kato_tasks.adapters.redis.operations import Retention
from kato_tasks.domain.ids import partition_of
from kato_tasks.testing.waiting import wait_until
from tests.contract.store.conftest import MakeLog
from tests.contract.store.log import Log, learn, new_token, numbered, observation, predict


def owed(log: Log, age_ms: int = -1) -> list[ports.WaitingTask]:
    return log.do(ports.OrphanedTasks(partition_of("n"), age_ms, 100))


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
    progress = log.claim("n", "ill", "ill-1", token="u").progress
    assert progress is not None
    assert 59_000 < progress.due_ms - progress.now_ms <= 60_000
    assert progress == ports.SessionProgress(0, "why", False, progress.now_ms, progress.due_ms)
    assert not list(log.redis.scan_iter("*:lease:*"))
    assert log.lease("n", "v") is None


def test_a_claim_without_a_task_parks_nothing(log: Log) -> None:
    log.append("n", *numbered("a", 1, 1))
    log.taken("n", "t")
    assert log.claim("n", "a", "a-1", token="u").progress is not None
    assert not list(log.redis.scan_iter("*:w:*"))


def test_a_claim_says_that_its_session_waits_for_a_person(log: Log) -> None:
    log.append("n", *numbered("a", 1, 3))
    log.commit(log.held("n", "t"), log.taken("n", "t"), to=1)
    log.do(ports.Park(log.held("n", "t"), "a", '{"reason": "why"}', go_on=False))
    progress = log.claim("n", "a", "a-3", position=3).progress
    assert progress is not None
    assert (progress.cursor, progress.parked) == (1, True)


def test_a_parked_task_comes_back_with_the_commit_of_its_event(log: Log) -> None:
    log.append("n", *numbered("a", 1, 2))
    work = log.taken("n", "t")
    log.claim("n", "a", "a-1", task_id="one", request='{"n":1}')
    log.claim("n", "a", "a-1", task_id="two", request='{"n":2}')
    log.claim("n", "a", "a-2", task_id="three", request='{"n":3}', position=2)
    done = log.commit(log.held("n", "t"), work, results=[("a-1", "{}"), ("a-2", "[]")])
    assert done.completed == (
        ports.WaitingTask("a", "a-1", "{}", {"one": '{"n":1}', "two": '{"n":2}'}),
        ports.WaitingTask("a", "a-2", "[]", {"three": '{"n":3}'}),
    )


def test_a_task_parked_twice_waits_once(log: Log) -> None:
    log.append("n", *numbered("a", 1, 1))
    work = log.taken("n", "t")
    for _ in range(2):
        log.claim("n", "a", "a-1", task_id="one", request='{"n":1}')
    done = log.commit(log.held("n", "t"), work, results=[("a-1", "{}")])
    assert done.completed == (ports.WaitingTask("a", "a-1", "{}", {"one": '{"n":1}'}),)


def test_a_parked_task_of_a_dead_holder_stays_owed_until_it_was_completed(log: Log) -> None:
    """Falls when commit.lua leaves out `owed`, or orphaned_tasks.lua takes an entry away before its unpark."""
    log.append("n", *numbered("a", 1, 1))
    work = log.taken("n", "t")
    log.claim("n", "a", "a-1", task_id="one", request="{}")
    log.commit(log.held("n", "t"), work, results=[("a-1", '{"r":1}')])
    assert owed(log, 60_000) == []
    expected = [ports.WaitingTask("a", "a-1", '{"r":1}', {"one": "{}"})]
    assert owed(log) == expected
    assert owed(log, 60_000) == []  # put back to now: another sweep does not take it at once
    assert owed(log) == expected
    log.do(ports.DropWaitingTask("n", "a", "a-1", "one"))
    log.do(ports.DropWaitingTask("n", "a", "a-1", "one"))
    assert owed(log) == []
    assert not list(log.redis.scan_iter("*:w:*"))


def test_of_two_parked_tasks_the_second_stays_owed_when_the_first_is_completed(log: Log) -> None:
    log.append("n", *numbered("a", 1, 1))
    work = log.taken("n", "t")
    for task in ("one", "two"):
        log.claim("n", "a", "a-1", task_id=task, request="{}")
    log.commit(log.held("n", "t"), work, results=[("a-1", "{}")])
    log.do(ports.DropWaitingTask("n", "a", "a-1", "one"))
    assert owed(log) == [ports.WaitingTask("a", "a-1", "{}", {"two": "{}"})]


def test_tasks_that_race_with_the_commit_get_the_result_or_are_completed_by_it(log: Log) -> None:
    """No forgotten task. Falls when take_or_wait.lua parks before it looks for the result and does not look again."""
    for round_ in range(25):
        session = f"s{round_}"
        log.append("n", observation(session, "e"))
        work = log.taken("n", "t")
        go = threading.Barrier(5)

        def claim(task: int, session: str = session, go: threading.Barrier = go) -> ports.Found:
            go.wait()
            return log.claim("n", session, "e", task_id=f"{task}", request="{}")

        def commit(work: ports.Work = work, go: threading.Barrier = go) -> ports.NextWork:
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
    assert done.completed == (ports.WaitingTask("a", "p", "[]", {"one": "{}"}),)


# ------------------------------------------------------------------ an event is its id


def test_a_claim_at_a_position_that_another_event_has_finds_no_event(log: Log) -> None:
    """Falls when take_or_wait.lua takes the position for the event."""
    log.append("n", observation("a", "other"))
    assert log.claim("n", "a", "lost", position=1, token="t").work is not None
    log.redis.flushall()
    log.append("n", observation("a", "other"))
    assert log.claim("n", "a", "lost", position=1, task_id="one").unknown
    log.commit(log.held("n", "t"), log.taken("n", "t"))
    assert log.claim("n", "a", "lost", position=1, task_id="one").unknown
    assert log.claim("n", "a", "other", position=1, task_id="one").applied
    assert not list(log.redis.scan_iter("*:w:*"))


def test_a_claim_beyond_the_logs_end_finds_no_event(log: Log) -> None:
    log.append("n", observation("a", "first"))
    assert log.claim("n", "a", "lost", position=2, task_id="one").unknown
    assert log.claim("n", "never", "lost", position=1, task_id="one").unknown
    assert not list(log.redis.scan_iter("*:w:*"))


def test_an_event_of_a_long_log_is_found_at_its_position(log: Log) -> None:
    log.append("n", *numbered("a", 1, 300))
    for position in (1, 2, 150, 299, 300):
        assert log.claim("n", "a", f"a-{position}", position=position).progress is not None
    log.drained("n")
    for position in (1, 2, 150, 299, 300):
        assert log.claim("n", "a", f"a-{position}", position=position).applied


@pytest.mark.parametrize("kind", ["observation", "learn"])
def test_a_dead_letter_is_not_taken_for_applied_when_its_result_has_expired(log: Log, kind: str) -> None:
    """Falls when take_or_wait.lua answers `applied` for whatever lies behind the cursor."""
    log.append("n", observation("a", "e") if kind == "observation" else learn("a", "e"))
    work, held = log.taken("n", "t"), log.held("n", "t")
    symbols = [(1, "null")] if kind == "observation" else []
    letter = '{"reason":"why"}'
    log.do(ports.Commit(held, "a", "c", 0, 1, None, symbols=symbols, dead=[("a\n1", letter)], go_on=False))
    assert work.entries[0].event_id == "e"
    assert log.claim("n", "a", "e", task_id="one") == ports.Found(dead=letter)
    log.do(ports.DropDeadLetter("n", "a\n1"))
    assert log.claim("n", "a", "e", task_id="one").dead == ("" if kind == "observation" else None)


def test_a_predict_that_nobody_asks_any_more_is_not_waited_for(log: Log) -> None:
    """Falls when take_or_wait.lua parks whatever has no position."""
    log.append("n", *numbered("a", 1, 1), predict("a", "p"))
    assert log.claim("n", "a", "p", position=0, task_id="one", kind="p") == ports.Found()
    assert log.claim("n", "a", "another", position=0, task_id="one", kind="p").unknown
    log.drained("n")
    assert log.claim("n", "a", "p", position=0, task_id="two", kind="p").unknown


def test_what_is_kept_for_later_is_waited_for_until_it_is_due(log: Log) -> None:
    assert log.claim("n", "a", "e", position=0, task_id="one", kind=str(10**15)) == ports.Found()
    assert log.claim("n", "a", "e", position=0, task_id="one", kind="1000").unknown


# ------------------------------------------------------------------ every waiter is told


def test_a_task_that_waits_for_an_event_appended_without_one_gets_its_result(log: Log) -> None:
    """Falls when a claim does not write down that the entry has a caller now."""
    log.append("n", *numbered("a", 1, 3))
    log.claim("n", "a", "a-2", position=2, task_id="one")
    work = log.taken("n", "t")
    assert [entry.wanted for entry in work.entries] == [False, True, False]
    done = log.commit(log.held("n", "t"), work, results=[("a-2", '{"full":1}')])
    assert done.completed == (ports.WaitingTask("a", "a-2", '{"full":1}', {"one": "{}"}),)


def test_a_task_that_comes_to_wait_while_its_event_is_under_way_is_told_by_the_commit(log: Log) -> None:
    """Falls when commit.lua answers those alone that Python has results for."""
    log.append("n", *numbered("a", 1, 5))
    work, held = log.taken("n", "t"), log.held("n", "t")
    log.claim("n", "a", "a-2", position=2, task_id="one")
    log.claim("n", "a", "a-4", position=4, task_id="two")
    done = log.commit(held, work, to=3)
    plain = {"status": "applied", "session_id": "a", "node_id": "n", "event_id": "a-2", "position": 2}
    assert [(p.event_id, json.loads(p.result), p.requests) for p in done.completed] == [("a-2", plain, {"one": "{}"})]
    assert done.work is not None
    done = log.commit(held, done.work)
    assert [(p.event_id, p.requests) for p in done.completed] == [("a-4", {"two": "{}"})]
    assert "wt" not in log.state("n", "a")
    assert json.loads(log.claim("n", "a", "a-2", position=2).result or "") == plain


def test_4200_requests_of_one_event_neither_fail_its_commit_nor_anothers(log: Log) -> None:
    """As the landed version parked them, without a limit. Falls when a script unpacks them."""
    log.append("n", *numbered("a", 1, 2), *numbered("b", 1, 1))
    work, held = log.taken("n", "t"), log.held("n", "t")
    w = f"{prefix(partition_of('n'))}w:a-1\na"
    log.redis.hset(w, mapping={f"t{i}": "{}" for i in range(4_200)})
    log.claim("n", "a", "a-2", position=2, task_id="y")
    done = log.commit(held, work, results=[("a-1", "{}"), ("a-2", "[]")])
    assert [(p.event_id, len(p.requests)) for p in done.completed] == [("a-1", 100), ("a-2", 1)]
    told: set[str] = set()
    while log.redis.exists(w):
        rounds = [p for p in owed(log) if p.event_id == "a-1"]
        assert [len(p.requests) for p in rounds] == [100]
        told |= set(rounds[0].requests)
        log.all(*(ports.DropWaitingTask("n", "a", "a-1", task) for task in rounds[0].requests))
    assert len(told) == 4_200


def test_so_many_tasks_wait_for_one_event_and_the_next_is_told_so(log: Log) -> None:
    log.append("n", *numbered("a", 1, 1))
    log.taken("n", "t")
    for task in range(ports.MAX_WAITING_TASKS):
        assert log.claim("n", "a", "a-1", task_id=f"{task}") == ports.Found()
    assert log.claim("n", "a", "a-1", task_id="one more").full
    assert log.claim("n", "a", "a-1", task_id="7", request='{"again":1}') == ports.Found()


def looked_at(log: Log) -> list[ports.WaitingTask]:
    return log.do(ports.OrphanedTasks(partition_of("n"), 60_000, 100, -1))


def stored(position: int, **more: object) -> str:
    return json.dumps({"task": "t", "kwargs": {}, "request": {"kato": {"lane": "n", "position": position, **more}}})


def test_a_request_whose_event_is_gone_is_found_by_the_sweep_and_one_that_waits_rightly_is_not(log: Log) -> None:
    """Falls when orphaned_tasks.lua looks only at results."""
    log.append("n", *numbered("a", 1, 1), *numbered("b", 1, 1), predict("b", "p"))
    log.claim("n", "a", "a-1", task_id="one", request=stored(1))
    log.claim("n", "b", "b-1", task_id="two", request=stored(1))
    log.claim("n", "b", "p", position=0, kind="p", task_id="three", request=stored(0, predict=True))
    log.claim("n", "c", "e", position=0, kind=str(10**15), task_id="four", request=stored(0, due=10**15))
    assert looked_at(log) == []
    p = prefix(partition_of("n"))
    log.redis.delete(f"{p}log:a", f"{p}s:a")
    assert looked_at(log) == [ports.WaitingTask("a", "a-1", "", {"one": stored(1)})]
    log.redis.delete(f"{p}asks:b")
    assert {found.event_id for found in looked_at(log)} == {"a-1", "p"}
    log.do(ports.DropWaitingTask("n", "a", "a-1", "one"))
    log.do(ports.DropWaitingTask("n", "b", "p", "three"))
    assert looked_at(log) == []


def test_a_request_that_cannot_be_read_is_looked_at_and_stops_no_other(log: Log) -> None:
    log.append("n", *numbered("a", 1, 2))
    for position, request in ((1, "{"), (2, '{"request":{"kato":{"position":1.5}}}')):
        log.claim("n", "a", f"a-{position}", position=position, task_id="one", request=request)
    assert {found.event_id for found in looked_at(log)} == {"a-1", "a-2"}


def test_a_result_that_expired_before_its_task_was_completed_leaves_its_request_to_the_sweep(
    remembering: MakeLog,
) -> None:
    """Falls when orphaned_tasks.lua forgets what has no result any more."""
    log = remembering(Retention(result_ms=50))
    log.append("n", *numbered("a", 1, 1))
    work = log.taken("n", "t")
    log.claim("n", "a", "a-1", task_id="one", request=stored(1))
    log.commit(log.held("n", "t"), work, results=[("a-1", "{}")])
    log.redis.delete(f"{prefix(partition_of('n'))}waiting")  # as the landed version left it
    wait_until(lambda: not list(log.redis.scan_iter("*:r:*")), 5)
    assert owed(log) == []
    assert looked_at(log) == [ports.WaitingTask("a", "a-1", "", {"one": stored(1)})]


# ------------------------------------------------------------------------------- results leave the store


def ms_left(log: Log, event_id: str) -> int:
    return int(log.redis.pttl(f"{prefix(partition_of('n'))}r:{event_id}\na"))


def test_a_result_leaves_the_store_soon_after_somebody_was_told(log: Log) -> None:
    """Falls without `told` in _lib.lua: every result would lie in the store for a day, a prediction with tens of KB."""
    log.append("n", *numbered("a", 1, 2))
    results = [("a-1", "{}"), ("a-2", "{" + " " * 50_000 + "}")]
    log.commit(log.held("n", "t"), log.taken("n", "t"), results=results)
    assert min(ms_left(log, name) for name, _ in results) > 80_000_000
    for name, _ in results:
        log.do(ports.NoteDelivery("n", "a", name))
        log.do(ports.NoteDelivery("n", "a", name))
    assert 0 < ms_left(log, "a-1") <= 90_000
    assert ms_left(log, "a-2") == -2


def test_a_result_stays_until_the_last_task_that_waits_for_it_was_told(log: Log) -> None:
    log.append("n", *numbered("a", 1, 1))
    for task_id in ("one", "two"):
        log.claim("n", "a", "a-1", task_id=task_id)
    log.commit(log.held("n", "t"), log.taken("n", "t"), results=[("a-1", "{" + " " * 50_000 + "}")])
    log.do(ports.NoteDelivery("n", "a", "a-1"))
    log.do(ports.DropWaitingTask("n", "a", "a-1", "one"))
    assert ms_left(log, "a-1") > 80_000_000
    log.do(ports.DropWaitingTask("n", "a", "a-1", "two"))
    assert ms_left(log, "a-1") == -2
    assert not list(log.redis.scan_iter("*:w:*"))


def test_a_prediction_that_nobody_was_told_is_kept_for_minutes(remembering: MakeLog) -> None:
    log = remembering(Retention(prediction_ms=900_000))
    log.append("n", *numbered("a", 1, 1), predict("a", "p"))
    held = log.held("n", "t")
    work = log.commit(held, log.taken("n", "t"), results=[("a-1", "{}")]).work
    assert work is not None
    log.commit(held, work, results=[("p", "{}")], answers="p")
    assert 0 < ms_left(log, "p") <= 900_000 < ms_left(log, "a-1")
