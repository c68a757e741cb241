"""Sessions, history, tasks, dead letters, replays and keys over HTTP, as the command line and Python show them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from kato_tasks import append_events, history, observe, session_status
from kato_tasks.testing.waiting import wait_until
from tests.integration.http.server import HttpServer, Json, event
from tests.integration.http.test_access import made
from tests.integration.recovering import THREADS
from tests.integration.system import System, drained

ODD = "a/b ü%2F?#'\" events"


@pytest.fixture(scope="module")
def keys(system: System) -> Json:
    return {
        "admin": made(system, "--scope", "admin"),
        "read": made(system, "--scope", "read"),
        "prefix": made(system, "--scope", "read", "--session-prefix", "shop-"),
        "prefix admin": made(system, "--scope", "admin", "--session-prefix", "shop-"),
    }


@pytest.fixture(scope="module")
def server(system: System, keys: Json) -> Iterator[HttpServer]:
    server = HttpServer(system.directory / "server", system.environment)
    server.start()
    yield server
    server.stop()
    assert "Traceback" not in server.text()


@pytest.fixture
def client(server: HttpServer, keys: Json) -> Iterator[httpx.Client]:
    with server.client(keys["admin"]) as client:
        yield client


def got(client: httpx.Client, path: str, status: int = 200, **params: Any) -> Any:
    answer = client.get(path, params=params)
    assert answer.status_code == status, answer.text
    return answer.json()


def test_a_session_is_shown_under_any_name(client: httpx.Client) -> None:
    append_events([event(ODD, "e1"), event(ODD, "e2")])
    shown = got(client, f"/v1/sessions/{quote(ODD, safe='')}")
    status = session_status(ODD)
    assert status is not None
    assert shown == status.model_dump()
    events = got(client, f"/v1/sessions/{quote(ODD, safe='')}/events")
    assert events == {"events": list(history(ODD)), "next": None}
    unknown = got(client, "/v1/sessions/nobody", 404)
    assert (unknown["status"], "no event" in unknown["detail"]) == (404, True)
    assert got(client, "/v1/sessions/nobody/events", 404)["status"] == 404
    assert client.get("/v1/sessions/%ff").status_code == 422
    assert client.get("/v1/sessions/" + "x" * 600).json()["errors"][0]["field"] == "session_id"


def test_a_history_is_read_page_by_page(client: httpx.Client, name: str) -> None:
    append_events([event(name, f"e{i}") for i in range(25)])
    path, seen = f"/v1/sessions/{quote(name, safe='')}/events", []
    after: int | None = 0
    while after is not None:
        page = got(client, path, after=after, limit=10)
        seen += [one["event_id"] for one in page["events"]]
        after = page["next"]
    assert seen == [f"e{i}" for i in range(25)]
    for wrong in ({"limit": 0}, {"limit": 1_001}, {"after": -1}, {"after": "x"}):
        answer = client.get(path, params=wrong)
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, next(iter(wrong)))


def test_sessions_are_listed_page_by_page_and_by_prefix(client: httpx.Client, name: str) -> None:
    append_events([event(f"{name} {i:02}", "e") for i in range(25)])
    after, seen = None, []
    while True:
        asked: dict[str, Any] = {"prefix": name, "limit": 10} | ({"after": after} if after else {})
        page = got(client, "/v1/sessions", **asked)
        seen += [one["session_id"] for one in page["sessions"]]
        after = page["next"]
        if after is None:
            break
    assert seen == [f"{name} {i:02}" for i in range(25)]
    assert got(client, "/v1/sessions", prefix=name, state="parked")["sessions"] == []
    assert client.get("/v1/sessions", params={"state": "asleep"}).status_code == 422


def test_a_key_with_a_prefix_sees_its_own_sessions_alone(
    server: HttpServer, keys: Json, client: httpx.Client, name: str
) -> None:
    append_events([event(f"shop-{name}", "e"), event(name, "e")])
    with server.client(keys["prefix"]) as limited:
        shown = got(limited, "/v1/sessions")["sessions"]
        assert {one["session_id"][:5] for one in shown} == {"shop-"}
        assert got(limited, "/v1/sessions", prefix="shop-")["sessions"] == shown
        assert got(limited, "/v1/sessions", prefix="office")["sessions"] == []
        assert got(limited, f"/v1/sessions/shop-{quote(name)}")["head"] == 1
        assert limited.get(f"/v1/sessions/{quote(name)}").status_code == 403
        assert limited.get(f"/v1/sessions/{quote(name)}/events").status_code == 403
        assert limited.get("/v1/replays").status_code == 403
    with server.client(keys["prefix admin"]) as limited:
        assert limited.post("/v1/keys", json={"scopes": ["admin"]}).status_code == 403
        assert limited.get("/v1/keys").status_code == 403


def test_a_task_is_shown_while_it_waits_and_when_it_has_ended(
    system: System, server: HttpServer, keys: Json, client: httpx.Client, name: str
) -> None:
    system.faults({"kind": "unavailable"})
    waiting = observe.delay(f"shop-{name}", {"strings": ["x"]})
    assert got(client, f"/v1/tasks/{waiting.id}")["state"] == "PENDING"
    with system.workers(THREADS):
        wait_until(lambda: got(client, f"/v1/tasks/{waiting.id}")["state"] == "WAITING", 30, "it waits")
        shown = got(client, f"/v1/tasks/{waiting.id}")
        assert (shown["session_id"], shown["position"], bool(shown["waits_for"])) == (f"shop-{name}", 1, True)
        system.faults()
        answer = waiting.get(timeout=30)
        assert got(client, f"/v1/tasks/{waiting.id}")["result"] == answer
        refused = observe.delay(name, {"strings": ["x"]})
        refused.get(timeout=30)
        with server.client(keys["prefix"]) as limited:
            assert got(limited, f"/v1/tasks/{waiting.id}")["state"] == "SUCCESS"
            assert limited.get(f"/v1/tasks/{refused.id}").status_code == 403
        drained([f"shop-{name}", name])


def test_dead_letters_are_listed_redriven_and_discarded(
    system: System, server: HttpServer, keys: Json, client: httpx.Client, name: str
) -> None:
    append_events([event(name, "e1"), event(name, "e1", "other"), event(name, "e1", "third")])
    page = got(client, "/v1/dead-letters")
    mine = [one for one in page["dead_letters"] if one["session_id"] == name]
    assert (len(mine), mine[0]["event_id"]) == (2, "e1")
    first, second = (one["id"] for one in mine)
    assert got(client, f"/v1/dead-letters/{first}") == mine[0]
    with server.client(keys["read"]) as reader:
        assert reader.post(f"/v1/dead-letters/{first}/redrive").status_code == 403
        assert reader.delete(f"/v1/dead-letters/{first}").status_code == 403
    with server.client(keys["prefix"]) as limited:
        assert got(limited, "/v1/dead-letters")["dead_letters"] == []
        assert limited.get(f"/v1/dead-letters/{first}").status_code == 403
    redriven = client.post(f"/v1/dead-letters/{first}/redrive").json()
    assert (redriven["event_id"], redriven["position"], redriven["resumed"]) == ("e1~redriven-1", 2, False)
    assert client.delete(f"/v1/dead-letters/{second}").json()["id"] == second
    for gone in (first, second):
        assert client.get(f"/v1/dead-letters/{gone}").status_code == 404
    assert [one["event_id"] for one in history(name)] == ["e1", "e1~redriven-1"]


def test_a_replay_is_started_shown_cancelled_and_resumed(system: System, client: httpx.Client, name: str) -> None:
    with system.workers(THREADS):
        append_events([event(name, f"e{i}") for i in range(5)])
        drained([name])
        started = client.post("/v1/replays", json={"mode": "as_of", "session_id": name, "position": 3})
        assert started.status_code == 202, started.text
        replay = started.json()["id"]
        wait_until(lambda: got(client, f"/v1/replays/{replay}")["state"] == "done", 30, "it is done")
        done = got(client, f"/v1/replays/{replay}")
        assert (done["mode"], done["events_done"]) == ("as_of", 3)
        assert done in got(client, "/v1/replays")["replays"]
    assert client.post(f"/v1/replays/{replay}/cancel").json()["state"] == "done"
    assert client.post(f"/v1/replays/{replay}/resume").status_code == 409
    assert client.get("/v1/replays/none").status_code == 404
    waits = client.post("/v1/replays", json={"mode": "stm", "session_id": name}).json()["id"]
    assert client.post("/v1/replays", json={"mode": "stm", "session_id": name}).status_code == 409
    assert client.post(f"/v1/replays/{waits}/cancel").json()["state"] == "cancelled"
    unknown = client.post("/v1/replays", json={"mode": "stm", "session_id": "nobody"})
    assert (unknown.status_code, unknown.json()["errors"][0]["field"]) == (409, "session_id")
    bodies: list[Any] = [{"mode": "all"}, {"mode": "stm"}, {"mode": "stm", "session_id": name, "position": 1}, {}, []]
    for wrong in bodies:
        assert client.post("/v1/replays", json=wrong).status_code == 422, wrong


def test_the_metrics_tell_of_the_calls_that_workers_made_to_kato(
    system: System, client: httpx.Client, name: str
) -> None:
    """A process tells of its calls every 5 s, with its next slice."""

    def told() -> str:
        append_events([event(name)])
        return client.get("/metrics").text

    with system.workers(THREADS):
        called = f'kato_tasks_kato_calls_total{{instance="{system.kato.url}",route="observe-sequence",status="2xx"}}'
        wait_until(lambda: called in told(), 30, "the calls are counted", every=0.5)
        drained([name])
    url = system.kato.url
    text = told()
    took = "kato_tasks_kato_call_seconds"
    assert f'{took}_bucket{{instance="{url}",le="+Inf",route="observe-sequence"}}' in text
    assert f'{took}_sum{{instance="{url}",route="observe-sequence"}}' in text


def test_keys_are_made_listed_and_revoked(server: HttpServer, keys: Json, client: httpx.Client, name: str) -> None:
    made_here = client.post("/v1/keys", json={"scopes": ["write"], "name": name})
    assert made_here.status_code == 201
    new = made_here.json()
    assert "secret_hash" not in new
    listed = got(client, "/v1/keys")["keys"]
    assert [one["id"] for one in listed if one["name"] == name] == [new["id"]]
    assert new["key"] not in str(listed)
    with server.client(new["key"]) as writer:
        wait_until(lambda: writer.get("/v1/keys").status_code == 403, 10, "it is known", every=0.2)
        assert client.delete(f"/v1/keys/{new['id']}").status_code == 204
        wait_until(lambda: writer.get("/v1/keys").status_code == 401, 10, "it is revoked", every=0.2)
    assert client.delete(f"/v1/keys/{new['id']}").status_code == 404
    with server.client(keys["read"]) as reader:
        assert reader.get("/v1/keys").status_code == 403
        assert reader.post("/v1/keys", json={"scopes": ["admin"]}).status_code == 403
    bodies: list[Any] = [{"scopes": []}, {"scopes": ["root"]}, {"scopes": ["read"], "more": 1}]
    for wrong in [*bodies, {"scopes": ["read"], "name": "x" * 101}]:
        assert client.post("/v1/keys", json=wrong).status_code == 422, wrong
