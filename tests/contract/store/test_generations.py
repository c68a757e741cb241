"""A lane is taken, switched to another generation of its node, and given back."""

from __future__ import annotations

import pytest

from kato_tasks import ports
from kato_tasks.adapters.redis.keys import prefix
from kato_tasks.domain.ids import partition_of
from kato_tasks.domain.kato_session import Intent
from kato_tasks.errors import LeaseLost
from tests.contract.store.log import LEASE_MS, Log, binding, learn, new_token, numbered, observation, predict

ROOT = prefix(partition_of("n"))
NEW = "n~2"
PATTERN = "PTRN|known"


def take(log: Log, token: str, node: str = "n", *, ms: int = LEASE_MS) -> bool:
    return log.do(ports.TakeLane(node, token, ms))


def give(log: Log, token: str, node: str = "n") -> int | None:
    return log.do(ports.GiveLaneBack(log.held(node, token)))


def switch(log: Log, token: str, new: str = NEW, old: str = "", known: str = "") -> ports.Switched:
    return log.do(ports.SwitchGeneration(log.held("n", token), new, old, known))


def switched(log: Log, new: str = NEW, old: str = "", known: str = "") -> ports.Switched:
    """Take the lane, switch it, and give it back."""
    token = new_token()
    assert take(log, token)
    answer = switch(log, token, new, old, known)
    give(log, token)
    return answer


def opened(log: Log) -> list[str]:
    return log.do(ports.OpenIntents("n"))


def generation(log: Log) -> str:
    return log.do(ports.GenerationOf("n"))


# ------------------------------------------------------------------------------------------ take, give back


def test_an_idle_lane_is_taken_by_its_name_and_nothing_of_it_becomes_due(log: Log) -> None:
    log.append("n", *numbered("a", 1, 1))
    log.drained("n")
    before = log.dump()
    assert take(log, "t") is True
    assert log.lease("n", "u") is None, "it is held"
    assert log.dump() == before
    assert give(log, "t") == -1
    assert log.dump() == before
    assert not log.redis.exists(f"{ROOT}lease:n", f"{ROOT}ready")


def test_a_lane_has_one_taker_and_a_repeat_renews_it(log: Log) -> None:
    """Falls when take_lane leases a lane that is held, or refuses its own holder."""
    assert take(log, "t", ms=5_000) is True
    assert take(log, "u") is False
    assert int(log.redis.pttl(f"{ROOT}lease:n")) <= 5_000
    assert take(log, "t", ms=50_000) is True
    assert int(log.redis.pttl(f"{ROOT}lease:n")) > 40_000


def test_a_lane_that_a_worker_holds_is_not_taken(log: Log) -> None:
    log.append("n", *numbered("a", 1, 1))
    log.taken("n", "t")
    assert take(log, "u") is False


def test_what_is_appended_while_a_lane_is_taken_is_due_when_it_is_given_back(log: Log) -> None:
    """Falls when give_lane_back does not look at what is pending."""
    assert take(log, "t")
    log.append("n", *numbered("a", 1, 2))
    assert log.lease("n", "u") is None
    due = give(log, "t")
    assert due is not None
    assert due > 0
    assert len(log.taken("n", "u").entries) == 2


def test_a_lane_whose_taker_died_is_due_when_its_lease_ends(log: Log) -> None:
    """Falls when take_lane leaves the lane out of the ready set: an append to a leased lane does not put it there."""
    assert take(log, "t", ms=50)
    log.append("n", *numbered("a", 1, 1))
    assert [entry.event_id for entry in log.comes("n", "u").entries] == ["a-1"]


def test_only_the_holder_gives_a_lane_back(log: Log) -> None:
    assert take(log, "t")
    assert give(log, "u") is None
    assert take(log, "v") is False
    assert give(log, "t") == -1
    assert give(log, "t") is None
    assert take(log, "v") is True


# ---------------------------------------------------------------------------------------------- open intents


