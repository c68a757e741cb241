"""The port `Sessions`: which sessions there are, how each stands, what its log holds."""

from __future__ import annotations

import json

import pytest

from kato_tasks import ports
from kato_tasks.adapters.redis.keys import prefix
from kato_tasks.domain.ids import lane_of, partition_of
from kato_tasks.errors import StoreFailed, UnreadableRow
from kato_tasks.ports.sessions import Which
from kato_tasks.testing.waiting import wait_until
from tests.contract.store.log import binding, new_token
from tests.contract.store.pieces import Pieces


def found(pieces: Pieces, which: Which = "all", prefix: str = "", at_most: int = 500) -> dict[str, str]:
    pages = list(pieces.sessions.pages(which, prefix, at_most))
    assert all(0 < len(page) <= at_most for page in pages)
    return {session: node for page in pages for session, node in page.items()}


def test_a_session_is_known_by_its_node_once_something_was_appended(pieces: Pieces) -> None:
    assert pieces.sessions.node_of("a") is None
    pieces.append("a", "x", node="n")
    pieces.append("b", "x")
    assert pieces.sessions.node_of("a") == "n"
    assert pieces.sessions.nodes(["a", "b", "c"]) == {"a": "n", "b": "b"}
    assert pieces.sessions.nodes([]) == {}


def test_a_session_that_is_not_known_has_the_lane_of_its_default_node(pieces: Pieces) -> None:
    pieces.append("a", "x", node="n")
    assert pieces.sessions.lane_of("a") == lane_of("n")
    assert pieces.sessions.lane_of("nowhere") == lane_of("nowhere")


def test_every_session_is_on_a_page_with_its_node_and_none_without_the_prefix(pieces: Pieces) -> None:
    many = {f"s{i}": f"n{i % 7}" for i in range(60)} | {"a*b": "a*b", "a?b": "n1", "ab": "n1"}
    for session, node in many.items():
        pieces.append(session, "x", node=node if node != session else None)
    known = {session: pieces.sessions.node_of(session) for session in many}
    assert found(pieces, at_most=20) == known
    assert found(pieces, prefix="s5").keys() == {"s5", *(f"s5{i}" for i in range(10))}
    assert found(pieces, prefix="a*").keys() == {"a*b"}
    assert found(pieces, prefix="nothing") == {}


def test_sessions_with_something_unapplied_and_those_that_are_parked_are_found_apart(pieces: Pieces) -> None:
    for session, node in {"waits": "n", "done": "m", "parked": "k"}.items():
        pieces.append(session, "x", node=node)
    pieces.log.drained("m")
    pieces.park("parked", "{}")
    assert found(pieces, "unapplied") == {"waits": "n"}
    assert found(pieces, "unapplied", "nothing") == {}
    assert found(pieces, "parked") == {"parked": "k"}
    assert pieces.sessions.parked() == ["parked"]


def test_a_new_session_waits_with_all_its_events(pieces: Pieces) -> None:
    pieces.append("a", "x", "y", node="n")
    row = pieces.row("a")
    assert (row.session, row.node, row.node_id, row.lane) == ("a", "n", "n", lane_of("n"))
    assert (row.head, row.cursor, row.binding, row.attempts, row.last_error, row.parked) == (2, 0, None, 0, None, None)
    assert row.due_in_seconds is not None
    assert row.due_in_seconds <= 0
    assert not row.leased
    assert row.last_event_ms is not None
    assert abs(row.last_event_ms - pieces.figures.now_ms()) < 60_000


def test_a_session_that_is_at_work_is_leased_and_one_that_is_applied_has_a_binding_and_nothing_due(
    pieces: Pieces,
) -> None:
    pieces.append("a", "x", "y", node="n")
    token = new_token()
    work = pieces.log.taken("n", token)
    assert pieces.row("a").leased
    pieces.log.commit(pieces.log.held("n", token), work)
    row = pieces.row("a")
    assert (row.head, row.cursor, row.due_in_seconds, row.leased) == (2, 2, None, False)
    assert row.binding == binding("n", time=2)


def test_a_failed_try_is_told_with_its_error_and_the_time_until_the_next_one(pieces: Pieces) -> None:
    pieces.append("a", "x", node="n")
    pieces.fail("n", "KATO is down", wait_ms=60_000)
    row = pieces.row("a")
    assert (row.attempts, row.last_error) == (1, "KATO is down")
    assert row.due_in_seconds is not None
    assert 0 < row.due_in_seconds <= 60


