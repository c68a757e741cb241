"""Behind a gateway that asks for credentials: they are sent, and stand nowhere else."""

from __future__ import annotations

import base64
import json
import logging
import socket
from collections.abc import Callable, Iterator

import pytest
import redis

from kato_tasks import app
from kato_tasks.bootstrap import Runtime, runtime
from kato_tasks.testing.services import LOOPBACK, free_port
from kato_tasks.testing.waiting import wait_until
from tests.gateway import Gateway, Received, Rule
from tests.integration.cli.running import Cli, append, drain, stm

SECRET = "Zq7-planted-secret"
BASIC = "Basic " + base64.b64encode(f"me:{SECRET}".encode()).decode()


class Guarded(Gateway):
    """Lets those pass who say what it wants to hear."""

    wanted: tuple[str, str] = ("", "")

    def _handle(self, sock: socket.socket, call: Received) -> bool:
        name, value = self.wanted
        if call.headers.get(name) != value:
            sock.sendall(b"HTTP/1.1 401 Unauthorized\r\nserver: gateway\r\ncontent-length: 0\r\n\r\n")
            return True
        return super()._handle(sock, call)


@pytest.fixture
def gateway(kato_url: str) -> Iterator[Guarded]:
    with Guarded(kato_url) as gateway:
        yield gateway


def set_up(way: str, gateway: Guarded, transport: str) -> dict[str, str]:
    """Settings of this way to authorize; the gateway wants just that."""
    there = f"{LOOPBACK}:{gateway.port}"
    if way == "user":
        gateway.wanted = ("authorization", BASIC)
        return {"KATO_URLS": f"http://me:{SECRET}@{there}", "KATO_TRANSPORT": transport}
    if way == "token":
        gateway.wanted = ("authorization", f"Bearer {SECRET}")
        return {"KATO_URLS": f"http://{there}", "KATO_TOKEN": SECRET, "KATO_TRANSPORT": transport}
    gateway.wanted = ("x-api-key", SECRET)
    headers = json.dumps({"X-Api-Key": SECRET})
    return {"KATO_URLS": f"http://{there}", "KATO_HEADERS": headers, "KATO_TRANSPORT": transport}


def dump_of(store: redis.Redis) -> str:
    """Every key and everything in it."""
    found: list[object] = []
    for key in store.scan_iter(count=5_000):
        read: dict[str, Callable[[str], object]] = {
            "string": store.get,
            "hash": store.hgetall,
            "list": lambda key: store.lrange(key, 0, -1),
            "set": store.smembers,
            "zset": lambda key: store.zrange(key, 0, -1, withscores=True),
            "none": lambda _: "expired since it was listed",
        }
        found.append((key, read[str(store.type(key))](key)))
    return repr(found)


@pytest.mark.parametrize(
    ("way", "transport"),
    [
        ("user", "fast"),
        ("token", "httpx"),
        ("headers", "fast"),
        pytest.param("user", "httpx", marks=pytest.mark.variant),
        pytest.param("token", "fast", marks=pytest.mark.variant),
        pytest.param("headers", "httpx", marks=pytest.mark.variant),
    ],
)
def test_credentials_are_sent_and_stand_in_no_key_error_log_or_output(
    way: str,
    transport: str,
    cli: Cli,
    live: Runtime,
    gateway: Guarded,
    kato_url: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Falls when an instance is called by its whole address, or when a header's value gets into a sentence."""
    caplog.set_level(logging.DEBUG)
    cli.settings |= {**set_up(way, gateway, transport), "BREAKER_FAILURES": "2", "BACKOFF_BASE_SECONDS": "0.01"}
    for name, value in cli.settings.items():
        monkeypatch.setenv(f"KATO_TASKS_{name}", value)
    app.close()
    rt = runtime()
    seen = []

    def look() -> None:
        for words in (
            ["status"],
            ["status", "--json"],
            ["config"],
            ["config", "--json"],
            ["sessions", "list"],
            ["sessions", "show", "x"],
            ["sessions", "show", "x", "--json"],
            ["dead-letters", "list", "--json"],
        ):
            ran = cli(*words)
            seen.extend([ran.out, ran.err])
        seen.append(dump_of(rt.redis))

    append(rt, "x", "a", "b")
    drain(rt)
    shown = cli("sessions", "show", "x", "--json").json
    assert stm(kato_url, shown) == [["a"], ["b"]], "the gateway let it pass"
    look()

    wanted, gateway.wanted = gateway.wanted, ("authorization", "another")
    append(rt, "x", "c", first=3)
    for _ in range(4):
        drain(rt)
        look()
    gateway.wanted = wanted

    gateway.rules([Rule(status=302, headers={"location": f"http://me:{SECRET}@elsewhere/"})])
    drain(rt)
    look()
    gateway.clear()
    gateway.stop()
    append(rt, "y", "a")
    for _ in range(4):
        drain(rt)
        look()
    gateway.start()

    def applied() -> bool:
        drain(rt)
        return bool(cli("sessions", "show", "x", "--json").json["cursor"] == 3)

    wait_until(applied, 30)
    look()
    everything = "\n".join([*seen, caplog.text, *(repr(record.__dict__) for record in caplog.records)])
    for secret in (SECRET, BASIC.removeprefix("Basic ")):
        assert secret not in everything


@pytest.mark.parametrize("url", [f"http://me:{SECRET}@{LOOPBACK}:99999", f"http://me:{SECRET}@ü ü"])
def test_a_command_refuses_an_address_that_cannot_work_and_does_not_repeat_the_password(cli: Cli, url: str) -> None:
    ran = cli("status", KATO_URLS=url)
    assert ran.code != 0
    assert "KATO_TASKS_KATO_URLS" in ran.err
    assert SECRET not in ran.out + ran.err
    assert "Traceback" not in ran.err


def test_a_refused_connection_is_told_without_the_password(cli: Cli) -> None:
    ran = cli("status", "--json", KATO_URLS=f"http://me:{SECRET}@{LOOPBACK}:{free_port()}")
    assert "cannot be reached" in ran.out
    assert SECRET not in ran.out + ran.err
