"""What KATO makes of a body: pydantic's coercions, and its words where there is none."""

import json
from typing import Any

import pytest

from tests.contract.kato.client import Kato, KatoSession, body_of, fresh_node

BOOL_PARSING = "Input should be a valid boolean, unable to interpret input"
FLOAT_PARSING = "Input should be a valid number, unable to parse string as a number"
INT_PARSING = "Input should be a valid integer, unable to parse string as an integer"
INT_FROM_FLOAT = "Input should be a valid integer, got a number with a fractional part"
OBJECT = "Input should be a valid dictionary or object to extract fields from"
Detail = list[dict[str, Any]]
NODE = fresh_node()
"""One for all: a node's first call costs a real KATO's processes more than a test here."""


@pytest.fixture
def session(kato: Kato) -> KatoSession:
    return kato.session(NODE)


def error(kind: str, where: list[Any], message: str, given: Any) -> dict[str, Any]:
    return {"type": kind, "loc": where, "msg": message, "input": given}


def refused(session: KatoSession, action: str, body: Any) -> Detail:
    answer = session.ask("POST", action, json=body)
    assert answer.status_code == 422, answer.text
    detail: Detail = answer.json()["detail"]
    assert (session.stm(), session.time()) == ([], 0)
    return detail


@pytest.mark.parametrize("flag", [True, 1, 1.0, "1", "yes", "YES", "y", "true", "True", "on", "t"])
def test_a_flag_is_set_by_whatever_means_yes(session: KatoSession, flag: Any) -> None:
    answer = session.sequence(["a"], ["b"], learn_at_end=flag, clear_stm_between=flag)
    assert (answer["isolated"], answer["final_stm_length"]) == (True, 0)


@pytest.mark.parametrize("flag", [False, 0, 0.0, "0", "no", "N", "false", "off", "f"])
def test_a_flag_is_unset_by_whatever_means_no(session: KatoSession, flag: Any) -> None:
    answer = session.sequence(["a"], ["b"], learn_at_end=flag, clear_stm_between=flag)
    assert (answer["isolated"], answer["final_stm_length"]) == (False, 2)


@pytest.mark.parametrize(
    ("flag", "kind", "message"),
    [
        (2, "bool_parsing", BOOL_PARSING),
        (-1, "bool_parsing", BOOL_PARSING),
        ("maybe", "bool_parsing", BOOL_PARSING),
        (" 1 ", "bool_parsing", BOOL_PARSING),
        ("", "bool_parsing", BOOL_PARSING),
        (1.5, "bool_type", "Input should be a valid boolean"),
        (None, "bool_type", "Input should be a valid boolean"),
        ([], "bool_type", "Input should be a valid boolean"),
        ({}, "bool_type", "Input should be a valid boolean"),
    ],
)
def test_a_flag_that_means_nothing_answers_422(session: KatoSession, flag: Any, kind: str, message: str) -> None:
    body = {"observations": [{"strings": ["a"]}], "learn_at_end": flag}
    assert refused(session, "observe-sequence", body) == [error(kind, ["body", "learn_at_end"], message, flag)]


@pytest.mark.parametrize(
    ("given", "felt"), [(1, 1.0), (True, 1.0), ("1.5", 1.5), (" 1 ", 1.0), ("1e5", 1e5), ("1_000", 1000.0), (-1, -1.0)]
)
def test_an_emotive_is_a_number_or_what_reads_as_one(session: KatoSession, given: Any, felt: float) -> None:
    session.observe(emotives={"joy": given})
    assert session.cognition()["emotives"] == {"joy": felt}


@pytest.mark.parametrize(
    ("given", "kind", "message"),
    [
        ("abc", "float_parsing", FLOAT_PARSING),
        ("", "float_parsing", FLOAT_PARSING),
        ("\u0661", "float_parsing", FLOAT_PARSING),
        (None, "float_type", "Input should be a valid number"),
        ([1], "float_type", "Input should be a valid number"),
        (10**400, "float_type", "Input should be a valid number"),
    ],
)
def test_an_emotive_that_is_no_number_answers_422(session: KatoSession, given: Any, kind: str, message: str) -> None:
    where = ["body", "emotives", "joy"]
    assert refused(session, "observe", {"emotives": {"joy": given}}) == [error(kind, where, message, given)]