def test_why_a_session_is_parked_is_told_and_a_reason_that_is_no_json_is_the_reason(pieces: Pieces) -> None:
    pieces.append("a", "x")
    pieces.append("b", "x")
    pieces.park("a", json.dumps({"reason": "by hand", "position": 1}))
    pieces.park("b", "because")
    assert pieces.row("a").parked == {"reason": "by hand", "position": 1}
    assert pieces.row("b").parked == {"reason": "because"}


def test_many_sessions_are_read_in_their_order_and_none_at_all_is_no_error(pieces: Pieces) -> None:
    for i in range(5):
        pieces.append(f"s{i}", *"xyz"[: i % 3 + 1])
    nodes = pieces.sessions.nodes([f"s{i}" for i in (3, 1, 4, 0, 2)])
    assert [row.session for row in pieces.sessions.read(nodes)] == list(nodes)
    assert pieces.sessions.backlogs(nodes) == [row.head - row.cursor for row in pieces.sessions.read(nodes)]
    assert pieces.sessions.last_event_times(nodes) == [row.last_event_ms for row in pieces.sessions.read(nodes)]
    assert pieces.sessions.read({}) == []
    assert pieces.sessions.backlogs({}) == []
    assert pieces.sessions.last_event_times({}) == []


def test_a_session_of_which_nothing_is_kept_stands_at_the_beginning(pieces: Pieces) -> None:
    (row,) = pieces.sessions.read({"nowhere": "n"})
    assert (row.head, row.cursor, row.due_in_seconds, row.last_event_ms) == (0, 0, None, None)
    assert pieces.sessions.backlogs({"nowhere": "n"}) == [0]


@pytest.mark.parametrize(("after", "limit", "ids"), [(0, 9, "e1 e2 e3"), (1, 9, "e2 e3"), (0, 2, "e1 e2"), (3, 9, "")])
def test_the_log_is_read_from_behind_a_position(pieces: Pieces, after: int, limit: int, ids: str) -> None:
    pieces.append("a", "x", "y", "z", node="n")
    entries = pieces.sessions.events("a", "n", after, limit)
    assert [entry.event_id for entry in entries] == ids.split()
    assert [entry.position for entry in entries] == list(range(after + 1, after + 1 + len(entries)))
    assert pieces.sessions.events("nowhere", "n") == []


def test_what_is_scheduled_comes_in_the_order_of_its_times_over_all_partitions(pieces: Pieces) -> None:
    now = pieces.figures.now_ms()
    for i in range(50):
        lane = lane_of(f"n{i % 5}")
        pieces.log.do(ports.KeepScheduled(lane, now + (i * 7 % 50) * 1_000, f'["s{i}"]'))
    kept = list(pieces.sessions.scheduled())
    assert [one.due_ms for one in kept] == [now + i * 1_000 for i in range(50)]
    assert {json.loads(one.payload)[0] for one in kept} == {f"s{i}" for i in range(50)}


def test_what_is_scheduled_for_a_session_is_found_in_its_lane_and_in_its_default_one(pieces: Pieces) -> None:
    pieces.append("a", "x", node="n")
    for lane, payload in {"n": '["of its node"]', "a": '["before it was known"]', "far": '["of another"]'}.items():
        pieces.log.do(ports.KeepScheduled(lane_of(lane), pieces.figures.now_ms(), payload))
    payloads = [one.payload.strip() for one in pieces.sessions.scheduled("a")]
    assert {'["of its node"]', '["before it was known"]'} <= set(payloads)
    assert '["of another"]' not in payloads


def test_an_id_that_would_be_a_duplicate_is_remembered_in_its_session_alone(pieces: Pieces) -> None:
    pieces.append("a", "x", node="n")
    pieces.append("b", "x", "y", node="n")
    assert pieces.sessions.remembers("a", "e1")
    assert not pieces.sessions.remembers("a", "e2")
    assert pieces.sessions.remembers("b", "e2")
    assert not pieces.sessions.remembers("nowhere", "e1")


def test_when_the_last_event_came_moves_with_the_log(pieces: Pieces) -> None:
    pieces.append("a", "x", node="n")
    (before,) = pieces.sessions.last_event_times({"a": "n"})
    assert before is not None
    wait_until(lambda: pieces.figures.now_ms() > before, 5)
    pieces.append("a", "y", node="n", first=2)
    (after,) = pieces.sessions.last_event_times({"a": "n"})
    assert after is not None
    assert after > before


