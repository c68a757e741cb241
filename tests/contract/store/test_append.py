"""append: each event gets its position, once; nodes are for life; a source's mark counts."""

from __future__ import annotations

import random
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from kato_tasks import ports
from kato_tasks.adapters.redis.keys import prefix
from kato_tasks.adapters.redis.operations import Retention
from kato_tasks.domain.ids import default_node, lane_of, partition_of
from kato_tasks.domain.log_entry import Entry
from kato_tasks.engine.append import Mailbox
from kato_tasks.engine.store_protocol import carry_out
from kato_tasks.errors import InvalidEvent, NodeConflict
from kato_tasks.testing.waiting import wait_until
from tests.contract.store.conftest import MakeLog
from tests.contract.store.log import Log, learn, new_token, numbered, observation, predict


def test_positions_are_counted_per_session_from_1(log: Log) -> None:
    assert log.append("n", *numbered("a", 1, 3)) == [("n", 1), ("n", 2), ("n", 3)]
    assert log.append("n", *numbered("b", 1, 2)) == [("n", 1), ("n", 2)]
    assert log.append("n", learn("a", "l")) == [("n", 4)]
    assert log.events("n", "a") == ["a-1", "a-2", "a-3", "l"]


def store_ms(log: Log) -> int:
    seconds, micros = log.redis.time()
    return int(seconds) * 1000 + int(micros) // 1000


def test_when_the_last_event_of_a_session_was_appended_is_told_without_the_event(log: Log) -> None:
    before = store_ms(log)
    assert log.do(ports.LastEvent("n", "a")) is None
    log.append("n", *numbered("a", 1, 3), learn("a", "l"))
    at = log.do(ports.LastEvent("n", "a"))
    assert at is not None
    assert before <= at <= store_ms(log)
    wait_until(lambda: store_ms(log) > at + 1, 5)
    log.append("n", predict("a", "p"))
    assert log.do(ports.LastEvent("n", "a")) == at, "a predict is no event"
    log.append("n", learn("a", "m"))
    later = log.do(ports.LastEvent("n", "a"))
    assert later is not None
    assert later > at
    log.redis.set(f"{prefix(partition_of('n'))}log:broken", "no list")
    assert log.do(ports.LastEvent("n", "broken")) is None


def test_the_same_event_again_is_a_duplicate_at_its_own_position(log: Log) -> None:
    """Invariant 3. Falls when append.lua no longer writes `ids` (the HSET of `field`)."""
    log.append("n", *numbered("a", 1, 3))
    assert log.append("n", *numbered("a", 2, 4)) == [("d", 2), ("d", 3), ("n", 4)]
    assert log.events("n", "a") == ["a-1", "a-2", "a-3", "a-4"]


def test_the_same_event_twice_in_one_call_is_appended_once(log: Log) -> None:
    event = observation("a", "same")
    assert log.append("n", event, event, event) == [("n", 1), ("d", 1), ("d", 1)]


def test_a_duplicate_after_it_was_applied_stays_a_duplicate(log: Log) -> None:
    log.append("n", *numbered("a", 1, 2))
    assert len(log.drained("n")) == 2
    assert log.append("n", *numbered("a", 1, 2)) == [("d", 1), ("d", 2)]
    assert log.drained("n") == []


def test_the_same_id_with_another_body_is_a_conflict_and_is_not_appended(log: Log) -> None:
    log.append("n", observation("a", "e", "one"))
    assert log.append("n", observation("a", "e", "two")) == [("c", 1)]
    assert log.append("n", learn("a", "e")) == [("c", 1)]
    assert log.events("n", "a") == ["e"]


def test_the_same_id_in_another_session_is_another_event(log: Log) -> None:
    assert log.append("n", observation("a", "e"), observation("b", "e")) == [("n", 1), ("n", 1)]


def test_an_id_is_remembered_for_at_least_the_window_and_not_for_ever(remembering: MakeLog) -> None:
    """Bounded memory. Falls when append.lua looks an id up in the current bucket alone, or never expires one."""
    window = 600
    log = remembering(Retention(dedupe_ms=window))
    for round_ in range(3):  # each round begins at another place of the bucket
        event = observation("a", f"e{round_}")
        begun = time.monotonic()
        assert log.append("n", event)[0][0] == "n"
        while time.monotonic() - begun < window / 1000 * 0.9:
            assert log.append("n", event)[0][0] == "d"
            time.sleep(0.04)
    wait_until(lambda: not list(log.redis.scan_iter("*:ids:*")), 5, "ids are forgotten")
    assert log.append("n", observation("a", "e0"))[0] == ("n", 4)


