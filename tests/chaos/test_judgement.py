"""The judge itself: each kind of slip is found, and a faithful KATO is not accused."""

import hashlib
from typing import Any

import pytest

from benchmarks.measured import Books, books_of
from tests.chaos.books import SessionBooks, Verdict, judge_history, judge_log
from tests.chaos.gateway import SPELLS
from tests.chaos.mischief import CALM_FROM, fault_rules, script
from tests.chaos.oracle import fits, held_after
from tests.chaos.run import is_answer
from tests.chaos.scale import LONG, SHORT
from tests.chaos.story import SLOW_NODES, Author, sessions_of, slow_nodes


def observed(position: int, *strings: str) -> dict[str, Any]:
    return {
        "event_type": "observation",
        "event_id": f"e{position}",
        "position": position,
        "observation": {"strings": list(strings)},
    }


def other(position: int, kind: str) -> dict[str, Any]:
    return {"event_type": kind, "event_id": f"e{position}", "position": position}


def session(events: list[dict[str, Any]], cursor: int | None = None) -> SessionBooks:
    last = len(events)
    return SessionBooks(
        "s", "s", "s", last if cursor is None else cursor, last, None, events, dead=set(), binding=None, commit_ms={}
    )


STORY = [observed(1, "b", "a"), observed(2, "c"), other(3, "learn"), observed(4, "d"), observed(5, "e"), observed(6)]


def test_the_oracle_sorts_strings_learns_and_starts_again() -> None:
    held = held_after(STORY)
    name = hashlib.sha1(b"[['a', 'b'], ['c']]", usedforsecurity=False).hexdigest()
    assert held.stm == [["d"], ["e"]]
    assert held.patterns == [(3, f"PTRN|{name}")]
    assert held.since_mark == ["e4", "e5", "e6"]


def test_the_oracle_puts_what_kato_calls_vectors_before_strings() -> None:
    seen = observed(1, "b", "a")
    seen["observation"] |= {"vectors": [[0.5, 1.0]], "metadata": {"vectors": []}}
    held = held_after([seen], {"[[0.5, 1.0]]": ["VCTR|x"]})
    assert held.stm == [["VCTR|x", "a", "b"]]
    assert held.symbols == {"VCTR|x"}


@pytest.mark.parametrize(
    ("seen", "right"),
    [
        (["VCTR|own", "a", "b"], True),
        (["VCTR|near", "VCTR|own", "a", "b"], True),
        (["VCTR|near", "a", "b"], False),
        (["VCTR|foreign", "VCTR|own", "a", "b"], False),
        (["VCTR|own", "VCTR|near", "a", "b"], False),
        (["VCTR|own", "VCTR|own", "a", "b"], False),
        (["VCTR|own", "a"], False),
        (["a", "b"], False),
    ],
    ids=["alone", "beside a learned one", "missing", "never sent", "unsorted", "twice", "string lost", "vector lost"],
)
def test_an_event_with_a_vector_has_its_own_symbol_and_only_those_of_its_node_beside_it(
    seen: list[str], right: bool
) -> None:
    assert fits([["x"], seen], [["x"], ["VCTR|own", "a", "b"]], {"VCTR|own", "VCTR|near"}) is right
    assert not fits([["x"]], [["x"], ["VCTR|own", "a", "b"]], {"VCTR|own"})
    assert fits([["7", "VCTR|own", "x"]], [["VCTR|own", "7", "x"]], set()), "rebuilt, where KATO sorts it among strings"
    assert not fits([["VCTR|own", "x"]], [["x"]], {"VCTR|own"})


def test_the_oracle_refuses_to_learn_nothing_and_stores_no_single_string() -> None:
    held = held_after([other(1, "learn"), observed(2, "a"), other(3, "learn"), observed(4, "b"), other(5, "clear_stm")])
    assert held.empty_learns == [1]
    assert held.patterns == []
    assert held.stm == []


@pytest.mark.parametrize(
    ("history", "slip"),
    [
        (["e1", "e2", "e4", "e5", "e6"], {}),
        (["e4", "e5", "e6"], {}),
        (["e4", "e6"], {"lost": 1}),
        (["e4", "e5", "e5", "e6"], {"duplicated": 1}),
        (["e5", "e4", "e6"], {"reordered": 1}),
        (["e4", "e5", "e6", "x"], {"duplicated": 1}),
    ],
    ids=["faithful", "rebuilt since the learn", "lost", "twice", "inverted", "of another session"],
)
def test_what_a_kato_session_was_sent_is_judged(history: list[str], slip: dict[str, int]) -> None:
    verdict = Verdict()
    judge_history(verdict, session(STORY), held_after(STORY), history)
    assert verdict.violations == slip


