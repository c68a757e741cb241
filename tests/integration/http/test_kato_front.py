"""KATO's own API at this server: order, waiting, repetition, configs that last, and stopping."""

from __future__ import annotations

import gc
import json
import re
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from kato_tasks import history, session_status
from kato_tasks.testing.waiting import wait_until
from tests.integration.http.server import HttpServer, Json
from tests.integration.recovering import THREADS
from tests.integration.system import CHECKOUT, System, drained
from tests.services import unreachable

GUIDE = Path(CHECKOUT).parent / "shared" / "GUIDE.md"


@pytest.fixture(scope="module")
def working(system: System) -> Iterator[System]:
    with system.workers(THREADS):
        yield system


def made(client: httpx.Client, **body: Any) -> str:
    answer = client.post("/sessions", json={"node_id": f"n{time.monotonic_ns()}", **body})
    assert answer.status_code == 200, answer.text
    return str(answer.json()["session_id"])


def told(answer: httpx.Response, status: int = 200) -> Any:
    assert answer.status_code == status, answer.text
    return answer.json()


def test_reads_show_every_event_that_was_accepted_before_them(working: System, client: httpx.Client) -> None:
    session = made(client)
    for number in range(40):
        answer = client.post(
            f"/sessions/{session}/observe", json={"strings": [f"a{number}"]}, headers={"prefer": "respond-async"}
        )
        assert answer.status_code == 202
        assert answer.headers["preference-applied"] == "respond-async"
    assert told(client.get(f"/sessions/{session}/stm"))["stm"] == [[f"a{number}"] for number in range(40)]
    assert told(answer, 202)["position"] == 40
    task = told(client.get(answer.headers["location"]))
    assert (task["state"], task["result"]["stm_length"]) == ("SUCCESS", 40)
    assert working.ask("stats")["overlaps"] == 0


def test_two_clients_of_one_node_never_overlap_at_kato(working: System, server: HttpServer) -> None:
    node = f"shared{time.monotonic_ns()}"

    def observe_all(client: httpx.Client, session: str) -> None:
        for number in range(20):
            told(client.post(f"/sessions/{session}/observe", json={"strings": [f"{number}"]}))
            told(client.get(f"/sessions/{session}/predictions"))

    with server.client() as client, ThreadPoolExecutor(4) as pool:
        sessions = [made(client, node_id=node) for _ in range(4)]
        for done in [pool.submit(observe_all, client, session) for session in sessions]:
            done.result(60)
        for session in sessions:
            assert told(client.get(f"/sessions/{session}/stm"))["stm"] == [[f"{number}"] for number in range(20)]
    assert working.ask("stats")["overlaps"] == 0


def test_the_same_request_with_the_same_key_is_applied_once_and_answered_the_same(
    working: System, client: httpx.Client
) -> None:
    session = made(client)
    headers = {"idempotency-key": "visit 4711"}
    answers = [
        told(client.post(f"/sessions/{session}/observe", json={"strings": ["a", "b"]}, headers=headers))
        for _ in range(3)
    ]
    assert answers == [answers[0]] * 3
    assert answers[0]["unique_id"] == "visit 4711"
    other = client.post(f"/sessions/{session}/observe", json={"strings": ["b"]}, headers=headers)
    assert told(other, 409)["errors"][0]["field"] == "Idempotency-Key"
    again = made(client)
    assert told(client.post(f"/sessions/{again}/observe", json={"strings": ["b"]}, headers=headers))["stm_length"] == 1
    learned = [told(client.post(f"/sessions/{session}/learn", headers={"idempotency-key": "l"})) for _ in range(2)]
    assert learned[0]["pattern_name"] == learned[1]["pattern_name"] != ""
    sequence = {"observations": [{"strings": ["a"]}, {"strings": ["b"]}], "learn_at_end": True}
    path, headers = f"/sessions/{again}/observe-sequence", {"idempotency-key": "s"}
    first, second = (told(client.post(path, json=sequence, headers=headers)) for _ in range(2))
    assert first == second
    assert (first["initial_stm_length"], first["final_stm_length"]) == (1, 0)
    assert [one["event_id"] for one in history(again)] == ["visit 4711", "s/0", "s/1", "s/1/learn"]
    del working


