"""A lane that was switched to another generation of its node: nothing more is sent to a KATO session of the old one."""

from __future__ import annotations

import json

import pytest

from kato_tasks import ports
from kato_tasks.domain.kato_session import Intent, IntentKind
from kato_tasks.domain.stm import pattern_name
from kato_tasks.engine.drain.known_sessions import KnownSession
from tests.unit.engine.world import (
    NOW_MS,
    OK,
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
    plain,
    sequence,
    stm_of,
)

NEW = "n~2"
NAME = pattern_name(stm_of("ab"))


def switched(world: World) -> World:
    world.generation = NEW
    return world


def rebuilt(world: World) -> World:
    """The STM `ab` is built on a new KATO session, behind whose creation the old one is deleted."""
    world.kato("delete", OK).kato("sessions", created()).kato("observe-sequence", sequence(2, time=2, stm_length=2))
    return world.kato("cognition-data", holds(stm_of("ab")))


def nodes_told(world: World) -> set[str]:
    """The nodes that KATO was told in bodies and in addresses."""
    bodies = {str(json.loads(body)["node_id"]) for body in world.sent("sessions")}
    asked = {r.path.partition("node_id=")[2] for r in world.of(ports.KatoRequest) if r.route == "pattern"}
    return bodies | asked


def test_a_session_of_the_old_node_is_built_again_on_the_new_one_before_its_next_observation() -> None:
    """Falls when ensure_bound does not ask on which node the KATO session is."""
    world = switched(World(logged(letters("abc")), bound_at(2), cursor=2))
    rebuilt(world).kato("observe-sequence", sequence(1, time=3, stm_length=3))
    world.turn()
    assert world.trace == [
        "intent fence",
        "delete old",
        "sessions",
        "observe-sequence new",
        "cognition-data new",
        "bind new",
        "intent observe",
        "observe-sequence new",
        "commit 3",
    ]
    assert nodes_told(world) == {NEW}
    assert world.binding is not None
    assert (world.binding.node, world.binding.epoch) == (NEW, 2)


def test_a_session_without_an_stm_leaves_its_kato_session_and_gets_one_on_the_new_node() -> None:
    world = switched(World(logged(letters("a")), bound_at(0)))
    world.kato("delete", OK).kato("sessions", created())
    world.kato("observe-sequence", sequence(1, time=1, stm_length=1)).turn()
    assert world.trace[:4] == ["intent fence", "delete old", "bind none", "sessions"]
    assert nodes_told(world) == {NEW}


def test_a_new_session_of_the_lane_is_made_on_the_new_node() -> None:
    world = switched(World(logged(letters("a"))))
    world.kato("sessions", created()).kato("observe-sequence", sequence(1, time=1, stm_length=1)).turn()
    assert nodes_told(world) == {NEW}
    assert world.binding is not None
    assert world.binding.node == NEW


def test_a_learn_is_done_on_the_new_node_and_judged_by_its_frequencies() -> None:
    world = switched(World(logged([*letters("ab"), plain("learn", "e3")]), bound_at(2), cursor=2))
    rebuilt(world).kato("cognition-data", holds(stm_of("ab"))).kato("pattern", frequency(4))
    world.kato("learn", learned(NAME)).kato("clear-stm", OK).turn()
    assert "learn new" in world.trace
    assert nodes_told(world) == {NEW}
    assert world.the(ports.Commit).learned == (NAME, 5)


def test_a_predict_is_answered_by_the_new_node() -> None:
    world = switched(World(logged(letters("ab")), bound_at(2), cursor=2, asked="p"))
    rebuilt(world).kato("cognition-data", holds(stm_of("ab"))).kato("predictions", OK).turn()
    assert world.trace[-2:] == ["predictions new", "commit 2"]
    assert nodes_told(world) == {NEW}


def test_a_clear_gives_up_the_kato_session_of_the_old_node() -> None:
    """Falls when clear empties that KATO session and stays bound to it."""
    world = switched(World(logged([*letters("ab"), plain("clear_stm", "e3")]), bound_at(2), cursor=2))
    world.kato("delete", OK).turn()
    assert world.trace == ["intent clear", "delete old", "commit 3"]
    assert world.binding is None


