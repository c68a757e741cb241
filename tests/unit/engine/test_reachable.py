"""A KATO instance that was taken out of KATO_URLS: its sessions go on at another, which shares its stores."""

from __future__ import annotations

from dataclasses import replace

from kato_tasks import ports
from tests.unit.engine.world import URL, World, bound_at, letters, logged, sequence


def test_a_session_of_an_instance_that_is_no_longer_listed_goes_on_at_another() -> None:
    """Falls when `reachable` is taken out of `engine/drain.py`: the call then goes to the lost instance for ever."""
    lost = replace(bound_at(0), url="http://lost")
    world = World(logged(letters("ab")), lost).kato("observe-sequence", sequence(2, time=2, stm_length=2))
    world.turn()
    assert world.binding is not None
    assert world.binding.url == URL
    assert world.the(ports.Commit).to == 2