def test_a_repeated_sequence_makes_the_same_events_however_the_session_stands_by_then(
    working: System, client: httpx.Client
) -> None:
    """Falls when a sequence with a key looks at whether the session's STM is empty."""
    session = f"again{time.monotonic_ns()}"
    body = {"observations": [{"emotives": {"joy": 1.0}}, {"strings": ["a", "b"]}], "learn_after_each": True}
    answers = []
    for _ in range(2):
        answer = client.post(f"/sessions/{session}/observe-sequence", json=body, headers={"idempotency-key": "s"})
        answers.append(told(answer))
        drained([session])
    assert answers[0] == answers[1]
    assert [one["event_id"] for one in history(session)] == ["s/0", "s/0/learn", "s/1", "s/1/learn"]
    del working


def test_a_refused_observation_makes_no_session(working: System, client: httpx.Client) -> None:
    """Falls when the session is made before its first event is checked."""
    session = f"refused{time.monotonic_ns()}"
    for name, body in ((session, {"strings": []}), ("x" * 600, {"strings": ["a"]})):
        assert client.post(f"/sessions/{name}/observe", json=body).status_code == 422
        assert client.post(f"/sessions/{name}/observe-sequence", json={"observations": [body]}).status_code == 422
        assert told(client.get(f"/sessions/{name}/exists"))["exists"] is False
    del working


def test_an_answer_that_takes_longer_than_the_client_waits_is_at_the_tasks_address(
    working: System, client: httpx.Client
) -> None:
    session = made(client)
    working.faults({"kind": "delay", "route": "observe-sequence", "seconds": 3.0, "count": 1})
    began = time.monotonic()
    answer = client.post(f"/sessions/{session}/observe", json={"strings": ["a"]}, headers={"prefer": "wait=1"})
    assert (answer.status_code, answer.headers["preference-applied"]) == (202, "wait=1")
    assert 0.9 < time.monotonic() - began < 2.9
    assert told(answer, 202)["position"] == 1
    wait_until(lambda: told(client.get(answer.headers["location"]))["state"] == "SUCCESS", 20, "it is applied")
    assert told(client.get(f"/sessions/{session}/stm"))["stm"] == [["a"]]


def test_a_config_is_told_to_kato_each_time_that_the_session_is_made_there(
    working: System, client: httpx.Client
) -> None:
    session = made(client, config={"max_predictions": 1, "max_pattern_length": 3, "process_predictions": True})
    shown = told(client.get(f"/sessions/{session}/config"))["config"]
    assert (shown["max_predictions"], shown["max_pattern_length"], shown["process_predictions"]) == (1, 3, True)
    for last in ("x", "y"):
        for one in ("a", "b", "c", last):
            assert (
                told(client.post(f"/sessions/{session}/observe", json={"strings": [one]}))["auto_learned_pattern"]
                is None
            )
        told(client.post(f"/sessions/{session}/learn"))
    for one in ("a", "b"):
        told(client.post(f"/sessions/{session}/observe", json={"strings": [one]}))
    assert told(client.get(f"/sessions/{session}/predictions"))["count"] == 1
    assert told(client.post(f"/sessions/{session}/config", json={"config": {"max_predictions": 5}}))["status"] == "okay"
    assert told(client.get(f"/sessions/{session}/predictions"))["count"] == 2
    assert told(client.get(f"/sessions/{session}/stm"))["stm"] == [["a"], ["b"]]
    status = session_status(session)
    assert status is not None
    assert status.binding is not None
    # KATO loses the session: the next one that is made for it has the config, too.
    told(client.post(f"/sessions/{session}/config", json={"config": {"max_predictions": 1}}))
    httpx.delete(f"{working.kato.url}/sessions/{status.binding.kato_session_id}", trust_env=False)
    assert told(client.get(f"/sessions/{session}/predictions"))["count"] == 1
    config = httpx.get(f"{working.kato.url}/sessions/{bound(session)}/config", trust_env=False).json()["config"]
    assert (config["max_predictions"], config["max_pattern_length"], config["process_predictions"]) == (1, 0, False)


