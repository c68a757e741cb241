"""Leases, fencing, intents, commits, defer, park, release: one live writer per lane, and no lost wake-up."""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import redis

from kato_tasks import ports
from kato_tasks.adapters.redis.keys import INTENT_FIELDS, prefix
from kato_tasks.adapters.redis.operations import Retention
from kato_tasks.domain.ids import lane_of, partition_of
from kato_tasks.domain.kato_session import Binding, Intent
from kato_tasks.errors import LeaseLost
from kato_tasks.testing.waiting import wait_until
from tests.contract.store.log import (
    BATCH,
    LEASE_MS,
    Log,
    binding,
    learn,
    new_token,
    numbered,
    observation,
    predict,
)

# ------------------------------------------------------------------------------- what a lease gives


def test_a_lane_has_one_holder(log: Log) -> None:
    """Invariant 2. Falls when acquire_lanes.lua leaves out NX."""
    log.append("n", *numbered("a", 1, 2), *numbered("b", 1, 2))
    log.taken("n", "one")
    log.append("n", *numbered("c", 1, 2))
    assert log.lease("n", "two") is None
    assert log.claim("n", "a", "a-1", token="three").work is None


def test_of_many_that_race_for_a_lane_one_gets_it(log: Log) -> None:
    """Invariant 2. Falls when acquire_lanes.lua or take_or_wait.lua leaves out NX."""
    log.append("n", *numbered("a", 1, 2))

    def take(i: int) -> ports.Work | None:
        token = f"t{i}"
        return log.lease("n", token) if i % 2 else log.claim("n", "a", "a-1", token=token).work

    with ThreadPoolExecutor(8) as pool:
        assert sum(work is not None for work in pool.map(take, range(32))) == 1


def test_lanes_that_share_a_partition_have_leases_of_their_own(log: Log) -> None:
    wanted = partition_of("n")
    other = next(f"n{i}" for i in range(10_000) if partition_of(f"n{i}") == wanted)
    log.append("n", *numbered("a", 1, 2))
    log.append(other, *numbered("b", 1, 2))
    works = log.do(ports.AcquireLanes(wanted, "t", LEASE_MS, 64, BATCH))
    assert {work.lane for work in works} == {"n", other}
    assert log.commit(log.held("n", "t"), works[0] if works[0].lane == "n" else works[1]).work is None


def test_a_lease_takes_no_more_lanes_than_asked(log: Log) -> None:
    same = [f"n{i}" for i in range(3_000) if partition_of(f"n{i}") == partition_of("n")][:5]
    for node in same:
        log.append(node, observation(node, "e"))
    works = log.do(ports.AcquireLanes(partition_of("n"), "t", LEASE_MS, 3, BATCH))
    rest = log.do(ports.AcquireLanes(partition_of("n"), "t", LEASE_MS, 3, BATCH))
    assert (len(works), len(rest)) == (3, 2)
    assert {w.lane for w in (*works, *rest)} == set(same)


def test_a_dead_holders_lane_is_there_again_when_its_lease_ends(log: Log) -> None:
    """Recovery without a person. Falls when acquire_lanes.lua leaves out PX, or takes the lane out of `ready`."""
    log.append("n", *numbered("a", 1, 2))
    log.taken("n", "dead", ms=150)
    work = log.comes("n", "next")
    assert work.entries[0].position == 1


def test_renewing_keeps_a_lane_beyond_its_first_lease(log: Log) -> None:
    log.append("n", *numbered("a", 1, 2))
    held = log.held("n", "one", ms=400)
    log.taken("n", "one", ms=400)
    begun = time.monotonic()
    while time.monotonic() - begun < 1.0:
        assert log.do(ports.Renew(held)) is True
        assert log.lease("n", "two") is None
        time.sleep(0.05)
    log.comes("n", "two")
    assert log.do(ports.Renew(held)) is False


def test_each_write_of_the_holder_starts_its_lease_anew(log: Log) -> None:
    log.append("n", *numbered("a", 1, 1))
    work = log.taken("n", "one", ms=400)
    held = log.held("n", "one", ms=400)
    begun = time.monotonic()
    while time.monotonic() - begun < 0.9:
        log.intent(held, work, "call")
        assert log.lease("n", "two") is None
        time.sleep(0.05)


def test_a_run_of_observations_comes_in_one_piece_and_ends_before_anything_else(log: Log) -> None:
    log.append("n", *numbered("a", 1, 3), learn("a", "l"), *numbered("a", 4, 5), predict("a", "p"))
    log.append("n", *numbered("a", 6, 6))
    token = new_token()
    held = log.held("n", token)
    pieces = []
    work: ports.Work | None = log.taken("n", token)
    while work is not None:
        pieces.append(work.predict_id or [entry.event_id for entry in work.entries])
        work = log.commit(held, work, answers=work.predict_id).work
    assert pieces == [["a-1", "a-2", "a-3"], ["l"], ["a-4", "a-5"], "p", ["a-6"]]


