"""A session's own config: told to KATO whenever the session is made there, and never lent with a KATO session."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from kato_tasks import ports
from kato_tasks.domain.front_session import FrontSession
from kato_tasks.domain.kato_session import Binding, config_digest
from kato_tasks.engine.drain.drain import process_piece
from kato_tasks.engine.drain.known_sessions import KnownSession
from tests.unit.engine.world import (
    OK,
    World,
    bound_at,
    context,
    created,
    holds,
    letters,
    logged,
    reply,
    sequence,
    stm_of,
)

OWN = {"recall_threshold": 0.3}


def work_with(world: World, config: dict[str, Any]) -> ports.Work:
    return replace(world.work(), config=config)


def test_a_new_kato_session_is_made_with_the_sessions_own_config() -> None:
    """Falls without `work.config` in kato_session.create_kato_session."""
    world = World(logged(letters("a")))
    world.kato("sessions", created(recall_threshold=0.3)).kato("observe-sequence", sequence(1, time=1, stm_length=1))
    world.run(process_piece(context(), work_with(world, OWN)))
    (body,) = world.sent("sessions")
    assert json.loads(body)["config"]["recall_threshold"] == 0.3
    bound = world.the(ports.Commit).binding
    assert bound is not None
    assert bound.config == config_digest(OWN) != ""


def test_a_session_whose_config_changed_is_rebuilt_before_anything_is_sent() -> None:
    """Falls without the digest in Work.bound_elsewhere."""
    world = World(logged(letters("abc")), bound_at(2), cursor=2).kato("delete", OK)
    world.kato("sessions", created(recall_threshold=0.3)).kato("observe-sequence", sequence(2, time=2, stm_length=2))
    world.kato("cognition-data", holds(stm_of("ab")))
    world.kato("observe-sequence", sequence(1, time=3, stm_length=3))
    world.run(process_piece(context(), work_with(world, OWN)))
    assert world.trace.index("bind new") < world.trace.index("intent observe")
    rebuilt = world.the(ports.Bind).binding
    assert rebuilt is not None
    assert rebuilt.config == config_digest(OWN)


def test_a_kato_session_is_lent_only_to_a_session_of_the_same_config() -> None:
    """Falls without the comparison in KnownSession.lent_to."""
    lent = replace(bound_at(0), shared=True, config=config_digest(OWN))
    known = KnownSession("other", lent, 0)
    work = World(logged(letters("a"))).work()
    borrowed = known.lent_to(replace(work, config=OWN), lent.url, lent.run)
    assert borrowed is not None
    assert known.lent_to(work, lent.url, lent.run) is None
    assert (
        KnownSession("other", replace(lent, config=""), 0).lent_to(replace(work, config=OWN), lent.url, lent.run)
        is None
    )


def test_a_binding_tells_its_config_and_one_without_is_written_as_before() -> None:
    bound = replace(bound_at(1), config="c0ffee")
    assert Binding.load(bound.dump()) == bound
    assert len(json.loads(bound_at(1).dump())) == 11


def test_what_breaks_the_protocol_or_katos_predictions_is_not_told_to_kato() -> None:
    asked = {
        "recall_threshold": 0.3,
        "process_predictions": True,
        "max_pattern_length": 3,
        "stm_mode": "ROLLING",
        "sort_symbols": False,
        "rank_sort_algo": "frequency",
        "max_predictions": 7.5,
        "filter_pipeline": ["nope"],
        "jaccard_threshold": 0.4,
    }
    assert FrontSession(config=asked).kato_config() == {"recall_threshold": 0.3, "jaccard_threshold": 0.4}


def showing(read: str, text: str = "ab", **more: Any) -> tuple[World, ports.Work]:
    world = World(logged(letters(text)), bound_at(len(text)), cursor=len(text), asked="q", **more)
    return world, replace(world.work(), read=read)


def told(world: World) -> dict[str, Any]:
    ((name, text),) = world.the(ports.Commit).results
    assert name == "q"
    answer: dict[str, Any] = json.loads(text)
    return answer


def test_an_stm_is_read_in_its_turn_and_compared_with_the_log() -> None:
    world, work = showing("stm")
    world.kato("cognition-data", holds(stm_of("ab")))
    world.run(process_piece(context(), work))
    assert (told(world)["stm"], told(world)["time"], told(world)["after"]) == ([["a"], ["b"]], 2, 2)
    assert world.the(ports.Commit).keep_binding


def test_an_stm_that_is_not_the_logs_is_rebuilt_before_it_is_shown() -> None:
    """Falls without read_verified_stm in showing.show."""
    world, work = showing("stm")
    world.kato("cognition-data", holds(stm_of("a"), time=1)).kato("delete", OK).kato("sessions", created())
    world.kato("observe-sequence", sequence(2, time=2, stm_length=2)).kato("cognition-data", holds(stm_of("ab")))
    world.run(process_piece(context(), work))
    assert world.trace[-2:] == ["bind new", "defer"]


def test_an_empty_stm_is_shown_without_asking_kato() -> None:
    for read in ("stm", "cognition-data", "percept-data"):
        world, work = showing(read, mark=2)
        world.run(process_piece(context(), work))
        assert (told(world)["stm"], told(world)["data"]) == ([], {})


def test_what_kato_shows_beside_the_stm_comes_as_it_is() -> None:
    world, work = showing("percept-data")
    world.kato("cognition-data", holds(stm_of("ab"))).kato("percept-data", reply({"percept_data": {"strings": ["b"]}}))
    world.run(process_piece(context(), work))
    assert told(world)["data"] == {"strings": ["b"]}


def test_training_is_finalized_through_a_session_of_its_own_that_is_deleted() -> None:
    world, work = showing("finalize-training")
    world.kato("sessions", created()).kato("finalize-training", reply({"status": "completed", "patterns_processed": 2}))
    world.kato("delete", OK)
    world.run(process_piece(context(), work))
    assert told(world)["data"]["patterns_processed"] == 2
    assert world.the(ports.Commit).keep_binding


def test_a_read_that_this_version_does_not_know_is_refused_and_holds_nothing_up() -> None:
    world, work = showing("tomorrow")
    world.run(process_piece(context(), work))
    assert told(world)["error"]["type"] == "EventRefused"