def test_a_session_is_shown_with_the_generation_of_its_lane(pieces: Pieces) -> None:
    pieces.append("s", "x", node="n")
    assert pieces.row("s").generation == ""
    held = pieces.log.held("n", "t")
    assert pieces.log.do(ports.TakeLane(lane_of("n"), "t", held.lease_ms))
    assert pieces.log.do(ports.SwitchGeneration(held, "n~2", "")) == "done"
    row = pieces.row("s")
    assert (row.generation, row.node, row.lane) == ("n~2", "n", lane_of("n"))


# ------------------------------------------------------------------------------- heads, and the order of a lane


def test_heads_are_the_positions_of_the_last_events(pieces: Pieces) -> None:
    pieces.append("a", "x", "y", node="n")
    pieces.append("b", "x")
    assert pieces.sessions.heads({"b": "b", "a": "n", "nowhere": "m"}) == [1, 2, 0]
    assert pieces.sessions.heads({}) == []


def test_a_head_that_is_no_number_is_unreadable(pieces: Pieces) -> None:
    pieces.append("a", "x", node="n")
    pieces.log.redis.hset(f"{prefix(partition_of('n'))}s:a", "head", "many")
    with pytest.raises(UnreadableRow, match="session 'a'"):
        pieces.sessions.heads({"a": "n"})
    pieces.log.redis.set(f"{prefix(partition_of('n'))}s:b", "no hash")
    with pytest.raises(UnreadableRow, match="session 'b'"):
        pieces.sessions.heads({"b": "n"})


def in_turn(pieces: Pieces, rounds: int) -> list[tuple[int, str, int, str]]:
    """Apply events of three sessions of a lane, some of them several at once: place, session, position, id."""
    counts = dict.fromkeys("abc", 0)
    applied: list[tuple[str, int]] = []
    for i in range(rounds):
        session, many = "abc"[i % 3], 1 + i % 2
        pieces.append(session, *["x"] * many, node="n", first=counts[session] + 1)
        applied += [(session, counts[session] + at + 1) for at in range(many)]
        counts[session] += many
        pieces.log.drained("n")
    return [(place, session, at, f"e{at}") for place, (session, at) in enumerate(applied, 1)]


def shown(page: ports.LanePage) -> list[tuple[int, str, int, str]]:
    return [(one.lane_order, one.session, one.position, one.entry.split("\n")[1]) for one in page.events]


def test_a_lanes_events_come_in_the_order_in_which_they_were_applied_from_any_place(pieces: Pieces) -> None:
    """Falls with the bisection in read_lane.lua, or with a commit that is not cut at the place."""
    expected = in_turn(pieces, 20)
    pieces.append("d", "not applied", node="n")
    for after in range(len(expected) + 2):
        for limit in (1, 2, 7, 100):
            page = pieces.log.do(ports.ReadLane("n", after, limit))
            found = shown(page)
            assert found == expected[after : after + len(found)]
            assert len(found) in (limit, limit + 1) or page.reached == len(expected), "a commit is read whole"
            assert (page.first_seq, page.applied) == (1, len(expected))
            assert page.reached == (found[-1][0] if found else len(expected))
    assert pieces.log.do(ports.ReadLane("nobody", 0, 10)) == ports.LanePage(0, 0, (), 0)


def test_a_lanes_order_whose_beginning_was_given_up_begins_with_what_is_left(pieces: Pieces) -> None:
    expected = in_turn(pieces, 10)
    pieces.log.redis.ltrim(f"{prefix(partition_of('n'))}order:n", 4, -1)
    page = pieces.log.do(ports.ReadLane("n", 1, 100))
    assert (page.first_seq, shown(page)) == (7, expected[6:])


def test_an_entry_that_is_gone_before_its_commit_is_said_and_not_passed(pieces: Pieces) -> None:
    """Falls when read_lane's decoder leaves out what it cannot find: a rebuild would go on without it."""
    in_turn(pieces, 6)
    pieces.log.redis.ltrim(f"{prefix(partition_of('n'))}log:c", 0, 0)
    with pytest.raises(UnreadableRow, match="log of session 'c' lacks events"):
        pieces.log.do(ports.ReadLane("n", 0, 100))


def test_a_lanes_order_that_is_broken_is_said(pieces: Pieces) -> None:
    in_turn(pieces, 2)
    pieces.log.redis.rpush(f"{prefix(partition_of('n'))}order:n", "broken")
    with pytest.raises(StoreFailed):
        pieces.log.do(ports.ReadLane("n", 0, 100))