def test_a_piece_of_work_is_bounded_in_events_and_in_bytes(log: Log) -> None:
    log.append("n", *(observation("a", f"{i}", "x" * 1000) for i in range(200)))
    work = log.do(ports.AcquireLanes(partition_of("n"), "t", LEASE_MS, 1, ports.Batch(150, 10**6)))[0]
    assert len(work.entries) == 150
    held = log.held("n", "t", batch=ports.Batch(400, 10_000))
    rest = log.commit(held, work).work
    assert rest is not None
    assert 5 <= len(rest.entries) <= 10


def test_an_event_larger_than_a_batch_still_goes_alone(log: Log) -> None:
    log.append("n", observation("a", "small"), observation("a", "large", "x" * 5000), observation("a", "next"))
    token = new_token()
    held = log.held("n", token, batch=ports.Batch(400, 1_000))
    (work,) = log.do(ports.AcquireLanes(partition_of("n"), token, LEASE_MS, 1, held.batch))
    sizes = [len(work.entries)]
    while (more := log.commit(held, work).work) is not None:
        work = more
        sizes.append(len(work.entries))
    assert sizes == [1, 1, 1]


def test_sessions_of_a_lane_take_turns(log: Log) -> None:
    """Fairness. Falls when requeue in _lib.lua leaves a session's due time as it was."""
    small = ports.Batch(10, 10**6)
    log.append("n", *numbered("long", 1, 100), *numbered("short", 1, 1), *numbered("other", 1, 1))
    (work,) = log.do(ports.AcquireLanes(partition_of("n"), "t", LEASE_MS, 1, small))
    held = log.held("n", "t", batch=small)
    first = {work.session}
    for _ in range(3):
        now = log.redis.time()
        after = (now[0], now[1] + 2_000)  # due times are milliseconds
        wait_until(lambda after=after: log.redis.time() > after, every=0.001)  # type: ignore[misc]
        more = log.commit(held, work).work
        assert more is not None
        work = more
        first.add(work.session)
    assert {"short", "other"} <= first


# ------------------------------------------------------------------------------- fencing

Write = Callable[[Log, ports.Lease, ports.Work], object]
INTENT = Intent(call="late", kind="observe", first=1, last=2)
WRITES: dict[str, Write] = {
    "intent": lambda log, held, work: log.intent(held, work, "late"),
    "commit": lambda log, held, work: log.commit(held, work, call="late", results=[("a-1", "{}")]),
    "bind": lambda log, held, work: log.do(ports.Bind(held, work.session, work.cursor, binding())),
    "defer": lambda log, held, work: log.do(ports.Defer(held, work.session, 60_000, 1, 1, "late")),
    "park": lambda log, held, work: log.do(ports.Park(held, work.session, "{}")),
}


@pytest.mark.parametrize("write", WRITES)
def test_a_stale_token_is_refused_and_changes_nothing(log: Log, write: str) -> None:
    """Invariant 2. Falls when `holds` in _lib.lua no longer compares the token, or when the script does not ask it."""
    log.append("n", *numbered("a", 1, 2))
    old = log.taken("n", "old", ms=60)
    new = log.comes("n", "new")
    before = log.dump()
    with pytest.raises(LeaseLost):
        WRITES[write](log, log.held("n", "old"), old)
    assert log.dump() == before
    log.intent(log.held("n", "new"), new, "its own")
    assert log.commit(log.held("n", "new"), new, call="its own").due_ms == -1


@pytest.mark.parametrize("write", WRITES)
def test_a_token_is_refused_after_its_lease_ended_though_nobody_took_the_lane(log: Log, write: str) -> None:
    log.append("n", *numbered("a", 1, 2))
    work = log.taken("n", "old", ms=60)
    wait_until(lambda: not list(log.redis.scan_iter("*:lease:*")), 5)
    before = log.dump()
    with pytest.raises(LeaseLost):
        WRITES[write](log, log.held("n", "old"), work)
    assert log.dump() == before


def test_a_stale_token_renews_nothing(log: Log) -> None:
    log.append("n", *numbered("a", 1, 2))
    log.taken("n", "old", ms=60)
    log.comes("n", "new")
    assert log.do(ports.Renew(log.held("n", "old"))) is False
    assert log.lease("n", "third") is None
    assert log.do(ports.Renew(log.held("n", "new"))) is True


def test_a_write_from_another_cursor_is_refused(log: Log) -> None:
    """Invariant 3. Falls when commit.lua or intent.lua leaves out the comparison with `cur`."""
    log.append("n", *numbered("a", 1, 4))
    work = log.taken("n", "t")
    held = log.held("n", "t")
    log.commit(held, work, to=2)
    before = log.dump()
    for write in ("intent", "commit", "bind"):
        with pytest.raises(LeaseLost):
            WRITES[write](log, held, work)
    assert log.dump() == before


