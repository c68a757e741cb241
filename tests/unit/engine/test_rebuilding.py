"""A KATO session is rebuilt: which forms of its vectors are sent, one after the other, and what is bound in the end."""

import json
from typing import Any

from kato_tasks import ports
from kato_tasks.engine.drain.kato_session import VECTORS_FAIL
from tests.unit.engine.world import OK, Stm, World, bound_at, created, holds, logged, observed, sequence

HELD: dict[int, list[str] | None] = {1: ["VCTR|a", "7"], 2: ["VCTR|b"], 3: ["x"]}
DUE: Stm = [["VCTR|a", "7"], ["VCTR|b"], ["x"]]


def expired() -> World:
    """A session whose KATO session is gone: two events with vectors and one without; a clear is next."""
    entries = [observed("e1", "7", vectors=[[1.0]]), observed("e2", vectors=[[2.0]]), observed("e3", "x")]
    world = World(logged([*entries, observed("e4", "y")]), bound_at(3, expires_ms=0), cursor=3)
    world.symbols = {at: held for at, held in HELD.items() if at < 3}
    return world.kato("delete", OK)


def tried(world: World, stm: Stm, *, kept: bool, time: int = 3) -> World:
    world.kato("sessions", created()).kato("observe-sequence", sequence(3, time=3, stm_length=3))
    world.kato("cognition-data", holds(stm, time=time))
    return world if kept else world.kato("delete", OK)


def goes_on(world: World) -> World:
    return world.kato("observe-sequence", sequence(1, time=4, stm_length=4))


def sent(world: World) -> list[list[tuple[Any, Any]]]:
    """The strings and vectors of each try."""
    calls = [json.loads(body)["observations"] for body in world.sent("observe-sequence")]
    return [[(o["strings"], o["vectors"]) for o in call] for call in calls]


AS_OBSERVED: list[tuple[Any, Any]] = [(["7"], [[1.0]]), ([], [[2.0]]), (["x"], [])]
AS_SYMBOLS: list[tuple[Any, Any]] = [(["VCTR|a", "7"], []), (["VCTR|b"], []), (["x"], [])]


def test_vectors_are_observed_again_as_they_were_and_kept_if_they_bring_what_they_brought() -> None:
    world = goes_on(tried(expired(), DUE, kept=True))
    world.turn()
    assert sent(world)[0] == AS_OBSERVED
    bind = world.the(ports.Bind)
    assert (list(bind.symbols), bind.reordered) == ([], 0)


def test_an_event_whose_vector_brings_others_by_now_is_sent_as_symbols_and_the_others_stay_vectors() -> None:
    world = tried(expired(), [DUE[0], ["VCTR|a", "VCTR|b"], DUE[2]], kept=False)
    goes_on(tried(world, DUE, kept=True))
    world.turn()
    assert sent(world)[:2] == [AS_OBSERVED, [AS_OBSERVED[0], AS_SYMBOLS[1], AS_OBSERVED[2]]]
    assert (list(world.the(ports.Bind).symbols), world.counts.get("reordered")) == ([], None)


def test_the_third_try_sends_symbols_only_and_what_kato_holds_then_is_written_down_with_the_binding() -> None:
    world = tried(expired(), [DUE[0], ["VCTR|a", "VCTR|b"], DUE[2]], kept=False)
    tried(world, [["VCTR|a", "VCTR|b", "7"], *DUE[1:]], kept=False)
    goes_on(tried(world, [["7", "VCTR|a"], *DUE[1:]], kept=True))
    world.turn()
    assert sent(world)[2] == AS_SYMBOLS
    bind = world.the(ports.Bind)
    assert (list(bind.symbols), bind.reordered) == ([(1, '["7","VCTR|a"]')], 1)
    assert world.counts["reordered"] == 1
    assert world.counts["rebuilt"] == 1


def test_a_vector_whose_symbols_nobody_ever_read_is_written_down_when_it_is_rebuilt() -> None:
    world = expired()
    del world.symbols[2]
    goes_on(tried(world, [DUE[0], ["VCTR|b", "VCTR|c"], DUE[2]], kept=True))
    world.turn()
    assert list(world.the(ports.Bind).symbols) == [(2, '["VCTR|b","VCTR|c"]')]


def test_after_rebuilds_that_failed_with_vectors_their_symbols_are_sent_at_once() -> None:
    world = expired()
    world.rebuilds = VECTORS_FAIL
    goes_on(tried(world, [["7", "VCTR|a"], *DUE[1:]], kept=True))
    world.turn()
    assert sent(world)[0] == AS_SYMBOLS


def test_a_rebuild_whose_calls_kato_does_not_count_is_deleted_and_never_bound() -> None:
    world = tried(expired(), DUE, kept=False, time=2)
    world.turn()
    assert world.of(ports.Bind) == []
    assert world.trace[-1] == "defer"