@pytest.mark.parametrize(
    ("log", "cursor", "slip"),
    [
        (STORY, 6, {}),
        (STORY[:-1], 5, {"lost": 1}),
        ([*STORY, STORY[-1]], 7, {"duplicated": 1}),
        ([STORY[1], STORY[0], *STORY[2:]], 6, {"reordered": 1}),
        (STORY, 4, {"lost": 2}),
    ],
    ids=["faithful", "acknowledged and not there", "twice", "inverted", "never applied"],
)
def test_a_log_is_judged_by_what_was_acknowledged(log: list[dict[str, Any]], cursor: int, slip: dict[str, int]) -> None:
    verdict = Verdict()
    sent = [event["event_id"] for event in STORY]
    judge_log(verdict, session(log, cursor), sent, set(sent))
    assert verdict.violations == slip


def test_an_event_that_was_not_acknowledged_may_be_missing() -> None:
    verdict = Verdict()
    judge_log(verdict, session(STORY[:-1]), [event["event_id"] for event in STORY], {"e1", "e2", "e3", "e4", "e5"})
    assert verdict.violations == {}


@pytest.mark.parametrize(
    ("held", "books"),
    [
        (["a", "b", "c"], Books(0, 0, 0)),
        (["a", "c"], Books(1, 0, 0)),
        (["a", "b", "b", "c"], Books(0, 1, 0)),
        (["b", "a", "c"], Books(0, 0, 1)),
    ],
)
def test_the_control_run_is_judged_by_the_same_measure(held: list[str], books: Books) -> None:
    assert books_of(["a", "b", "c"], held) == books


@pytest.mark.parametrize("scale", [SHORT, LONG], ids=["short", "long"])
def test_a_script_is_the_same_for_the_same_seed_and_has_every_act(scale: Any) -> None:
    lines = script(7, scale)
    assert lines == script(7, scale) != script(8, scale)
    acts = [line.act for line in lines]
    wanted = {"kill": scale.kills, "term": scale.terms, "stop": scale.stops, "store": scale.store_restarts}
    assert {act: acts.count(act) for act in wanted} == wanted
    assert acts.count("broker") == scale.broker_restarts
    assert [line.spell for line in lines if line.spell] == list(SPELLS)
    assert max(line.at for line in lines if line.act == "gateway") < scale.load_seconds * CALM_FROM
    assert all(0 < line.at < scale.load_seconds for line in lines)


def test_a_caller_writes_the_same_events_for_the_same_seed() -> None:
    sessions = sessions_of(7, 20)
    first, again = Author(7, 0, sessions), Author(7, 0, sessions)
    assert [first.next_event(s) for s in sessions * 5] == [again.next_event(s) for s in sessions * 5]


def test_a_story_has_vectors_odd_metadata_and_slow_nodes_and_can_be_rebuilt() -> None:
    sessions = sessions_of(7, 100)
    author = Author(7, 0, sessions)
    written = [author.next_event(session) for session in sessions * 12]
    seen = [event["observation"] for event in written if event["event_type"] == "observation"]
    assert sum(bool(one.get("vectors")) for one in seen) > 50
    assert sum("vectors" in one.get("metadata", {}) for one in seen) > 10
    assert sum("Room" in one["strings"] for one in seen if one.get("vectors")) > 10
    slow = slow_nodes(sessions)
    assert len(slow) == SLOW_NODES
    assert {session.node_id for session in sessions} > set(slow)
    assert [rule["node"] for rule in fault_rules(SHORT, slow) if "node" in rule] == slow
    assert SHORT.slow_seconds < SHORT.kato_timeout_seconds


@pytest.mark.parametrize(
    ("change", "right"),
    [
        ({}, True),
        ({"after": 2}, False),
        ({"session_id": "t"}, False),
        ({"event_id": "other"}, False),
        ({"predictions": None}, False),
        ({"predictions": [{"name": "", "frequency": 1}]}, False),
    ],
)
def test_a_prediction_is_judged_by_its_place_and_its_shape(change: dict[str, Any], right: bool) -> None:
    answer = {"session_id": "s", "event_id": "id", "after": 3, "future_potentials": []}
    answer |= {"predictions": [{"name": "abc", "frequency": 1}], **change}
    assert is_answer(answer, "id", "s", 3) is right


def test_every_kind_of_fault_but_a_loss_has_its_share() -> None:
    from kato_tasks.embedded.kato.faults import KINDS

    assert {rule["kind"] for rule in fault_rules(SHORT)} == set(KINDS) - {"lose_all"}
