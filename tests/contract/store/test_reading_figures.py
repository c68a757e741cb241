"""The port `Figures`: what there is to do, what does not go on, who lives, what is acknowledged."""

from __future__ import annotations

from typing import Any

from kato_tasks import ports
from kato_tasks.adapters.redis.breaker import RedisBreakerState
from kato_tasks.domain.ids import PARTITIONS, lane_of, partition_of
from kato_tasks.ports.figures import PartitionFigures, SweepFigures
from kato_tasks.testing.waiting import wait_until
from tests.contract.store.log import new_token
from tests.contract.store.pieces import Pieces

N, M = partition_of(lane_of("n")), partition_of(lane_of("m"))


def figures(pieces: Pieces, partition: int = N) -> PartitionFigures:
    found = pieces.figures.partitions()
    assert [one.partition for one in found] == list(range(PARTITIONS))
    return found[partition]


def sweep(pieces: Pieces, partition: int = N, **more: Any) -> SweepFigures:
    ages = {"overdue_ms": 60_000, "owed_ms": 60_000, "unseen_ms": 60_000, "ahead_ms": 3_600_000, **more}
    found = pieces.figures.sweep(**ages)
    assert [one.partition for one in found] == list(range(PARTITIONS))
    return found[partition]


def test_an_empty_store_has_nothing_in_any_partition(pieces: Pieces) -> None:
    for one in pieces.figures.partitions():
        assert one == PartitionFigures(one.partition, 0, 0, None, None, *[0] * 14)


def test_what_is_appended_and_applied_is_counted_in_its_own_partition(pieces: Pieces) -> None:
    pieces.append("a", "x", "y", node="n")
    before = figures(pieces)
    assert (before.appended, before.applied, before.backlog, before.sessions_unapplied, before.lanes_due) == (
        (2, 0, 2, 1, 1)
    )
    assert before.oldest_unapplied_seconds is not None
    assert before.moved_seconds is None
    pieces.log.drained("n")
    after = figures(pieces)
    assert (after.appended, after.applied, after.backlog, after.sessions_unapplied, after.lanes_due) == (2, 2, 0, 0, 0)
    assert after.oldest_unapplied_seconds is None
    assert after.moved_seconds is not None
    assert after.moved_seconds < 60
    assert figures(pieces, M).appended == 0


def test_what_is_kept_for_a_person_or_for_later_is_counted(pieces: Pieces) -> None:
    pieces.append("a", "x", node="n")
    pieces.park("a", "{}")
    pieces.bury("n", "kept", "{}")
    pieces.log.do(ports.KeepScheduled(lane_of("n"), pieces.figures.now_ms() + 60_000, "[]"))
    pieces.log.do(ports.KeepUnpublished(lane_of("n"), "{}"))
    for name in ("fenced", "rebuilt", "reordered", "leftovers", "learns_unknown"):
        pieces.log.do(ports.Count(lane_of("n"), name, 2))
    one = figures(pieces)
    assert (one.parked, one.dead_letters, one.scheduled, one.unpublished) == (1, 1, 1, 1)
    assert (one.fenced, one.rebuilt, one.reordered, one.leftovers, one.learns_unknown) == (2, 2, 2, 2, 2)


def test_the_clock_goes_on(pieces: Pieces) -> None:
    before = pieces.figures.now_ms()
    wait_until(lambda: pieces.figures.now_ms() > before, 5)


def test_whether_the_store_keeps_what_it_has_is_said_in_a_sentence_or_not_at_all(pieces: Pieces) -> None:
    problem = pieces.figures.persistence_problem()
    assert problem is None or len(problem.split()) > 3


def test_the_sweep_sees_what_is_due_and_not_what_is_not(pieces: Pieces) -> None:
    assert sweep(pieces) == SweepFigures(N, 0, 0, 0, 0, 0, 0, 0, 0)
    pieces.append("a", "x", node="n")
    pieces.log.do(ports.KeepScheduled(lane_of("n"), pieces.figures.now_ms() - 1, "[1]"))
    pieces.log.do(ports.KeepScheduled(lane_of("n"), pieces.figures.now_ms() + 60_000, "[2]"))
    pieces.log.do(ports.KeepUnpublished(lane_of("n"), "{}"))
    one = sweep(pieces)
    assert (one.lanes_due, one.lanes_overdue, one.scheduled_due, one.unpublished) == (1, 0, 1, 1)
    assert sweep(pieces, overdue_ms=-1).lanes_overdue == 1
    assert sweep(pieces, M) == SweepFigures(M, 0, 0, 0, 0, 0, 0, 0, 0)


