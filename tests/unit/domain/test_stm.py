"""What KATO's STM must hold after a run of events, and what brings it about again: KATO's rules, retold."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kato_tasks.domain import stm as module
from kato_tasks.domain.events import parse_event
from kato_tasks.domain.log_entry import Entry, Logged, entry_of
from kato_tasks.domain.observations import Observation
from kato_tasks.domain.stm import (
    STM_CAP,
    Judged,
    applied,
    expected_stm,
    matches,
    pattern_name,
    poisonous_to_predict,
    rebuild_of,
)

Json = dict[str, Any]


def make_entry(position: int = 1, **observation: Any) -> Entry:
    event = parse_event({"session_id": "s", "observation": observation})
    return entry_of(event, event_id=f"e{position}")


def logged(position: int, **observation: Any) -> Logged:
    return Logged.parse(position, make_entry(position, **observation).text)


def learn(position: int) -> Logged:
    event = parse_event({"session_id": "s", "event_type": "learn"})
    return Logged.parse(position, entry_of(event, event_id=f"e{position}").text)


class SmallKato:
    """KATO's session, as KATO_API says it is: STM, emotives and metadata, each with its cap, and `time`."""

    def __init__(self) -> None:
        self.stm: list[list[str]] = []
        self.emotives: list[Json] = []
        self.metadata: list[Json] = []
        self.time = 0

    def observe(self, body: str) -> None:
        seen = json.loads(body)
        assert seen["vectors"] == []
        self.time += 1
        if seen["strings"]:
            self.stm = [*self.stm, sorted(seen["strings"])][-STM_CAP:]
        if seen["emotives"]:
            self.emotives = [*self.emotives, seen["emotives"]][-STM_CAP:]
        if seen["metadata"]:
            self.metadata = [*self.metadata, seen["metadata"]][-STM_CAP:]


# ------------------------------------------------------------------------------- names of patterns


@pytest.mark.parametrize(
    ("stm", "name"),
    [
        ([["a"], ["b"]], "PTRN|" + hashlib.sha1(b"[['a'], ['b']]").hexdigest()),  # noqa: S324  KATO's own rule
        ([["a", "b"]], "PTRN|" + hashlib.sha1(b"[['a', 'b']]").hexdigest()),  # noqa: S324
        ([["it's"], ['say "x"']], "PTRN|" + hashlib.sha1(b"""[["it's"], ['say "x"']]""").hexdigest()),  # noqa: S324
        ([["a"]], ""),
        ([], ""),
    ],
)
def test_a_patterns_name_is_katos(stm: list[list[str]], name: str) -> None:
    """`PTRN|` and the SHA-1 of Python's str() of the STM; a single string stores nothing."""
    assert pattern_name(stm) == name


def test_a_patterns_name_never_changes() -> None:
    assert (
        pattern_name([["a"], ["b"], ["c"]])
        == "PTRN|"
        + hashlib.sha1(  # noqa: S324
            b"[['a'], ['b'], ['c']]"
        ).hexdigest()
    )
    assert pattern_name([["ü🙂"], ["\n"]]) == "PTRN|" + hashlib.sha1("[['ü🙂'], ['\\n']]".encode()).hexdigest()  # noqa: S324


@pytest.mark.parametrize(
    ("stm", "poison"),
    [
        ([["it's"]], True),
        ([["\\"]], True),
        ([['"']], True),
        ([["plain"]], False),
        ([["it's", "b"]], False),
        ([["it's"], ["b"]], False),
        ([], False),
    ],
)
def test_predictions_are_not_asked_for_while_the_stm_is_one_poisonous_symbol(
    stm: list[list[str]], poison: bool
) -> None:
    assert poisonous_to_predict(stm) is poison


# ------------------------------------------------------------------------------- what the STM must be


def test_strings_are_sorted_inside_an_event_and_duplicates_kept() -> None:
    assert expected_stm([logged(1, strings=["b", "a", "b"])], {}) == [["a", "b", "b"]]


def test_an_empty_string_is_an_event_and_an_emotive_alone_is_none() -> None:
    entries = [logged(1, strings=[""]), logged(2, emotives={"joy": 1.0}), logged(3, strings=["x"])]
    assert expected_stm(entries, {}) == [[""], ["x"]]
    assert [e.counts for e in entries] == [True, False, True]


def test_the_stm_keeps_the_newest_thousand() -> None:
    entries = [logged(i, strings=[f"{i}"]) for i in range(1, 1_101)]
    stm = expected_stm(entries, {})
    assert (len(stm), stm[0], stm[-1]) == (1_000, ["101"], ["1100"])


def test_what_became_a_dead_letter_is_not_in_the_stm() -> None:
    entries = [logged(1, strings=["a"]), logged(2, strings=["dead"]), logged(3, strings=["b"])]
    assert expected_stm(entries, {2: None}) == [["a"], ["b"]]
    assert [e.position for e in applied(entries, {2: None})] == [1, 3]
    assert rebuild_of(entries, {2: None}).stm == [["a"], ["b"]]


