"""What KATO chokes on: the reasons for refusing it at the door."""

import pytest

from tests.contract.kato.client import Kato, KatoSession, body_of, fresh_node
from tests.waiting import wait_until


@pytest.mark.parametrize("symbol", ["it's", "ends with \\"])
def test_a_single_symbol_that_breaks_sql_answers_500_on_predictions(session: KatoSession, symbol: str) -> None:
    session.observe(symbol)
    answer = session.ask("GET", "predictions")
    assert (answer.status_code, answer.text) == (500, "Internal Server Error")
    session.observe("and another")
    assert session.ask("GET", "predictions").status_code == 200


def test_with_predictions_on_such_a_symbol_fails_the_observe(kato: Kato) -> None:
    session = kato.session(config={"process_predictions": True})
    assert session.ask("POST", "observe", json={"strings": ["it's"]}).status_code == 500
    assert (session.stm(), session.time()) == ([], 0)


def test_a_lone_surrogate_is_taken_and_makes_later_reads_fail(session: KatoSession) -> None:
    taken = session.ask(
        "POST",
        "observe",
        content=b'{"strings":["\\ud800"]}',
        headers={"Content-Type": "application/json"},
    )
    assert taken.status_code == 200
    assert session.ask("GET", "stm").status_code == 500


@pytest.mark.parametrize("value", ["NaN", "Infinity"])
def test_an_emotive_that_is_no_number_fails_every_learn_which_counts_all_the_same(
    session: KatoSession, value: str
) -> None:
    name = session.learned(["a"], ["b"])
    poisoned = session.ask(
        "POST",
        "observe",
        content=f'{{"strings":["a"],"emotives":{{"joy":{value}}}}}'.encode(),
        headers={"Content-Type": "application/json"},
    )
    assert poisoned.status_code == 200
    session.observe("b")
    for frequency in (2, 3):
        assert session.ask("POST", "learn").status_code == 500

        def counted(expected: int = frequency) -> bool:
            pattern = session.pattern(name)
            return pattern is not None and pattern["frequency"] == expected

        wait_until(counted, 5, f"the frequency is {frequency}")
    assert session.stm() == [["a"], ["b"]]


def test_a_quote_in_the_node_lets_a_session_be_created_and_nothing_observed(kato: Kato) -> None:
    session = kato.session(fresh_node() + "'s")
    assert session.ask("POST", "observe", json={"strings": ["a"]}).status_code == 500
    assert body_of(session.ask("GET", "exists"))["exists"] is True
