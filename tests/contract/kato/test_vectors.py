"""Vectors: their symbols, their sum, and the learned ones that come with them.

Measured on a KATO whose Qdrant was a stand-in that compares with every vector. One KATO process learns what it observed
itself, so everything here goes over one connection, which one process serves.
"""

from collections.abc import Iterator

import httpx
import pytest

from tests.contract.kato.client import Kato, KatoSession, connected, fresh_node

NEAREST = 3
NODES_KEPT = 100


@pytest.fixture
def kato(contract_url: str) -> Iterator[Kato]:
    limits = httpx.Limits(max_connections=1, keepalive_expiry=None)
    with connected(contract_url, limits, timeout=60) as http:
        yield Kato(http)


def symbol(kato: Kato, *vector: float) -> str:
    """The symbol of a vector on a node that has learned none."""
    session = kato.session()
    session.observe(vectors=[list(vector)])
    ((name,),) = session.stm()
    return name


def learned(kato: Kato, *vectors: list[float]) -> str:
    """A node whose sessions have learned these vectors."""
    session = kato.session()
    for vector in vectors:
        session.observe("seen", vectors=[vector])
    session.observe("and more")
    session.learn()
    return session.node


def event(session: KatoSession, *strings: str, vectors: list[list[float]]) -> list[str]:
    """The event that these strings and vectors make."""
    session.observe(*strings, vectors=vectors)
    return session.stm()[-1]


def test_a_vectors_symbol_stands_before_the_strings_whatever_they_are(session: KatoSession) -> None:
    name, *strings = event(session, "Room", "word", "7", vectors=[[0.1, 0.2]])
    assert name.startswith("VCTR|")
    assert strings == ["7", "Room", "word"]


def test_the_same_vector_is_the_same_symbol(session: KatoSession) -> None:
    assert event(session, vectors=[[0.1, 0.2]]) == event(session, vectors=[[0.1, 0.2]])


@pytest.mark.parametrize(
    ("vector", "name"),
    [
        ([0.1, 0.2], "fbd0d25c46cc588385eb177fe8d44fe380ef16c1"),
        ([1.0, 2.0], "6786a5fc0b30a70ed8fdbaaa451e7c26b5d6c359"),
        ([1e-9, 1.0, -2.5e12], "270f2a8d3c14c041ab3af2dee20f0fc13e4c0f4d"),
        ([0.12345678901, -2.0], "8b9c8fec7fe82ec65b1523eacf155470f483fd9f"),
        ([0.1] * 40, "1b9f29afa68e2c961168bc7ce8dac3d2f98c74d4"),
        ([n / 7 for n in range(1200)], "411d8fb907881344778221a80a96f200ad000e68"),
    ],
    ids=["short", "whole", "far apart", "more than eight digits", "several lines", "summed up"],
)
def test_the_symbol_is_the_hash_of_numpys_text_of_the_vector(kato: Kato, vector: list[float], name: str) -> None:
    assert symbol(kato, *vector) == f"VCTR|{name}"


def test_numbers_that_differ_behind_the_eighth_digit_are_the_same_symbol(session: KatoSession) -> None:
    assert event(session, vectors=[[0.1, 0.2]]) == event(session, vectors=[[0.1000000001, 0.2]])


def test_the_vectors_of_one_event_are_added_up_to_one_symbol(kato: Kato, session: KatoSession) -> None:
    assert event(session, "x", vectors=[[1.0, 2.0], [3.0, 4.0], [0.5, 0.0]]) == [symbol(kato, 4.5, 6.0), "x"]


def test_a_vector_of_one_number_is_added_to_every_number(kato: Kato, session: KatoSession) -> None:
    assert event(session, vectors=[[1.0, 2.0], [0.5]]) == [symbol(kato, 1.5, 2.5)]


def test_vectors_whose_sizes_cannot_be_added_answer_500_and_change_nothing(session: KatoSession) -> None:
    session.observe("a")
    answer = session.ask("POST", "observe", json={"vectors": [[1, 2, 3], [1, 2]]})
    assert (answer.status_code, answer.text) == (500, "Internal Server Error")
    assert (session.stm(), session.time()) == ([["a"]], 1)


def test_an_empty_vector_is_an_event_of_one_symbol(session: KatoSession) -> None:
    (name,) = event(session, vectors=[[]])
    assert name.startswith("VCTR|")


def test_a_vector_is_not_found_by_others_before_a_learn(kato: Kato, session: KatoSession) -> None:
    event(session, vectors=[[1.0, 1.0]])
    assert event(session, "x", vectors=[[1.0, 1.1]]) == [symbol(kato, 1.0, 1.1), "x"]


def test_a_learned_vector_stands_in_the_event_of_another_however_far_it_is(kato: Kato) -> None:
    session = kato.session(learned(kato, [1.0, 1.0]))
    near = sorted([symbol(kato, 1.0, 1.0), symbol(kato, 1.0, 1.1)])
    far = sorted([symbol(kato, 1.0, 1.0), symbol(kato, -9000.0, 4e6)])
    assert event(session, "Room", "x", vectors=[[1.0, 1.1]]) == [*near, "Room", "x"]
    assert event(session, vectors=[[-9000.0, 4e6]]) == far