def test_one_intent_at_a_time(log: Log) -> None:
    """Invariant 3. Falls when intent.lua leaves out the comparison with `ic`."""
    log.append("n", *numbered("a", 1, 2))
    work = log.taken("n", "t")
    held = log.held("n", "t")
    log.intent(held, work, "first")
    log.intent(held, work, "first")  # a repeat of the same
    with pytest.raises(LeaseLost):
        log.intent(held, work, "second")
    log.intent(held, work, "second", follows="first")
    with pytest.raises(LeaseLost):
        log.intent(held, work, "third", follows="first")


@pytest.mark.parametrize("write", ["commit", "bind"])
def test_an_open_intent_is_closed_by_its_own_call_alone(log: Log, write: str) -> None:
    """Invariant 3. Falls when commit.lua or bind.lua leaves out the comparison with `ic`."""
    log.append("n", *numbered("a", 1, 2))
    work = log.taken("n", "t")
    held = log.held("n", "t")
    log.intent(held, work, "first")
    with pytest.raises(LeaseLost):
        WRITES[write](log, held, work)
    assert log.state("n", "a")["ic"] == "first"
    log.do(ports.Bind(held, "a", 0, binding(epoch=2), closes_call="first"))
    assert not {"ic", *INTENT_FIELDS} & set(log.state("n", "a"))


def test_the_next_holder_finds_the_open_intent_and_its_binding(log: Log) -> None:
    log.append("n", *numbered("a", 1, 2))
    work = log.taken("n", "dead", ms=100)
    log.intent(log.held("n", "dead", ms=100), work, "call")
    found = log.comes("n", "next")
    assert found.intent is not None
    assert (found.intent.call, found.intent.first, found.intent.last) == ("call", 1, 2)
    assert found.binding == binding()


# ------------------------------------------------------------------------------- commit


def test_a_repeated_commit_gets_the_first_answer_and_counts_once(log: Log) -> None:
    """Invariant 3. Falls when commit.lua no longer keeps `lc`, or does its work again in spite of it."""
    log.append("n", *numbered("a", 1, 2), learn("a", "l"))
    work = log.taken("n", "t")
    held = log.held("n", "t")
    log.intent(held, work, "call")
    first = log.commit(held, work, call="call", results=[("a-1", "{}")])
    again = log.commit(held, work, call="call", results=[("a-1", "{}")])
    assert first.work is not None
    assert again.work is not None
    assert (again.work.entries, again.work.cursor) == (first.work.entries, first.work.cursor)
    assert log.state("n", "a")["cur"] == "2"
    assert log.order("n") == [(1, "a", 1), (2, "a", 2)]
    assert log.redis.hget(f"{prefix(partition_of('n'))}stats", "applied") == "2"


def test_what_is_applied_in_a_lane_is_numbered_without_gaps_over_its_sessions(log: Log) -> None:
    """`as_of` and replay follow it. Falls when commit.lua gives `seq` another step than to - from."""
    for i in range(1, 31):
        log.append("n", *numbered("abc"[i % 3], i, i + i % 4))
        if i % 5 == 0:
            log.drained("n")
    log.drained("n")
    order = log.order("n")
    assert [seq for seq, _, _ in order] == list(range(1, len(order) + 1))
    for session in "abc":
        positions = [position for _, s, position in order if s == session]
        assert positions == list(range(1, len(log.events("n", session)) + 1))


def test_a_commit_that_applies_nothing_takes_no_number(log: Log) -> None:
    log.append("n", predict("a", "p"))
    log.drained("n")
    assert log.order("n") == []


def test_results_and_dead_letters_are_there_with_the_cursor(log: Log) -> None:
    log.append("n", *numbered("a", 1, 2))
    work = log.taken("n", "t")
    rows = [("id", '{"why":1}')]
    done = ports.Commit(log.held("n", "t"), "a", "c", 0, 2, None, results=[("a-2", '{"r":2}')], dead=rows)
    log.do(done)
    assert log.claim("n", "a", "a-2", position=2).result == '{"r":2}'
    assert log.claim("n", "a", "a-1", position=1).applied
    assert log.redis.hgetall(f"{prefix(partition_of('n'))}dead") == dict(rows)
    assert work.head == 2


def test_a_predict_is_answered_once_and_in_its_place(log: Log) -> None:
    log.append("n", *numbered("a", 1, 1), predict("a", "p1"), predict("a", "p2"), *numbered("a", 2, 2))
    token = new_token()
    held = log.held("n", token)
    work = log.commit(held, log.taken("n", token)).work
    asked = []
    for _ in range(2):
        assert work is not None
        asked.append(work.predict_id)
        assert work.entries == ()
        call = new_token()
        log.commit(held, work, call=call, answers=work.predict_id)
        work = log.commit(
            held, work, call=call, answers=work.predict_id
        ).work  # its repeat takes no second predict away
    assert asked == ["p1", "p2"]
    assert work is not None
    assert [entry.event_id for entry in work.entries] == ["a-2"]


