"""An error of the store belongs to its own operation, and what must come after a failed one is not sent."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Sequence
from typing import Any

import pytest

from kato_tasks import ports
from kato_tasks.adapters.redis.keys import prefix
from kato_tasks.adapters.redis.store import RedisStore, connect
from kato_tasks.domain.ids import lane_of, partition_of
from kato_tasks.engine.append import Mailbox
from kato_tasks.engine.store_retry import execute_with_retry
from kato_tasks.errors import StoreFailed, StoreUnavailable
from tests.contract.store.log import Log, new_token, numbered, observation


class FailsOnce:
    """A real store whose first append of each partition is not carried out: as OOM, READONLY and LOADING end one."""

    def __init__(self, store: RedisStore) -> None:
        self._store = store
        self._failed: set[int] = set()

    def run(self) -> str:
        return self._store.run()

    def execute(self, operations: Sequence[ports.Effect[Any]]) -> list[Any]:
        answers: list[Any] = []
        for operation in operations:
            if isinstance(operation, ports.Append) and operation.partition not in self._failed:
                self._failed.add(operation.partition)
                answers.append(StoreUnavailable("OOM command not allowed when used memory > 'maxmemory'"))
            else:
                answers += self._store.execute([operation])
        return answers


def test_no_chunk_of_a_session_is_sent_before_the_one_ahead_of_it_is_in_the_log(log: Log) -> None:
    events = numbered("a", 1, 2_500)
    mailbox = Mailbox(FailsOnce(log.store))
    with pytest.raises(StoreUnavailable):
        mailbox.append(events)
    assert log.events("a", "a") == []
    assert [p.appended.position for p in mailbox.append(events).placed] == list(range(1, 2_501))
    assert log.events("a", "a") == [f"a-{i}" for i in range(1, 2_501)]


def test_chunks_keep_their_order_while_the_server_forgets_its_scripts(redis_url: str) -> None:
    """Two appenders with clients of their own, and somebody who flushes the script cache all the time."""
    over = threading.Event()

    def flush() -> None:
        with connect(redis_url) as client:
            while not over.wait(0.02):
                client.script_flush()

    def append(session: str) -> None:
        with connect(redis_url) as client:
            mailbox = Mailbox(RedisStore(client))
            events = numbered(session, 1, 3_000)
            done = False
            while not done:
                # The scripts may be flushed right after they were loaded; its ids are its own.
                with contextlib.suppress(StoreUnavailable):
                    mailbox.append(events)
                    done = True

    flushing = threading.Thread(target=flush)
    flushing.start()
    try:
        for round_ in range(4):
            appending = [threading.Thread(target=append, args=(f"{name}{round_}",)) for name in "ab"]
            for thread in appending:
                thread.start()
            for thread in appending:
                thread.join()
    finally:
        over.set()
        flushing.join()
    with connect(redis_url) as client:
        for session in (f"{name}{round_}" for name in "ab" for round_ in range(4)):
            assert Log(client).events(session, session) == [f"{session}-{i}" for i in range(1, 3_001)]


def test_a_refused_operation_takes_nobody_elses_answer(log: Log) -> None:
    log.redis.set(f"{prefix(partition_of('broken'))}dead", "not a hash")
    before, refused, after = log.all(
        ports.KeepDeadLetter("n", "1", "{}"), ports.KeepDeadLetter("broken", "1", "{}"), ports.KnownPattern("n")
    )
    assert (before, after) == (None, None)
    assert isinstance(refused, StoreFailed)
    assert "WRONGTYPE" in str(refused)
    assert log.redis.hgetall(f"{prefix(partition_of('n'))}dead") == {"1": "{}"}


def test_what_cannot_be_sent_at_all_takes_nobody_elses_answer(log: Log) -> None:
    """A lone surrogate has no UTF-8, which the client only finds when it packs the whole pipeline."""
    before, refused, after = log.all(
        ports.KeepDeadLetter("n", "1", "{}"), ports.KeepDeadLetter("n", "2", "\ud800"), ports.KnownPattern("n")
    )
    assert (before, after) == (None, None)
    assert isinstance(refused, StoreFailed)


def test_a_full_store_is_unavailable_and_not_broken(log: Log) -> None:
    """Falls on Redis 6.2 when the code of a script's error is looked for at the start of its text alone."""
    log.redis.config_set("maxmemory", "1")
    try:
        (appended,) = log.all(ports.Append(partition_of("n"), [("n", "n", observation("a", "e"), 0)]))
    finally:
        log.redis.config_set("maxmemory", "0")
    assert isinstance(appended, StoreUnavailable)