def test_the_sweep_sees_lanes_whose_time_lies_too_far_ahead(pieces: Pieces) -> None:
    pieces.append("a", "x", node="n")
    pieces.fail("n", "KATO is down", wait_ms=600_000)
    assert sweep(pieces, ahead_ms=3_600_000).lanes_too_far_ahead == 0
    one = sweep(pieces, ahead_ms=60_000)
    assert (one.lanes_due, one.lanes_too_far_ahead) == (0, 1)


def test_the_sweep_sees_requests_that_are_owed_and_events_that_were_not_looked_at(pieces: Pieces) -> None:
    pieces.append("a", "x", node="n")
    pieces.log.claim("n", "a", "e1", task_id="task")
    assert sweep(pieces, unseen_ms=-60_000).waiting_unseen == 1
    assert sweep(pieces).owed == 0
    token = new_token()
    work = pieces.log.taken("n", token)
    pieces.log.commit(pieces.log.held("n", token), work, results=[("e1", "{}")])
    assert sweep(pieces, owed_ms=-60_000).owed == 1


def test_a_failing_session_is_told_with_the_time_of_its_first_failed_try_and_its_error(pieces: Pieces) -> None:
    pieces.append("a", "x", node="n")
    begun = pieces.figures.now_ms()
    pieces.fail("n", "KATO is down")
    read = pieces.figures.waiting([N, M], frozenset(), [], 20)
    here, there = read.stalled
    assert (here.partition, here.failing_count, there.failing_count) == (N, 1, 0)
    ((session, since),) = here.failing
    assert session == "a"
    assert begun - 1 <= since <= read.now_ms
    assert (list(here.oldest), list(read.messages)) == ([], [])
    assert pieces.figures.errors_of([(N, "a")]) == {(N, "a"): "KATO is down"}


def test_of_partitions_that_stand_the_sessions_come_that_wait_longest_and_so_many_at_most(pieces: Pieces) -> None:
    for i in range(4):
        pieces.append(f"s{i}", "x", node="n")
        at = pieces.figures.now_ms()
        wait_until(lambda at=at: pieces.figures.now_ms() > at, 5, every=0.001)  # type: ignore[misc]
    (one,) = pieces.figures.waiting([N], frozenset([N]), [], 3).stalled
    assert [session for session, _ in one.oldest] == ["s0", "s1", "s2"]
    assert [since for _, since in one.oldest] == sorted(since for _, since in one.oldest)


def test_the_oldest_message_of_each_partition_is_told_as_it_was_kept(pieces: Pieces) -> None:
    for text in ("first", "second"):
        pieces.log.do(ports.KeepUnpublished(lane_of("n"), text))
    assert list(pieces.figures.waiting([], frozenset(), [N, M], 20).messages) == ["first", None]


def test_of_parked_sessions_no_error_is_told_and_of_others_an_empty_one_where_nothing_failed(pieces: Pieces) -> None:
    pieces.append("a", "x", node="n")
    pieces.append("b", "x", node="n")
    pieces.park("a", "{}")
    assert pieces.figures.errors_of([(N, "a"), (N, "b")]) == {(N, "b"): ""}
    assert pieces.figures.errors_of([]) == {}


