"""What a process knows of a KATO session saves calls: a read and a clear at a learn, a create at the next session."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from kato_tasks import ports
from kato_tasks.domain.kato_session import Binding
from kato_tasks.domain.log_entry import Entry
from kato_tasks.domain.stm import pattern_name
from kato_tasks.engine.drain import known_sessions
from kato_tasks.engine.drain.context import LaneContext
from kato_tasks.engine.drain.known_sessions import LANES, KnownSession, KnownSessions
from tests.unit.engine.world import (
    BAD,
    LOST,
    NOW_MS,
    OK,
    REFUSED,
    RUN,
    World,
    bound_at,
    context,
    created,
    frequency,
    holds,
    learned,
    letters,
    logged,
    observed,
    plain,
    sequence,
    stm_of,
)

NAME = pattern_name(stm_of("ab"))


def a_ticket(*entries: Entry) -> World:
    """A session without a KATO session: observations, and a learn at the end."""
    run = entries or (*letters("ab"),)
    return World(logged([*run, plain("learn", "end")]))


def begun(lane: LaneContext, world: World | None = None) -> World:
    """Its observations are applied, in one call, by this lane's holder."""
    world = world or a_ticket()
    count = len(world.log) - 1
    events = sum(e.counts for e in world.log)
    world.kato("sessions", created()).kato("observe-sequence", sequence(count, time=count, stm_length=events))
    world.turn(lane)
    assert world.trace[-1] == f"commit {count}"
    world.trace.clear()
    world.done.clear()
    return world


def left_by(name: str = "spare", session: str = "other", **more: Any) -> KnownSession:
    """What is known of a KATO session that another session left empty."""
    return KnownSession(session, bound_at(0, time=7, name=name, base=7, before=7, shared=True, **more), NOW_MS - 1000)


# ------------------------------------------------------------------------------------ learn


def test_a_learn_right_after_the_one_call_that_made_its_stm_is_one_call_and_no_read() -> None:
    lane = context()
    world = begun(lane).kato("pattern", frequency(4)).kato("learn", learned(NAME))
    world.turn(lane)
    assert world.trace == ["pattern", "intent learn", "learn new", "commit 3"]
    commit = world.the(ports.Commit)
    assert (commit.call_id, commit.stm_start, commit.learned) == (
        world.the(ports.WriteIntent).intent.call,
        3,
        (NAME, 5),
    )
    assert world.binding is not None
    assert (world.binding.time, world.binding.stm_length, world.binding.base, world.binding.before) == (2, 0, 2, 2)


def test_a_one_call_that_kato_did_not_save_is_refused_at_the_learn_and_nothing_is_learned() -> None:
    """Invariant 3: the STM is as it was before that call, so empty; the answer before it had said so."""
    lane = context()
    world = begun(lane).kato("pattern", frequency(4)).kato("learn", BAD)
    world.kato("delete", OK).turn(lane)
    assert world.trace[2:] == ["learn new", "delete new", "intent settle", "defer"]
    assert (world.cursor, world.mark) == (2, 0)


def test_an_stm_that_two_calls_made_is_read_before_its_learn() -> None:
    """Falls when neither `in_one_call` nor `whole_stm` asks what the STM was before."""
    lane = context()
    world = World(logged([*letters("ab"), plain("learn", "e3")]))
    world.kato("sessions", created()).kato("observe-sequence", sequence(1, time=1, stm_length=1)).turn(lane, last=1)
    world.kato("observe-sequence", sequence(1, time=2, stm_length=2)).turn(lane)
    world.trace.clear()
    world.kato("cognition-data", holds(stm_of("ab"))).kato("pattern", frequency(4)).kato("learn", learned(NAME))
    world.kato("clear-stm", OK).turn(lane)
    assert world.trace[0] == "cognition-data new"
    assert "clear-stm new" in world.trace


