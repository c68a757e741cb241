"""The intent table has an answer for every state and situation, and no piece of work leaves the drawn ways."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise, product
from typing import get_args

import pytest

from kato_tasks import ports
from kato_tasks.domain.kato_session import Binding, Intent, IntentKind
from kato_tasks.domain.stm import pattern_name
from kato_tasks.engine.drain.intent_table import HANDLERS, Impossible
from kato_tasks.engine.drain.kato_session import Mismatch, NotLearned, RebuildFailed
from kato_tasks.engine.drain.states import MEANING, STATES, TRANSITIONS, Situation, State, situation_of, state_of
from kato_tasks.errors import GatewayAnswered, KatoError, KatoFailed, KatoSessionGone, OutcomeUnknown
from kato_tasks.ports.lanes import Work
from tests.unit.engine.world import (
    GONE,
    LOST,
    OK,
    REFUSED,
    RUN,
    Answer,
    World,
    bound_at,
    context,
    created,
    frequency,
    holds,
    learned,
    letters,
    logged,
    plain,
    sequence,
    stm_of,
)

NAME = pattern_name(stm_of("ab"))

INTENTS: tuple[Intent | None, ...] = (
    None,
    *(Intent("call", kind, 1, 1, again=again) for kind in get_args(IntentKind) for again in (False, True)),
)
FAILURES: tuple[KatoError | None, ...] = (
    None,
    OutcomeUnknown("lost"),
    KatoFailed("500"),
    RebuildFailed("rebuild"),
    NotLearned("500"),
    GatewayAnswered("502"),
    Mismatch("other"),
    KatoSessionGone("404"),
)
BINDINGS: tuple[Binding | None, ...] = (None, bound_at(0), bound_at(0, run="earlier"), bound_at(0, node="n~2"))


def works() -> Iterator[Work]:
    """A session in each state, with each binding, that lent its KATO session or did not."""
    plain = World(logged(letters("a"))).work()
    for intent, binding, gave_up_in in product(INTENTS, BINDINGS, ("", RUN, "earlier")):
        yield replace(plain, intent=intent, binding=binding, gave_up_in=gave_up_in)


@pytest.mark.parametrize("state", STATES)
def test_each_state_has_an_answer_to_each_situation(state: State) -> None:
    assert set(HANDLERS[state]) == set(Situation)
    assert MEANING[state]


def test_there_is_a_state_for_each_kind_of_intent_and_no_other() -> None:
    assert {state_of(intent) for intent in INTENTS} == set(STATES) == set(HANDLERS)


def test_what_the_table_calls_impossible_is_never_named_and_everything_else_is() -> None:
    """Falls when an entry of the table is called impossible that is not, and when one is never met."""
    named = {
        (state_of(work.intent), situation_of(work, RUN, failure, was_open=was_open))
        for work, failure, was_open in product(works(), FAILURES, (False, True))
    }
    met = {(s, why) for s, row in HANDLERS.items() for why, entry in row.items() if not isinstance(entry, Impossible)}
    assert named == met


def test_every_impossible_entry_says_why() -> None:
    entries = [entry for row in HANDLERS.values() for entry in row.values() if isinstance(entry, Impossible)]
    assert entries
    assert all(len(entry.reason) > 20 for entry in entries)


@pytest.mark.parametrize(
    ("failure", "fresh", "open_before"),
    [
        (OutcomeUnknown("lost"), Situation.CALL_UNKNOWN, Situation.RECONCILE_UNKNOWN),
        (
            GatewayAnswered("502"),
            Situation.CALL_ANSWERED_BY_GATEWAY,
            Situation.RECONCILE_ANSWERED_BY_GATEWAY,
        ),
        (Mismatch("other"), Situation.CALL_MISMATCH, Situation.RECONCILE_MISMATCH),
        (KatoSessionGone("404"), Situation.CALL_GONE, Situation.RECONCILE_GONE),
    ],
)
def test_a_failure_is_named_by_whose_call_failed(failure: KatoError, fresh: Situation, open_before: Situation) -> None:
    work = World(logged(letters("a")), bound_at(0), Intent("call", "observe", 1, 1)).work()
    assert situation_of(work, RUN, failure) is fresh
    assert situation_of(work, RUN, failure, was_open=True) is open_before
    closed = replace(work, intent=None)
    assert situation_of(closed, RUN, failure, was_open=True) is fresh, "what was open is closed: nothing to reconcile"


def test_a_session_is_found_by_the_run_of_the_store_in_which_its_binding_was_confirmed() -> None:
    work = World(logged(letters("a")), bound_at(0)).work()
    assert situation_of(work, RUN) is Situation.FOUND
    assert situation_of(work, "later") is Situation.FOUND_AFTER_RESTORE
    lent = replace(work, binding=None, gave_up_in=RUN)
    assert situation_of(lent, RUN) is Situation.FOUND
    assert situation_of(lent, "later") is Situation.FOUND_WITHOUT_LENT_SESSION


def test_every_state_can_be_reached_from_none_and_left_to_none() -> None:
    ways = {(way.state, way.next_state) for way in TRANSITIONS}
    assert {s for pair in ways for s in pair} == set(STATES)
    for steps in (ways, {(after, before) for before, after in ways}):
        reached = {"none"}
        for _ in STATES:
            reached |= {after for before, after in steps if before in reached}
        assert reached == set(STATES)


def applied() -> World:
    return World(logged(letters("a")), bound_at(0)).kato("observe-sequence", sequence(1, time=1, stm_length=1))


def not_applied() -> World:
    world = World(logged(letters("a")), bound_at(0)).kato("observe-sequence", LOST)
    return world.kato("cognition-data", holds([])).kato("delete", OK)


def answered_by_gateway() -> World:
    busy = ports.KatoReply(503, b"gateway")
    return World(logged(letters("a")), bound_at(0)).kato("observe-sequence", busy).kato("cognition-data", LOST)


def learn(answer: Answer) -> World:
    world = World(logged([*letters("ab"), plain("learn", "e3")]), bound_at(2), cursor=2)
    return world.kato("cognition-data", holds(stm_of("ab"))).kato("pattern", frequency(4)).kato("learn", answer)


def learn_of_a_session_that_is_gone() -> World:
    return rebuilt(learn(GONE).kato("delete", OK))


def something_else() -> World:
    world = World(logged([*letters("ab"), plain("learn", "e3")]), bound_at(2), cursor=2)
    return rebuilt(world.kato("cognition-data", holds([])).kato("delete", OK))


def open_learn(kind: IntentKind, *, again: bool = False) -> World:
    log = logged([*letters("ab"), plain("learn", "e3")])
    return World(log, bound_at(2), Intent("open", kind, 3, 3, 2, 2, NAME, 4, again=again), cursor=2)


def rebuilt(world: World) -> World:
    world.kato("sessions", created()).kato("observe-sequence", sequence(2, time=2, stm_length=2))
    return world.kato("cognition-data", holds(stm_of("ab")))


def clear() -> World:
    log = logged([*letters("ab"), plain("clear_stm", "e3")])
    return World(log, bound_at(2), cursor=2).kato("clear-stm", OK)


def settle(found: int) -> World:
    return rebuilt(open_learn("settle")).kato("predictions", OK).kato("pattern", frequency(found))


def elsewhere(kind: IntentKind, *, again: bool = False) -> World:
    """The lane was switched to another generation while a call was open."""
    world = rebuilt(open_learn(kind, again=again).kato("delete", OK))
    world.generation = "n~2"
    return world


SCENES: dict[str, Callable[[], World]] = {
    "none observe none": applied,
    "none observe fence none": not_applied,
    "none observe observe": answered_by_gateway,
    "none learn none": lambda: learn(REFUSED),
    "none learn clear_after_learn none": lambda: learn(learned(NAME)).kato("clear-stm", OK),
    "none learn settle": lambda: learn(LOST).kato("delete", OK),
    "none learn fence none": learn_of_a_session_that_is_gone,
    "none fence none": something_else,
    "none clear none": clear,
    "settle none": lambda: settle(5).kato("delete", OK),
    "settle learn_again verify": lambda: settle(4).kato("learn", learned(NAME)),
    "learn_again settle": lambda: open_learn("learn", again=True).kato("delete", OK),
    "settle fence none": lambda: elsewhere("settle"),
    "learn_again fence none": lambda: elsewhere("learn", again=True),
    "verify fence none": lambda: elsewhere("verify"),
    "clear_after_learn fence none": lambda: elsewhere("clear_after_learn"),
    "clear fence none": lambda: elsewhere("clear"),
    "verify clear_after_learn none": lambda: open_learn("verify").kato("pattern", frequency(5)).kato("clear-stm", OK),
}
"""The states that one piece of work goes through, and the world in which it does."""


@pytest.mark.parametrize("states", SCENES)
def test_a_piece_of_work_goes_the_way_that_is_drawn(states: str) -> None:
    world = SCENES[states]()
    world.turn()
    assert world.ways == list(pairwise(states.split()))


def test_every_way_that_is_drawn_is_gone_by_some_piece_of_work() -> None:
    """Falls when a way is drawn that nothing takes. `World` fails every test of a piece of work that takes another."""
    gone = {pair for states in SCENES for pair in pairwise(states.split())}
    assert gone == {(way.state, way.next_state) for way in TRANSITIONS}


@pytest.mark.parametrize("again", [False, True])
def test_learns_that_the_store_forgot_are_counted_when_a_learn_is_settled_and_not_before(again: bool) -> None:
    """KATO is asked for nothing between a learn of unknown outcome and the deletion of its KATO session."""
    world = open_learn("learn", again=again)
    world.log = logged([*letters("ab"), plain("learn", "e3"), *letters("c"), plain("learn", "e5")])
    world.kato("delete", OK)
    world.turn(context(run="later"))
    assert world.trace == ["delete old", "intent settle", "defer"]
    world = rebuilt(world).kato("predictions", OK).kato("pattern", frequency(5)).kato("delete", OK)
    world.turn(context(run="later"))
    assert world.trace[3] == "intent settle", "written again, as one that was compared under this run of the store"
    assert world.counts["learns_in_doubt"] == 1


def test_no_way_is_drawn_twice() -> None:
    assert len(set(TRANSITIONS)) == len(TRANSITIONS)