def bound(session: str) -> str:
    status = session_status(session)
    assert status is not None
    assert status.binding is not None
    return status.binding.kato_session_id


def test_sessions_of_one_node_with_different_configs_do_not_pass_on_their_session_at_kato(
    working: System, client: httpx.Client
) -> None:
    node = f"configs{time.monotonic_ns()}"
    seen = set()
    for most in (1, 7, 1):
        session = made(client, node_id=node, config={"max_predictions": most})
        told(client.post(f"/sessions/{session}/observe", json={"strings": ["a"]}))
        kato_session = bound(session)
        config = httpx.get(f"{working.kato.url}/sessions/{kato_session}/config", trust_env=False).json()["config"]
        assert config["max_predictions"] == most
        seen.add(kato_session)
        told(client.post(f"/sessions/{session}/clear-stm"))
    assert len(seen) >= 2


def test_a_deleted_session_is_gone_for_its_client_and_its_history_stays(working: System, client: httpx.Client) -> None:
    session = made(client)
    told(client.post(f"/sessions/{session}/observe", json={"strings": ["a"]}))
    assert told(client.delete(f"/sessions/{session}")) == {"status": "deleted", "session_id": session}
    for method, action in (("GET", "stm"), ("POST", "observe"), ("POST", "learn"), ("GET", "config"), ("DELETE", "")):
        answer = client.request(method, f"/sessions/{session}/{action}".rstrip("/"), content=b"{}")
        assert told(answer, 404)["error"]["code"] == "SESSION_NOT_FOUND"
    drained([session])
    assert [one["event_type"] for one in history(session)] == ["observation", "clear_stm"]
    del working


def test_a_learn_of_an_empty_stm_is_answered_as_kato_does_and_makes_no_dead_letter(
    working: System, client: httpx.Client
) -> None:
    session = made(client)
    answer = client.post(f"/sessions/{session}/learn")
    assert told(answer, 400) == {"detail": "Cannot learn from empty STM"}
    assert list(history(session)) == []
    # While an event is under way nobody can know, so the learn takes its turn.
    headers = {"prefer": "respond-async"}
    client.post(f"/sessions/{session}/observe", json={"strings": ["a"]}, headers=headers)
    client.post(f"/sessions/{session}/clear-stm", headers=headers)
    assert told(client.post(f"/sessions/{session}/learn"), 400) == {"detail": "Cannot learn from empty STM"}
    del working


def test_a_killed_worker_changes_no_answer(system: System, server: HttpServer) -> None:
    with system.workers(THREADS) as (worker,), server.client() as client:
        session = made(client)
        stop = threading.Event()

        def kill_once() -> None:
            wait_until(lambda: len(list(history(session))) > 5, 30, "some events are there")
            worker.kill()
            worker.start()
            stop.set()

        killer = threading.Thread(target=kill_once)
        killer.start()
        for number in range(20):
            headers = {"idempotency-key": f"k{number}", "prefer": "wait=60"}
            answer = client.post(
                f"/sessions/{session}/observe", json={"strings": [str(number)]}, headers=headers, timeout=90
            )
            assert told(answer)["stm_length"] == number + 1
        killer.join(60)
        assert stop.is_set()
        assert told(client.get(f"/sessions/{session}/stm"))["length"] == 20


def test_a_stopping_server_tells_waiting_clients_where_their_answers_will_be(system: System, tmp_path: Path) -> None:
    server = HttpServer(tmp_path / "stopped", system.environment)
    server.start()
    with server.client() as client, ThreadPoolExecutor(8) as pool:
        sessions = [made(client) for _ in range(8)]
        # KATO takes longer than the test, whoever works, so each of these waits.
        system.faults({"kind": "delay", "route": "observe-sequence", "seconds": 6.0, "count": 8})
        waiting = [
            pool.submit(client.post, f"/sessions/{session}/observe", json={"strings": ["a"]}) for session in sessions
        ]
        wait_until(lambda: sum(len(list(history(one))) for one in sessions) == 8, 20, "all are accepted")
        server.stop()
        answers = [one.result(20) for one in waiting]
        system.faults()
    assert [one.status_code for one in answers] == [202] * 8
    assert {told(one, 202)["position"] for one in answers} == {1}


