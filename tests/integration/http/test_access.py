"""Keys, scopes and limits of a real server, and what of them is never written down."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from urllib.parse import quote

import pytest

from kato_tasks import append_events, session_status
from kato_tasks.testing.waiting import wait_until
from tests.integration.http.server import HttpServer, Json, event, post
from tests.integration.recovering import THREADS
from tests.integration.system import System

REFRESH = 2.0


def run(system: System, *words: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    environment = HttpServer(system.directory, system.environment).environment()
    command = [sys.executable, "-m", "kato_tasks", *words]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == code, done.stderr
    return done


def made(system: System, *options: str) -> str:
    return str(json.loads(run(system, "keys", "create", "--json", *options).stdout)["key"])


@pytest.fixture(scope="module")
def keys(system: System) -> Json:
    """Keys of each kind, made at the command line before the server starts."""
    return {
        "write": made(system, "--scope", "write", "--name", "a shop"),
        "read": made(system, "--scope", "read"),
        "admin": made(system, "--scope", "admin"),
        "prefix": made(system, "--scope", "write", "--session-prefix", "shop-"),
        "slow": made(system, "--scope", "write", "--requests-per-second", "1"),
        "behind": made(system, "--scope", "write", "--backlog", "5"),
        "revoked": made(system, "--scope", "write"),
    }


@pytest.fixture(scope="module")
def server(system: System, keys: Json) -> Iterator[HttpServer]:
    server = HttpServer(system.directory / "server", system.environment)
    server.start()
    yield server
    server.stop()
    said = server.text()
    assert [name for name, key in keys.items() if key in said or key.split("_", 2)[2] in said] == []


def test_without_a_key_and_with_a_wrong_one_nothing_is_served_but_health(server: HttpServer, keys: Json) -> None:
    with server.client() as client:
        answer = post(client, event("s"))
        assert (answer.status_code, answer.headers["www-authenticate"][:6]) == (401, "Bearer")
        wrong = keys["write"][:-1] + ("A" if keys["write"][-1] != "A" else "B")
        for header in (f"Bearer {wrong}", "Bearer x", "Basic dTpw", keys["write"], "Bearer", "Bearer kt_\xff"):
            answer = client.post("/v1/events", json=event("s"), headers=[(b"authorization", header.encode("latin-1"))])
            assert answer.status_code == 401, header
        assert client.get("/metrics").status_code == 401
        assert client.get("/healthz").json() == {"status": "ok"}
        assert client.get("/readyz").status_code == 200
    assert session_status("s") is None


def test_each_scope_allows_its_own_and_admin_all(server: HttpServer, keys: Json, name: str) -> None:
    for key, write, read in (("write", 202, 403), ("read", 403, 200), ("admin", 202, 200)):
        with server.client(keys[key]) as client:
            assert post(client, event(name)).status_code == write, key
            assert client.get("/metrics").status_code == read, key


def test_a_key_with_a_prefix_reaches_no_other_session(server: HttpServer, keys: Json) -> None:
    with server.client(keys["prefix"]) as client:
        assert post(client, event("shop-1")).status_code == 202
        answer = post(client, event("office-1"))
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (403, "session_id")
        told = post(client, [event("office-1"), event("shop-1")]).json()
        assert [one["status"] for one in told["results"]] == ["rejected", "accepted"]
        line = json.dumps(event("office-1")).encode()
        answer = client.post("/v1/events", content=line, headers={"content-type": "application/x-ndjson"})
        assert answer.status_code == 422
    assert session_status("office-1") is None


def test_a_key_makes_as_many_requests_as_it_may(server: HttpServer, keys: Json, name: str) -> None:
    with server.client(keys["slow"]) as client:
        answers = [post(client, event(name)) for _ in range(6)]
        statuses = [answer.status_code for answer in answers]
        assert statuses[0] == 202
        assert 2 <= statuses.count(429) <= 4, statuses
        refused = answers[statuses.index(429)]
        assert int(refused.headers["retry-after"]) >= 1
        wait_until(lambda: post(client, event(name)).status_code == 202, 10, "it may again", every=0.2)
    with server.client(keys["write"]) as client:
        assert post(client, event(name)).status_code == 202


def test_a_key_appends_nothing_while_more_events_wait_than_it_may_add_to(
    server: HttpServer, keys: Json, name: str
) -> None:
    append_events([event(name, f"e{i}") for i in range(10)])
    with server.client(keys["behind"]) as client:
        wait_until(lambda: post(client, event(name)).status_code == 429, 10, "it is refused", every=0.2)
        assert post(client, event(name)).headers["retry-after"] == "1"
    with server.client(keys["write"]) as client:
        assert post(client, event(name)).status_code == 202


def test_a_revoked_key_opens_nothing_and_a_new_one_opens_within_seconds(
    system: System, server: HttpServer, keys: Json, name: str
) -> None:
    with server.client(keys["revoked"]) as client:
        assert post(client, event(name)).status_code == 202
        run(system, "keys", "revoke", keys["revoked"].split("_")[1])
        wait_until(lambda: post(client, event(name)).status_code == 401, 3 * REFRESH, "it is revoked", every=0.2)
    assert "there is no key" in run(system, "keys", "revoke", "0123456789ab", code=1).stderr
    late = made(system, "--scope", "write")
    with server.client(late) as client:
        wait_until(lambda: post(client, event(name)).status_code == 202, 3 * REFRESH, "it is known", every=0.2)


def test_keys_are_listed_without_what_opens(system: System, keys: Json) -> None:
    shown = run(system, "keys", "list").stdout
    told = json.loads(run(system, "keys", "list", "--json").stdout)
    assert {one["id"] for one in told} >= {key.split("_")[1] for key in keys.values()} - {keys["revoked"].split("_")[1]}
    assert "a shop" in shown
    secrets = [key.split("_", 2)[2] for key in keys.values()]
    kept = json.dumps(system.redis.hgetall("kt:{keys}:all"))
    assert [secret for secret in secrets if secret in shown + json.dumps(told) + kept] == []
    assert "secret_hash" not in shown + json.dumps(told)


def test_a_key_is_printed_once_and_says_what_it_allows(system: System) -> None:
    done = run(system, "keys", "create", "--scope", "read", "--scope", "write")
    assert done.stdout.startswith("kt_")
    assert len(done.stdout.splitlines()) == 1
    assert "allows read, write" in done.stderr
    assert done.stdout.strip() not in done.stderr
    assert "--scope" in run(system, "keys", "create", code=2).stderr


def test_a_server_that_others_reach_does_not_start_without_a_key(system: System) -> None:
    at = system.store.url.removesuffix("/0")
    empty = HttpServer(system.directory, {**system.environment, "KATO_TASKS_STORE_URL": f"{at}/9"}).environment()
    command = [sys.executable, "-m", "kato_tasks", "serve", "--port", "0", "--host", "0.0.0.0"]
    done = subprocess.run(command, env=empty, capture_output=True, text=True, timeout=15, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert "kato-tasks keys create --scope write" in done.stderr


def test_an_open_server_answers_under_no_other_name_than_loopbacks(system: System, name: str) -> None:
    """A page whose name was made to point at 127.0.0.1 is such a caller."""
    at = system.store.url.removesuffix("/0")
    with_store = {**system.environment, "KATO_TASKS_STORE_URL": f"{at}/9"}
    server = HttpServer(system.directory / "open", with_store)
    server.start()
    try:
        with server.client() as client:
            assert post(client, event(name)).status_code == 202
            assert post(client, event(name), host="evil.example").status_code == 421
            assert post(client, event(name), host=f"localhost:{server.port}").status_code == 202
            assert client.get("/metrics", headers={"host": "evil.example"}).status_code == 421
    finally:
        server.stop()


def test_a_port_that_is_taken_is_one_sentence(system: System, server: HttpServer) -> None:
    done = run(system, "serve", "--port", str(server.port), code=2)
    assert done.stderr.count("\n") == 1
    assert "choose another --host or --port" in done.stderr


def test_a_key_reaches_its_own_sessions_of_katos_api_and_makes_no_others(server: HttpServer, keys: Json) -> None:
    with server.client() as nobody, server.client(keys["read"]) as reader, server.client(keys["prefix"]) as shop:
        new = {"node_id": "n"}
        assert [one.post("/sessions", json=new).status_code for one in (nobody, reader)] == [401, 403]
        session = shop.post("/sessions", json=new).json()["session_id"]
        assert session.startswith("shop-session-")
        assert reader.get(f"/sessions/{session}/exists").json()["exists"] is True
        assert shop.post("/sessions/other/observe", json={"strings": ["a"]}).status_code == 403
        assert nobody.get(f"/sessions/{session}/stm").status_code == 401
        assert nobody.get("/health").json()["service_name"] == "kato"


def test_a_revoked_key_ends_its_streams(system: System, server: HttpServer, name: str) -> None:
    """Falls when a stream does not ask whether its key is one still."""
    made_key = json.loads(run(system, "keys", "create", "--json", "--scope", "read").stdout)
    append_events([event(name, "e1")])
    wait_until(lambda: not server_refuses(server, made_key["key"]), 10, "the server knows it")
    path = f"/v1/sessions/{quote(name, safe='')}/results"
    with server.client(made_key["key"]) as client, client.stream("GET", path, params={"predictions": False}) as stream:
        assert stream.status_code == 200
        run(system, "keys", "revoke", made_key["id"])
        wait_until(lambda: server_refuses(server, made_key["key"]), 10, "the server knows that it is revoked")
        append_events([event(name, "e2")])
        with system.workers(THREADS):
            assert next((part for part in stream.iter_text() if "position" in part), None) is None


def server_refuses(server: HttpServer, key: str) -> bool:
    with server.client(key) as client:
        return client.get("/v1/sessions").status_code == 401
