"""KATO's observe, one at a time."""

import re
from typing import Any

import pytest

from tests.contract.kato.client import KatoSession, body_of


def test_an_observe_answers_what_became_of_it(session: KatoSession) -> None:
    answer = session.observe("x")
    unique_id = answer.pop("unique_id")
    assert answer == {
        "status": "okay",
        "session_id": session.id,
        "processor_id": session.node,
        "stm_length": 1,
        "time": 1,
        "auto_learned_pattern": None,
    }
    assert re.fullmatch(r"obs-[0-9a-f]{32}", unique_id)


def test_time_counts_every_observe_and_stm_only_events(session: KatoSession) -> None:
    lengths = [
        (answer["time"], answer["stm_length"])
        for answer in (
            session.observe("a"),
            session.observe(),
            session.observe(emotives={"joy": 0.5}),
            session.observe("b"),
            body_of(session.ask("POST", "observe", json={})),
        )
    ]
    assert lengths == [(1, 1), (2, 1), (3, 1), (4, 2), (5, 2)]


def test_strings_are_sorted_inside_an_event_and_duplicates_kept(session: KatoSession) -> None:
    session.observe("b", "a", "b")
    assert session.stm() == [["a", "b", "b"]]


def test_an_empty_string_is_an_event(session: KatoSession) -> None:
    session.observe("")
    assert session.stm() == [[""]]


def test_the_same_sent_twice_is_applied_twice(session: KatoSession) -> None:
    for _ in range(2):
        session.ask(
            "POST",
            "observe",
            json={"strings": ["x"], "unique_id": "once", "event_id": "once"},
            headers={"Idempotency-Key": "once"},
        )
    assert (session.stm(), session.time()) == ([["x"], ["x"]], 2)


def test_an_id_given_to_a_single_observe_is_ignored(session: KatoSession) -> None:
    assert session.observe("x", unique_id="mine")["unique_id"] != "mine"


@pytest.mark.parametrize(
    ("body", "kind", "where"),
    [
        ({"strings": "abc"}, "list_type", ["body", "strings"]),
        ({"strings": None}, "list_type", ["body", "strings"]),
        ({"strings": ["a", 1]}, "string_type", ["body", "strings", 1]),
        ({"vectors": [["x"]]}, "float_parsing", ["body", "vectors", 0, 0]),
        ({"vectors": [1]}, "list_type", ["body", "vectors", 0]),
        ({"emotives": []}, "dict_type", ["body", "emotives"]),
        ({"emotives": {"joy": None}}, "float_type", ["body", "emotives", "joy"]),
        ({"metadata": 1}, "dict_type", ["body", "metadata"]),
    ],
)
def test_a_body_of_the_wrong_form_answers_422_and_says_where(
    session: KatoSession, body: dict[str, Any], kind: str, where: list[Any]
) -> None:
    answer = session.ask("POST", "observe", json=body)
    assert answer.status_code == 422
    (detail,) = answer.json()["detail"]
    assert (detail["type"], detail["loc"]) == (kind, where)
    assert {"msg", "input"} <= set(detail)
    assert (session.stm(), session.time()) == ([], 0)


def test_the_422_for_a_string_where_a_list_belongs_is_as_measured(session: KatoSession) -> None:
    answer = session.ask("POST", "observe", json={"strings": "abc"})
    assert answer.json() == {
        "detail": [
            {
                "type": "list_type",
                "loc": ["body", "strings"],
                "msg": "Input should be a valid list",
                "input": "abc",
            }
        ]
    }


@pytest.mark.parametrize(("content", "kind"), [(b"", "missing"), (b"{", "json_invalid")])
def test_what_is_no_json_answers_422(session: KatoSession, content: bytes, kind: str) -> None:
    answer = session.ask("POST", "observe", content=content, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["type"] == kind


def test_bytes_that_are_no_utf_8_answer_400(session: KatoSession) -> None:
    answer = session.ask(
        "POST", "observe", content=b'{"strings":["\xff"]}', headers={"Content-Type": "application/json"}
    )
    assert answer.status_code == 400


def test_clear_stm_empties_the_stm_and_time_starts_again(session: KatoSession) -> None:
    session.sequence(["a"], ["b"])
    assert session.clear()["status"] == "cleared"
    assert (session.stm(), session.time()) == ([], 0)
    assert session.observe("c")["time"] == 1


def test_two_sessions_of_one_node_have_stms_of_their_own(kato: Any, session: KatoSession) -> None:
    other = kato.session(session.node)
    session.observe("mine")
    other.observe("yours")
    assert (session.stm(), other.stm()) == ([["mine"]], [["yours"]])


def test_200_kb_of_text_is_fine(session: KatoSession) -> None:
    session.observe("x" * 200_000)
    assert len(session.stm()[0][0]) == 200_000