def test_what_is_at_or_below_its_sources_mark_is_not_appended_again(log: Log) -> None:
    """Invariant 3. Falls when append.lua no longer raises `mark:<source>`."""
    events = numbered("a", 1, 7)
    assert log.append("n", *events[:5], source="topic-0", offsets=[10, 11, 12, 13, 14])[-1] == ("n", 5)
    again = log.append("n", *events[2:], source="topic-0", offsets=[12, 13, 14, 15, 16])
    assert [status for status, _ in again] == ["m", "m", "m", "n", "n"]
    assert log.events("n", "a") == [f"a-{i}" for i in range(1, 8)]


def test_each_source_has_a_mark_of_its_own(log: Log) -> None:
    assert log.append("n", observation("a", "x"), source="one", offsets=[7]) == [("n", 1)]
    assert log.append("n", observation("a", "y"), source="two", offsets=[7]) == [("n", 2)]
    assert log.append("n", observation("a", "z"), source="one", offsets=[7])[0][0] == "m"


def test_a_sources_mark_is_forgotten_when_its_time_is_over(remembering: MakeLog) -> None:
    log = remembering(Retention(source_mark_ms=50))
    log.append("n", observation("a", "x"), source="one", offsets=[7])
    wait_until(lambda: not list(log.redis.scan_iter("*:mark:*")), 5)


def test_a_thousand_events_over_many_lanes_keep_their_sessions_order(log: Log) -> None:
    mailbox = Mailbox(log.store)
    sessions = [f"session {i}" for i in range(100)]
    entries = [observation(s, f"{s}/{i}", str(i)) for i in range(10) for s in sessions]
    placed = mailbox.append(entries).placed
    assert [p.appended.position for p in placed] == [i + 1 for i in range(10) for _ in sessions]
    for session in sessions:
        assert log.events(default_node(session), session) == [f"{session}/{i}" for i in range(10)]
    assert all(p.appended.duplicate for p in mailbox.append(entries).placed)


def test_appends_that_race_give_every_event_a_position_of_its_own(log: Log) -> None:
    def append(worker: int) -> list[int]:
        return [log.append("n", observation("a", f"{worker}-{i}"))[0][1] for i in range(50)]

    with ThreadPoolExecutor(8) as pool:
        by_worker = list(pool.map(append, range(8)))
    assert sorted(p for positions in by_worker for p in positions) == list(range(1, 401))
    assert all(positions == sorted(positions) for positions in by_worker)


def test_copies_of_one_event_that_race_are_appended_once(log: Log) -> None:
    """Invariant 3. Falls with the dedupe lookup (`known`) in append.lua."""
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: log.append("n", observation("a", "one"))[0], range(40)))
    assert sorted(answers) == [("d", 1)] * 39 + [("n", 1)]


def test_only_a_lane_that_nobody_holds_asks_for_a_wake_up(log: Log) -> None:
    assert log.wakes("n", observation("a", "1"))
    log.taken("n", new_token())
    assert not log.wakes("n", observation("a", "2"))


def test_a_duplicate_asks_for_no_wake_up(log: Log) -> None:
    assert log.wakes("n", observation("a", "1"))
    assert not log.wakes("n", observation("a", "1"))


def test_a_node_name_that_another_one_shares_is_reported(log: Log) -> None:
    assert log.append("a-b", observation("one", "1"))[0][0] == "n"
    assert log.append("a_b", observation("two", "1"))[0][0] == "a"


def test_a_predict_takes_a_place_and_no_position(log: Log) -> None:
    log.append("n", *numbered("a", 1, 2))
    assert log.append("n", predict("a", "p")) == [("n", 2)]
    assert log.append("n", *numbered("a", 3, 3)) == [("n", 3)]
    assert log.append("n", predict("a", "p"))[0][0] == "d"


def test_counters_count_new_events_alone(log: Log) -> None:
    log.append("n", *numbered("a", 1, 3))
    log.append("n", *numbered("a", 1, 3), predict("a", "p"))
    assert log.redis.hget(f"{prefix(partition_of('n'))}stats", "appended") == "3"


# ------------------------------------------------------------------------------- the expected position


def append_at(log: Log, expected: int, *entries: Entry) -> list[tuple[str, int]]:
    rows = [("n", "n", entry, 0) for entry in entries]
    batch = log.do(ports.Append(partition_of("n"), rows, expected=expected))
    assert batch.wake == any(status.status == "n" for status in batch.statuses), "only what is new needs a wake-up"
    return [(status.status, status.position) for status in batch.statuses]