def test_so_many_predicts_of_a_session_wait_and_no_more(client: redis.Redis) -> None:
    """Falls without the LLEN in append.lua: a caller that asks faster than KATO answers fills the store."""
    log = Log(client, Retention(predicts=3))
    log.append("n", *numbered("a", 1, 1), *(predict("a", f"p{i}") for i in range(3)))
    before = log.dump()
    assert log.append("n", predict("a", "p3")) == [("w", 0)]
    assert log.dump() == before
    assert log.append("n", predict("a", "p2")) == [("d", 1)], "it waits already"
    assert log.append("n", predict("b", "p3"), *numbered("a", 2, 2)) == [("n", 0), ("n", 2)]
    work: ports.Work | None = log.taken("n", "t")
    while work is not None:
        work = log.commit(log.held("n", "t"), work, answers=work.predict_id).work
    assert log.append("n", predict("a", "p3")) == [("n", 2)]


def test_a_predict_tells_until_when_its_answer_is_wanted(log: Log) -> None:
    log.append("n", predict("a", "p1", 12_345), predict("a", "p2"))
    first = log.taken("n", "t")
    second = log.commit(log.held("n", "t"), first, answers="p1").work
    assert second is not None
    assert [(w.predict_id, w.predict_until_ms) for w in (first, second)] == [("p1", 12_345), ("p2", 0)]
    log.commit(log.held("n", "t"), second, answers="p2")
    assert not list(log.redis.scan_iter("*:until:*"))


def test_a_predict_tells_how_many_holders_took_it_up_and_said_nothing(log: Log) -> None:
    """Falls without the HINCRBY in _lib.lua: of a holder that dies of the answer nothing else is left."""
    log.append("n", predict("a", "p1"), predict("a", "p2"))
    seen = [log.taken("n", "dies", ms=1).predict_tries]
    seen += [log.comes("n", f"dies too {i}", ms=1).predict_tries for i in range(2)]
    lives = log.comes("n", "lives")
    log.do(ports.Defer(log.held("n", "lives"), "a", 0, 1, 1, "why", go_on=False))
    again = log.comes("n", "lives again")
    then = log.commit(log.held("n", "lives again"), again, answers="p1").work
    assert then is not None
    assert [*seen, lives.predict_tries, again.predict_tries, then.predict_tries] == [0, 1, 2, 3, 0, 0]


def learned(log: Log, held: ports.Lease, work: ports.Work, pattern: str = "PTRN|a") -> ports.NextWork:
    """Commit the learn that is next."""
    end = work.cursor + 1
    commit = ports.Commit(
        held, work.session, new_token(), work.cursor, end, None, stm_start=end, learned=(pattern, 1), go_on=False
    )
    return log.do(commit)


def test_a_predict_tells_when_a_session_of_its_lane_learned_last_before_it_was_taken_up(log: Log) -> None:
    """Falls without the `le` of the lane in commit.lua and _lib.lua: the pattern is another session's."""
    log.append("n", learn("a", "l1"))
    learned(log, log.held("n", "t1"), log.taken("n", "t1"))
    log.append("n", predict("b", "p1"))
    first = log.taken("n", "t2")
    assert 0 <= first.now_ms - first.learned_ms < 5_000
    log.do(ports.Defer(log.held("n", "t2"), "b", 0, 0, 0, "waits", go_on=False))
    # What is learned from now on was not there when it was asked.
    log.append("n", learn("c", "l2"))
    time.sleep(0.02)
    token = "t3"
    works = [log.comes("n", token)]
    if works[0].session == "b":
        log.do(ports.Defer(log.held("n", token), "b", 50, 0, 0, "waits", go_on=False))
        works.append(log.comes("n", token))
    assert works[-1].session == "c"
    learned(log, log.held("n", token), works[-1], "PTRN|c")
    again = log.comes("n", "t4")
    assert again.predict_id == "p1"
    assert first.learned_ms <= again.learned_ms <= first.now_ms
    log.commit(log.held("n", "t4"), again, answers="p1", go_on=False)
    # The next predict of that session is a new one.
    log.append("n", predict("b", "p2"))
    assert log.taken("n", "t5").learned_ms > first.now_ms


def test_an_observation_is_not_told_what_other_sessions_learned(log: Log) -> None:
    log.append("n", learn("a", "l1"))
    learned(log, log.held("n", "t1"), log.taken("n", "t1"))
    log.append("n", observation("b", "b-1"))
    assert log.taken("n", "t2").learned_ms == 0