def test_sessions_with_an_open_intent_are_named_whether_they_are_pending_or_parked(log: Log) -> None:
    for session in ("a", "b", "c"):
        log.append("n", *numbered(session, 1, 1))
    work = log.taken("n", "t")
    held = log.held("n", "t")
    log.intent(held, work, "call")
    assert opened(log) == [work.session]
    second = log.do(ports.Defer(held, work.session, 0, 1, 0, "why")).work
    assert second is not None
    log.intent(held, second, "call 2")
    assert sorted(opened(log)) == sorted([work.session, second.session])
    assert len(log.do(ports.OpenIntents("n", 1))) == 1
    log.do(ports.Park(held, second.session, "{}", go_on=False))
    assert sorted(opened(log)) == sorted([work.session, second.session])
    assert log.do(ports.OpenIntents("m")) == []


def test_an_intent_that_is_committed_is_not_open(log: Log) -> None:
    log.append("n", *numbered("a", 1, 1))
    work = log.taken("n", "t")
    log.intent(log.held("n", "t"), work, "call")
    log.commit(log.held("n", "t"), work, call="call", go_on=False)
    assert opened(log) == []


def test_a_parked_session_of_another_lane_of_the_partition_is_not_named(log: Log) -> None:
    """Falls when open_intents does not ask for a parked session's lane."""
    log.append("n", *numbered("a", 1, 1))
    work = log.taken("n", "t")
    log.intent(log.held("n", "t"), work, "call")
    log.do(ports.Park(log.held("n", "t"), "a", "{}", go_on=False))
    log.redis.hset(f"{ROOT}s:a", "lane", "another")
    assert opened(log) == []


def test_a_pending_session_that_cannot_be_read_counts_as_open(log: Log) -> None:
    log.append("n", *numbered("a", 1, 1))
    log.redis.delete(f"{ROOT}s:a")
    log.redis.set(f"{ROOT}s:a", "broken")
    assert opened(log) == ["a"]


# ---------------------------------------------------------------------------------------------------- switch


def test_a_piece_of_work_names_the_generation_and_callers_see_their_node(log: Log) -> None:
    log.append("n", *numbered("a", 1, 1))
    work = log.taken("n", "t")
    assert (work.generation, work.kato_node, work.node_id) == ("", "n", "n")
    log.expire_lease("n")
    assert switched(log) == "done"
    work = log.comes("n", "u")
    assert (work.generation, work.kato_node, work.node, work.node_id) == (NEW, NEW, "n", "n")
    assert generation(log) == NEW
    log.commit(log.held("n", "u"), work, go_on=False)
    assert switched(log, "", NEW) == "done"
    log.append("n", *numbered("a", 2, 2))
    work = log.comes("n", "v")
    assert (work.generation, work.kato_node, work.bound_elsewhere) == ("", "n", False)
    assert generation(log) == ""


def test_a_session_that_is_bound_to_another_node_says_so(log: Log) -> None:
    log.append("n", *numbered("a", 1, 1))
    log.drained("n")
    switched(log)
    log.append("n", *numbered("a", 2, 2))
    assert log.taken("n", "t").bound_elsewhere is True


def test_node_ids_of_one_lane_go_to_one_generation(log: Log) -> None:
    log.append("a-b", *numbered("s", 1, 1))
    log.append("a_b", *numbered("t", 1, 1))
    assert take(log, "t", "a_b")
    assert log.do(ports.SwitchGeneration(log.held("a_b", "t"), "a_b~2", "")) == "done"
    give(log, "t", "a_b")
    first = log.comes("a-b", "u")
    second = log.commit(log.held("a-b", "u"), first).work
    assert second is not None
    assert {(w.session, w.node, w.kato_node) for w in (first, second)} == {
        ("s", "a-b", "a_b~2"),
        ("t", "a_b", "a_b~2"),
    }


def test_a_switch_under_a_stale_token_is_refused_and_changes_nothing(log: Log) -> None:
    """Falls when switch_generation does not compare the token."""
    assert take(log, "t")
    before = log.dump()
    with pytest.raises(LeaseLost):
        switch(log, "u")
    assert log.dump() == before


def test_a_switch_from_another_generation_is_refused_and_changes_nothing(log: Log) -> None:
    """Falls when switch_generation does not compare the generation."""
    assert switched(log) == "done"
    before = log.dump()
    assert switched(log, "n~3") == "other"
    assert switched(log, "n~3", "n~1") == "other"
    assert log.dump() == before
    assert switched(log, "n~3", NEW) == "done"
    assert generation(log) == "n~3"