def test_emotives_sent_before_the_events_of_the_stm_are_cleared_after_its_learn() -> None:
    """They lie in KATO's session although its STM was empty; falls when the positions are not compared."""
    lane = context()
    world = World(logged([observed("e1", emotives={"joy": 1.0}), *letters("ab"), plain("learn", "e4")]))
    world.kato("sessions", created()).kato("observe-sequence", sequence(1, time=1, stm_length=0)).turn(lane, last=1)
    world.kato("observe-sequence", sequence(2, time=3, stm_length=2)).turn(lane)
    world.kato("cognition-data", holds(stm_of("ab"), time=3)).kato("pattern", frequency(4))
    world.kato("learn", learned(NAME)).kato("clear-stm", OK).turn(lane)
    assert world.trace[-2:] == ["clear-stm new", "commit 4"]


@pytest.mark.parametrize("more", [{"emotives": {"joy": 1.0}}, {"metadata": {"a": 1}}], ids=str)
def test_what_a_learn_would_leave_for_the_next_pattern_is_cleared(more: dict[str, Any]) -> None:
    lane = context()
    world = begun(lane, a_ticket(observed("e1", "a", **more), observed("e2", "b")))
    world.kato("pattern", frequency(4)).kato("learn", learned(NAME)).kato("clear-stm", OK)
    world.turn(lane)
    assert world.trace == [
        "pattern",
        "intent learn",
        "learn new",
        "intent clear_after_learn",
        "clear-stm new",
        "commit 3",
    ]
    assert world.binding is not None
    assert (world.binding.time, world.binding.base) == (0, 0)