def test_failed_rebuilds_are_counted_until_one_succeeds(log: Log) -> None:
    log.append("n", *numbered("a", 1, 3))
    held = log.held("n", "t")
    log.taken("n", "t")
    first = log.do(ports.Defer(held, "a", 0, 0, 1, "why", rebuilds=1)).work
    second = log.do(ports.Defer(held, "a", 0, 0, 1, "another reason")).work
    log.do(ports.Bind(held, "a", 0, binding()))
    third = log.do(ports.Defer(held, "a", 0, 0, 1, "why")).work
    assert first is not None
    assert second is not None
    assert third is not None
    assert [first.rebuilds, second.rebuilds, third.rebuilds] == [1, 1, 0]


def test_bindings_come_back_as_they_were_written(log: Log) -> None:
    bound = Binding("http://kato:1", "session 🙂", "n", 7, 5, 3, 123, "run")
    log.append("n", *numbered("a", 1, 2))
    log.taken("n", "t")
    log.do(ports.Commit(log.held("n", "t"), "a", "c", 0, 1, bound))
    assert log.do(ports.ReadSession("n", "a")) == (bound, None)
    log.do(ports.Commit(log.held("n", "t"), "a", "c2", 1, 1, None, keep_binding=True))
    assert log.do(ports.ReadSession("n", "a"))[0] == bound
    log.do(ports.Bind(log.held("n", "t"), "a", 1, None))
    assert log.do(ports.ReadSession("n", "a")) == (None, None)


@pytest.mark.parametrize("node", ["n", "買い手 " * 12, "n" * 400], ids=["short", "unicode", "longer than its pieces"])
def test_long_bindings_and_intents_come_back_whole_and_a_shorter_one_leaves_nothing_of_them(
    log: Log, node: str
) -> None:
    long = Binding(
        "http://kato:8000", "session-" + "a" * 46, node, 1_000_000, 1_000, 77, 1_795_450_817_160, "r" * 40, 9
    )
    log.append("n", *numbered("a", 1, 2))
    held, work = log.held("n", "t"), log.taken("n", "t")
    intent = Intent("c" * 32, "learn", 1, 1, 1_000_000, 1_000, "PTRN|" + "0" * 40, 12_345, again=True)
    log.do(ports.WriteIntent(held, "a", work.cursor, intent, long))
    assert log.do(ports.ReadSession("n", "a")) == (long, intent)
    log.expire_lease("n")
    found = log.comes("n", "next")
    assert (found.binding, found.intent) == (long, intent)
    log.do(ports.Bind(log.held("n", "next"), "a", 0, binding(), closes_call=intent.call))
    assert log.do(ports.ReadSession("n", "a")) == (binding(), None)


def test_an_idle_session_stays_in_redis_compact_form(log: Log) -> None:
    """A few hundred bytes each. Falls when put_text in _lib.lua writes a text as one field."""
    log.append("n", *numbered("a", 1, 2))
    held, work = log.held("n", "t"), log.taken("n", "t")
    bound = Binding("http://kato-1.internal:8000", "session-" + "a" * 46, "n", 2, 2, 1, 1_795_450_817_160, "r" * 40, 0)
    intent = Intent("c" * 32, "learn", 1, 1, 2, 2, "PTRN|" + "0" * 40, 1)
    log.do(ports.WriteIntent(held, "a", work.cursor, intent, bound))
    log.do(ports.Commit(held, "a", intent.call, 0, 2, bound))
    key = f"{prefix(partition_of('n'))}s:a"
    assert log.redis.object("ENCODING", key) in ("listpack", "ziplist")
    assert int(log.redis.memory_usage(key) or 0) < 600


# ------------------------------------------------------------------------------- release


def test_an_append_during_a_lease_makes_the_lane_ready_at_its_release(log: Log) -> None:
    """No lost wake-up. Falls when release in _lib.lua takes the lane out of `ready` without looking at `pend`."""
    log.append("n", *numbered("a", 1, 1))
    work = log.taken("n", "t")
    log.append("n", *numbered("b", 1, 1))
    done = log.commit(log.held("n", "t"), work, go_on=False)
    assert done.work is None
    assert done.due_ms >= 0
    assert log.taken("n", "next").session == "b"


def test_a_released_lane_without_work_is_idle(log: Log) -> None:
    log.append("n", *numbered("a", 1, 1))
    assert log.commit(log.held("n", "t"), log.taken("n", "t")).due_ms == -1
    assert log.lease("n", "u") is None
    assert not list(log.redis.scan_iter("*:lease:*"))
    assert not list(log.redis.scan_iter("*:pend:*"))
    assert not list(log.redis.scan_iter("*:since"))


