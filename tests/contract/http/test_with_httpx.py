"""What only the client on httpx knows: proxies of the environment. And what it must not take over from httpx."""

from __future__ import annotations

import logging
import socket
import threading

import pytest

from kato_tasks.adapters.kato_http.httpx_pool import HttpxKato
from kato_tasks.errors import KatoUnavailable, OutcomeUnknown
from kato_tasks.ports.kato import KatoRequest
from kato_tasks.testing.services import LOOPBACK
from kato_tasks.testing.waiting import wait_until
from tests.contract.http.raw_server import OK, Peer, serving, well


def post(url: str) -> KatoRequest:
    return KatoRequest(url, "POST", "/sessions/s/learn", "learn", b"{}")


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def test_a_proxy_of_the_environment_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(well) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        kato = HttpxKato()
        assert kato.send(post("http://kato.invalid:8000/base")).status == 200
        assert proxy.requests == [("POST http://kato.invalid:8000/base/sessions/s/learn HTTP/1.1", b"{}")]
        kato.close()


def test_a_proxy_that_refuses_the_tunnel_means_never_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """The CONNECT is a request too, and none of ours. Falls when `_trace` takes it for one."""

    def refuse(peer: Peer) -> None:
        peer.request()
        peer.answer(b"HTTP/1.1 407 No\r\ncontent-length: 0\r\n\r\n")

    with serving(refuse) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        kato = HttpxKato()
        with pytest.raises(KatoUnavailable):
            kato.send(post("https://kato.invalid"))
        assert proxy.requests[0][0] == "CONNECT kato.invalid:443 HTTP/1.1"
        kato.close()


def test_a_proxy_that_breaks_after_the_tunnel_means_never_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    def tunnel_to_nowhere(peer: Peer) -> None:
        peer.request()
        peer.answer(b"HTTP/1.1 200 Connected\r\n\r\n")

    with serving(tunnel_to_nowhere) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        kato = HttpxKato()
        with pytest.raises(KatoUnavailable):
            kato.send(post("https://kato.invalid"))
        kato.close()


def test_a_proxy_that_breaks_after_the_request_means_that_nobody_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    def drop(peer: Peer) -> None:
        peer.request()

    with serving(drop) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        kato = HttpxKato()
        with pytest.raises(OutcomeUnknown):
            kato.send(post("http://kato.invalid"))
        assert len(proxy.requests) == 1
        kato.close()


def test_no_cookie_of_a_gateway_is_kept_and_no_redirect_is_followed(caplog: pytest.LogCaptureFixture) -> None:
    heads = []

    def stick(peer: Peer) -> None:
        while True:
            heads.append(peer.sock.recv(65_536))
            peer.answer(
                b"HTTP/1.1 302 There\r\nlocation: http://elsewhere.invalid/\r\nset-cookie: a=b; Path=/\r\n"
                b"content-length: 0\r\n\r\n"
            )

    caplog.set_level(logging.INFO)
    with serving(stick) as server:
        kato = HttpxKato()
        for _ in range(2):
            reply = kato.send(post(server.url))
            assert (reply.status, reply.location) == (302, "http://elsewhere.invalid/")
        kato.close()
    assert b"cookie" not in b"".join(heads).lower()
    assert caplog.records == [], "httpx tells of each request at INFO"


def test_a_call_that_is_given_up_before_it_could_be_sent_is_not_sent_afterwards(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The caller was told "never sent". Falls when `_may_send` does not look whether the call is over."""
    go_on, ended = threading.Event(), threading.Event()
    real = socket.getaddrinfo

    def slow(host: str, port: int, *rest: object, **more: object) -> object:
        if host in ("slow.example", b"slow.example"):
            go_on.wait(20)
            ended.set()
            host = LOOPBACK
        return real(host, port, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    with serving(well) as server:
        kato = HttpxKato(connect_timeout_seconds=0.2)
        with pytest.raises(KatoUnavailable):
            kato.send(post(f"http://slow.example:{server.port}"))
        assert kato.in_use == 1, "its thread still looks the name up"
        go_on.set()
        wait_until(lambda: kato.in_use == 0, 5)
        assert server.connections == 1
        assert server.requests == []
        kato.close()


def test_an_answer_is_read_once_more_than_httpx_would(monkeypatch: pytest.MonkeyPatch) -> None:
    """h11 keeps what came too early for the next call. Falls without `_left_over`."""

    def chatty(peer: Peer) -> None:
        while True:
            peer.request()
            peer.answer(OK + b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nwrong")

    with serving(chatty) as server:
        kato = HttpxKato()
        for number in range(1, 4):
            assert kato.send(post(server.url)).body == b'{"ok":true}'
            assert server.connections == number
        kato.close()