def test_an_event_is_appended_only_where_its_session_stands_at_the_expected_position(log: Log) -> None:
    """Falls when append.lua no longer compares `seen.head` with `expected`."""
    assert append_at(log, 1, observation("a", "early")) == [("x", 0)]
    assert log.redis.exists(f"{prefix(partition_of('n'))}s:a") == 0, "what is refused leaves no row"
    assert append_at(log, 0, observation("a", "1")) == [("n", 1)]
    assert append_at(log, 0, observation("a", "2")) == [("x", 1)]
    assert append_at(log, 2, observation("a", "2")) == [("x", 1)]
    assert append_at(log, 1, observation("a", "2")) == [("n", 2)]
    assert log.events("n", "a") == ["1", "2"]


def test_a_repeat_is_a_duplicate_at_its_position_whatever_position_is_expected(log: Log) -> None:
    append_at(log, 0, observation("a", "1"))
    log.append("n", *numbered("a", 2, 3))
    assert append_at(log, 0, observation("a", "1")) == [("d", 1)]
    assert append_at(log, 7, observation("a", "1")) == [("d", 1)]
    assert append_at(log, 0, observation("a", "1", "other")) == [("c", 1)]


def test_what_was_refused_for_its_position_may_come_again_with_the_right_one(log: Log) -> None:
    log.append("n", *numbered("a", 1, 3))
    assert append_at(log, 2, observation("a", "x")) == [("x", 3)]
    assert append_at(log, 3, observation("a", "x")) == [("n", 4)]


def test_a_predict_moves_no_position(log: Log) -> None:
    log.append("n", *numbered("a", 1, 1), predict("a", "p"))
    assert append_at(log, 1, observation("a", "x")) == [("n", 2)]


def test_of_callers_that_expect_one_position_exactly_one_appends(log: Log) -> None:
    def append(worker: int) -> list[int]:
        won = []
        for expected in range(30):
            ((status, position),) = append_at(log, expected, observation("a", f"{worker}-{expected}"))
            assert (status, position) == ("n", expected + 1) or (status == "x" and position > expected)
            if status == "n":
                won.append(position)
        return won

    with ThreadPoolExecutor(4) as pool:
        won = list(pool.map(append, range(4)))
    assert sorted(position for one in won for position in one) == list(range(1, 31))


def test_the_mailbox_says_where_the_session_stands(log: Log) -> None:
    mailbox = Mailbox(log.store)
    mailbox.append(numbered("a", 1, 2))
    (refused,) = mailbox.append([observation("a", "x")], expected=1).placed
    assert (refused.stands_at, refused.appended.position, refused.conflict) == (2, None, False)
    (taken,) = mailbox.append([observation("a", "x")], expected=2).placed
    assert (taken.stands_at, taken.appended.position) == (None, 3)


# ------------------------------------------------------------------------------- nodes for life


def nodes(log: Log, session: str, wanted: str = "") -> str:
    rows = [(session, wanted, default_node(session))]
    return log.do(ports.BindNodes(partition_of(session), rows))[0]


def test_a_sessions_node_is_its_first_for_life(log: Log) -> None:
    """Falls when bind_nodes.lua says HSET where it says HSETNX."""
    assert nodes(log, "a", "first") == "first"
    assert nodes(log, "a", "second") == "first"
    assert nodes(log, "a") == "first"
    assert nodes(log, "b") == "b"
    assert nodes(log, "b", "late") == "b"


def test_callers_that_race_for_a_sessions_node_all_get_one_answer(log: Log) -> None:
    with ThreadPoolExecutor(8) as pool:
        for session in (f"s{i}" for i in range(10)):
            assert len(set(pool.map(lambda i, s=session: nodes(log, s, f"node{i}"), range(8)))) == 1


def test_another_node_is_refused_and_nothing_is_appended(log: Log) -> None:
    mailbox = Mailbox(log.store)
    mailbox.append([_on("a", "1", "first")])
    for fresh in (mailbox, Mailbox(log.store)):  # one that remembers the node, and one that has to ask
        with pytest.raises(NodeConflict, match=r"events\[1\]\.node_id: .*'second'.*'first' for life"):
            fresh.append([_on("a", "2", "first"), _on("a", "3", "second")])
    assert log.events("first", "a") == ["1"]