def test_an_answer_that_is_older_than_a_second_is_no_reason_to_spare_the_read(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(known_sessions, "time", SimpleNamespace(monotonic=lambda: now[0]))
    lane = context()
    known = KnownSession("s", bound_at(2), NOW_MS, tuple(logged(letters("ab"))), 100.0)
    world = World(logged([*letters("ab"), plain("learn", "e3")]), bound_at(2), cursor=2)
    assert known.whole_stm(world.work(), lane.store_run())
    now[0] += known_sessions.JUST_NOW_SECONDS + 0.1
    assert not known.whole_stm(world.work(), lane.store_run())


@pytest.mark.parametrize(
    "change", [{"time": 3}, {"kato_session": "another"}, {"expires_ms": NOW_MS + 5}, {"shared": True}], ids=str
)
def test_a_session_that_was_used_since_is_not_known_any_more(change: dict[str, Any]) -> None:
    """By another process, say; falls when `KnownSession.fits` does not compare the bindings."""
    lane = context()
    lane.known_sessions.note("n", KnownSession("s", bound_at(2), NOW_MS, tuple(logged(letters("ab"))), 1e12))
    world = World(logged([*letters("ab"), plain("learn", "e3")]), replace(bound_at(2), **change), cursor=2)
    world.kato("cognition-data", holds(stm_of("ab"), time=world.binding.time if world.binding else 0))
    world.kato("pattern", frequency(4)).kato("learn", learned(NAME)).kato("clear-stm", OK)
    world.turn(lane)
    assert world.trace[0].startswith("cognition-data")


def test_a_pattern_of_another_name_leaves_a_session_that_is_cleared_and_not_known_any_more() -> None:
    lane = context()
    world = begun(lane).kato("pattern", frequency(4)).kato("learn", learned("PTRN|other")).kato("clear-stm", OK)
    world.turn(lane)
    assert world.counts["learns_unknown"] == 1
    assert lane.known_sessions.take("n") is None


def test_callers_are_told_the_time_since_the_stm_was_last_emptied() -> None:
    world = World(
        logged([plain("learn", "e0"), *letters("ab", wanted=True)]), bound_at(0, time=7, base=7), cursor=1, mark=1
    )
    world.kato("observe-sequence", sequence(2, time=9, stm_length=2)).turn()
    assert [json.loads(text)["time"] for _, text in world.the(ports.Commit).results] == [1, 2]


# -------------------------------------------------------------------------- the next session


def test_a_kato_session_that_was_left_empty_serves_the_lanes_next_session() -> None:
    lane = context()
    lane.known_sessions.note("n", left_by())
    world = a_ticket().kato("observe-sequence", sequence(2, time=9, stm_length=2))
    world.turn(lane)
    assert world.trace == ["intent observe", "observe-sequence spare", "commit 2"]
    write = world.the(ports.WriteIntent)
    assert (write.lender, write.lent) == ("other", left_by().binding.dump())
    assert world.the(ports.Commit).borrowed
    assert world.binding is not None
    assert (world.binding.kato_session, world.binding.base, world.binding.epoch) == ("spare", 7, 1)


def test_a_lender_that_the_store_knows_otherwise_keeps_its_kato_session_and_another_is_made() -> None:
    lane = context()
    lane.known_sessions.note("n", left_by())
    world = begun(lane, replace(a_ticket(), lends=False))
    assert world.binding is not None
    assert world.binding.kato_session == "new"


LIVE = left_by().binding
UNFIT = {
    "an STM": {"stm_length": 1},
    "another node": {"node": "m"},
    "another instance": {"url": "http://other"},
    "another run of the store": {"run": "run-0"},
    "expires soon": {"expires_ms": NOW_MS + 5_000},
    "a node of its own": {"shared": False},
}


@pytest.mark.parametrize("change", UNFIT.values(), ids=UNFIT)
def test_a_kato_session_that_does_not_fit_is_left_alone(change: dict[str, Any]) -> None:
    lane = context()
    lane.known_sessions.note("n", KnownSession("other", replace(LIVE, **change), NOW_MS))
    world = begun(lane)
    assert world.binding is not None
    assert world.binding.kato_session == "new"


def test_a_session_with_an_stm_is_rebuilt_and_borrows_nothing() -> None:
    lane = context()
    lane.known_sessions.note("n", left_by())
    world = World(logged(letters("abc")), cursor=2).kato("sessions", created())
    world.kato("observe-sequence", sequence(2, time=2, stm_length=2)).kato("cognition-data", holds(stm_of("ab")))
    world.kato("observe-sequence", sequence(1, time=3, stm_length=3)).turn(lane)
    assert world.binding is not None
    assert world.binding.kato_session == "new"


@pytest.mark.parametrize("answer", [LOST, REFUSED, BAD], ids=["lost", "never sent", "refused"])
def test_only_a_session_all_of_whose_calls_had_known_outcomes_is_known(answer: Any) -> None:
    """A late call of one session must not land in another's STM."""
    lane = context()
    lane.known_sessions.note("n", left_by())
    world = World(logged(letters("a"))).kato("observe-sequence", answer)
    world.otherwise["cognition-data"] = holds(stm_of("a"), time=8)
    world.turn(lane)
    assert lane.known_sessions.take("n") is None


def test_a_kato_session_is_kept_for_its_session_alone_before_it_is_kept_alive() -> None:
    """Its outcome is not kept; falls when the binding is not written first."""
    world = World(logged(letters("a")), bound_at(1, shared=True), cursor=1).kato("extend", LOST)
    world.turn()
    assert world.trace == ["bind old", "extend old", "defer"]
    assert world.binding is not None
    assert not world.binding.shared


EMPTIED = [*letters("a"), plain("learn", "e2"), *letters("bc")]
"""A session that was learned, and could be passed on then."""


def test_a_kato_session_that_may_serve_another_by_now_is_not_kept_when_the_store_went_back() -> None:
    """Two sessions on one KATO session would mix; falls without the question in `compare_and_begin`."""
    world = World(logged(EMPTIED), bound_at(0, time=1, base=1, shared=True), cursor=2, mark=2)
    world.kato("cognition-data", holds([], time=1)).kato("delete", OK)
    world.turn(context(run="run-2"))
    assert world.trace[1:3] == ["intent fence", "delete old"]
    assert world.binding is None


def test_a_kato_session_that_is_ahead_and_may_serve_another_is_looked_at_again() -> None:
    world = World(logged(EMPTIED), bound_at(0, time=1, base=1, shared=True), cursor=2, mark=2)
    world.kato("cognition-data", holds([["b"]], time=2)).turn(context(run="run-2"))
    assert world.trace[-1] == "commit 3"
    assert world.binding is not None
    assert world.binding.run != "run-2"


def felt(text: str) -> Entry:
    return observed(f"felt-{text}", text, emotives={"joy": 1.0})


OWN = {
    "its STM is not learned yet": ([*letters("abc"), plain("learn", "e4")], stm_of("ab"), 2),
    "it is ahead, and its STM is not learned yet": ([*letters("abc"), plain("learn", "e4")], stm_of("abc"), 3),
    "its next learn puts KATO's time back": ([*letters("ab"), felt("c"), plain("learn", "e4")], [], 0),
}


@pytest.mark.parametrize(("log", "stm", "time"), OWN.values(), ids=OWN)
def test_a_kato_session_that_cannot_have_come_to_serve_another_is_followed_and_kept(
    log: list[Entry], stm: list[list[str]], time: int
) -> None:
    """One is passed on once all is learned, while nothing put its time back.

    Falls when `compare_after_restore` does not ask.
    """
    world = World(logged(log), bound_at(2, shared=True), cursor=2).kato("cognition-data", holds(stm, time=time))
    world.otherwise |= {"pattern": frequency(1), "observe-sequence": sequence(1, time=3, stm_length=3)}
    world.turn(context(run="run-2"))
    assert world.binding is not None
    assert (world.binding.kato_session, world.binding.shared) == ("old", False)
    assert "delete old" not in world.trace


def test_a_kato_session_whose_time_goes_back_is_passed_on_no_more() -> None:
    lane = context()
    world = begun(lane, a_ticket(felt("a"))).kato("learn", learned(""))
    world.otherwise["clear-stm"] = OK
    world.turn(lane)
    assert world.binding is not None
    assert (world.binding.time, world.binding.shared) == (0, False)


def test_a_kato_session_that_may_have_been_passed_on_is_deleted_where_it_would_be_cleared() -> None:
    """Its time only goes up, so that an earlier user of it can tell; falls when `clear_or_delete` does not ask."""
    log = logged([*letters("ab"), plain("learn", "e3"), observed("e4", "c"), plain("clear_stm", "e5")])
    world = World(log, bound_at(1, time=3, base=2, shared=True), cursor=4, mark=3).kato("delete", OK)
    world.turn()
    assert world.trace[1:2] == ["delete old"]
    assert world.binding is None


def test_so_many_lanes_are_known_and_no_more() -> None:
    knows = KnownSessions()
    for number in range(LANES + 1):
        knows.note(f"n{number}", left_by())
    assert knows.take("n0") is None
    assert knows.take(f"n{LANES}") is not None


def test_a_binding_that_was_made_for_a_node_of_several_sessions_says_so() -> None:
    world = begun(context())
    assert world.binding is not None
    assert world.binding.shared
    assert Binding.load(world.binding.dump()) == world.binding


def test_an_stm_with_a_vector_is_read_before_its_learn() -> None:
    """KATO alone knows its name; falls when `in_one_call` does not ask."""
    lane = context()
    world = World(logged([observed("e1", vectors=[[0.5, 1.0]]), observed("e2", "b"), plain("learn", "e3")]))
    stm = [["VCTR|1"], ["b"]]
    world.kato("sessions", created()).kato("observe-sequence", sequence(2, time=2, stm_length=2))
    world.kato("cognition-data", holds(stm)).turn(lane)
    world.trace.clear()
    world.kato("cognition-data", holds(stm)).kato("pattern", frequency(4)).kato("learn", learned(pattern_name(stm)))
    world.kato("clear-stm", OK).turn(lane)
    assert world.trace[0] == "cognition-data new"


def test_what_looks_like_a_later_learn_where_another_session_may_have_been_served_is_not_passed_over() -> None:
    """It may be that session's; falls when `compare_after_restore` takes every place. A learn would be lost."""
    log = logged([*letters("ab"), plain("learn", "e3"), observed("e4", "e"), observed("e5", "f"), plain("learn", "e6")])
    world = World(log, bound_at(2, shared=True), cursor=2).kato("cognition-data", holds([], time=4))
    world.otherwise |= {"pattern": frequency(1), "delete": OK}
    world.turn(context(run="run-2"))
    assert world.cursor < 6


# ------------------------------------------------------------------------------- frequencies


def test_a_frequency_that_the_lanes_own_learns_left_is_not_read() -> None:
    lane = context()
    world = begun(lane, replace(a_ticket(), certain=(4, NOW_MS, RUN))).kato("learn", learned(NAME))
    world.turn(lane)
    assert world.trace == ["intent learn", "learn new", "commit 3"]
    commit = world.the(ports.Commit)
    assert (world.the(ports.WriteIntent).intent.frequency, commit.learned, commit.certain) == (4, (NAME, 5), RUN)


UNCERTAIN = {
    "KATO may have lost its store since": (4, NOW_MS - 1, RUN),
    "the store may have gone back since": (4, NOW_MS, "run-0"),
}


@pytest.mark.parametrize("certain", UNCERTAIN.values(), ids=UNCERTAIN)
def test_a_frequency_that_may_be_another_by_now_is_read(certain: tuple[int, int, str]) -> None:
    """Falls when `read_baseline` does not ask how long KATO has kept its store, and in which run that was."""
    lane = context()
    world = begun(lane, replace(a_ticket(), certain=certain)).kato("pattern", frequency(7))
    world.kato("learn", learned(NAME)).turn(lane)
    assert world.the(ports.WriteIntent).intent.frequency == 7
    assert world.the(ports.Commit).certain == RUN


def test_a_frequency_is_read_where_nothing_is_known_of_the_kato_session() -> None:
    world = World(logged([*letters("ab"), plain("learn", "e3")]), bound_at(2), cursor=2, certain=(4, NOW_MS, RUN))
    world.kato("cognition-data", holds(stm_of("ab"))).kato("pattern", frequency(7))
    world.kato("learn", learned(NAME)).kato("clear-stm", OK).turn()
    assert world.the(ports.Commit).learned == (NAME, 8)


def test_a_frequency_that_a_parked_sessions_learn_may_have_moved_is_read_and_certain_no_more() -> None:
    lane = context()
    world = begun(lane, replace(a_ticket(), certain=(4, NOW_MS, RUN), unsettled="other", parked=True))
    world.kato("pattern", frequency(7)).kato("learn", learned(NAME)).turn(lane)
    assert world.counts == {"learns_in_doubt": 1}
    commit = world.the(ports.Commit)
    assert (commit.learned, commit.certain) == ((NAME, 8), ports.UNSURE)


def test_a_frequency_of_the_last_second_is_taken_and_not_certain() -> None:
    """It may stem from a learn that was in doubt."""
    lane = context()
    world = begun(lane, replace(a_ticket(), lately=(6, NOW_MS - 10))).kato("learn", learned(NAME))
    world.turn(lane)
    commit = world.the(ports.Commit)
    assert (commit.learned, commit.certain) == ((NAME, 7), ports.UNSURE)


def test_a_learn_of_another_pattern_makes_every_frequency_of_the_lane_uncertain() -> None:
    lane = context()
    world = begun(lane).kato("pattern", frequency(4)).kato("learn", learned("PTRN|other")).kato("clear-stm", OK)
    world.turn(lane)
    assert world.the(ports.Commit).certain == ports.ALL_UNSURE


def test_a_learn_whose_outcome_was_unknown_leaves_no_certain_frequency() -> None:
    lane = context()
    world = begun(lane).kato("pattern", frequency(4)).kato("learn", LOST).kato("delete", OK)
    world.turn(lane)
    world.kato("sessions", created("again")).kato("observe-sequence", sequence(2, time=2, stm_length=2))
    world.kato("cognition-data", holds(stm_of("ab"))).kato("predictions", OK).kato("pattern", frequency(5))
    world.kato("delete", OK).turn(lane)
    assert world.cursor == 3
    assert world.the(ports.Commit).certain == ports.UNSURE


def test_what_was_known_of_a_kato_session_that_expired_holds_for_no_other() -> None:
    lane = context()
    old = bound_at(2, expires_ms=NOW_MS - 1)
    lane.known_sessions.note("n", KnownSession("s", old, NOW_MS - 5, tuple(logged(letters("ab"))), 1e12))
    world = World(logged([*letters("ab"), plain("learn", "e3")]), old, cursor=2, certain=(4, NOW_MS, RUN))
    world.otherwise |= {"delete": OK, "clear-stm": OK, "pattern": frequency(7), "cognition-data": holds(stm_of("ab"))}
    world.kato("sessions", created()).kato("observe-sequence", sequence(2, time=2, stm_length=2))
    world.kato("learn", learned(NAME)).turn(lane)
    assert world.the(ports.Commit).learned == (NAME, 8)
