"""What KATO says of a session when asked: nothing moves."""

from tests.contract.kato.client import KatoSession, body_of


def test_the_stm_is_read_with_its_length(session: KatoSession) -> None:
    session.sequence(["x"], ["x"])
    assert body_of(session.ask("GET", "stm")) == {
        "stm": [["x"], ["x"]],
        "session_id": session.id,
        "length": 2,
    }


def test_cognition_data_is_as_measured(session: KatoSession) -> None:
    session.sequence(["x"], ["x"])
    assert body_of(session.ask("GET", "cognition-data")) == {
        "cognition_data": {
            "predictions": [],
            "emotives": {},
            "symbols": ["x", "x"],
            "command": "",
            "metadata": {},
            "path": [],
            "strings": [],
            "vectors": [],
            "short_term_memory": [["x"], ["x"]],
            "time": 2,
        },
        "session_id": session.id,
        "node_id": session.node,
    }


def test_percept_data_is_the_last_observe(session: KatoSession) -> None:
    session.observe("a", emotives={"joy": 0.5}, metadata={"k": "v"})
    session.observe("b", emotives={"joy": 1.0})
    percept = body_of(session.ask("GET", "percept-data"))["percept_data"]
    assert percept["strings"] == ["b"]
    assert percept["emotives"] == {"joy": 1.0}


def test_reads_change_neither_time_nor_stm(session: KatoSession) -> None:
    session.sequence(["a"], ["b"])
    for action in ("stm", "cognition-data", "percept-data", "predictions", "exists", ""):
        assert session.ask("GET", action).status_code == 200
    assert (session.stm(), session.time()) == ([["a"], ["b"]], 2)