def test_the_oldest_unapplied_event_tells_its_age_whatever_marks_its_first_line_has(log: Log) -> None:
    """Falls when requeue in _lib.lua wants the line to end behind the ms."""
    log.append("n", *numbered("a", 1, 2))
    work = log.taken("n", "t")
    log.commit(log.held("n", "t"), work, to=1, go_on=False)
    second = str(log.redis.lindex(f"{prefix(partition_of('n'))}log:a", 1)).split("\n")[0]
    assert (second[:2], second[-1]) == ("o0", "s")
    log.redis.zadd(f"{prefix(partition_of('n'))}since", {"a": 1})
    work = log.taken("n", "u")
    log.commit(log.held("n", "u"), work, to=1, go_on=False)
    assert log.redis.zscore(f"{prefix(partition_of('n'))}since", "a") == float(second[2:-1])


def test_appends_that_race_with_leases_and_releases_are_never_lost(log: Log) -> None:
    """No lost wake-up: nobody looks at a lane again unless it is in `ready`.

    Falls when append.lua adds no session to `pend` while the lane is leased, or when commit.lua gives the lane
    back in a step of its own.
    """
    appending = threading.Event()
    appending.set()
    stop = threading.Event()
    applied: list[tuple[str, str]] = []
    lock = threading.Lock()

    def drain() -> None:
        token = new_token()
        while not stop.is_set():
            work = log.lease("n", token)
            while work is not None:
                with lock:
                    applied.extend((work.session, e.event_id) for e in work.entries)
                work = log.commit(log.held("n", token), work, go_on=len(applied) % 3 > 0).work

    def append(worker: int) -> None:
        for i in range(120):
            log.append("n", observation(f"s{(worker + i) % 5}", f"{worker}-{i}"))

    with ThreadPoolExecutor(7) as pool:
        drains = [pool.submit(drain) for _ in range(3)]
        list(pool.map(append, range(4)))
        try:
            wait_until(lambda: len(applied) >= 480, 20, "everything that was appended is applied")
        finally:
            stop.set()
        for ended in drains:
            ended.result()
    assert len(applied) == 480
    for session in (f"s{i}" for i in range(5)):
        assert [e for s, e in applied if s == session] == log.events("n", session)


def test_an_append_after_the_last_piece_is_handed_on_in_the_same_breath(log: Log) -> None:
    log.append("n", *numbered("a", 1, 1))
    work = log.taken("n", "t")
    log.append("n", *numbered("a", 2, 2))
    more = log.commit(log.held("n", "t"), work).work
    assert more is not None
    assert [e.event_id for e in more.entries] == ["a-2"]


# ------------------------------------------------------------------------------- defer, park


def due_at(log: Log, node: str) -> float | None:
    score = log.redis.zscore(f"{prefix(partition_of(lane_of(node)))}ready", lane_of(node))
    return None if score is None else float(score)


def test_a_deferred_session_is_due_when_its_wait_is_over_and_not_before(log: Log) -> None:
    """Waiting is a due time. Falls when defer.lua leaves the session's score in `pend` as it was."""
    log.append("n", *numbered("a", 1, 2))
    work = log.taken("n", "t")
    answer = log.do(ports.Defer(log.held("n", "t"), "a", 700, 3, 2, "KATO is away"))
    assert answer.work is None
    assert 600 <= answer.due_ms - work.now_ms <= 1_500
    assert due_at(log, "n") == answer.due_ms
    assert log.lease("n", "early") is None
    found = log.comes("n", "later")
    assert found.now_ms >= answer.due_ms
    assert (found.attempts, found.unsent_in_a_row, log.state("n", "a")["err"]) == (3, 2, "KATO is away")


def test_an_append_does_not_shorten_a_sessions_wait(log: Log) -> None:
    """Backoff. Falls when append.lua adds to `pend` without NX."""
    log.append("n", *numbered("a", 1, 1))
    log.taken("n", "t")
    log.do(ports.Defer(log.held("n", "t"), "a", 60_000, 1, 0, "why"))
    log.append("n", *numbered("a", 2, 3))
    assert log.lease("n", "u") is None
    log.append("n", *numbered("b", 1, 1))  # this one makes the lane ready
    assert log.drained("n") == [("b", "b-1")]


def test_a_waiting_session_does_not_hold_the_others_of_its_lane(log: Log) -> None:
    """Invariant 5. Falls when next_work in _lib.lua takes the head of `pend` without looking at its due time."""
    log.append("n", *numbered("ill", 1, 2))
    log.append("n", *numbered("well", 1, 2))
    work = log.taken("n", "t")
    assert work.session == "ill"
    other = log.do(ports.Defer(log.held("n", "t"), "ill", 60_000, 1, 0, "why")).work
    assert other is not None
    assert other.session == "well"
    assert log.commit(log.held("n", "t"), other).work is None
    log.append("n", *numbered("late", 1, 1))
    assert log.drained("n") == [("late", "late-1")]


