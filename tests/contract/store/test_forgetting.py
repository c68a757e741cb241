"""A session is erased from its partition in one step; what others have there stays, and a later event begins again."""

from __future__ import annotations

import pytest

from kato_tasks import ports
from kato_tasks.adapters.redis.keys import prefix
from kato_tasks.adapters.redis.operations import Retention
from kato_tasks.adapters.redis.traces import RedisTraces
from kato_tasks.domain.ids import partition_of
from kato_tasks.errors import LeaseLost
from kato_tasks.ports.replays import ReadLane, ReadLaneState
from tests.contract.store.conftest import MakeLog
from tests.contract.store.log import Log, new_token, numbered, observation, predict

ROOT = prefix(partition_of("n"))


@pytest.fixture
def log(remembering: MakeLog) -> Log:
    return remembering(Retention(archiving="1"))


def applied(log: Log, session: str, count: int = 3) -> None:
    """Events of the session, applied in two commits, with what a session can have beside its log."""
    log.do(ports.BindNodes(partition_of(session), [(session, "n", "n")]))
    for first in (1, count):
        log.append("n", *numbered(session, first, first if first == count else count - 1))
        work = log.taken("n", "t")
        log.commit(log.held("n", "t"), work, results=[(work.entries[0].event_id, "{}")], go_on=False)
    log.do(ports.KeepDeadLetter("n", f"{session}\n2", f'{{"session_id": "{session}", "lane": "n"}}'))
    log.redis.hset(f"{ROOT}vec:{session}", "1", "[]")
    assert log.do(ports.KeepFrontSession("n", session, "n", "{}", '{"recall_threshold":0.3}'))


def traces(log: Log, session: str, lane: str = "n") -> ports.Traces:
    return RedisTraces(log.redis).of_session(session, lane)


def forget(log: Log, session: str, *, whole: bool = False) -> ports.Forgot:
    """As ``api.forgetting`` does it."""
    token = new_token()
    assert log.do(ports.TakeLane("n", token, 20_000))
    held = log.held("n", token)
    found = traces(log, session)
    place = 1
    while place:
        place = log.do(ports.ForgetCommits(held, session, place, 1))
    letters = [name for _, name in found.letters]
    answer = log.do(ports.ForgetSession(held, session, found.ids, found.results, letters, whole))
    log.do(ports.GiveLaneBack(held))
    return answer


def texts_with(log: Log, text: str) -> list[str]:
    """Every key, field or value in which the text is."""
    return [name for name, value in log.dump().items() if text in name or text in str(value)]


def test_nothing_of_a_session_is_left_and_nothing_of_the_others_is_changed(log: Log) -> None:
    """Falls when forget_session leaves a row out, or erases one of another session."""
    applied(log, "other")
    before = log.dump()
    applied(log, "person")
    log.redis.zadd(f"{ROOT}failing", {"person": 1})
    log.redis.sadd(f"{ROOT}parked", "person")
    log.redis.zadd(f"{ROOT}exp", {"person": 10})
    assert len(texts_with(log, "person")) > 8
    assert forget(log, "person") == "done"
    log.do(ports.ForgetNode("person"))
    assert texts_with(log, "person") == []
    after = log.dump()
    for changed in (f"{ROOT}lane:n", f"{ROOT}order:n", f"{ROOT}stats"):
        del before[changed], after[changed]
    assert after == before


def test_the_others_keep_their_places_in_the_lanes_order(log: Log) -> None:
    applied(log, "person")
    applied(log, "other")
    assert forget(log, "person") == "done"
    page = log.do(ReadLane("n", 0, 100))
    assert (page.applied, [(e.lane_order, e.session, e.position) for e in page.events]) == (
        6,
        [(4, "other", 1), (5, "other", 2), (6, "other", 3)],
    )
    (lane,) = log.do(ports.ReadUnarchived(partition_of("n"), 10, 100))
    assert [e.session for e in lane.events] == ["other"] * 3
    assert (lane.commits, lane.missing) == (4, frozenset())
    assert log.do(ports.DropArchived("n", lane.first_seq, lane.commits, [("other", 3)], 10))


def test_a_page_that_holds_only_places_of_a_forgotten_session_says_how_far_it_reached(log: Log) -> None:
    """Falls when such a page counts as the lane's end: a rebuild would leave out whatever comes behind it."""
    applied(log, "first", 5)
    applied(log, "person", 90)
    applied(log, "other", 5)
    assert forget(log, "person") == "done"
    found, at = [], 0
    while at < 100:
        page = log.do(ReadLane("n", at, 10))
        assert page.reached > at
        at = page.reached
        found += [(event.lane_order, event.session) for event in page.events]
    assert found == [(i, "first") for i in range(1, 6)] + [(i, "other") for i in range(96, 101)]