def test_two_ids_that_kato_would_write_as_one_never_share_a_memory(log: Log) -> None:
    mailbox = Mailbox(log.store)
    posted = mailbox.append(
        [observation("a.b@x.org", "1"), observation("a-b@x.org", "1"), observation("a_b@x_org", "1")]
    )
    assert len({placed.lane for placed in posted.placed}) == 3
    assert not posted.shared_names


@pytest.mark.parametrize("before", ["a.b@x.org", default_node("a.b@x.org")], ids=["bound long ago", "bound now"])
def test_a_node_id_that_is_the_sessions_own_id_means_its_default_node(log: Log, before: str) -> None:
    """As in the guide's events; a session that was bound before such ids were told apart keeps its node."""
    session = "a.b@x.org"
    assert nodes(log, session, before) == before
    for event_id, entry in (
        ("1", _on(session, "1", session)),
        ("2", observation(session, "2")),
        ("3", _on(session, "3", before)),
    ):
        (placed,) = Mailbox(log.store).append([entry]).placed
        assert (placed.lane, placed.appended.position) == (lane_of(before), int(event_id))
    with pytest.raises(NodeConflict, match=r"belongs to node 'a\.b@x\.org' for life"):
        Mailbox(log.store).append([_on(session, "4", "team")])


def test_a_new_session_that_names_its_own_id_as_its_node_gets_its_default_node(log: Log) -> None:
    Mailbox(log.store).append([_on("it's", "1", "it's")])
    assert log.events(default_node("it's"), "it's") == ["1"]


def test_a_session_on_another_node_refuses_its_own_id_as_node(log: Log) -> None:
    Mailbox(log.store).append([_on("a-b", "1", "team")])
    with pytest.raises(NodeConflict, match="belongs to node 'team'"):
        Mailbox(log.store).append([_on("a-b", "2", "a-b")])


def test_an_entry_without_a_node_goes_to_the_one_that_its_session_has(log: Log) -> None:
    mailbox = Mailbox(log.store)
    mailbox.append([_on("a", "1", "n")])
    Mailbox(log.store).append([observation("a", "2")])
    assert log.events("n", "a") == ["1", "2"]


def test_two_nodes_for_one_new_session_in_one_call_are_refused(log: Log) -> None:
    with pytest.raises(InvalidEvent):
        Mailbox(log.store).append([_on("a", "1", "one"), _on("a", "2", "two")])
    assert not list(log.redis.scan_iter("*:log:*"))


def test_a_node_named_late_in_the_call_that_makes_the_session_counts(log: Log) -> None:
    Mailbox(log.store).append([observation("a", "1"), _on("a", "2", "named")])
    assert log.events("named", "a") == ["1", "2"]


def _on(session: str, event_id: str, node: str) -> Entry:
    return replace(observation(session, event_id), node_id=node)


# ------------------------------------------------------------------------------- names of all kinds

ODD = [
    "with space",
    "with\nnewline",
    "{braces}",
    "}{p000}:",
    "ünï©ødé 🙂",
    "a:b:c",
    "%d+ .* [x]",
    "1 2\n3",
    "'quoted\" \\",
    "\t",
    "0",
    "x" * 512,
]


@pytest.mark.parametrize("session", ODD)
def test_any_session_id_goes_all_the_way(log: Log, session: str) -> None:
    """Falls with a pattern in the scripts that a session id can break (`order`, `asks`, `owed`, `w:`)."""
    node = default_node(session)
    event_id = "e 🙂 {1}"
    log.append(node, observation(session, event_id, wanted=True), learn(session, "l"), predict(session, "p q"))
    parked = log.claim(node, session, event_id, task_id="task 1", request='{"r":1}')
    assert parked == ports.Found()
    token = new_token()
    work = log.taken(node, token)
    held = log.held(node, token)
    assert (work.session, [e.event_id for e in work.entries]) == (session, [event_id])
    log.intent(held, work, "call")
    done = log.commit(held, work, call="call", results=[(event_id, '{"ok":1}')])
    assert done.completed == (ports.WaitingTask(session, event_id, '{"ok":1}', {"task 1": '{"r":1}'}),)
    assert done.work is not None
    assert log.do(ports.OrphanedTasks(partition_of(lane_of(node)), -1, 10)) == [done.completed[0]]
    log.do(ports.DropWaitingTask(lane_of(node), session, event_id, "task 1"))
    assert log.do(ports.OrphanedTasks(partition_of(lane_of(node)), -1, 10)) == []
    done = log.commit(held, done.work)
    assert done.work is not None
    assert done.work.predict_id == "p q"
    done = log.commit(held, done.work, answers="p q", results=[("p q", "{}")])
    assert (done.work, done.due_ms) == (None, -1)
    assert log.order(node) == [(1, session, 1), (2, session, 2)]