def test_a_deferral_withdraws_the_intent_that_it_names_and_no_other(log: Log) -> None:
    log.append("n", *numbered("a", 1, 1))
    work = log.taken("n", "t")
    held = log.held("n", "t")
    log.intent(held, work, "call")
    log.do(ports.Defer(held, "a", 1, 1, 0, "why", withdraw="another"))
    found = log.comes("n", "u")
    assert found.intent is not None
    log.do(ports.Defer(log.held("n", "u"), "a", 1, 1, 0, "why", withdraw="call"))
    found = log.comes("n", "v")
    assert found.intent is None


def test_a_failed_batch_is_halved_and_grows_again(log: Log) -> None:
    log.append("n", *numbered("a", 1, 12))
    batch = ports.Batch(8, 10**6)
    (work,) = log.do(ports.AcquireLanes(partition_of("n"), "t", LEASE_MS, 1, batch))
    held = log.held("n", "t", batch=batch)
    assert len(work.entries) == 8
    halved = log.do(ports.Defer(held, "a", 0, 0, 0, "halve", events_at_most=2)).work
    assert halved is not None
    work = halved
    sizes = [len(work.entries)]
    while (more := log.commit(held, work).work) is not None:
        work = more
        sizes.append(len(work.entries))
    assert sizes == [2, 4, 6]


def test_a_success_clears_the_count_of_attempts(log: Log) -> None:
    log.append("n", *numbered("a", 1, 2))
    log.taken("n", "t")
    work = log.do(ports.Defer(log.held("n", "t"), "a", 0, 5, 4, "why")).work
    assert work is not None
    assert (work.attempts, work.unsent_in_a_row) == (5, 4)
    log.commit(log.held("n", "t"), work, to=1)
    state = log.state("n", "a")
    assert not {"att", "un", "err"} & set(state)


def test_a_parked_session_keeps_what_is_appended_and_is_not_leased(log: Log) -> None:
    """Falls when append.lua adds a parked session to `pend`."""
    log.append("n", *numbered("a", 1, 2))
    log.append("n", *numbered("b", 1, 1))
    assert log.taken("n", "t").session == "a"
    other = log.do(ports.Park(log.held("n", "t"), "a", '{"reason":"why"}')).work
    assert other is not None
    assert other.session == "b"
    log.commit(log.held("n", "t"), other)
    assert not log.wakes("n", *numbered("a", 3, 4))
    assert log.lease("n", "u") is None
    assert log.events("n", "a") == ["a-1", "a-2", "a-3", "a-4"]
    assert log.state("n", "a")["pk"] == '{"reason":"why"}'
    assert log.state("n", "a")["cur"] == "0"
    assert log.redis.smembers(f"{prefix(partition_of('n'))}parked") == {"a"}


def test_a_lane_with_nothing_but_a_parked_session_is_not_due(log: Log) -> None:
    log.append("n", *numbered("a", 1, 2))
    log.taken("n", "t")
    assert log.do(ports.Park(log.held("n", "t"), "a", '{"reason":"why"}', go_on=False)).due_ms == -1


def test_a_parked_session_that_something_made_due_is_not_leased(log: Log) -> None:
    """As the scripts of another version might, in a rolling upgrade."""
    log.append("n", *numbered("a", 1, 2))
    log.taken("n", "t")
    log.do(ports.Park(log.held("n", "t"), "a", '{"reason":"why"}', go_on=False))
    p = prefix(partition_of("n"))
    log.redis.zadd(f"{p}pend:n", {"a": 1})
    log.redis.zadd(f"{p}ready", {"n": 1})
    assert log.lease("n", "u") is None


# ------------------------------------------------------------------------------- kept for later


def due(log: Log, now_ms: int, limit: int = 10) -> list[str]:
    """What is due, as it is to be dropped."""
    return log.do(ports.DueScheduled(partition_of("n"), now_ms, limit))


def test_what_is_kept_for_later_comes_when_it_is_due_once(log: Log) -> None:
    for _ in range(2):
        log.do(ports.KeepScheduled("n", 1_000, "first"))
    log.do(ports.KeepScheduled("n", 2_000, "second"))
    assert due(log, 999) == []
    assert [text.strip() for text in due(log, 1_000)] == ["first"]
    first, second = due(log, 5_000)
    assert (first.strip(), second.strip()) == ("first", "second")
    log.do(ports.DropScheduled(partition_of("n"), first))
    assert due(log, 5_000) == [second]
    log.do(ports.KeepScheduled("n", 3_000, "first"))
    assert [text.strip() for text in due(log, 5_000)] == ["second", "first"]


def test_equal_due_times_keep_the_order_of_the_calls(log: Log) -> None:
    sent = [json.dumps([random.Random(i).random()]) for i in range(300)]
    for payload in sent:
        log.do(ports.KeepScheduled("n", 1_000, payload))
        log.do(ports.KeepScheduled("n", 1_000, payload))
    assert [json.loads(text) for text in due(log, 1_000, 1_000)] == [json.loads(text) for text in sent]


