"""What is kept of a session for KATO's own API: made once, changed by one client at a time, and handed to the drain."""

from __future__ import annotations

from typing import Any

from kato_tasks import ports
from kato_tasks.domain.log_entry import predict_entry
from tests.contract.store.log import Log, binding, learn, numbered, observation

CONFIG = '{"recall_threshold":0.3}'


def keep(log: Log, row: str = "{}", config: str = "", before: str = "", session: str = "a") -> bool:
    return log.do(ports.KeepFrontSession("n", session, "n", row, config, before))


def find(log: Log, session: str = "a") -> ports.FrontState | None:
    return log.do(ports.FindFrontSession("n", session))


def test_a_session_that_nobody_made_is_not_there(log: Log) -> None:
    assert find(log) is None


def test_a_session_that_was_made_is_there_without_an_event(log: Log) -> None:
    assert keep(log, '{"m":1}')
    assert find(log) == ports.FrontState('{"m":1}', 0, 0, 0, idle=True)
    (row,) = [one for one in log.dump() if one.endswith("s:a")]
    assert log.redis.hgetall(row) == {"lane": "n", "node": "n", "head": "0", "cur": "0", "mark": "0"}


def test_a_session_of_events_alone_is_there_without_a_row(log: Log) -> None:
    log.append("n", observation("a", "1"))
    assert find(log) == ports.FrontState("", 1, 0, 0, idle=True)


def test_a_row_that_another_client_changed_is_not_written_over(log: Log) -> None:
    """Falls without the comparison in keep_front.lua."""
    assert keep(log, '{"m":1}')
    assert keep(log, '{"m":1}'), "a repeat is the same"
    assert not keep(log, '{"m":2}'), "it is made only once"
    assert keep(log, '{"m":3}', before='{"m":1}')
    assert not keep(log, '{"m":4}', before='{"m":1}')
    found = find(log)
    assert found is not None
    assert found.row == '{"m":3}'


def test_making_a_session_that_has_events_leaves_them_as_they_are(log: Log) -> None:
    log.append("n", *numbered("a", 1, 3))
    log.commit(log.held("n", "t"), log.taken("n", "t"), go_on=False)
    assert keep(log, config=CONFIG)
    assert find(log) == ports.FrontState("{}", 3, 3, 0, idle=True)
    assert log.state("n", "a")["cf"] == CONFIG


def test_the_config_comes_with_the_work_and_goes_when_it_is_taken_back(log: Log) -> None:
    assert keep(log, config=CONFIG)
    log.append("n", *numbered("a", 1, 2))
    work = log.taken("n", "t")
    assert (work.config, work.unreadable) == ({"recall_threshold": 0.3}, "")
    log.do(ports.GiveLaneBack(log.held("n", "t")))
    assert keep(log, row='{"m":2}', before="{}")
    assert log.taken("n", "u").config == {}


def test_a_config_that_cannot_be_read_parks_its_session_alone(log: Log) -> None:
    assert keep(log, config="[")
    log.append("n", *numbered("a", 1, 1))
    assert "config" in log.taken("n", "t").unreadable


def test_a_session_with_something_under_way_is_not_idle(log: Log) -> None:
    log.append("n", observation("a", "1"), predict_entry("a", "p"))
    found = find(log)
    assert found is not None
    assert not found.idle
    assert not found.has_empty_stm


def test_a_session_whose_last_event_was_a_learn_has_an_empty_stm(log: Log) -> None:
    log.append("n", *numbered("a", 1, 1), learn("a", "l"))
    assert not found_empty(log)
    held, work = log.held("n", "t"), log.taken("n", "t")
    log.commit(held, work)
    assert not found_empty(log), "the learn is not applied yet"
    log.do(ports.Commit(held, "a", "l", 1, 2, binding(), stm_start=2))
    assert found_empty(log)


def found_empty(log: Log) -> bool:
    found = find(log)
    assert found is not None
    return found.has_empty_stm


def test_what_a_predict_reads_comes_with_the_work(log: Log) -> None:
    log.append(
        "n", observation("a", "1"), predict_entry("a", "p", 10**15, "stm"), predict_entry("a", "q", read="percept-data")
    )
    held, work = log.held("n", "t"), log.taken("n", "t")
    seen: list[Any] = []
    after = log.commit(held, work).work
    while after is not None:
        seen.append((after.predict_id, after.predict_until_ms, after.read))
        done = ports.Commit(held, "a", after.predict_id, 1, 1, None, keep_binding=True, predict_id=after.predict_id)
        after = log.do(done).work
    assert seen == [("p", 10**15, "stm"), ("q", 0, "percept-data")]
    assert not [one for one in log.dump() if "until:" in one]


def test_results_are_read_by_their_events(log: Log) -> None:
    log.append("n", *numbered("a", 1, 2))
    log.commit(log.held("n", "t"), log.taken("n", "t"), results=[("a-2", '{"r":2}')])
    assert log.do(ports.ReadResults("n", "a", ["a-1", "a-2"])) == [None, '{"r":2}']