def test_a_kato_session_of_the_old_node_is_not_kept_alive() -> None:
    """Falls when keep_alive writes to it, or says that it lives on."""
    old = bound_at(2, expires_ms=NOW_MS + 60_000)
    world = switched(World(logged(letters("ab")), old, cursor=2))
    world.turn()
    assert world.trace == ["commit 2"]
    assert world.binding == old


def test_a_kato_session_of_the_old_node_is_not_lent_to_another_session() -> None:
    """Falls when lent_to compares the session's own node."""
    known = KnownSession("other", bound_at(0, shared=True), NOW_MS)
    world = World(logged(letters("a")))
    assert known.lent_to(world.work(), "http://kato", RUN) is not None
    assert known.lent_to(switched(world).work(), "http://kato", RUN) is None


def test_what_was_known_of_the_old_kato_session_is_not_taken_for_the_new_one() -> None:
    """Falls when observe keeps since when KATO has had a KATO session that it just gave up."""
    old = bound_at(2)
    world = switched(World(logged(letters("abc")), old, cursor=2))
    lane = context()
    lane.known_sessions.note("n", KnownSession("s", old, NOW_MS - 1_000))
    rebuilt(world).kato("observe-sequence", sequence(1, time=3, stm_length=3))
    world.turn(lane)
    assert lane.known_sessions.take("n") is None


def test_a_switch_back_leaves_the_generation_in_the_same_way() -> None:
    world = World(logged(letters("abc")), bound_at(2, node=NEW), cursor=2)
    rebuilt(world).kato("observe-sequence", sequence(1, time=3, stm_length=3)).turn()
    assert nodes_told(world) == {"n"}


# ------------------------------------------------------------------------------------------ an open call


@pytest.mark.parametrize("kind", ["learn", "settle", "verify", "clear_after_learn"])
def test_a_learn_that_is_open_on_the_old_node_is_done_on_the_new_one_whatever_became_of_it(kind: IntentKind) -> None:
    """Falls when it is settled by the old node's frequencies, or by the new node's."""
    intent = Intent("open", kind, 3, 3, 2, 2, NAME, 4)
    world = switched(World(logged([*letters("ab"), plain("learn", "e3")]), bound_at(2), intent, cursor=2))
    rebuilt(world).turn()
    assert world.trace[-2:] == ["bind new", "defer"]
    assert (world.cursor, world.intent) == (2, None)
    world.kato("cognition-data", holds(stm_of("ab"))).kato("pattern", frequency(3))
    world.kato("learn", learned(NAME)).kato("clear-stm", OK).turn()
    assert world.cursor == 3
    assert nodes_told(world) == {NEW}


def test_observations_that_are_open_on_the_old_node_are_sent_to_the_new_one() -> None:
    intent = Intent("open", "observe", 3, 3, 2, 2)
    world = switched(World(logged(letters("abc")), bound_at(2), intent, cursor=2))
    rebuilt(world).turn()
    assert world.attempts == 0, "no call of the event's own has failed"
    world.kato("observe-sequence", sequence(1, time=3, stm_length=3)).turn()
    assert world.trace[-2:] == ["observe-sequence new", "commit 3"]


def test_after_the_store_went_back_learns_are_looked_for_on_the_new_node_and_not_in_the_old_kato_session() -> None:
    """Falls when the session is compared with its old KATO session, or its old node's patterns."""
    log = logged([*letters("ab"), plain("learn", "e3")])
    world = switched(World(log, bound_at(2, run="earlier"), cursor=2)).kato("pattern", frequency(1))
    rebuilt(world).turn()
    assert world.counts["learns_in_doubt"] == 1
    assert world.trace[:3] == ["pattern", "intent fence", "delete old"]
    assert nodes_told(world) == {NEW}
    assert world.binding == bound_at(2, name="new", node=NEW, epoch=2, shared=True)


def test_a_fence_that_was_not_finished_ends_on_the_new_node() -> None:
    intent = Intent("open", "fence", 3, 2)
    world = switched(World(logged(letters("ab")), bound_at(2), intent, cursor=2))
    rebuilt(world).turn()
    assert nodes_told(world) == {NEW}
    assert world.intent is None
