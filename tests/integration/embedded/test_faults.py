"""Faults on demand, one kind at a time."""

from typing import Any

import httpx
import pytest

from tests.contract.kato.client import Kato, KatoSession, body_of, fresh_node
from tests.integration.embedded.conftest import Start
from tests.integration.embedded.control import faults, history, stats

OBSERVE: dict[str, Any] = {"strings": ["x"]}


def observe(session: KatoSession) -> httpx.Response:
    return session.ask("POST", "observe", json=OBSERVE)


def fault(kato: Kato, kind: str, route: str = "observe", **more: Any) -> None:
    faults(kato, {"kind": kind, "route": route, "count": 1, **more})


@pytest.mark.parametrize("protocol", ["httptools", "h11"])
@pytest.mark.parametrize(("kind", "time"), [("drop_before", 0), ("drop_after", 1)])
def test_a_dropped_call_gets_no_answer(
    start: Start, monkeypatch: pytest.MonkeyPatch, protocol: str, kind: str, time: int
) -> None:
    if protocol == "h11":
        monkeypatch.setitem(__import__("sys").modules, "uvicorn.protocols.http.httptools_impl", None)
    kato = start()
    session = kato.session()
    fault(kato, kind)
    with pytest.raises(httpx.RemoteProtocolError):
        observe(session)
    assert session.time() == time
    assert observe(session).status_code == 200


@pytest.mark.parametrize(("kind", "time"), [("error_before", 0), ("error_after", 1)])
def test_an_error_is_a_plain_500(kato: Kato, kind: str, time: int) -> None:
    session = kato.session()
    fault(kato, kind)
    answer = observe(session)
    assert (answer.status_code, answer.text) == (500, "Internal Server Error")
    assert answer.headers["content-type"].startswith("text/plain")
    assert session.time() == time


@pytest.mark.parametrize("kind", ["delay", "delay_after"])
def test_a_delayed_call_is_answered_late(kato: Kato, kind: str) -> None:
    session = kato.session()
    fault(kato, kind, seconds=0.2)
    answer = observe(session)
    assert answer.elapsed.total_seconds() >= 0.2
    assert body_of(answer)["time"] == 1


def test_what_is_not_saved_is_answered_as_if_it_were(kato: Kato) -> None:
    session = kato.session()
    session.observe("a")
    faults(kato, {"kind": "not_saved", "route": "observe-sequence", "count": 1})
    answer = session.sequence(["b"], ["c"])
    assert (answer["final_stm_length"], answer["results"][-1]["time"]) == (3, 3)
    assert (session.stm(), session.time()) == ([["a"]], 1)
    assert len(history(session)["applied"]) == 1
    assert session.observe("d")["time"] == 2


def test_a_learn_that_is_not_saved_keeps_the_stm_and_has_learned(kato: Kato) -> None:
    session = kato.session()
    session.sequence(["a"], ["b"])
    fault(kato, "not_saved", "learn")
    name = session.learn()["pattern_name"]
    assert session.stm() == [["a"], ["b"]]
    assert session.pattern(name) is not None


def test_a_clear_that_is_not_saved_clears_nothing(kato: Kato) -> None:
    session = kato.session()
    session.observe("a")
    fault(kato, "not_saved", "clear-stm")
    session.clear()
    assert (session.stm(), session.time()) == ([["a"]], 1)


def test_a_spurious_404_leaves_the_session_alive(kato: Kato) -> None:
    session = kato.session()
    fault(kato, "not_found")
    answer = observe(session)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "SESSION_NOT_FOUND")
    assert observe(session).json()["time"] == 1


def test_a_spurious_404_does_not_touch_creations(kato: Kato) -> None:
    faults(kato, {"kind": "not_found"})
    assert kato.http.post("/sessions", json={"node_id": fresh_node()}).status_code == 200


def test_with_redis_down_sessions_are_not_found_and_none_can_be_created(kato: Kato) -> None:
    session = kato.session()
    faults(kato, {"kind": "redis_down"})
    assert observe(session).status_code == 404
    assert kato.http.post("/sessions", json={"node_id": fresh_node()}).status_code == 500
    assert kato.http.get("/health").status_code == 200
    assert kato.http.delete("/_embedded/faults").json()["rules"] == []
    assert observe(session).json()["time"] == 1


def test_an_expired_session_is_gone_for_good(kato: Kato) -> None:
    session = kato.session()
    fault(kato, "expire")
    assert observe(session).status_code == 404
    assert observe(session).status_code == 404
    assert history(session)["alive"] is False


