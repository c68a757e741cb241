"""What becomes of a connection after an answer."""

import socket
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import pytest

from kato_tasks.adapters.kato_http.httpx_pool import HttpxKato
from kato_tasks.adapters.kato_http.pool import HttpKato
from kato_tasks.ports.kato import KatoRequest
from tests.contract.kato.client import KatoSession

FAILS = b'{"config":null}'
"""A change that KATO chokes on, which changes nothing."""


def test_after_an_error_of_its_own_kato_closes_the_connection_without_a_word(session: KatoSession) -> None:
    url = urlsplit(str(session.http.base_url))
    assert url.hostname is not None
    head = f"POST /sessions/{session.id}/config HTTP/1.1\r\nHost: kato\r\nContent-Length: {len(FAILS)}\r\n\r\n"
    with socket.create_connection((url.hostname, url.port or 80), timeout=60) as connection:
        connection.sendall(head.encode() + FAILS)
        connection.settimeout(4)  # KATO keeps an idle connection for 5 s
        told = b""
        while got := connection.recv(65536):
            told += got
    headers, _, body = told.lower().partition(b"\r\n\r\n")
    assert headers.startswith(b"http/1.1 500 ")
    assert b"\r\nconnection:" not in headers
    assert body == b"internal server error"


@pytest.mark.parametrize("opens", [HttpKato, HttpxKato])
def test_the_call_right_after_an_error_is_not_written_into_a_connection_that_closes(
    session: KatoSession, opens: Callable[..., Any]
) -> None:
    url = str(session.http.base_url).rstrip("/")
    path = f"/sessions/{session.id}"
    failing = KatoRequest(url, "POST", f"{path}/config", "config", FAILS)
    observing = KatoRequest(url, "POST", f"{path}/observe", "observe", b'{"strings":["a"]}')
    client = opens(connections=1, timeout_seconds=60.0)
    try:
        for _ in range(10):
            assert client.send(failing).status == 500
            assert client.send(observing).status == 200
    finally:
        client.close()
    assert session.time() == 10