def test_a_repeated_switch_changes_nothing(log: Log) -> None:
    """Falls when the second switch drops what the lane knows of the new node by then."""
    assert take(log, "t")
    assert switch(log, "t", known=PATTERN) == "done"
    log.redis.hset(f"{ROOT}lane:n", "known", "learned since")
    log.redis.hset(f"{ROOT}certain:n", "seq", "1")
    before = log.dump()
    assert switch(log, "t", known=PATTERN) == "done"
    assert log.dump() == before


def test_a_lane_with_an_open_intent_is_not_switched(log: Log) -> None:
    """Falls when switch_generation does not look for open intents."""
    log.append("n", *numbered("a", 1, 1))
    work = log.taken("n", "t")
    log.intent(log.held("n", "t"), work, "call")
    before = log.dump()
    assert switch(log, "t") == "open"
    assert log.dump() == before
    log.commit(log.held("n", "t"), work, call="call", go_on=False)
    assert switched(log) == "done"


def learned(log: Log) -> None:
    """The lane learned a pattern; another learn was left open by a session, and its note with it."""
    log.append("n", observation("a", "o"), learn("a", "l"))
    token = new_token()
    first = log.taken("n", token)
    held = log.held("n", token)
    work = log.commit(held, first).work
    assert work is not None
    intent = Intent(call="call", kind="learn", first=2, last=2, pattern="P", frequency=0)
    log.do(ports.WriteIntent(held, "a", 1, intent))
    commit = ports.Commit(held, "a", "call", 1, 2, binding(), stm_start=2, learned=("P", 1), certain="run", go_on=False)
    log.do(commit)
    log.redis.hset(f"{ROOT}unsettled:n", "Q", "b")


def test_what_the_lane_knows_of_its_node_is_dropped_at_a_switch(log: Log) -> None:
    """Falls when one of these is kept."""
    learned(log)
    asked = (
        ports.LearnedLately("n", "P"),
        ports.CertainFrequency("n", "P"),
        ports.UnsettledLearn("n", "Q"),
        ports.KnownPattern("n"),
    )
    assert None not in log.all(*asked)
    assert switched(log) == "done"
    assert log.all(*asked) == [None] * 4
    assert switched(log, "n~3", NEW, PATTERN) == "done"
    assert log.do(ports.KnownPattern("n")) == PATTERN


def test_after_a_switch_a_predict_waits_as_it_does_after_a_learn(log: Log) -> None:
    log.append("n", observation("a", "o"))
    log.drained("n")
    switched(log)
    log.append("n", predict("a", "p"))
    work = log.comes("n", "t")
    assert 0 <= work.now_ms - work.learned_ms < 5_000


def test_a_node_that_was_rebuilt_is_flagged_no_more(log: Log) -> None:
    """Falls when a flag of the lane, or of its partition, is kept."""
    log.append("n", *numbered("a", 1, 1))
    token = new_token()
    work = log.taken("n", token)
    log.do(ports.Bind(log.held("n", token), "a", work.cursor, binding(), ltm_lost=True))
    log.do(ports.FlagNodeForRebuild("n"))
    log.commit(log.held("n", token), work, go_on=False)
    flags = (f"{ROOT}wanted", f"{ROOT}ltm_lost")
    assert [log.redis.smembers(key) for key in flags] == [{"n"}, {"n"}]
    log.do(ports.AcknowledgeLost(partition_of("n"), ("n",), "{}"))
    log.redis.sadd(f"{ROOT}ltm_lost", "n")
    assert switched(log) == "done"
    assert not log.redis.exists(*flags, f"{ROOT}ltm_known")
    assert log.redis.hmget(f"{ROOT}lane:n", "ltm_lost", "rebuild_wanted", "gen") == [None, None, NEW]


def test_a_lane_whose_own_row_is_broken_is_given_up_and_its_sessions_are_not_parked(log: Log) -> None:
    """Falls when the generation is read as a row of the session."""
    log.append("n", *numbered("a", 1, 1))
    log.redis.delete(f"{ROOT}lane:n")
    log.redis.set(f"{ROOT}lane:n", "broken")
    assert log.lease("n", "t") is None
    assert log.redis.smembers(f"{ROOT}unreadable") == {"n"}
    assert log.redis.smembers(f"{ROOT}parked") == set()
