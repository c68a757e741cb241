"""What is applied can be read in the lane's order, and leaves the store once it is archived, but for the STM's tail."""

from __future__ import annotations

import pytest

from kato_tasks import ports
from kato_tasks.adapters.redis.keys import prefix
from kato_tasks.adapters.redis.operations import Retention
from kato_tasks.domain.ids import lane_of, partition_of
from kato_tasks.errors import LogArchived
from tests.contract.store.conftest import MakeLog
from tests.contract.store.log import Log, binding, learn, new_token, numbered, observation
from tests.contract.store.pieces import Pieces

CAP = 1_000


@pytest.fixture
def log(remembering: MakeLog) -> Log:
    return remembering(Retention(archiving="1"))


def unarchived(log: Log, node: str, *, lanes: int = 100, events: int = 10_000) -> list[ports.UnarchivedLane]:
    return log.do(ports.ReadUnarchived(partition_of(lane_of(node)), lanes, events))


def drop(log: Log, lane: ports.UnarchivedLane, cap: int = CAP) -> bool:
    ends = {event.session: event.position for event in lane.events}
    return log.do(ports.DropArchived(lane.lane, lane.first_seq, lane.commits, tuple(ends.items()), cap))


def archive_all(log: Log, node: str, cap: int = CAP) -> list[ports.ArchivedEvent]:
    found: list[ports.ArchivedEvent] = []
    while lanes := unarchived(log, node, events=7):
        for lane in lanes:
            found += lane.events
            assert drop(log, lane, cap)
    return found


def test_what_is_applied_is_read_in_the_order_of_the_lane_with_the_bytes_of_the_log(log: Log) -> None:
    log.append("n", *numbered("a", 1, 3), observation("b ü\x01", "b-1"))
    assert unarchived(log, "n") == []
    log.drained("n")
    (lane,) = unarchived(log, "n")
    assert [(e.lane_order, e.session, e.position, e.dead) for e in lane.events] == [
        (1, "a", 1, False),
        (2, "a", 2, False),
        (3, "a", 3, False),
        (4, "b ü\x01", 1, False),
    ]
    stored = log.redis.lrange(f"{prefix(partition_of('n'))}log:a", 0, -1)
    assert [e.entry for e in lane.events[:3]] == stored
    assert {e.node for e in lane.events} == {"n"}


def test_reading_is_bounded_and_goes_on_where_it_ended(log: Log) -> None:
    for i in range(30):
        log.append("n", observation("a", f"a-{i}"))
        log.drained("n")
    found = archive_all(log, "n")
    assert [e.position for e in found] == list(range(1, 31))
    assert unarchived(log, "n") == []


def test_commits_that_were_dropped_are_not_dropped_again(log: Log) -> None:
    log.append("n", *numbered("a", 1, 3))
    log.drained("n")
    (lane,) = unarchived(log, "n")
    assert drop(log, lane)
    assert not drop(log, lane)
    log.append("n", *numbered("a", 4, 5))
    log.drained("n")
    assert not drop(log, lane)
    (later,) = unarchived(log, "n")
    assert [e.position for e in later.events] == [4, 5]


def test_a_learned_stm_leaves_nothing_in_the_log_and_positions_count_on(log: Log) -> None:
    log.append("n", *numbered("a", 1, 5), learn("a", "l"))
    token = new_token()
    work = log.taken("n", token)
    log.commit(log.held("n", token), work, go_on=False)
    log.apply_learn("n")
    archive_all(log, "n")
    assert not log.redis.exists(f"{prefix(partition_of('n'))}log:a")
    assert log.append("n", observation("a", "next"), observation("a", "last")) == [("n", 7), ("n", 8)]
    work = log.taken("n", new_token())
    assert [(e.position, e.event_id) for e in work.entries] == [(7, "next"), (8, "last")]
    with pytest.raises(LogArchived) as raised:
        log.do(ports.ReadLog("n", "a", 5, 7))
    assert (raised.value.up_to, [e.position for e in raised.value.entries]) == (6, [7])
    assert [e.position for e in log.do(ports.ReadLog("n", "a", 7, 8))] == [7, 8]


