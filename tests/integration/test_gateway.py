"""The gateway that other tests put before KATO does what they tell it to."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator

import pytest

from tests.gateway import HTML, Gateway, Rule


@pytest.fixture
def gateway(kato_url: str) -> Iterator[Gateway]:
    with Gateway(kato_url) as gateway:
        yield gateway


def ask(gateway: Gateway, method: str, path: str, body: str = "") -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=10)
    try:
        connection.request(method, path, body or None, {"content-type": "application/json"} if body else {})
        reply = connection.getresponse()
        return reply.status, reply.read()
    finally:
        connection.close()


def created(gateway: Gateway) -> str:
    status, body = ask(gateway, "POST", "/sessions", '{"node_id":"n"}')
    assert status == 200
    return str(json.loads(body)["session_id"])


def time_of(gateway: Gateway, session: str) -> int:
    status, body = ask(gateway, "GET", f"/sessions/{session}/cognition-data")
    assert status == 200
    return int(json.loads(body)["cognition_data"]["time"])


OBSERVE = '{"observations":[{"strings":["a"]}]}'


def test_it_passes_on_what_no_rule_is_about(gateway: Gateway) -> None:
    session = created(gateway)
    gateway.rules([Rule("learn", status=403)])
    assert ask(gateway, "POST", f"/sessions/{session}/observe-sequence", OBSERVE)[0] == 200
    assert time_of(gateway, session) == 1
    assert ask(gateway, "POST", f"/sessions/{session}/learn") == (403, HTML)
    assert gateway.seen == {"create": 1, "observe-sequence": 1, "cognition-data": 1, "learn": 1}
    assert gateway.ruled == {"learn": 1}


def test_it_answers_before_it_passes_on_or_afterwards(gateway: Gateway) -> None:
    session = created(gateway)
    gateway.rules([Rule("observe-sequence", status=503, times=1), Rule("observe-sequence", status=503, forward=True)])
    path = f"/sessions/{session}/observe-sequence"
    assert ask(gateway, "POST", path, OBSERVE)[0] == 503
    assert time_of(gateway, session) == 0
    assert ask(gateway, "POST", path, OBSERVE)[0] == 503
    assert time_of(gateway, session) == 1


def test_it_drops_a_call_after_passing_it_on_and_answers_502_when_kato_is_away(gateway: Gateway) -> None:
    session = created(gateway)
    gateway.rules([Rule("observe-sequence", drop=True)])
    with pytest.raises((http.client.RemoteDisconnected, ConnectionResetError)):
        ask(gateway, "POST", f"/sessions/{session}/observe-sequence", OBSERVE)
    assert time_of(gateway, session) == 1
    with socket.create_server(("127.0.0.1", 0)) as taken:
        nobody = f"http://127.0.0.1:{taken.getsockname()[1]}"
    with Gateway(nobody) as alone:
        assert ask(alone, "GET", "/health") == (502, HTML)


def test_it_sends_interim_answers_and_closes_connections_with_or_without_saying_so(gateway: Gateway) -> None:
    session = created(gateway)
    said = {}
    for name, rule in {"said": Rule(close=True, informational=(103,)), "silent": Rule(close_silently=True)}.items():
        gateway.rules([rule])
        with socket.create_connection(("127.0.0.1", gateway.port), timeout=10) as raw, raw.makefile("rb") as stream:
            raw.sendall(f"GET /sessions/{session}/exists HTTP/1.1\r\nhost: x\r\n\r\n".encode())
            said[name] = stream.read()
    assert said["said"].startswith(b"HTTP/1.1 103 Interim\r\n")
    assert b"\r\n\r\nHTTP/1.1 200 OK\r\n" in said["said"]
    assert b"connection: close" in said["said"]
    assert b"connection: close" not in said["silent"]


def test_it_comes_back_on_its_port(gateway: Gateway) -> None:
    port = gateway.port
    gateway.stop()
    with pytest.raises(ConnectionRefusedError):
        ask(gateway, "GET", "/health")
    gateway.start()
    assert gateway.port == port
    assert ask(gateway, "GET", "/health")[0] == 200
