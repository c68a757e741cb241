"""What KATO says of the session config, asked once, and what lanes do meanwhile."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from kato_tasks import ports
from kato_tasks.engine.drain.config_check import ConfigCheck, find_refused_config
from kato_tasks.engine.drain.context import KatoSessionOptions, LaneContext
from kato_tasks.engine.running.breaker import CircuitBreaker
from kato_tasks.errors import KatoUnavailable
from tests.unit.engine.world import (
    ERROR,
    LOST,
    OK,
    REFUSED,
    URL,
    World,
    bound_at,
    context,
    created,
    letters,
    logged,
    reply,
    sequence,
)

OWN = KatoSessionOptions.own_config()
DEFAULTS = {"process_predictions": True, "max_pattern_length": 0, "recall_threshold": 0.1, "max_predictions": 100}


@dataclass
class Shared:
    """What all workers share, in a dictionary; nothing expires."""

    verdicts: dict[tuple[str, str], str] = field(default_factory=dict)
    asking: set[tuple[str, str]] = field(default_factory=set)

    def read_verdict(self, url: str, digest: str) -> str | None:
        return self.verdicts.get((url, digest))

    def keep_verdict(self, url: str, digest: str, why: str, seconds: float) -> None:
        self.verdicts[url, digest] = why

    def read_refusal(self, url: str) -> str | None:
        return next((why for (at, _), why in self.verdicts.items() if at == url and why), None)

    def drop_verdict(self, url: str, digest: str) -> None:
        self.verdicts.pop((url, digest), None)

    def may_ask(self, url: str, digest: str, seconds: float) -> bool:
        if (url, digest) in self.asking:
            return False
        self.asking.add((url, digest))
        return True

    def end_asking(self, url: str, digest: str) -> None:
        self.asking.discard((url, digest))


def answers(config: dict[str, Any]) -> ports.KatoReply:
    """A session with that config."""
    return reply({"session_id": "p", "session_config": config})


def checking(shared: Shared, **config: Any) -> LaneContext:
    options = KatoSessionOptions((URL,), config=config)
    return replace(context(), options=options, check=ConfigCheck(shared, OWN, config))


def said(world: World, **config: Any) -> str:
    return world.run(find_refused_config(URL, OWN, config))


def dropped(world: World) -> World:
    return world.kato("sessions", answers(DEFAULTS)).kato("delete", OK)


def kept(world: World, **config: Any) -> World:
    return world.kato("sessions", answers({**DEFAULTS, **OWN, **config})).kato("delete", OK)


def test_the_culprit_of_a_dropped_config_is_named_and_not_what_was_dropped_with_it() -> None:
    world = dropped(World([]))
    kept(world)
    kept(world, max_predictions=20)
    dropped(world)
    assert said(world, max_predictions=20, recall_threshold=1.5) == (
        f"KATO at {URL} does not take recall_threshold 1.5 (out of range or of a wrong type, it drops the whole "
        "session config for it); mend KATO_TASKS_KATO_SESSION_CONFIG and restart the workers: until then its sessions "
        "wait, and nothing is lost"
    )


def test_a_key_that_kato_does_not_know_and_a_value_that_it_changes_are_named() -> None:
    world = kept(World([]))
    kept(world)
    kept(world)
    kept(world, recall_threshold=0.3)
    sentence = said(world, lerning_rate=3, recall_threshold=0.31)
    assert "lerning_rate 3 (it does not know the key)" in sentence
    assert "recall_threshold 0.31 (it makes 0.3 of it)" in sentence


@pytest.mark.parametrize(
    ("answer", "told"), [(reply({"detail": "no"}, 422), "KATO answered 422"), (ERROR, "sessions: KATO answered 500")]
)
def test_a_value_for_which_kato_makes_no_session_is_named(answer: ports.KatoReply, told: str) -> None:
    world = kept(World([]).kato("sessions", answer)).kato("sessions", answer)
    assert f'affinity_emotive "x" (it says {told}' in said(world, affinity_emotive="x")


def test_a_kato_that_makes_no_session_at_all_says_nothing_of_the_config() -> None:
    world = World([]).kato("sessions", ERROR).kato("sessions", ERROR)
    with pytest.raises(KatoUnavailable, match="makes no session"):
        said(world, recall_threshold=0.3)


def test_a_server_that_was_started_without_sorting_is_named_and_not_the_config() -> None:
    """Measured on KATO 3.10.1 with SORT_SYMBOLS=false: a session that asks for nothing shows it."""
    world = kept(World([]), recall_threshold=0.3, sort_symbols=False)
    kept(world, sort_symbols=False)
    assert said(world, recall_threshold=0.3) == (
        f"KATO at {URL} cannot be used: it was started with SORT_SYMBOLS=false, and what a session is rebuilt from "
        "stands on sorted symbols; start it with SORT_SYMBOLS=true"
    )


def test_no_session_is_used_at_a_server_that_was_started_without_sorting() -> None:
    """The last guard, also where there is no config to ask for."""
    world = World(logged(letters("a"))).kato("sessions", created(sort_symbols=False)).kato("delete", OK)
    world.turn()
    assert world.trace == ["sessions", "delete new", "defer"]
    assert "start it with SORT_SYMBOLS=true" in world.done[-1].error  # type: ignore[attr-defined]


def test_what_kato_takes_is_asked_for_once_before_the_first_call_and_never_again() -> None:
    shared = Shared()
    lane = checking(shared, recall_threshold=0.3)
    world = kept(World(logged(letters("ab"))), recall_threshold=0.3)
    world.kato("sessions", created(recall_threshold=0.3)).kato("observe-sequence", sequence(1, time=1, stm_length=1))
    world.turn(lane, last=1)
    assert world.trace[:3] == ["sessions", "delete p", "sessions"]
    another = checking(shared, recall_threshold=0.3)  # of another process
    world.kato("observe-sequence", sequence(1, time=2, stm_length=2))
    world.turn(another)
    assert (world.cursor, world.trace[-2:]) == (2, ["observe-sequence new", "commit 2"])


def test_without_a_config_of_the_users_kato_is_not_asked() -> None:
    world = World(logged(letters("a"))).kato("sessions", created())
    world.kato("observe-sequence", sequence(1, time=1, stm_length=1))
    world.turn(checking(Shared()))
    assert world.cursor == 1


def test_while_kato_does_not_take_it_every_lane_waits_with_the_reason_and_no_session_is_made() -> None:
    shared = Shared()
    lane = checking(shared, recall_threshold=1.5)
    world = dropped(World(logged(letters("ab")), bound_at(0), attempts=3, unsent=7))
    dropped(kept(world))
    world.turn(lane)
    assert world.trace[-1] == "defer"
    defer = world.done[-1]
    assert isinstance(defer, ports.Defer)
    assert "recall_threshold 1.5" in defer.error
    assert (defer.attempts, defer.unsent_in_a_row, world.cursor) == (3, 7, 0)
    asked = len(world.trace)
    for _ in range(5):
        world.turn(lane)
    assert world.trace[asked:] == ["defer"] * 5


def test_a_lane_that_comes_while_another_asks_waits_a_moment_and_asks_nothing() -> None:
    shared = Shared()
    lane = checking(shared, recall_threshold=0.3)
    assert lane.check is not None
    assert lane.check.may_ask(URL)
    world = World(logged(letters("a")), unsent=2)
    world.turn(lane)
    assert world.trace == ["defer"]
    defer = world.done[-1]
    assert isinstance(defer, ports.Defer)
    assert (defer.wait_ms, defer.unsent_in_a_row, defer.attempts) == (100, 2, 0)


@pytest.mark.parametrize("failure", [REFUSED, LOST, ERROR])
def test_a_kato_that_does_not_answer_is_nobodys_attempt_and_is_asked_again(failure: Any) -> None:
    shared = Shared()
    lane = checking(shared, recall_threshold=0.3)
    world = World(logged(letters("a"))).kato("sessions", failure)
    if failure is ERROR:
        world.kato("sessions", failure)  # nor does it make one without the config
    world.turn(lane)
    assert (world.trace[-1], world.attempts, world.counts) == ("defer", 0, {})
    kept(world, recall_threshold=0.3).kato("sessions", created(recall_threshold=0.3))
    world.kato("observe-sequence", sequence(1, time=1, stm_length=1))
    world.turn(lane)
    assert world.cursor == 1


def test_a_session_that_only_is_to_be_kept_alive_is_kept_alive() -> None:
    shared = Shared()
    lane = checking(shared, recall_threshold=1.5)
    world = World(logged(letters("a")), bound_at(1), cursor=1).kato("extend", OK)
    world.turn(lane)
    assert world.trace == ["extend old", "commit 1"]


def test_a_create_that_came_back_otherwise_has_kato_asked_again() -> None:
    """The last guard: what KATO took at first it may not take after an upgrade."""
    shared = Shared()
    lane = checking(shared, recall_threshold=0.3)
    assert lane.check is not None
    world = kept(World(logged(letters("a"))), recall_threshold=0.3)
    world.kato("sessions", answers(DEFAULTS)).kato("delete", OK)
    world.turn(lane)
    assert world.trace[-1] == "defer"
    assert lane.check.read_verdict(URL) is None


def test_kato_is_asked_again_once_its_circuit_has_closed() -> None:
    shared = Shared()
    check = ConfigCheck(shared, OWN, {"recall_threshold": 0.3})
    world = kept(World([]), recall_threshold=0.3)
    assert check.may_ask(URL)
    assert world.run(check.ask(URL)) == ""
    assert check.read_verdict(URL) == ""

    class State:
        def look(self, url: str) -> tuple[str | None, bool]:
            return "1", False

        def open(self, url: str, seconds: float, why: str) -> None: ...

        def close(self, url: str) -> None: ...

        def may_probe(self, url: str, interval_seconds: float) -> bool:
            return True

        def trouble_goes_on(self, url: str, for_seconds: float, *, told: bool = False) -> bool:
            return False

        def trouble_ended(self, url: str) -> float | None:
            return None

    CircuitBreaker(State(), closed=check.forget).record_probe(URL, True)
    assert check.read_verdict(URL) is None
