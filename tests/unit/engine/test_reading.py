"""A session's log is read, and a session rebuilt, in pieces that have a limit, however large its events are."""

from __future__ import annotations

import json
import random
from dataclasses import replace

import pytest

from kato_tasks import ports
from kato_tasks.domain.stm import STM_CAP
from kato_tasks.engine.drain import kato_session
from kato_tasks.engine.drain.kato_session import read_history, rebuild
from kato_tasks.engine.drain.reading import FIRST_PIECE, PIECE, PIECE_BYTES, read_ahead, size_of, split_into_batches
from kato_tasks.engine.drain.retry import RetryPolicy
from tests.unit.engine.world import (
    BAD,
    BUSY,
    ERROR,
    LOST,
    OK,
    REFUSED,
    Answer,
    World,
    bound_at,
    context,
    created,
    holds,
    logged,
    observed,
    sequence,
)


def large(count: int, kilobytes: int) -> World:
    entries = logged([observed(f"e{i}", f"{i:05}" + "x" * 1_000 * kilobytes) for i in range(count)])
    return World(entries, bound_at(count), cursor=count)


def pieces(world: World) -> list[int]:
    return [read.last - read.first + 1 for read in world.of(ports.ReadLog)]


def test_a_history_of_large_events_is_read_in_pieces_of_few_megabytes() -> None:
    """Falls when history asks for as many entries as the STM may hold at once."""
    world = large(600, 19)
    entries, _ = world.run(read_history(world.work()))
    assert [e.position for e in entries] == list(range(1, 601))
    assert max(pieces(world)[1:]) <= PIECE_BYTES // 19_000
    assert pieces(world)[0] == FIRST_PIECE


def test_a_history_of_small_events_takes_few_reads() -> None:
    world = large(3_000, 0)
    entries, _ = world.run(read_history(world.work()))
    assert len(pieces(world)) <= 4
    assert sum(e.counts for e in entries) >= STM_CAP


def test_a_short_history_is_one_read() -> None:
    world = large(FIRST_PIECE, 0)
    world.run(read_history(world.work()))
    assert pieces(world) == [FIRST_PIECE]


def test_a_rebuild_goes_back_for_emotives_only_so_many_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kato_session, "WHOLE_BYTES", 100_000)
    world = large(3_000, 0)
    entries, _ = world.run(read_history(world.work(), whole=True))
    assert STM_CAP <= len(entries) < 3_000


def test_what_follows_is_looked_at_up_to_so_many_bytes() -> None:
    world = large(400, 10)
    seen = world.run(read_ahead(world.work(), 1, 400, 1_000_000))
    assert 100 <= len(seen) < 400
    assert [e.position for e in seen] == list(range(1, len(seen) + 1))


def test_a_rebuild_keeps_to_the_batchs_events_and_bytes() -> None:
    """Falls when a rebuild sends the STM in calls of a fixed number of events."""
    world = large(30, 1)
    lane = context()
    lane = replace(lane, lease=replace(lane.lease, batch=ports.Batch(8, 5_500)))
    world.kato("sessions", created())
    for _ in range(6):
        world.kato("observe-sequence", sequence(5, time=5, stm_length=5))
    stm = [json.loads(e.body)["strings"] for e in world.log]
    world.kato("cognition-data", holds(stm))
    world.run(rebuild(lane, world.work()))
    calls = world.sent("observe-sequence")
    assert [len(json.loads(body)["observations"]) for body in calls] == [5] * 6


@pytest.mark.parametrize(
    ("bodies", "limit", "expected"),
    [
        ([], ports.Batch(2, 10), []),
        (["a", "b", "c"], ports.Batch(2, 10), [["a", "b"], ["c"]]),
        (["a" * 6, "b" * 5, "c" * 5], ports.Batch(9, 10), [["a" * 6], ["b" * 5, "c" * 5]]),
        (["a", "b" * 99, "c"], ports.Batch(9, 10), [["a"], ["b" * 99], ["c"]]),
        (["üü", "üü", "üü"], ports.Batch(9, 8), [["üü", "üü"], ["üü"]]),
    ],
)
def test_bodies_go_in_calls_of_so_many_events_and_bytes(
    bodies: list[str], limit: ports.Batch, expected: list[list[str]]
) -> None:
    assert [list(part) for part in split_into_batches(bodies, limit)] == expected
    assert size_of("ü") == 2
    assert PIECE >= FIRST_PIECE


# ------------------------------------------------------------------------------- a rebuild that cannot succeed


def failing_rebuild(world: World, answer: Answer) -> World:
    return world.kato("sessions", created()).kato("observe-sequence", answer).kato("delete", OK)


@pytest.mark.parametrize("answer", [LOST, ERROR, BAD])
def test_a_session_that_kato_does_not_let_be_rebuilt_is_parked_in_the_end_with_the_reason(answer: Answer) -> None:
    """Falls when failed rebuilds are not counted: it would be tried forever, and nobody would be told."""
    world = World(logged([observed("e1", "a"), observed("e2", "b")]), None, cursor=1)
    lane = context(retry=RetryPolicy(max_rebuilds=3, rng=random.Random(1)))
    for _ in range(3):
        failing_rebuild(world, answer).turn(lane)
        assert world.trace[-1] == "defer"
    failing_rebuild(world, answer).turn(lane)
    assert world.trace[-1] == "park"
    why = json.loads(world.the(ports.Park).why)
    assert "could not be rebuilt, again and again" in why["reason"]
    assert "rebuild" in why["last_answer"]


@pytest.mark.parametrize("answer", [REFUSED, BUSY])
def test_a_kato_that_cannot_be_reached_parks_no_session(answer: Answer) -> None:
    world = World(logged([observed("e1", "a"), observed("e2", "b")]), None, cursor=1)
    lane = context(retry=RetryPolicy(max_rebuilds=1, rng=random.Random(1)))
    for _ in range(5):
        failing_rebuild(world, answer).turn(lane)
    assert world.of(ports.Park) == []
    assert world.rebuilds == 0


def test_a_rebuild_that_succeeds_forgets_those_that_failed() -> None:
    world = World(logged([observed("e1", "a"), observed("e2", "b")]), None, cursor=1, rebuilds=2)
    world.kato("sessions", created()).kato("observe-sequence", sequence(1, time=1, stm_length=1))
    world.kato("cognition-data", holds([["a"]])).kato("observe-sequence", sequence(1, time=2, stm_length=2))
    world.turn()
    assert (world.cursor, world.rebuilds) == (2, 0)
