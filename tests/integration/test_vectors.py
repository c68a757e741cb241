"""Events with vectors, whose symbols KATO puts before the strings: what a rebuild brings back, and what it cannot.

KATO sorts strings. So an event with a vector and a string before ``VCTR|`` ("7", "Room") comes back as it was only
where its vector, observed again, brings what it brought before.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import pytest

from kato_tasks import append_events
from kato_tasks.bootstrap import Runtime, runtime
from kato_tasks.embedded.kato.vectors import vector_symbol
from kato_tasks.testing.services import KatoServer, RedisServer
from kato_tasks.testing.waiting import wait_until
from tests.integration.recovering import a_system, total
from tests.integration.system import Json, System
from tests.integration.test_expiry import drain, epoch, observed, status

ROOM = [[0.1, 0.2]]
STMS = {
    "a vector alone": [observed("a", "x"), observed("a", vectors=ROOM)],
    "a string before VCTR|": [observed("a", "Room", "7", "x", vectors=ROOM), observed("a", "x")],
    "strings after VCTR|": [observed("a", "x", "y", vectors=ROOM), observed("a", "x")],
    "several vectors": [observed("a", "Room", vectors=[[1.0, 2.0], [0.5, 0.5], [-3.0, 1.0]]), observed("a", "x")],
    "a string like a symbol": [observed("a", vector_symbol(ROOM[0]), "7", vectors=ROOM), observed("a", "x")],
}


@pytest.fixture(scope="module")
def system(redis_server: RedisServer, kato: KatoServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    with a_system(redis_server, tmp_path_factory.mktemp("vectors"), kato, max_rebuilds="3") as system:
        yield system


@pytest.fixture
def rt(system: System) -> Runtime:
    system.empty()
    return runtime()


def name_of(stm: list[list[str]]) -> str:
    return "PTRN|" + hashlib.sha1(str(stm).encode(), usedforsecurity=False).hexdigest()


def learn(session: str, node: str | None = None) -> Json:
    return {"session_id": session, "node_id": node, "event_type": "learn"}


def settled(rt: Runtime, *sessions: str) -> None:
    wait_until(lambda: drain(rt) and all(status(s).state in ("idle", "parked") for s in sessions), 30)


def patterns(system: System, node: str = "a") -> dict[str, int]:
    return {name: row["frequency"] for name, row in system.ask(f"patterns?node={node}").items()}


@pytest.mark.parametrize("stm", STMS.values(), ids=STMS)
@pytest.mark.parametrize("fault", ["expire", "not_saved", "lose_all", "drop_before", "error_after"])
def test_a_rebuild_brings_an_event_with_vectors_back_as_it_was_and_learns_it_under_its_name(
    system: System, rt: Runtime, stm: list[Json], fault: str
) -> None:
    append_events(stm)
    drain(rt)
    before = system.stm("a")
    system.faults({"kind": fault, "route": "observe-sequence", "count": 1})
    append_events([observed("a", "after")])
    settled(rt, "a")
    # The one after it finds out that a 200 was not saved.
    append_events([observed("a", "later")])
    settled(rt, "a")
    due = [*before, ["after"], ["later"]]
    assert system.stm("a") == due
    assert (epoch("a") > 1) == (fault != "error_after")
    append_events([learn("a")])
    settled(rt, "a")
    wait_until(lambda: patterns(system) == {name_of(due): 1}, 5)
    assert total(system, "reordered") == 0


def with_learned_neighbours(system: System, rt: Runtime, *strings: str) -> list[list[str]]:
    """Session a has an event with a vector; then another session of its node learns vectors near it."""
    append_events([observed("a", *strings, vectors=ROOM, node="n"), observed("a", "x", node="n")])
    drain(rt)
    before = system.stm("a")
    append_events([observed("b", "near", vectors=[[0.1, 0.3]], node="n"), learn("b", "n")])
    settled(rt, "b")
    return before


def test_vectors_that_were_learned_since_do_not_join_an_event_that_is_rebuilt(system: System, rt: Runtime) -> None:
    before = with_learned_neighbours(system, rt, "x", "y")
    system.faults({"kind": "expire", "count": 1, "node": "n"})
    append_events([observed("a", "after", node="n")])
    settled(rt, "a")
    assert system.stm("a") == [*before, ["after"]]
    assert total(system, "reordered") == 0


def test_an_event_that_can_no_longer_be_rebuilt_in_its_order_keeps_its_symbols_and_says_so(
    system: System, rt: Runtime, caplog: pytest.LogCaptureFixture
) -> None:
    (own, *strings), x = with_learned_neighbours(system, rt, "Room", "7", "y")
    system.faults({"kind": "expire", "count": 1, "node": "n"})
    append_events([observed("a", "after", node="n")])
    settled(rt, "a")
    held = [["7", "Room", own, "y"], x, ["after"]]
    assert strings == ["7", "Room", "y"]
    assert system.stm("a") == held
    assert (total(system, "reordered"), status("a").reordered_events) == (1, 1)
    assert [r.message.split()[0] for r in caplog.records if "session.reordered" in r.message] == ["session.reordered"]
    sessions = system.ask("stats")["sessions_live"]
    append_events([learn("a", "n")])
    settled(rt, "a")
    wait_until(lambda: patterns(system, "n").get(name_of(held)) == 1, 5)
    assert status("a").reordered_events == 0
    assert status("a").parked is None
    assert sessions == 2, "a try that is not kept leaves nothing behind"


def test_a_session_that_was_rebuilt_in_another_order_goes_on_in_it_and_is_rebuilt_again(
    system: System, rt: Runtime
) -> None:
    (own, *_), x = with_learned_neighbours(system, rt, "Room")
    for times in range(1, 4):
        system.faults({"kind": "expire", "count": 1, "node": "n"})
        append_events([observed("a", f"after {times}", node="n")])
        settled(rt, "a")
    assert system.stm("a") == [["Room", own], x, ["after 1"], ["after 2"], ["after 3"]]
    assert status("a").parked is None
    assert total(system, "rebuilt") >= 3


def test_an_event_goes_back_into_its_own_order_where_that_can_be_held_again(system: System, rt: Runtime) -> None:
    before = with_learned_neighbours(system, rt, "Room")
    system.faults({"kind": "expire", "count": 1, "node": "n"})
    append_events([observed("a", "after", node="n")])
    settled(rt, "a")
    assert system.stm("a")[0] != before[0]
    system.faults({"kind": "lose_all", "node": "n"})
    append_events([observed("a", "later", node="n")])
    settled(rt, "a")
    assert system.stm("a") == [*before, ["after"], ["later"]]
    assert status("a").reordered_events == 0


def test_a_learn_of_unknown_outcome_whose_stm_came_back_in_another_order_is_learned_once_under_the_new_name(
    system: System, rt: Runtime
) -> None:
    (own, *_), x = with_learned_neighbours(system, rt, "Room")
    system.faults({"kind": "drop_before", "route": "learn", "count": 1, "node": "n"})
    append_events([learn("a", "n")])
    settled(rt, "a", "b")
    wait_until(lambda: patterns(system, "n").get(name_of([["Room", own], x])) == 1, 5)
    assert name_of([[own, "Room"], x]) not in patterns(system, "n")
    assert total(system, "learns_unknown") == 0


def test_a_learn_that_kato_counted_without_a_row_and_learned_again_under_another_name_is_counted_in_doubt(
    system: System, rt: Runtime
) -> None:
    """Falls when such a learn begins again and nothing says that KATO may count it twice."""
    (own, *_), x = with_learned_neighbours(system, rt, "Room")
    system.faults({"kind": "clickhouse_down", "route": "learn", "count": 1, "node": "n"})
    append_events([learn("a", "n")])
    settled(rt, "a", "b")
    wait_until(lambda: patterns(system, "n").get(name_of([["Room", own], x])) == 1, 5)
    assert patterns(system, "n")[name_of([[own, "Room"], x])] == 1, "KATO counts before it writes the row"
    assert (total(system, "learns_in_doubt"), total(system, "learns_unknown")) == (1, 0)


def test_a_learn_that_was_applied_though_its_answer_was_lost_is_not_learned_again_in_another_order(
    system: System, rt: Runtime
) -> None:
    (own, *_), x = with_learned_neighbours(system, rt, "Room")
    system.faults({"kind": "drop_after", "route": "learn", "count": 1, "node": "n"})
    append_events([learn("a", "n")])
    settled(rt, "a", "b")
    wait_until(lambda: patterns(system, "n").get(name_of([[own, "Room"], x])) == 1, 5)
    assert name_of([["Room", own], x]) not in patterns(system, "n")