class Counting:
    """A store that counts how often each operation is carried out; those of one partition are never answered."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def run(self) -> str:
        return ""

    def execute(self, operations: Sequence[ports.Effect[Any]]) -> list[Any]:
        answers: list[Any] = []
        for operation in operations:
            assert isinstance(operation, ports.OrphanedTasks)
            self.asked.append(operation.partition)
            away = operation.partition == 1 and self.asked.count(1) < 3
            broken = operation.partition == 2
            answers.append(StoreUnavailable("LOADING") if away else StoreFailed("WRONGTYPE") if broken else [])
        return answers


def test_only_what_is_unavailable_is_asked_again() -> None:
    store = Counting()
    answers = execute_with_retry(store, [ports.OrphanedTasks(p, 0, 1) for p in (0, 1, 2)], 10.0)
    assert answers[:2] == [[], []]
    assert isinstance(answers[2], StoreFailed)
    assert [store.asked.count(p) for p in (0, 1, 2)] == [1, 3, 1]


def test_what_stays_unavailable_is_an_error_in_its_place() -> None:
    store = Counting()
    kept, away = execute_with_retry(store, [ports.OrphanedTasks(p, 0, 1) for p in (0, 1)], 0.0)
    assert kept == []
    assert isinstance(away, StoreUnavailable)


HOSTILE: dict[str, dict[Any, Any]] = {
    "a binding that is no JSON": {"b0": "[oops"},
    "a binding of a newer version": {"b0": '{"v":2,"url":"http://kato"}'},
    "a binding with a text where a number belongs": {"b0": '["http://kato","k","n","x",0,1,1]'},
    "a binding that is too short": {"b0": '["http://kato"]'},
    "an intent that is no JSON": {"i0": "{oops"},
    "an intent of a newer version": {"i0": '{"v":2,"call":"c","kind":"observe","first":1,"last":1}'},
    "an intent of an unknown kind": {"i0": '{"call":"c","kind":"merge","first":1,"last":1}'},
    "an intent without its call": {"i0": '{"kind":"observe","first":1,"last":1}'},
    "a cursor that is no number": {"cur": "x"},
    "a head that is no number": {"head": "x"},
    "attempts that are no number": {"att": "x", "un": "y", "ft": "z", "le": "z", "lm": "w", "mark": "m"},
}
LOGS = {
    "an entry without lines": "rubbish",
    "an entry of an unknown kind": "x0\ne\n{}\n{}",
    "an entry of a newer version": 'o01X\ne\n{}\n{"strings":["a"],"vectors":[]}',
    "an old observation that is no JSON": "o01\ne\n{}\n{oops",
}


def parked_alone(log: Log) -> dict[str, str]:
    """Drain the lane of `bad` and `good` as a holder would; the parked reason, once `good` was applied."""
    token = new_token()
    held = log.held("n", token)
    work = log.lease("n", token)
    applied = []
    reasons = {}
    while work is not None:
        if work.unreadable:
            reasons[work.session] = work.unreadable
            work = log.do(ports.Park(held, work.session, '{"reason":"r"}')).work
        else:
            applied.append(work.session)
            work = log.commit(held, work).work
    assert applied == ["good"]
    assert log.redis.smembers(f"{prefix(partition_of('n'))}parked") == {"bad"}
    return reasons


@pytest.mark.parametrize("row", HOSTILE)
def test_a_session_whose_state_cannot_be_read_is_handed_out_to_be_parked_and_its_lane_goes_on(
    log: Log, row: str
) -> None:
    log.append("n", *numbered("bad", 1, 2))
    log.append("n", *numbered("good", 1, 2))
    log.redis.hset(f"{prefix(partition_of('n'))}s:bad", mapping=HOSTILE[row])
    if row == "attempts that are no number":
        assert sorted(s for s, _ in log.drained("n")) == ["bad", "bad", "good", "good"]
        return
    assert list(parked_alone(log)) == ["bad"]


@pytest.mark.parametrize("row", LOGS)
def test_a_session_whose_log_cannot_be_read_is_handed_out_to_be_parked_and_its_lane_goes_on(log: Log, row: str) -> None:
    log.append("n", *numbered("bad", 1, 2))
    log.append("n", *numbered("good", 1, 2))
    log.redis.lset(f"{prefix(partition_of('n'))}log:bad", 0, LOGS[row])
    assert list(parked_alone(log)) == ["bad"]


@pytest.mark.parametrize("key", ["s:bad", "log:bad", "asks:bad"])
def test_a_session_with_a_key_of_another_type_is_handed_out_to_be_parked_and_its_lane_goes_on(
    log: Log, key: str
) -> None:
    log.append("n", *numbered("bad", 1, 2))
    log.append("n", *numbered("good", 1, 2))
    log.redis.delete(f"{prefix(partition_of('n'))}{key}")
    log.redis.sadd(f"{prefix(partition_of('n'))}{key}", "not what belongs here")
    assert "WRONGTYPE" in parked_alone(log)["bad"]


def test_a_lane_whose_waiting_list_is_broken_is_named_and_does_not_stop_the_others_of_its_partition(
    log: Log, caplog: pytest.LogCaptureFixture
) -> None:
    other = next(f"m{i}" for i in range(10_000) if partition_of(lane_of(f"m{i}")) == partition_of("n"))
    log.append("n", *numbered("bad", 1, 1))
    log.append(other, *numbered("good", 1, 1))
    log.redis.set(f"{prefix(partition_of('n'))}pend:n", "not a sorted set")
    works = log.do(ports.AcquireLanes(partition_of("n"), new_token(), 5_000, 64, ports.Batch(10, 10_000)))
    assert [work.session for work in works] == ["good"]
    named = f"{prefix(partition_of('n'))}unreadable"
    assert log.redis.smembers(named) == {"n"}
    assert "lane.unreadable lane=n" in caplog.text
    # Once it can be read again it goes on, and is no longer reported.
    log.redis.delete(f"{prefix(partition_of('n'))}pend:n")
    log.redis.zadd(f"{prefix(partition_of('n'))}pend:n", {"bad": 0})
    log.redis.zadd(f"{prefix(partition_of('n'))}ready", {"n": 0})
    works = log.do(ports.AcquireLanes(partition_of("n"), new_token(), 5_000, 64, ports.Batch(10, 10_000)))
    assert [work.session for work in works] == ["bad"]
    assert log.redis.smembers(named) == set()
