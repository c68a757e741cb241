"""Several KATO instances: a lane is served by one of them, and its sessions follow when the list changes."""

from __future__ import annotations

from dataclasses import replace

from kato_tasks import ports
from kato_tasks.domain.ids import pick_instance
from kato_tasks.domain.kato_session import Intent
from tests.unit.engine.world import URL, World, bound_at, context, holds, letters, logged, sequence, stm_of

OTHER = "http://other"
LANES = pick_instance("n", (URL, OTHER))
ELSEWHERE = URL if LANES == OTHER else OTHER


def asked(world: World) -> list[str]:
    """The instance of each call."""
    return [effect.url for effect in world.done if isinstance(effect, ports.KatoRequest)]


def test_a_session_of_an_instance_that_is_no_longer_listed_goes_on_at_another() -> None:
    """Falls without `move_to_its_instance` in `session_view.py`: each call then goes to the lost instance."""
    lost = replace(bound_at(0), url="http://lost")
    world = World(logged(letters("ab")), lost).kato("observe-sequence", sequence(2, time=2, stm_length=2))
    world.turn()
    assert world.binding is not None
    assert world.binding.url == URL
    assert world.the(ports.Commit).cursor_to == 2


def test_a_session_that_is_bound_at_another_instance_than_its_lane_moves_there_with_its_next_piece_of_work() -> None:
    """Two instances would serve one node: new sessions of the lane go where the new list says."""
    world = World(logged(letters("ab")), replace(bound_at(0), url=ELSEWHERE))
    world.kato("observe-sequence", sequence(2, time=2, stm_length=2))
    world.turn(context(urls=(URL, OTHER)))
    assert asked(world) == [LANES]
    assert world.binding is not None
    assert world.binding.url == LANES
    assert world.trace == ["intent observe", "observe-sequence old", "commit 2"], "its KATO session is there too"


def test_a_session_with_an_open_intent_moves_only_when_that_is_reconciled() -> None:
    dead = Intent("call-of-the-dead", "observe", 2, 3, 1, 1)
    world = World(logged(letters("xabc")), replace(bound_at(1), url=ELSEWHERE), dead, cursor=1)
    world.kato("cognition-data", holds(stm_of("xab")))
    world.turn(context(urls=(URL, OTHER)))
    world.kato("observe-sequence", sequence(1, time=4, stm_length=4))
    world.turn(context(urls=(URL, OTHER)))
    assert asked(world) == [ELSEWHERE, LANES]
    assert world.trace[:2] == ["cognition-data old", "commit 3"]
