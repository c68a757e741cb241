"""What clients do that are slow, wrong, or too many, on bare sockets."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import socket
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from kato_tasks.testing.services import LOOPBACK
from kato_tasks.testing.waiting import wait_until
from tests.integration.http.server import HttpServer, event, post
from tests.integration.system import System

HEAD = b"POST /v1/events HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
LIMITS = {"http_header_seconds": "1", "http_body_seconds": "1.5", "http_keep_alive_seconds": "2"}


@pytest.fixture(scope="module")
def server(system: System) -> Iterator[HttpServer]:
    server = HttpServer(system.directory / "server", system.environment, **LIMITS)
    server.start()
    yield server
    server.stop()


def told(server: HttpServer, *parts: bytes, seconds: float = 10.0) -> bytes:
    """What the server says to these bytes until it closes the connection."""
    with socket.create_connection((LOOPBACK, server.port), timeout=seconds) as connection:
        for part in parts:
            connection.sendall(part)
        said = b""
        with contextlib.suppress(ConnectionResetError):
            while more := connection.recv(65_536):
                said += more
        return said


def status_of(said: bytes) -> int:
    return int(said.split(b" ", 2)[1])


LATE_OR_WRONG: dict[str, tuple[tuple[bytes, ...], int]] = {
    "nothing": ((), 408),
    "half a line": ((b"POST /v1/ev",), 408),
    "half the headers": ((HEAD,), 408),
    "half a body": ((HEAD + b"content-length: 10\r\n\r\n", b"{"), 408),
    "half a chunk": ((HEAD + b"transfer-encoding: chunked\r\n\r\n", b"1\r\n{\r\n"), 408),
    "large headers": ((b"POST / HTTP/1.1\r\nx: " + b"y" * 40_000,), 431),
    "no HTTP": ((b"nonsense\r\n\r\n",), 400),
    "TLS": ((b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",), 400),
    "a negative length": ((HEAD + b"content-length: -1\r\n\r\n",), 400),
    "a huge length": ((HEAD + b"content-length: 99999999999\r\n\r\n",), 413),
}


@pytest.mark.parametrize("what", LATE_OR_WRONG)
def test_what_does_not_arrive_or_is_no_request_is_told_so_and_its_connection_ends(
    server: HttpServer, what: str
) -> None:
    parts, status = LATE_OR_WRONG[what]
    said = told(server, *parts)
    assert status_of(said) == status, said[:300]
    assert b"application/problem+json" in said
    assert json.loads(said.split(b"\r\n\r\n", 1)[1])["status"] == status


def test_a_connection_on_which_nothing_is_asked_any_more_is_closed(server: HttpServer) -> None:
    began = time.monotonic()
    said = told(server, b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n")
    assert status_of(said) == 200
    assert 1.0 < time.monotonic() - began < 6.0


def test_a_body_that_comes_slowly_and_in_time_is_accepted(server: HttpServer, name: str) -> None:
    body = json.dumps(event(name)).encode()
    head = HEAD + b"connection: close\r\ncontent-length: %d\r\n\r\n" % len(body)
    with socket.create_connection((LOOPBACK, server.port), timeout=10) as connection:
        for at in range(0, len(head), 40):
            connection.sendall(head[at : at + 40])
            time.sleep(0.02)
        for at in range(0, len(body), 10):
            connection.sendall(body[at : at + 10])
            time.sleep(0.02)
        assert status_of(connection.recv(65_536)) == 202


def test_lines_that_come_slowly_may_take_longer_than_a_body(server: HttpServer, name: str) -> None:
    def lines() -> Iterator[bytes]:
        for number in range(5):
            yield json.dumps(event(name, f"e{number}")).encode() + b"\n"
            time.sleep(0.6)

    with server.client() as client:
        headers = {"content-type": "application/x-ndjson"}
        assert client.post("/v1/events", content=lines(), headers=headers).json()["accepted"] == 5


def test_lines_that_stop_coming_are_told_up_to_where_they_came(server: HttpServer, name: str) -> None:
    lines = b"".join(json.dumps(event(name, f"e{i}")).encode() + b"\n" for i in range(500))
    head = HEAD.replace(b"application/json", b"application/x-ndjson") + b"transfer-encoding: chunked\r\n\r\n"
    said = told(server, head + b"%x\r\n%b\r\n" % (len(lines), lines))
    assert status_of(said) == 207, said[:300]
    answer = json.loads(said.split(b"\r\n\r\n", 1)[1])
    assert (answer["accepted"], answer["stopped"]["index"], answer["stopped"]["status"]) == (500, 500, 408)


def test_a_client_that_goes_in_the_middle_of_its_body_leaves_nothing(server: HttpServer, name: str) -> None:
    with socket.create_connection((LOOPBACK, server.port), timeout=10) as connection:
        connection.sendall(HEAD + b"content-length: 5000\r\n\r\n" + b'{"session_id": "')
    with server.client() as client:
        assert post(client, event(name)).json()["position"] == 1


def test_1000_slow_and_1000_idle_connections_stop_nobody_else(system: System, name: str) -> None:
    server = HttpServer(system.directory / "crowded", system.environment)
    server.start()
    connections: list[socket.socket] = []
    try:
        for number in range(2_000):
            connection = socket.create_connection((LOOPBACK, server.port), timeout=10)
            connections.append(connection)
            if number % 2:
                connection.sendall(HEAD + b"content-length: 100\r\n\r\n{")
        waits = []
        with server.client() as client:
            for number in range(200):
                began = time.monotonic()
                assert post(client, event(name, f"e{number}")).status_code == 202
                waits.append(time.monotonic() - began)
            figures = httpx.get(f"{server.url}/metrics", trust_env=False).text
        assert float(figures.split("\nkato_tasks_http_connections ")[1].split("\n")[0]) >= 2_000
        assert sorted(waits)[100] < 0.25, sorted(waits)[-5:]
    finally:
        for connection in connections:
            connection.close()
        server.stop()


def test_more_connections_than_there_may_be_are_refused_and_the_others_go_on(system: System, name: str) -> None:
    server = HttpServer(system.directory / "few", system.environment, http_connections="10")
    server.start()
    try:
        with contextlib.ExitStack() as stack, server.client() as client:
            assert post(client, event(name, "e1")).status_code == 202
            for _ in range(9):
                stack.enter_context(contextlib.closing(socket.create_connection((LOOPBACK, server.port))))
            wait_until(lambda: status_of(told(server)) == 503, 10, "it is full")
            assert post(client, event(name, "e2")).status_code == 202
        wait_until(server.answers, 10, "there is room again")
    finally:
        server.stop()


def test_no_more_bytes_of_bodies_are_held_than_may_be_and_small_requests_go_on(system: System, name: str) -> None:
    server = HttpServer(system.directory / "held", system.environment, http_held_bytes="20000000")
    server.start()
    head = HEAD + b"content-length: 15000000\r\n\r\n["
    try:
        with server.client() as client, contextlib.ExitStack() as stack:
            first = stack.enter_context(socket.create_connection((LOOPBACK, server.port), timeout=10))
            first.sendall(head)
            wait_until(lambda: status_of(told(server, head)) == 503, 10, "it holds the first one")
            assert post(client, event(name, "e1")).status_code == 202
            first.close()
            big = json.dumps([event(name, "e2", "x" * 20_000)] * 700)
            headers = {"content-type": "application/json"}
            wait_until(
                lambda: client.post("/v1/events", content=big, headers=headers).status_code == 202,
                10,
                "there is room again",
            )
    finally:
        server.stop()


def bodies(seed: int) -> Iterator[tuple[bytes, bytes]]:
    """Bodies that hold no event: cut off, of other types, of random bytes, nested, with each field wrong."""
    chance = random.Random(seed)
    good = json.dumps([event("never", "e1", "x", metadata={"a": [1, {"b": None}]})]).encode()
    wrong: list[Any] = [None, 7, -1.5, "", "x" * 600, [], {}, True, {"a": 1}, "\x00", "'", [[]], 1e308, "é\ud800"]
    kinds = [b"application/json", b"application/x-ndjson", b"application/cloudevents+json", b"text/plain", b""]
    kinds += [b"application/cloudevents-batch+json", b"application/json; charset=latin-1"]
    while True:
        kind = chance.choice(kinds[:4] if chance.random() < 0.9 else kinds)
        match chance.randrange(5):
            case 0:
                body = good[: chance.randrange(len(good))]
            case 1:
                at = chance.randrange(len(good))
                body = good[:at] + bytes([chance.randrange(256)]) * chance.randrange(1, 4) + good[at:]
                if _would_be_read(body):
                    continue
            case 2:
                field = chance.choice(["session_id", "observation", "event_type", "event_id", "timestamp", "metadata"])
                bad = chance.choice(wrong)
                if (field, bad) in (("metadata", {}), ("metadata", None), ("metadata", {"a": 1})) or (
                    bad is None and field in ("event_id", "timestamp")
                ):
                    continue
                if field in ("session_id", "event_id") and isinstance(bad, str) and 0 < len(bad) < 512:
                    continue
                body = json.dumps({**event("never", "e2"), field: bad}).encode()
            case 3:
                body = chance.randbytes(chance.randrange(200))
            case _:
                body = chance.choice([b"[", b'{"a":']) * chance.randrange(1, 3000)
        yield kind, body


def _would_be_read(body: bytes) -> bool:
    try:
        json.loads(body)
    except (ValueError, UnicodeError):
        return False
    return True


@pytest.mark.heavy
@pytest.mark.timeout(600)
@pytest.mark.parametrize("count", [10_000, pytest.param(100_000, marks=pytest.mark.variant)])
def test_malformed_bodies_are_all_refused_and_nothing_is_appended_or_held(
    system: System, server: HttpServer, count: int
) -> None:
    system.empty()
    statuses: dict[int, int] = {}

    async def caller(seed: int, number: int) -> None:
        reader, writer = await asyncio.open_connection(LOOPBACK, server.port)
        made = bodies(seed)
        for _ in range(number):
            kind, body = next(made)
            head = b"POST /v1/events HTTP/1.1\r\nhost: localhost\r\n"
            head += b"content-type: %b\r\ncontent-length: %d\r\n\r\n" % (kind, len(body))
            writer.write(head + body)
            said = await reader.readuntil(b"\r\n\r\n")
            status = status_of(said)
            statuses[status] = statuses.get(status, 0) + 1
            lower = said.lower()
            length = int(lower.split(b"content-length: ")[1].split(b"\r\n")[0])
            await reader.readexactly(length)
            if b"connection: close" in lower:
                writer.close()
                reader, writer = await asyncio.open_connection(LOOPBACK, server.port)
        writer.close()

    async def load(number: int) -> None:
        await asyncio.gather(*(caller(seed, number) for seed in range(8)))

    asyncio.run(load(200))
    before = server.rss()
    asyncio.run(load(count // 8))
    assert set(statuses) <= {400, 413, 415, 422}, statuses
    assert sum(statuses.values()) == 8 * (200 + count // 8)
    assert server.rss() - before < 16_000_000
    assert list(system.redis.scan_iter("kt:{p*")) == []
