"""What the store holds of a session cannot be read: that session waits for a person, with the reason."""

from __future__ import annotations

import json
from dataclasses import replace

from kato_tasks import ports
from kato_tasks.engine.drain.drain import process_piece
from kato_tasks.errors import UnreadableRow
from tests.unit.engine.world import World, bound_at, context, letters, logged


def test_a_session_whose_rows_cannot_be_read_is_parked_and_nothing_is_sent_for_it() -> None:
    world = World(logged(letters("abc")), binding=bound_at(0))
    world.run(process_piece(context(), replace(world.work(), unreadable="the binding is no JSON")))
    assert world.trace == ["park"]
    assert "the binding is no JSON" in json.loads(world.the(ports.Park).why)["reason"]


def test_a_row_that_turns_out_unreadable_in_the_middle_parks_its_session() -> None:
    world = World(logged(letters("abc")), binding=bound_at(0))
    step = process_piece(context(), world.work())
    assert isinstance(next(step), ports.WriteIntent)
    parked = step.throw(UnreadableRow("the entry at position 2 is broken"))
    assert isinstance(parked, ports.Park)
    assert "position 2" in json.loads(parked.why)["reason"]