def test_an_event_kept_by_the_version_before_is_kept_once_and_dropped(log: Log) -> None:
    key = f"{prefix(partition_of('n'))}later"
    log.redis.zadd(key, {"[1]": 1_000})
    log.do(ports.KeepScheduled("n", 2_000, "[1]"))
    assert due(log, 5_000) == ["[1]"]
    log.do(ports.DropScheduled(partition_of("n"), "[1]"))
    assert due(log, 5_000) == []


def test_an_event_that_the_version_before_took_may_be_kept_again(log: Log) -> None:
    """That version drops the event and does not know of its place."""
    log.do(ports.KeepScheduled("n", 1_000, "[1]"))
    log.redis.delete(f"{prefix(partition_of('n'))}later")
    log.do(ports.KeepScheduled("n", 2_000, "[1]"))
    assert [text.strip() for text in due(log, 5_000)] == ["[1]"]


def test_kept_messages_come_oldest_first_until_they_are_dropped(log: Log) -> None:
    p = partition_of("n")
    for message in ("one", "two", "three"):
        log.do(ports.KeepUnpublished("n", message))
    assert log.do(ports.UnpublishedMessages(p, 2)) == ["one", "two"]
    log.do(ports.DropUnpublished(p, "one"))
    log.do(ports.DropUnpublished(p, "one"))
    assert log.do(ports.UnpublishedMessages(p, 9)) == ["two", "three"]


def test_a_dead_letter_is_kept_once(log: Log) -> None:
    for text in ("first", "second"):
        log.do(ports.KeepDeadLetter("n", "id", text))
    assert log.redis.hgetall(f"{prefix(partition_of('n'))}dead") == {"id": "first"}


def test_what_a_rebuilt_kato_session_holds_of_vectors_is_written_down_with_its_binding_and_by_its_holder_alone(
    log: Log,
) -> None:
    log.append("n", *numbered("a", 1, 1))
    log.taken("n", "t")
    bind = ports.Bind(log.held("n", "t"), "a", 0, binding(), symbols=[(1, '["7","VCTR|1"]')], reordered=1)
    for _ in range(2):
        log.do(bind)
        assert log.do(ports.ReadSymbols("n", "a")) == {1: ["7", "VCTR|1"]}
    with pytest.raises(LeaseLost):
        log.do(replace(bind, lease=log.held("n", "another"), symbols=[(1, '["VCTR|1","7"]')]))
    assert log.do(ports.ReadSymbols("n", "a")) == {1: ["7", "VCTR|1"]}


def test_symbols_and_lately_learned_patterns_are_kept_and_forgotten(log: Log) -> None:
    log.append("n", *numbered("a", 1, 2), learn("a", "l"))
    held = log.held("n", "t")
    log.taken("n", "t")
    log.do(ports.Commit(held, "a", "c1", 0, 2, None, symbols=[(1, '["VCTR|1"]'), (2, "null")]))
    assert log.do(ports.ReadSymbols("n", "a")) == {1: ["VCTR|1"], 2: None}
    log.do(ports.Commit(held, "a", "c2", 2, 3, None, stm_start=3, learned=("PTRN|x", 4)))
    assert log.do(ports.ReadSymbols("n", "a")) == {}
    lately = log.do(ports.LearnedLately("n", "PTRN|x"))
    assert lately is not None
    assert lately[0] == 4
    assert log.do(ports.LearnedLately("n", "PTRN|y")) is None
    wait_until(lambda: log.do(ports.LearnedLately("n", "PTRN|x")) is None, 5, "it is forgotten", every=0.1)


def test_whether_a_session_waits_for_a_person_is_known(log: Log) -> None:
    log.append("n", *numbered("a", 1, 1))
    assert log.do(ports.IsParked("n", "a")) is False
    log.do(ports.ParkByHand("n", "a", "{}"))
    assert log.do(ports.IsParked("n", "a")) is True
    log.do(ports.Resume("n", "a"))
    assert log.do(ports.IsParked("n", "a")) is False


def test_an_unsettled_learn_is_known_until_its_commit(log: Log) -> None:
    """One session of a lane learns a name at a time. Falls when intent.lua leaves out `unsettled`."""
    log.append("n", *numbered("a", 1, 1), learn("a", "l"))
    held = log.held("n", "t")
    work = log.commit(held, log.taken("n", "t")).work
    assert work is not None
    intent = Intent(call="c", kind="learn", first=2, last=2, pattern="PTRN|x", frequency=1)
    log.do(ports.WriteIntent(held, "a", 1, intent))
    assert log.do(ports.UnsettledLearn("n", "PTRN|x")) == "a"
    log.do(ports.Commit(held, "a", "c", 1, 2, None, stm_start=2))
    assert log.do(ports.UnsettledLearn("n", "PTRN|x")) is None