def test_other_events_than_observations_add_nothing() -> None:
    assert expected_stm([logged(1, strings=["a"]), learn(2)], {}) == [["a"]]


def test_vectors_are_what_kato_named_them_and_unknown_until_then() -> None:
    entries = [logged(1, strings=["a"], vectors=[[1.0]]), logged(2, strings=["b"])]
    assert [e.has_vectors for e in entries] == [True, False]
    assert expected_stm(entries, {}) == [None, ["b"]]
    assert matches([["VCTR|x", "a"], ["b"]], expected_stm(entries, {}))
    assert expected_stm(entries, {1: ["VCTR|x", "a"]}) == [["VCTR|x", "a"], ["b"]]
    assert logged(3, vectors=[[1.0]]).counts


def test_the_word_vectors_in_a_string_is_no_vector() -> None:
    entry = logged(1, strings=['"vectors":[]', '"vectors":[[1.0]]'])
    assert not entry.has_vectors
    assert logged(2, strings=['"vectors":[]'], vectors=[[1.0]]).has_vectors
    assert not logged(3, emotives={'"strings":["x"]': 1.0}).counts


def unmarked(entry: Entry) -> Logged:
    """The entry as it lies in a log that was written before its first line said what is in it."""
    first, rest = entry.text.split("\n", 1)
    return Logged.parse(1, f"{first[:2]}1764000000000\n{rest}")


@pytest.mark.parametrize("nested", [{"vectors": []}, {"a": {"strings": [], "vectors": []}}, {'"vectors":[]': 1}])
def test_what_is_in_an_observation_is_written_down_and_never_guessed_from_its_metadata(nested: Json) -> None:
    """Falls when the text of the whole observation is searched for its vectors."""
    entry = make_entry(vectors=[[0.1, 0.2]], metadata=nested)
    for one in (Logged.parse(1, entry.text), unmarked(entry)):
        assert (one.has_vectors, one.counts) == (True, True)
        assert expected_stm([one], {}) == [None]
    for one in (logged(2, strings=["a"], metadata=nested), unmarked(make_entry(strings=["a"], metadata=nested))):
        assert (one.has_vectors, one.counts) == (False, True)
    for one in (logged(3, emotives={"joy": 1.0}), unmarked(make_entry(emotives={"joy": 1.0}, metadata=nested))):
        assert (one.has_vectors, one.counts) == (False, False)


def test_a_vector_whose_names_were_never_written_down_is_observed_again_as_it_is() -> None:
    plan = rebuild_of([logged(1, strings=["b", "a"], vectors=[[1.0]]), logged(2, strings=["c"])], {})
    assert plan.stm == [None, ["c"]]
    first = json.loads(plan.bodies[0])
    assert (first["strings"], first["vectors"]) == (["b", "a"], [[1.0]])


def test_another_stm_does_not_match() -> None:
    for stm in ([["a"]], [["a"], ["b"], ["c"]], [["b"], ["a"]], [["a"], ["B"]], []):
        assert not matches(stm, [["a"], ["b"]])
    assert matches([["a"], ["b"]], [["a"], ["b"]])
    assert matches([], [])


# ------------------------------------------------------------------------------- rebuilding it


def rebuilt(entries: list[Logged], symbols: dict[int, list[str] | None] | None = None) -> SmallKato:
    plan = rebuild_of(entries, symbols or {})
    kato = SmallKato()
    for body in plan.bodies:
        kato.observe(body)
    assert (kato.time, kato.stm) == (plan.time, plan.stm)
    return kato


def live(entries: list[Logged]) -> SmallKato:
    kato = SmallKato()
    for entry in entries:
        kato.observe(entry.body)
    return kato


def same_memory(entries: list[Logged]) -> None:
    one, other = live(entries), rebuilt(entries)
    assert (other.stm, other.emotives, other.metadata) == (one.stm, one.emotives, one.metadata)


def test_a_rebuild_is_what_kato_held() -> None:
    same_memory(
        [
            logged(1, strings=["b", "a"], emotives={"joy": 1.0}, metadata={"k": "v"}),
            logged(2, emotives={"joy": 2.0}),
            logged(3, strings=["c"]),
        ]
    )


def test_emotives_older_than_a_thousand_events_are_kept_as_kato_keeps_them() -> None:
    """Falls when rebuild_of stops at the STM's cap: emotives and metadata have caps of their own."""
    entries = [logged(1, strings=["old"], emotives={"joy": 0.1}), logged(2, strings=["old"], metadata={"k": 1})]
    entries += [logged(i, strings=[f"{i}"]) for i in range(3, 1_503)]
    plan = rebuild_of(entries, {})
    assert len(plan.bodies) == 1_002
    assert [json.loads(b)["strings"] for b in plan.bodies[:2]] == [[], []]
    assert json.loads(plan.bodies[0])["emotives"] == {"joy": 0.1}
    assert json.loads(plan.bodies[1])["metadata"] == {"k": 1}
    same_memory(entries)