def test_all_that_is_wrong_is_told_in_order(session: KatoSession) -> None:
    body = {
        "observations": [
            {"strings": ["a", 1, None], "vectors": [[1, "x"], 2]},
            "no observation",
            {"unique_id": 5, "emotives": {"joy": {}}, "metadata": []},
        ],
        "learn_after_each": "?",
    }
    at = ["body", "observations"]
    text, number = "Input should be a valid string", "Input should be a valid number"
    assert refused(session, "observe-sequence", body) == [
        error("string_type", [*at, 0, "strings", 1], text, 1),
        error("string_type", [*at, 0, "strings", 2], text, None),
        error("float_parsing", [*at, 0, "vectors", 0, 1], FLOAT_PARSING, "x"),
        error("list_type", [*at, 0, "vectors", 1], "Input should be a valid list", 2),
        error("model_attributes_type", [*at, 1], OBJECT, "no observation"),
        error("float_type", [*at, 2, "emotives", "joy"], number, {}),
        error("dict_type", [*at, 2, "metadata"], "Input should be a valid dictionary", []),
        error("string_type", [*at, 2, "unique_id"], text, 5),
        error("bool_parsing", ["body", "learn_after_each"], BOOL_PARSING, "?"),
    ]


def test_a_single_observe_does_not_look_at_an_id(session: KatoSession) -> None:
    odd: list[Any] = [5, None, [], {}]
    for given in odd:
        assert session.observe(unique_id=given)["unique_id"].startswith("obs-")


@pytest.mark.parametrize(
    ("given", "seconds"), [("60", 60), (" 60 ", 60), ("60.0", 60), (60.0, 60), (True, 1), ("0", 3600), (None, 3600)]
)
def test_a_ttl_is_a_whole_number_or_what_reads_as_one(kato: Kato, given: Any, seconds: int) -> None:
    assert kato.session(ttl_seconds=given).created["ttl_seconds"] == seconds


@pytest.mark.parametrize(
    ("given", "kind", "message"),
    [
        (1.5, "int_from_float", INT_FROM_FLOAT),
        ("1.5", "int_parsing", INT_PARSING),
        ("", "int_parsing", INT_PARSING),
        ("1e5", "int_parsing", INT_PARSING),
        ("0x10", "int_parsing", INT_PARSING),
        ([], "int_type", "Input should be a valid integer"),
    ],
)
def test_a_ttl_that_is_no_whole_number_answers_422(kato: Kato, given: Any, kind: str, message: str) -> None:
    answer = kato.http.post("/sessions", json={"node_id": fresh_node(), "ttl_seconds": given})
    assert answer.status_code == 422
    assert answer.json() == {"detail": [error(kind, ["body", "ttl_seconds"], message, given)]}


def test_a_creation_tells_all_that_is_wrong(kato: Kato) -> None:
    body = {"node_id": 5, "metadata": [], "config": "x", "ttl_seconds": "x"}
    message = "Input should be a valid dictionary"
    assert kato.http.post("/sessions", json=body).json() == {
        "detail": [
            error("string_type", ["body", "node_id"], "Input should be a valid string", 5),
            error("dict_type", ["body", "metadata"], message, []),
            error("int_parsing", ["body", "ttl_seconds"], INT_PARSING, "x"),
            error("dict_type", ["body", "config"], message, "x"),
        ]
    }
    assert kato.http.post("/sessions", json={"metadata": None}).json() == {
        "detail": [error("missing", ["body", "node_id"], "Field required", {"metadata": None})]
    }


def test_metadata_of_null_is_none(kato: Kato) -> None:
    assert kato.session(metadata=None).created["metadata"] == {}


@pytest.mark.parametrize(("given", "seconds"), [("20", 20), ("20.0", 20), (" 20 ", 20), (["5", "20"], 20)])
def test_an_extension_is_a_whole_number_or_what_reads_as_one(session: KatoSession, given: Any, seconds: int) -> None:
    answer = body_of(session.ask("POST", "extend", params={"ttl_seconds": given}))
    assert answer == {"status": "extended", "session_id": session.id, "ttl_seconds": seconds}