def test_an_id_that_ends_like_another_is_not_taken_for_it(log: Log) -> None:
    """Falls when the session is looked for at the end of a key: ids may have line breaks."""
    for session in ("a\nperson", "xperson", "person", "per*on"):
        log.append("n", observation(session, f"of {session[:1]}"))
        work = log.taken("n", "t")
        log.commit(log.held("n", "t"), work, results=[(f"of {session[:1]}", "{}")], go_on=False)
    assert traces(log, "person").results == ("of p",)
    assert [event_id for _, event_id in traces(log, "person").ids] == ["of p"]
    assert traces(log, "per*on").results == ("of p",)
    assert forget(log, "person") == "done"
    left = texts_with(log, "person")
    assert {name.removeprefix(ROOT) for name in left if "s:" in name[len(ROOT) : len(ROOT) + 2]} == {
        "s:a\nperson",
        "s:xperson",
    }


def test_the_same_call_twice_is_done_twice(log: Log) -> None:
    applied(log, "person")
    assert forget(log, "person") == "done"
    before = log.dump()
    assert forget(log, "person") == "done"
    assert log.dump() == before


@pytest.mark.parametrize("what", ["an event", "a predict"])
def test_a_session_with_something_left_to_do_is_left_as_it_is(log: Log, what: str) -> None:
    applied(log, "person")
    log.append("n", observation("person", "new") if what == "an event" else predict("person", "new"))
    before = log.state("n", "person")
    assert forget(log, "person") == "unapplied"
    assert log.state("n", "person") == before
    assert traces(log, "person").ids


def test_a_session_with_an_open_intent_is_left_as_it_is(log: Log) -> None:
    applied(log, "person")
    log.redis.hset(f"{ROOT}s:person", "ic", "call")
    assert forget(log, "person") == "open"
    assert log.redis.exists(f"{ROOT}s:person")


def test_a_stale_token_erases_nothing(log: Log) -> None:
    """Falls when one of the scripts does not compare the token."""
    applied(log, "person")
    log.do(ports.TakeLane("n", "t", 20_000))
    before = log.dump()
    with pytest.raises(LeaseLost):
        log.do(ports.ForgetCommits(log.held("n", "stale"), "person", 1))
    with pytest.raises(LeaseLost):
        log.do(ports.ForgetSession(log.held("n", "stale"), "person", [], [], []))
    assert log.dump() == before


def test_a_lane_goes_with_its_only_session(log: Log) -> None:
    applied(log, "person")
    log.redis.sadd(f"{ROOT}ltm_lost", "n")
    assert forget(log, "person", whole=True) == "done"
    log.do(ports.ForgetNode("person"))
    assert [name for name in log.dump() if not name.endswith((":stats", ":windows"))] == []


@pytest.mark.parametrize("what", ["applied", "pending"])
def test_a_lane_stays_that_another_session_came_to_use(log: Log, what: str) -> None:
    """Falls when forget_session does not look for others: they may have come since the caller looked."""
    applied(log, "person")
    log.append("n", *numbered("other", 1, 1))
    if what == "applied":
        log.drained("n")
    assert forget(log, "person", whole=True) == "done"
    assert log.redis.exists(f"{ROOT}lane:n")
    log.drained("n")
    assert log.do(ReadLaneState("n")) == (4, "")


def test_a_later_event_begins_a_new_session_also_with_an_id_that_was_used(log: Log) -> None:
    """Falls when an id stays in a dedupe bucket."""
    applied(log, "person")
    assert forget(log, "person") == "done"
    assert log.append("n", *numbered("person", 1, 1)) == [("n", 1)]
    assert log.drained("n") == [("person", "person-1")]
    assert log.do(ReadLane("n", 3, 10)).events[0].position == 1


def test_many_ids_are_forgotten_before_the_session(log: Log) -> None:
    log.append("n", *numbered("person", 1, 50))
    log.drained("n")
    ids = traces(log, "person").ids
    assert len(ids) == 50
    log.do(ports.ForgetIds("n", "person", ids[10:]))
    assert len(traces(log, "person").ids) == 10


def test_a_caller_that_remembers_the_node_is_told_that_the_session_is_gone(log: Log) -> None:
    """Falls when append makes a session without its node: it would be in no list of sessions."""
    applied(log, "person")
    assert forget(log, "person") == "done"
    rows = [("n", "", observation("person", "y"), 0), ("n", "n", observation("other", "z"), 0)]
    batch = log.do(ports.Append(partition_of("n"), rows))
    assert [status.status for status in batch.statuses] == ["g", "n"]
    assert not log.redis.exists(f"{ROOT}s:person")


def test_a_sources_mark_does_not_pass_an_event_of_a_session_that_is_gone(log: Log) -> None:
    rows = [("n", "", observation("person", "y"), 1), ("n", "n", observation("other", "z"), 2)]
    batch = log.do(ports.Append(partition_of("n"), rows, "s"))
    assert [status.status for status in batch.statuses] == ["g", "g"]
    rows = [("n", "n", observation("person", "y"), 1), ("n", "n", observation("other", "z"), 2)]
    batch = log.do(ports.Append(partition_of("n"), rows, "s"))
    assert [status.status for status in batch.statuses] == ["n", "n"]