def test_the_entries_of_an_stm_stay_until_the_next_learn(log: Log) -> None:
    log.append("n", *numbered("a", 1, 20))
    log.drained("n")
    archive_all(log, "n")
    assert [e.position for e in log.do(ports.ReadLog("n", "a", 1, 100))] == list(range(1, 21))


def test_of_a_long_stm_the_newest_events_that_count_stay(log: Log) -> None:
    cap = 10
    entries = [observation("a", f"a-{i}", *(() if i % 3 == 0 else (str(i),))) for i in range(1, 61)]
    for entry in entries:
        log.append("n", entry)
        log.drained("n")
    archive_all(log, "n", cap)
    try:
        kept = log.do(ports.ReadLog("n", "a", 1, 100))
    except LogArchived as exc:
        kept = exc.entries
    assert kept[-1].position == 60
    assert cap <= sum(e.counts for e in kept) <= 2 * cap + 1


def test_nothing_is_trimmed_that_is_not_archived_or_not_applied(log: Log) -> None:
    log.append("n", *numbered("a", 1, 4), learn("a", "l"))
    token = new_token()
    work = log.taken("n", token)
    log.commit(log.held("n", token), work, go_on=False)
    (lane,) = unarchived(log, "n")
    log.apply_learn("n")  # after the read: position 5 is applied and not archived
    log.append("n", *numbered("a", 6, 7))
    assert drop(log, lane)
    assert [e.position for e in log.do(ports.ReadLog("n", "a", 5, 9))] == [5, 6, 7]
    archive_all(log, "n")
    assert [e.position for e in log.do(ports.ReadLog("n", "a", 6, 9))] == [6, 7]


def test_a_dead_letter_is_read_as_one_even_after_it_was_discarded(log: Log) -> None:
    log.append("n", *numbered("a", 1, 2))
    token = new_token()
    work = log.lease("n", token, batch=ports.Batch(1, 1_000_000))
    assert work is not None
    held = log.held("n", token)
    log.do(
        ports.Commit(
            held,
            "a",
            "c",
            0,
            1,
            binding("n"),
            symbols=[(1, "null")],
            dead=[("a\n1", "{}")],
            go_on=False,
        )
    )
    log.do(ports.DropDeadLetter("n", "a\n1"))
    log.drained("n")
    (lane,) = unarchived(log, "n")
    assert [(e.position, e.dead) for e in lane.events] == [(1, True), (2, False)]


def test_a_task_that_waits_for_an_archived_event_is_told_that_it_is_applied(log: Log) -> None:
    log.append("n", *numbered("a", 1, 2), learn("a", "l"))
    token = new_token()
    work = log.taken("n", token)
    log.commit(log.held("n", token), work, go_on=False)
    log.apply_learn("n")
    archive_all(log, "n")
    found = log.claim("n", "a", "a-1", position=1, task_id="t")
    assert found.applied


def test_a_lane_that_was_drained_before_there_was_an_archive_is_found_once_it_is_noted(pieces: Pieces) -> None:
    log = pieces.log
    log.append("n", *numbered("a", 1, 2))
    log.drained("n")
    assert unarchived(log, "n") == []
    log.do(ports.NoteUnarchived(partition_of("n"), ("n", "another")))
    (lane,) = unarchived(log, "n")
    assert [e.position for e in lane.events] == [1, 2]
    assert drop(log, lane)
    assert unarchived(log, "n") == []
    assert log.redis.scard(f"{prefix(partition_of('n'))}unarchived") == 0


def test_history_that_begins_in_the_archive_is_read_from_where_the_log_begins(pieces: Pieces) -> None:
    log = pieces.log
    pieces.append("s", "x", "y", "z", node="n")
    log.drained("n")
    log.do(ports.NoteUnarchived(partition_of("n"), ("n",)))
    (lane,) = unarchived(log, "n")
    assert drop(log, lane, 1)
    assert [e.position for e in pieces.sessions.events("s", "n")] == [3]