def test_the_three_nearest_learned_vectors_join_one_that_was_not_learned(kato: Kato) -> None:
    session = kato.session(learned(kato, [1.0, 0.0], [2.0, 0.0], [3.0, 0.0], [9.0, 0.0]))
    names = [symbol(kato, number, 0.0) for number in (2.1, 1.0, 2.0, 3.0)]
    assert event(session, vectors=[[2.1, 0.0]]) == sorted(names)


def test_a_learned_vector_is_one_of_the_three_nearest_to_itself(kato: Kato) -> None:
    session = kato.session(learned(kato, [1.0, 0.0], [2.0, 0.0], [2.5, 0.0], [9.0, 0.0]))
    assert event(session, vectors=[[1.0, 0.0]]) == sorted(symbol(kato, number, 0.0) for number in (1.0, 2.0, 2.5))


def test_the_sum_is_learned_and_not_its_parts(kato: Kato) -> None:
    first = kato.session()
    event(first, "x", vectors=[[1.0, 0.0], [0.0, 1.0]])
    first.learn()
    session = kato.session(first.node)
    assert event(session, vectors=[[5.0, 5.0]]) == sorted([symbol(kato, 1.0, 1.0), symbol(kato, 5.0, 5.0)])


def test_a_learn_of_any_session_learns_the_vectors_that_all_sessions_of_the_node_observed(kato: Kato) -> None:
    one, another = kato.session(node := fresh_node()), kato.session(node)
    event(one, vectors=[[1.0, 1.0]])
    another.observe("a", "b")
    another.learn()
    assert event(another, vectors=[[1.0, 1.1]]) == sorted([symbol(kato, 1.0, 1.0), symbol(kato, 1.0, 1.1)])


@pytest.mark.parametrize("how", ["cleared", "deleted"])
def test_a_vector_that_a_session_forgot_is_learned_with_the_nodes_next_pattern_all_the_same(
    kato: Kato, how: str
) -> None:
    one, another = kato.session(node := fresh_node()), kato.session(node)
    event(one, vectors=[[1.0, 1.0]])
    if how == "cleared":
        one.clear()
    else:
        one.ask("DELETE")
    another.observe("a", "b")
    another.learn()
    assert event(another, vectors=[[1.0, 1.1]]) == sorted([symbol(kato, 1.0, 1.0), symbol(kato, 1.0, 1.1)])


def test_a_learn_that_stores_no_pattern_learns_its_vector(kato: Kato) -> None:
    session = kato.session()
    event(session, vectors=[[1.0, 1.0]])
    assert session.learn()["pattern_name"] == ""
    assert event(session, vectors=[[1.0, 1.1]]) == sorted([symbol(kato, 1.0, 1.0), symbol(kato, 1.0, 1.1)])


def test_vectors_of_another_size_than_the_first_learned_bring_nothing_and_are_not_learned(kato: Kato) -> None:
    session = kato.session(learned(kato, [1.0, 1.0], [1.0, 1.0, 1.0]))
    assert event(session, vectors=[[1.0, 1.0, 1.1]]) == [symbol(kato, 1.0, 1.0, 1.1)]
    assert event(session, vectors=[[1.0, 1.1]]) == sorted([symbol(kato, 1.0, 1.0), symbol(kato, 1.0, 1.1)])


def test_nodes_do_not_share_vectors(kato: Kato) -> None:
    learned(kato, [1.0, 1.0])
    session = kato.session()
    assert event(session, vectors=[[1.0, 1.1]]) == [symbol(kato, 1.0, 1.1)]


def test_clear_all_forgets_no_learned_vector(kato: Kato) -> None:
    session = kato.session(learned(kato, [1.0, 1.0]))
    assert session.ask("POST", "clear-all").status_code == 200
    assert event(session, vectors=[[1.0, 1.1]]) == sorted([symbol(kato, 1.0, 1.0), symbol(kato, 1.0, 1.1)])


def test_clear_all_forgets_the_vectors_that_no_learn_followed(kato: Kato) -> None:
    session = kato.session()
    session.observe("seen", vectors=[[0.4, 0.6]])
    assert session.ask("POST", "clear-all").status_code == 200
    session.observe("a", "b")
    session.learn()
    session.observe(vectors=[[1, 2]])
    assert session.stm() == [[symbol(kato, 1, 2)]]


def test_a_node_that_was_not_used_while_a_hundred_others_were_has_forgotten_its_vectors(kato: Kato) -> None:
    session = kato.session(learned(kato, [1.0, 1.0]))
    for _ in range(NODES_KEPT):
        kato.http.get("/pattern/PTRN|none", params={"node_id": fresh_node()})
    assert event(session, vectors=[[1.0, 1.1]]) == [symbol(kato, 1.0, 1.1)]
