"""What KATO chokes on: the reasons for refusing it at the door."""

import hashlib
from typing import Any

import pytest

from kato_tasks.testing.waiting import wait_until
from tests.contract.kato.client import Kato, KatoSession, body_of, fresh_node


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


def test_half_of_a_surrogate_pair_alone_in_the_stm_answers_500_on_predictions(kato: Kato) -> None:
    half = {"content": b'{"strings":["a\\ud83d"]}', "headers": {"Content-Type": "application/json"}}
    predicting = kato.session(config={"process_predictions": True})
    assert predicting.ask("POST", "observe", **half).status_code == 500
    session = kato.session()
    assert session.ask("POST", "observe", **half).status_code == 200
    assert session.ask("GET", "predictions").status_code == 500
    session.observe("and another")
    assert session.ask("GET", "predictions").status_code == 200


def test_a_lone_surrogate_is_taken_and_makes_later_reads_fail(session: KatoSession) -> None:
    taken = session.ask(
        "POST",
        "observe",
        content=b'{"strings":["\\ud800"]}',
        headers={"Content-Type": "application/json"},
    )
    assert taken.status_code == 200
    assert session.ask("GET", "stm").status_code == 500


def test_half_of_a_surrogate_pair_fails_every_learn_which_then_counts_nothing(session: KatoSession) -> None:
    half = {"content": b'{"strings":["\\ud83d"]}', "headers": {"Content-Type": "application/json"}}
    session.observe("a")
    assert session.ask("POST", "observe", **half).status_code == 200
    for _ in range(2):
        assert session.ask("POST", "learn").status_code == 500
    name = "PTRN|" + hashlib.sha1(str([["a"], ["\ud83d"]]).encode(), usedforsecurity=False).hexdigest()
    assert session.pattern(name) is None
    assert session.observe("b")["stm_length"] == 3
    at_end = session.sequence(["c"], learn_at_end=True)
    assert (at_end["final_stm_length"], at_end["auto_learned_patterns"]) == (4, [])


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


def test_emotives_whose_sum_is_infinite_fail_the_learn_which_stores_the_pattern_all_the_same(
    session: KatoSession,
) -> None:
    name = "PTRN|" + hashlib.sha1(b"[['a'], ['b']]").hexdigest()  # noqa: S324  KATO's own choice
    for symbol in "ab":
        session.observe(symbol, emotives={"joy": 1e308})
    assert body_of(session.ask("GET", "percept-data"))["percept_data"]["emotives"] == {"joy": None}
    assert session.cognition()["emotives"] == {"joy": 1e308}
    for frequency in (1, 2):
        answer = session.ask("POST", "learn")
        assert (answer.status_code, answer.text) == (500, "Internal Server Error")

        def stored(expected: int = frequency) -> dict[str, Any] | None:
            pattern = session.pattern(name)
            return pattern if pattern is not None and pattern["frequency"] == expected else None

        pattern = wait_until(stored, 5, f"the frequency is {frequency}")
        assert pattern is not None
        assert pattern["pattern_data"] == [["a"], ["b"]]
        assert pattern["emotives"] == [{"joy": 1e308}] * (2 * frequency)
    assert session.stm() == [["a"], ["b"]]


def test_the_learn_at_a_sequences_end_keeps_its_failure_to_itself(session: KatoSession) -> None:
    answer = body_of(
        session.ask(
            "POST",
            "observe-sequence",
            content=b'{"observations":[{"strings":["a"],"emotives":{"joy":NaN}},{"strings":["b"]}],"learn_at_end":true}',
            headers={"Content-Type": "application/json"},
        )
    )
    assert (answer["final_learned_pattern"], answer["auto_learned_patterns"]) == (None, [])
    assert answer["final_stm_length"] == 2
    assert session.stm() == [["a"], ["b"]]
    body = {"observations": [{"strings": ["c"]}], "learn_after_each": True}
    assert session.ask("POST", "observe-sequence", json=body).status_code == 500
    assert session.stm() == [["a"], ["b"]]


def test_a_read_tells_a_number_that_is_none_as_null(session: KatoSession) -> None:
    for value in ("NaN", "Infinity"):
        session.ask(
            "POST",
            "observe",
            content=f'{{"emotives":{{"joy":{value}}},"metadata":{{"k":[{value}]}}}}'.encode(),
            headers={"Content-Type": "application/json"},
        )
        percept = body_of(session.ask("GET", "percept-data"))["percept_data"]
        assert (percept["emotives"], percept["metadata"]) == ({"joy": None}, {"k": [None]})
        assert session.cognition()["emotives"] == {"joy": None}


def test_a_refusal_that_would_quote_a_number_that_is_none_answers_500(session: KatoSession) -> None:
    for body in (b'{"strings":NaN}', b'{"strings":["a",Infinity]}'):
        answer = session.ask("POST", "observe", content=body, headers={"Content-Type": "application/json"})
        assert (answer.status_code, answer.text) == (500, "Internal Server Error")


def test_with_predictions_off_a_node_with_a_quote_learns_what_nobody_can_read(kato: Kato) -> None:
    session = kato.session(fresh_node() + "'s")
    session.sequence(["a", "b"], ["c"])
    assert session.predictions() == []
    name = session.learn()["pattern_name"]
    assert name.startswith("PTRN|")
    answer = body_of(session.http.get(f"/pattern/{name}", params={"node_id": session.node}))
    assert answer == {
        "pattern": {"status": "error", "message": f"Pattern {name} not found"},
        "node_id": f"{session.node}_kato",
    }
    session.observe("a")
    assert session.ask("GET", "predictions").status_code == 500
    session.observe("b")
    assert session.predictions() == []
    for action in ("finalize-training", "clear-all"):
        assert session.ask("POST", action).status_code == 500
    assert session.stm() == [["a"], ["b"]]


def test_with_predictions_on_a_node_with_a_quote_fails_at_a_single_symbol(kato: Kato) -> None:
    session = kato.session(fresh_node() + "'s", config={"process_predictions": True})
    assert session.ask("POST", "observe", json={"strings": ["a"]}).status_code == 500
    assert session.predictions() == []
    assert session.observe()["time"] == 1
    assert session.observe("a", "b")["stm_length"] == 1
    assert body_of(session.ask("GET", "exists"))["exists"] is True