@pytest.mark.parametrize("given", ["", "1.5", "abc", "1e3"])
def test_an_extension_that_is_no_whole_number_answers_422(session: KatoSession, given: str) -> None:
    answer = session.ask("POST", "extend", params={"ttl_seconds": given})
    assert answer.status_code == 422
    assert answer.json() == {"detail": [error("int_parsing", ["query", "ttl_seconds"], INT_PARSING, given)]}


def test_an_extension_to_nothing_ends_the_session(kato: Kato) -> None:
    for seconds in (0, -5):
        session = kato.session()
        assert session.ask("POST", "extend", params={"ttl_seconds": seconds}).status_code == 200
        assert body_of(session.ask("GET", "exists")) == {"exists": False, "expired": False, "session_id": session.id}


def test_an_extension_beyond_all_dates_answers_500(session: KatoSession) -> None:
    assert session.ask("POST", "extend", params={"ttl_seconds": 10**25}).status_code == 500
    assert body_of(session.ask("GET", "exists"))["exists"] is True


@pytest.mark.parametrize("content_type", ["text/plain", "application/xml", "text/json", "json", ""])
@pytest.mark.parametrize("action", ["observe", "observe-sequence", "config"])
def test_a_body_that_is_not_called_json_is_text(session: KatoSession, content_type: str, action: str) -> None:
    text = '{"strings":["a"]}'
    answer = session.ask("POST", action, content=text, headers={"Content-Type": content_type} if content_type else {})
    if not content_type:  # nothing said: KATO takes it for JSON
        assert answer.status_code == (422 if action == "observe-sequence" else 200)
        return
    assert answer.status_code == 422
    expected = (
        error("dict_type", ["body"], "Input should be a valid dictionary", text)
        if action == "config"
        else error("model_attributes_type", ["body"], OBJECT, text)
    )
    assert answer.json() == {"detail": [expected]}
    assert (session.stm(), session.time()) == ([], 0)


@pytest.mark.parametrize(
    "content_type", ["application/json; charset=latin-1", "APPLICATION/JSON", "application/x+json"]
)
def test_a_body_may_be_called_json_in_several_ways(session: KatoSession, content_type: str) -> None:
    answer = session.ask("POST", "observe", content='{"strings":["é"]}', headers={"Content-Type": content_type})
    assert (answer.status_code, session.stm()) == (200, [["é"]])


@pytest.mark.parametrize(
    ("content", "detail"),
    [
        (b"null", [error("missing", ["body"], "Field required", None)]),
        (b"", [error("missing", ["body"], "Field required", None)]),
        (b"[]", [error("model_attributes_type", ["body"], OBJECT, [])]),
    ],
)
def test_a_body_without_an_object_answers_422(session: KatoSession, content: bytes, detail: Detail) -> None:
    answer = session.ask("POST", "observe", content=content, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422
    assert answer.json() == {"detail": detail}


@pytest.mark.parametrize("content", [b'{"strings":["\xff"]}', b'{"emotives":{"a":' + b"1" * 5000 + b"}}"])
def test_a_body_that_cannot_be_parsed_answers_400(session: KatoSession, content: bytes) -> None:
    answer = session.ask("POST", "observe", content=content, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()) == (400, {"detail": "There was an error parsing the body"})


def test_bytes_that_are_no_text_answer_500_where_they_would_be_quoted(session: KatoSession) -> None:
    answer = session.ask("POST", "observe", content=b"\xff", headers={"Content-Type": "text/plain"})
    assert (answer.status_code, answer.text) == (500, "Internal Server Error")


def test_of_a_key_given_twice_the_last_one_counts(session: KatoSession) -> None:
    answer = session.ask(
        "POST",
        "observe",
        content=b'\xef\xbb\xbf {"strings":["a"],"strings":["b"]}\n',
        headers={"Content-Type": "application/json"},
    )
    assert (answer.status_code, session.stm()) == (200, [["b"]]), json.dumps(answer.text)