def test_an_unavailable_kato_closes_the_connection(kato: Kato) -> None:
    session = kato.session()
    fault(kato, "unavailable")
    answer = observe(session)
    assert (answer.status_code, answer.text) == (503, "Service Unavailable")
    assert answer.headers["connection"] == "close"
    assert "retry-after" not in answer.headers
    assert session.time() == 0


def test_losing_all_loses_sessions_and_patterns_once(kato: Kato) -> None:
    session = kato.session()
    name = session.learned(["a"], ["b"])
    faults(kato, {"kind": "lose_all", "route": "observe"})
    assert observe(session).status_code == 404
    new = kato.session(session.node)
    assert observe(new).status_code == 200
    assert new.pattern(name) is None


def test_with_clickhouse_down_learn_fails_and_counts_all_the_same(kato: Kato) -> None:
    session = kato.session()
    name = session.learned(["a"], ["b"])
    session.sequence(["c"], ["d"])
    faults(kato, {"kind": "clickhouse_down"})
    assert session.ask("POST", "learn").status_code == 500
    assert session.ask("GET", "predictions").status_code == 500
    assert session.pattern(name) is None
    assert observe(session).status_code == 200
    kato.http.delete("/_embedded/faults")
    assert session.pattern(name) is not None
    assert session.stm() == [["c"], ["d"], ["x"]]
    patterns = body_of(kato.http.get("/_embedded/patterns", params={"node": session.node}))
    (uncounted,) = [pattern for pattern in patterns.values() if pattern["data"] is None]
    assert uncounted["frequency"] == 1


def test_a_repeated_learn_with_clickhouse_down_answers_200_and_stores_nothing(kato: Kato) -> None:
    session = kato.session()
    session.sequence(["c"], ["d"])
    faults(kato, {"kind": "clickhouse_down"})
    assert session.ask("POST", "learn").status_code == 500
    name = session.learn()["pattern_name"]
    kato.http.delete("/_embedded/faults")
    assert session.pattern(name) is None


def test_a_rule_can_name_its_node(kato: Kato) -> None:
    struck, spared = kato.session("a-b"), kato.session("c")
    faults(kato, {"kind": "error_before", "node": "a b"})
    assert observe(struck).status_code == 500
    assert observe(spared).status_code == 200


def test_a_count_is_a_limit_and_is_counted(kato: Kato) -> None:
    session = kato.session()
    faults(kato, {"kind": "error_before", "route": "observe", "count": 2})
    assert [observe(session).status_code for _ in range(3)] == [500, 500, 200]
    assert stats(kato)["faults"] == {"error_before": 2}


def test_the_first_rule_that_fires_decides(kato: Kato) -> None:
    session = kato.session()
    faults(
        kato,
        {"kind": "error_before", "route": "learn"},
        {"kind": "unavailable", "count": 1},
        {"kind": "error_before"},
    )
    assert [observe(session).status_code for _ in range(2)] == [503, 500]


def outcomes(kato: Kato, seed: int, *, interleaved: bool) -> list[int]:
    kato.http.post("/_embedded/reset")
    session, other = kato.session("node"), kato.session("other")
    faults(kato, {"kind": "error_before", "route": "observe", "rate": 0.3}, seed=seed)
    codes = []
    for _ in range(40):
        if interleaved:
            observe(other)
        codes.append(observe(session).status_code)
    return codes


def test_the_same_seed_chooses_the_same_calls_of_a_node(kato: Kato) -> None:
    first = outcomes(kato, 7, interleaved=False)
    assert outcomes(kato, 7, interleaved=True) == first
    assert outcomes(kato, 8, interleaved=False) != first
    assert 4 <= first.count(500) <= 20


@pytest.mark.parametrize(
    "body",
    [
        [],
        {},
        {"rules": [{"kind": "nonsense"}]},
        {"rules": [{"kind": "delay", "route": "nowhere"}]},
        {"rules": [{"kind": "delay", "rate": 2}]},
        {"rules": [{"kind": "delay", "seconds": "long"}]},
        {"rules": [{"kind": "delay", "count": -1}]},
        {"rules": [{"kind": "delay", "probability": 1}]},
    ],
)
def test_a_rule_that_makes_no_sense_is_refused_and_changes_nothing(kato: Kato, body: Any) -> None:
    faults(kato, {"kind": "error_before"})
    refused = kato.http.post("/_embedded/faults", json=body)
    assert refused.status_code == 400
    assert refused.json()["detail"]
    assert [rule["kind"] for rule in kato.http.get("/_embedded/faults").json()["rules"]] == ["error_before"]