def test_signs_of_life_come_with_what_each_process_said_and_when(pieces: Pieces) -> None:
    assert pieces.figures.last_sign_ms("worker") is None
    before = pieces.figures.now_ms()
    given = [pieces.log.do(ports.GiveSign("worker", name, f'{{"name":"{name}"}}', 60_000)) for name in ("w1", "w2")]
    beat = pieces.log.do(ports.GiveSign("beat", "b", '{"pid":1}', 60_000))
    whole = pieces.figures.whole([], 3)
    assert whole.now_ms >= before
    assert sorted((sign.about, sign.at_ms) for sign in whole.workers) == [
        ('{"name":"w1"}', given[0]),
        ('{"name":"w2"}', given[1]),
    ]
    assert [(sign.about, sign.at_ms) for sign in whole.beats] == [('{"pid":1}', beat)]
    assert (pieces.figures.last_sign_ms("worker"), pieces.figures.last_sign_ms("beat")) == (given[1], beat)
    pieces.log.do(ports.GiveSign("worker", "w1", "", 60_000))
    assert [sign.about for sign in pieces.figures.whole([], 3).workers] == ['{"name":"w2"}']


def test_what_a_person_acknowledged_of_the_whole_is_told_by_its_id(pieces: Pieces) -> None:
    assert pieces.figures.whole([], 3).acknowledged == {}
    for how in ("first", "second"):
        pieces.log.do(ports.KeepAcknowledgement("no-beat", how))
    assert pieces.figures.whole([], 3).acknowledged == {"no-beat": "second"}


def test_a_lost_lane_is_open_until_it_is_acknowledged(pieces: Pieces) -> None:
    for node in ("n", "m"):
        pieces.append(f"of {node}", "x", node=node)
        pieces.lose(node)
    assert (figures(pieces).ltm_lost, figures(pieces, M).ltm_lost) == (1, 1)
    assert pieces.figures.lost_lanes().open == {lane_of("n"), lane_of("m")}
    pieces.log.do(ports.AcknowledgeLost(N, (lane_of("n"),), "known"))
    assert (figures(pieces).ltm_lost, figures(pieces, M).ltm_lost) == (0, 1)
    lost = pieces.figures.lost_lanes()
    assert (set(lost.open), dict(lost.acknowledged)) == ({lane_of("m")}, {lane_of("n"): "known"})
    whole = pieces.figures.whole([M], 3)
    assert list(whole.lost_lanes) == [lane_of("m")]
    assert dict(whole.losses_acknowledged) == {N: 1}
    assert pieces.figures.acknowledged_losses([N], 10) == {lane_of("n"): "known"}


def test_a_lane_whose_patterns_are_in_doubt_is_named_until_it_is_rebuilt(pieces: Pieces) -> None:
    """Falls when the flag is written to the lane alone, where nothing finds it."""
    for node in ("n", "m"):
        pieces.log.do(ports.FlagNodeForRebuild(lane_of(node)))
        pieces.log.do(ports.FlagNodeForRebuild(lane_of(node)))
    assert (figures(pieces).rebuild_wanted, figures(pieces, M).rebuild_wanted) == (1, 1)
    assert pieces.figures.doubtful_lanes() == {lane_of("n"), lane_of("m")}
    assert list(pieces.figures.whole([], 3, [M]).doubtful_lanes) == [lane_of("m")]
    held = pieces.log.held("m", "t")
    assert pieces.log.do(ports.TakeLane(lane_of("m"), "t", held.lease_ms))
    assert pieces.log.do(ports.SwitchGeneration(held, "m~2", "")) == "done"
    assert (figures(pieces).rebuild_wanted, figures(pieces, M).rebuild_wanted) == (1, 0)
    assert pieces.figures.doubtful_lanes() == {lane_of("n")}


def test_counts_of_calls_to_kato_add_up_over_all_processes(pieces: Pieces) -> None:
    assert pieces.figures.call_counts() == {}
    pieces.log.do(ports.AddCallCounts((("http://kato\nlearn\n2xx", 2), ("http://kato\nlearn\nms", 40))))
    pieces.log.do(ports.AddCallCounts((("http://kato\nlearn\n2xx", 3),)))
    assert pieces.figures.call_counts() == {"http://kato\nlearn\n2xx": 5, "http://kato\nlearn\nms": 40}


def test_an_open_circuit_is_told_with_what_failed(pieces: Pieces) -> None:
    urls = ("http://one", "http://two")
    assert pieces.figures.open_circuits(urls) == {}
    RedisBreakerState(pieces.log.redis).open("http://two", 60, "it answered 500")
    assert pieces.figures.open_circuits(urls) == {"http://two": "it answered 500"}