def test_a_read_that_waits_for_its_turn_is_answered_in_katos_own_form(working: System, client: httpx.Client) -> None:
    """Falls when a request that is left to wait in its lane forgets that its caller wants KATO's own form."""
    session = made(client)
    for one in ("a", "b", "c"):
        told(client.post(f"/sessions/{session}/observe", json={"strings": [one]}))
    told(client.post(f"/sessions/{session}/learn"))
    told(client.post(f"/sessions/{session}/observe", json={"strings": ["a"]}))
    # A predict right after a learn waits until KATO shows the pattern.
    (prediction,) = told(client.get(f"/sessions/{session}/predictions"))["predictions"]
    assert prediction["present"] == ["a"]
    assert "sequence" not in prediction
    del working


def test_the_guides_event_store_works_unmodified_but_for_the_url(working: System, server: HttpServer) -> None:
    """The guide's code, as it stands in its document, speaks httpx; its aggregates name the sessions."""
    store = code_with("class KatoEventStore")["KatoEventStore"]
    kept = Kept()
    events = store(server.url, kept)
    aggregate = f"order{time.monotonic_ns()}"
    for what in ("opened", "paid", "sent"):
        events.append_event(aggregate, what, {"n": 1})
    session = events.replay_events(aggregate)
    events.kato.close()
    with server.client() as client:
        for one in (aggregate, session):
            assert told(client.get(f"/sessions/{one}/stm"))["stm"] == [["opened"], ["paid"], ["sent"]]
        assert told(client.get(f"/sessions/{session}"))["node_id"] == aggregate
    del working


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_the_guides_task_works_unmodified_but_for_the_url(working: System, server: HttpServer) -> None:
    given = code_with("def process_observation_async", url=server.url, without=".delay(")
    session = f"user{time.monotonic_ns()}"
    observation: Json = {"strings": ["action"], "vectors": [], "emotives": {}}
    answers = [given["process_observation_async"].run(session, observation) for _ in range(2)]
    assert [(one["status"], one["stm_length"], one["session_id"]) for one in answers] == [
        ("okay", 1, session),
        ("okay", 2, session),
    ]
    gc.collect()  # the guide's task never closes its clients
    del working


class Kept:
    """What the guide calls an event store's database."""

    def __init__(self) -> None:
        self.events: list[Json] = []

    def append(self, event: Json) -> None:
        self.events.append(event)

    def get_events(self, aggregate_id: str) -> list[Json]:
        return [one for one in self.events if one["aggregate_id"] == aggregate_id]


def code_with(line: str, *, url: str = "", without: str = "") -> dict[str, Any]:
    """Run the guide's program that has this line, up to the part that uses it, and return its names."""
    if not GUIDE.exists():
        unreachable("../shared/GUIDE.md")
    blocks = re.findall(r"```python\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    (block,) = [one for one in blocks if line in one]
    if without:
        block = block.partition("# Usage")[0]
    names: dict[str, Any] = {}
    exec(compile(block.replace("http://localhost:8000", url or "http://localhost:8000"), str(GUIDE), "exec"), names)  # noqa: S102
    return names


def test_other_calls_are_refused_with_a_reason(working: System, client: httpx.Client) -> None:
    session = made(client)
    assert "rebuild" in told(client.post(f"/sessions/{session}/clear-all"), 409)["detail"]
    wrong = client.post(f"/sessions/{session}/observe", json={"strings": ["x" * 30_000]})
    detail = told(wrong, 422)["detail"][0]
    assert detail["loc"] == ["body", "strings", 0]
    assert json.dumps(detail["msg"])
    assert told(client.post("/sessions", json={"node_id": "it's"}), 422)["detail"][0]["loc"] == ["body", "node_id"]
    unknown = client.post(
        f"/sessions/{session}/observe", content=b'{"strings": [', headers={"content-type": "application/json"}
    )
    assert told(unknown, 422)["detail"][0]["type"] == "json_invalid"
    del working