def test_each_memory_stops_at_its_own_thousand() -> None:
    entries = [logged(i, strings=[f"{i}"], emotives={"joy": float(i)}) for i in range(1, 1_201)]
    entries += [logged(i, emotives={"joy": float(i)}) for i in range(1_201, 1_501)]
    kato = rebuilt(entries)
    assert (len(kato.stm), len(kato.emotives)) == (1_000, 1_000)
    assert kato.emotives[0] == {"joy": 501.0}
    assert kato.stm[0] == ["201"]
    same_memory(entries)


def test_a_rebuild_names_each_observation_by_its_event() -> None:
    plan = rebuild_of([logged(1, strings=["a"]), logged(2, strings=["b"])], {})
    assert [json.loads(b)["unique_id"] for b in plan.bodies] == ["e1", "e2"]


def test_a_rebuild_sends_vectors_as_they_were_observed_or_as_the_symbols_that_kato_made_of_them() -> None:
    entry = logged(1, strings=["a", "7"], vectors=[[1.0], [2.0]])
    rest = {"emotives": {}, "metadata": {}, "unique_id": "e1"}
    for held in (["VCTR|x", "7", "a"], ["7", "VCTR|x", "a"]):
        plan = rebuild_of([entry], {1: held})
        assert [json.loads(b) for b in plan.bodies] == [{"strings": ["a", "7"], "vectors": [[1.0], [2.0]], **rest}]
        assert plan.stm == [["VCTR|x", "7", "a"]], "what KATO made of it first, also after a rebuild in another order"
        plan = rebuild_of([entry], {1: held}, {1})
        assert [json.loads(b) for b in plan.bodies] == [{"strings": ["VCTR|x", "7", "a"], "vectors": [], **rest}]
        assert plan.stm == [["VCTR|x", "7", "a"]]


def test_of_a_rebuild_only_vectors_may_become_something_else_and_symbols_stand_in_another_order() -> None:
    entries = [logged(1, strings=["7"], vectors=[[1.0]]), logged(2, strings=["a"]), logged(3, vectors=[[2.0]])]
    held = {1: ["VCTR|x", "7"], 3: ["VCTR|y"]}
    plan = rebuild_of(entries, held)
    assert plan.judged([["VCTR|x", "7"], ["a"], ["VCTR|y"]]) == Judged([], [])
    assert plan.judged([["VCTR|x", "7"], ["a"], ["VCTR|x", "VCTR|y"]]) == Judged([3], [])
    assert plan.judged([["VCTR|x", "7"], ["b"], ["VCTR|y"]]) is None
    assert plan.judged([["VCTR|x", "7"], ["a"]]) is None
    plan = rebuild_of(entries, held, {1, 3})
    assert plan.judged([["7", "VCTR|x"], ["a"], ["VCTR|y"]]) == Judged([], [1])
    assert plan.judged([["VCTR|x"], ["a"], ["VCTR|y"]]) is None


def test_a_string_that_looks_like_a_vectors_symbol_stays_a_string() -> None:
    entry = logged(1, strings=["VCTR|x", "7"], vectors=[[1.0]])
    assert rebuild_of([entry], {1: ["7", "VCTR|x", "VCTR|x"]}).stm == [["VCTR|x", "7", "VCTR|x"]]


def test_nothing_to_rebuild_sends_nothing() -> None:
    assert rebuild_of([], {}).bodies == []
    assert rebuild_of([learn(1)], {}).time == 0


OBSERVED = st.fixed_dictionaries(
    {},
    optional={
        "strings": st.lists(st.text(max_size=3), min_size=1, max_size=3),
        "emotives": st.dictionaries(st.text(max_size=3), st.floats(-1, 1), min_size=1, max_size=2),
        "metadata": st.dictionaries(st.text(max_size=3), st.integers(0, 9), min_size=1, max_size=2),
    },
).filter(lambda o: o.keys() & {"strings", "emotives"})


@settings(max_examples=150, deadline=None)
@given(st.lists(OBSERVED, max_size=40), st.integers(1, 12))
def test_a_rebuild_is_what_kato_held_whatever_was_observed(run: list[Json], cap: int) -> None:
    """With the caps made small, so that they matter. Invariant 6."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "STM_CAP", cap)
        patch.setitem(globals(), "STM_CAP", cap)
        entries = [logged(i, **observation) for i, observation in enumerate(run, 1)]
        same_memory(entries)
        assert matches(live(entries).stm, expected_stm(entries, {}))


FILLED: Json = {
    "strings": ["a", "b"],
    "vectors": [[1.0, 2.0]],
    "emotives": {"joy": 0.5},
    "metadata": {"source": "web"},
}
"""An observation with something in each field."""


def test_every_field_of_an_observation_is_sent_to_kato_and_again_at_a_rebuild() -> None:
    assert set(Observation.model_fields) == set(FILLED)
    entry = logged(1, **FILLED)
    assert json.loads(entry.body) == {**FILLED, "unique_id": "e1"}
    (again,) = rebuild_of([entry], {}).bodies
    assert json.loads(again) == {**FILLED, "unique_id": "e1"}