def test_sessions_whose_ids_contain_each_other_stay_apart(log: Log) -> None:
    rng = random.Random(7)
    names = ["a", "a\n", "a\nb", "b\na", "a:", ":a", "a b", "1\na"]
    sent = [(rng.choice(names), i) for i in range(120)]
    for session, i in sent:
        log.append("n", observation(session, f"{i}"))
    assert {s: log.events("n", s) for s in names} == {s: [f"{i}" for t, i in sent if t == s] for s in names}
    applied = log.drained("n")
    assert {s: [e for t, e in applied if t == s] for s in names} == {s: log.events("n", s) for s in names}


# ------------------------------------------------------------------------------- the dedupe window is changed

DAY = 24 * 3_600_000


def test_another_dedupe_window_forgets_no_id(remembering: MakeLog) -> None:
    """A process with 7 days, one with 1, one with 30: all know what each of them appended."""
    week, day, month = (remembering(Retention(dedupe_ms=days * DAY)) for days in (7, 1, 30))
    assert week.append("n", observation("a", "1")) == [("n", 1)]
    assert day.append("n", observation("a", "1"), observation("a", "2")) == [("d", 1), ("n", 2)]
    assert month.append("n", *(observation("a", str(i)) for i in (1, 2, 3))) == [("d", 1), ("d", 2), ("n", 3)]
    for one in (week, day, month, day, week):
        assert one.append("n", *(observation("a", str(i)) for i in (1, 2, 3))) == [("d", 1), ("d", 2), ("d", 3)]


@pytest.mark.parametrize("days", [1, 30])
def test_ids_that_a_store_from_before_windows_were_written_down_has_under_7_days_are_found(
    remembering: MakeLog, days: int
) -> None:
    week = remembering(Retention(dedupe_ms=7 * DAY))
    week.append("n", observation("a", "1"))
    week.redis.delete(f"{prefix(partition_of('n'))}windows")
    other = remembering(Retention(dedupe_ms=days * DAY))
    assert other.append("n", observation("a", "1"), observation("a", "2")) == [("d", 1), ("n", 2)]
    assert other.append("n", observation("a", "1")) == [("d", 1)]


def test_buckets_are_named_as_before_by_their_window(log: Log) -> None:
    """A store is handed on from the version before, and back to it."""
    log.append("n", observation("a", "1"))
    seconds, micros = log.redis.time()
    now, window, partition = int(seconds) * 1000 + int(micros) // 1000, 7 * DAY, partition_of("n")
    bucket = int((now + partition * window / 256) // window)
    assert log.redis.hkeys(f"{prefix(partition)}ids:{bucket}") == ["1\na"]
    assert window < log.redis.pttl(f"{prefix(partition)}ids:{bucket}") <= 2 * window


def test_a_window_whose_ids_have_expired_is_looked_up_no_more(remembering: MakeLog) -> None:
    short, long = remembering(Retention(dedupe_ms=50)), remembering(Retention(dedupe_ms=7 * DAY))
    short.append("n", observation("a", "1"))
    key = f"{prefix(partition_of('n'))}windows"
    time.sleep(0.3)
    wait_until(
        lambda: long.append("n", observation("a", uuid.uuid4().hex)) and " 50:" not in str(long.redis.get(key)), 5
    )


def test_of_callers_who_know_nothing_of_each_other_one_with_another_node_is_told_and_the_others_are_appended(
    log: Log,
) -> None:
    """Falls when `append_each` raises as `append` does: one caller's mistake would then fail all of its group."""
    mailbox = Mailbox(log.store)
    mailbox.append([replace(observation("a", "first"), node_id="n")])
    group = [
        replace(observation("a", "one"), node_id="n"),
        replace(observation("a", "two"), node_id="other"),
        observation("b", "three"),
        observation("a", "first"),
    ]
    done = carry_out(log.store, mailbox.protocol.append_each(group))
    first, refused, other, again = done.placed
    assert (first.appended.position, other.appended.position, again.appended.position) == (2, 1, 1)
    assert refused.other_node is not None
    assert (refused.other_node.field, refused.appended.position) == ("node_id", None)
    assert "belongs to node 'n' for life" in refused.other_node.reason
    assert log.events("n", "a") == ["first", "one"]
