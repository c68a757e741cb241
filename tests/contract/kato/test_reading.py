"""What KATO says of a session when asked: nothing moves."""

from typing import Any

import pytest

from tests.contract.kato.client import Kato, KatoSession, body_of, fresh_node


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


def test_percept_data_is_the_last_observe_with_the_mean_of_all_emotives(session: KatoSession) -> None:
    assert body_of(session.ask("GET", "percept-data"))["percept_data"] == {}
    session.observe("a", emotives={"joy": 0.5}, metadata={"k": "v"})
    session.observe("c", "b", emotives={"joy": 1, "fear": 2}, metadata={"l": [1, None]})
    expected = {
        "strings": ["b", "c"],
        "vectors": [],
        "emotives": {"joy": 0.75, "fear": 2.0},
        "path": [],
        "metadata": {"l": [1, None]},
    }
    assert body_of(session.ask("GET", "percept-data")) == {
        "percept_data": expected,
        "session_id": session.id,
        "node_id": session.node,
    }
    session.learn()
    assert body_of(session.ask("GET", "percept-data"))["percept_data"] == expected
    session.observe()
    assert body_of(session.ask("GET", "percept-data"))["percept_data"] == {**expected, "strings": [], "metadata": {}}
    session.clear()
    assert body_of(session.ask("GET", "percept-data"))["percept_data"] == {}


def test_cognition_data_has_the_last_emotives_and_never_metadata(session: KatoSession) -> None:
    session.observe("a", emotives={"joy": 0.5}, metadata={"k": "v"})
    session.sequence(["b"])
    session.observe("c", emotives={"joy": 1})
    session.observe(metadata={"k": "w"})
    cognition = session.cognition()
    assert (cognition["emotives"], cognition["metadata"]) == ({"joy": 1.0}, {})


def test_the_root_says_what_is_served(session: KatoSession) -> None:
    answer = body_of(session.http.get("/"))
    assert answer.pop("uptime_seconds") >= 0
    assert answer == {
        "service": "KATO API",
        "version": "3.10.1",
        "description": "Knowledge Abstraction for Traceable Outcomes with Multi-User Support",
        "docs": "/docs",
        "health": "/health",
        "status": "running",
        "architecture": "modular",
        "session_support": True,
    }


def test_sessions_are_counted(session: KatoSession) -> None:
    answer = body_of(session.http.get("/sessions/count"))
    assert list(answer) == ["active_session_count"]
    assert answer["active_session_count"] >= 0  # it may be some seconds old


def test_health_says_how_it_is(session: KatoSession) -> None:
    answer = body_of(session.http.get("/health"))
    assert answer["status"] in ("healthy", "degraded")
    assert set(answer) == {
        "status",
        "processor_status",
        "service_name",
        "uptime_seconds",
        "issues",
        "metrics_collected",
        "last_collection",
        "active_sessions",
        "timestamp",
    }


def test_its_description_names_the_calls_that_this_project_makes(session: KatoSession) -> None:
    description = body_of(session.http.get("/openapi.json"))
    assert description["openapi"].startswith("3.")
    assert description["info"]["title"] == "KATO API"
    paths = description["paths"]
    one = "/sessions/{session_id}"
    for method, path in (
        ("post", "/sessions"),
        ("get", one),
        ("delete", one),
        ("get", f"{one}/exists"),
        ("get", f"{one}/config"),
        ("post", f"{one}/config"),
        ("post", f"{one}/observe"),
        ("post", f"{one}/observe-sequence"),
        ("post", f"{one}/learn"),
        ("get", f"{one}/predictions"),
        ("get", "/pattern/{pattern_id}"),
        ("get", "/sessions/count"),
    ):
        assert method in paths[path], path


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nowhere", 404),
        ("GET", "/pattern/", 404),
        ("POST", "/health", 405),
        ("GET", "/sessions", 405),
        ("POST", "/pattern/x", 405),
        ("GET", "/health/", 307),
        ("POST", "/sessions/", 307),
    ],
)
def test_a_path_or_method_that_is_not_served(session: KatoSession, method: str, path: str, status: int) -> None:
    answer = session.http.request(method, path)
    assert answer.status_code == status
    assert ("allow" in answer.headers) is (status == 405)
    if status != 307:
        assert answer.json() == {"detail": {404: "Not Found", 405: "Method Not Allowed"}[status]}


@pytest.mark.parametrize(
    ("method", "action", "status", "detail"),
    [
        ("GET", "nothing", 404, "Not Found"),
        ("PUT", "stm", 405, "Method Not Allowed"),
        ("POST", "exists", 405, "Method Not Allowed"),
        ("PATCH", "", 405, "Method Not Allowed"),
    ],
)
def test_a_call_that_a_session_does_not_have_is_told_so_only_if_the_session_is_there(
    session: KatoSession, method: str, action: str, status: int, detail: str
) -> None:
    answer = session.ask(method, action)
    assert (answer.status_code, answer.json()) == (status, {"detail": detail})
    path = f"/sessions/nobody/{action}" if action else "/sessions/nobody"
    answer = session.http.request(method, path)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "SESSION_NOT_FOUND")


@pytest.mark.parametrize(
    ("query", "node"),
    [
        ({}, "default_node_kato"),
        ({"node_id": ""}, "_kato"),
        ({"node_id": ["first", "a-b c"]}, "a_b_c_kato"),
        ({"node_id": "n" * 55}, "n" * 55 + "_kato"),
        ({"node_id": "n" * 56}, "n" * 46 + "_4be85d68_kato"),
        ({"node_id": "n-" * 40}, "n_" * 23 + "_66e5425d_kato"),
    ],
)
def test_a_pattern_is_looked_for_in_a_node_whose_name_is_sanitised_and_cut(
    session: KatoSession, query: dict[str, Any], node: str
) -> None:
    assert body_of(session.http.get("/pattern/PTRN|x", params=query)) == {
        "pattern": {"status": "error", "message": "Pattern PTRN|x not found"},
        "node_id": node,
    }


def test_a_node_with_a_long_name_keeps_its_patterns(kato: Kato) -> None:
    session = kato.session(fresh_node() + "-long" * 20)
    name = session.learned(["a"], ["b"])
    pattern = session.pattern(name)
    assert pattern is not None
    assert pattern["pattern_data"] == [["a"], ["b"]]
    same_beginning = kato.session(session.node + "er")
    assert same_beginning.pattern(name) is None


def test_reads_change_neither_time_nor_stm(session: KatoSession) -> None:
    session.sequence(["a"], ["b"])
    for action in ("stm", "cognition-data", "percept-data", "predictions", "exists", ""):
        assert session.ask("GET", action).status_code == 200
    assert (session.stm(), session.time()) == ([["a"], ["b"]], 2)
