"""How an answer may be framed, and what else may come in its place: legal, unusual, or from a gateway."""

from __future__ import annotations

import errno
import gc
import gzip
import socket
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from kato_tasks.adapters.kato_http import resolving
from kato_tasks.adapters.kato_http.answer import Answer
from kato_tasks.adapters.kato_http.pool import HttpKato
from kato_tasks.errors import ConfigurationError, KatoUnavailable, OutcomeUnknown
from kato_tasks.ports.kato import KatoReply, KatoRequest
from kato_tasks.testing.services import LOOPBACK, free_port
from kato_tasks.testing.waiting import wait_until
from tests.contract.http.conftest import Client
from tests.contract.http.raw_server import OK, Peer, serving, well


def post(url: str) -> KatoRequest:
    return KatoRequest(url, "POST", "/sessions/s/observe-sequence", "observe-sequence", b"{}")


def always(*parts: bytes) -> Callable[[Peer], None]:
    """Answers each request with these parts, each in a segment of its own."""

    def behave(peer: Peer) -> None:
        while True:
            peer.request()
            for number, part in enumerate(parts):
                if number:
                    time.sleep(0.02)
                peer.answer(part)

    return behave


def once(*parts: bytes) -> Callable[[Peer], None]:
    """Answers one request, then closes."""

    def behave(peer: Peer) -> None:
        peer.request()
        for part in parts:
            peer.answer(part)

    return behave


# ------------------------------------------------------------------------------- 1xx

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
HINTS = b"HTTP/1.1 103 Early Hints\r\nlink: </style.css>\r\nretry-after: 9\r\n\r\n"


@pytest.mark.parametrize(
    "parts",
    [
        (CONTINUE + OK,),
        (CONTINUE, OK),
        (HINTS + OK,),
        (HINTS, CONTINUE, HINTS, OK),
        (CONTINUE + HINTS + CONTINUE + OK[:30], OK[30:]),
        (CONTINUE[:10], CONTINUE[10:] + HINTS[:30], HINTS[30:] + OK),
    ],
)
def test_interim_answers_before_the_final_one_are_skipped(kato: Client, parts: tuple[bytes, ...]) -> None:
    with serving(always(*parts)) as server:
        for _ in range(3):
            assert kato.send(post(server.url)) == KatoReply(200, b'{"ok":true}', None)
        assert server.connections == 1


def test_an_interim_answer_alone_is_none(kato: Client) -> None:
    with serving(once(HINTS)) as server, pytest.raises(OutcomeUnknown, match="no answer"):
        kato.send(post(server.url))


SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\n"


@pytest.mark.parametrize(
    "head", [SWITCHED, SWITCHED + b"PRI * HTTP/2.0\r\n\r\n", SWITCHED + OK, b"HTTP/1.1 101 Well\r\n\r\n" + OK]
)
def test_a_change_of_protocol_ends_its_own_call_as_unknown(kato: Client, head: bytes) -> None:
    """httptools tells it by an exception that is none of its HttpParserErrors."""

    def behave(peer: Peer) -> None:
        peer.request()
        peer.answer(head)
        peer.sock.recv(1)

    with serving(behave) as server, serving(well) as other:
        calls = kato.calls()
        calls.begin(post(server.url), "switched")
        calls.begin(post(other.url), "well")
        ended = {}
        while len(calls):
            for tag, reply, error in calls.wait():
                ended[tag] = reply or error
        calls.close()
        assert isinstance(ended["switched"], OutcomeUnknown)
        assert ended["well"] == KatoReply(200, b'{"ok":true}')
        wait_until(lambda: server.open == 0, 5)


# ------------------------------------------------------------------------------- the end of the connection


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.0 200 OK\r\ncontent-type: application/json\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n",
        CONTINUE + b"HTTP/1.1 200 OK\r\n\r\n",
    ],
)
def test_a_body_that_ends_with_the_connection_is_whole(kato: Client, head: bytes) -> None:
    """HTTP/1.0, and what an old proxy makes of HTTP/1.1. Falls without `ended_with_the_connection`."""
    with serving(once(head, b'{"ok":', b"true}")) as server:
        for number in range(1, 4):
            assert kato.send(post(server.url)) == KatoReply(200, b'{"ok":true}')
            assert server.connections == number


def test_a_body_of_http_1_0_with_its_length_is_whole(kato: Client) -> None:
    with serving(once(b"HTTP/1.0 200 OK\r\ncontent-length: 11\r\n\r\n", b'{"ok":true}')) as server:
        assert kato.send(post(server.url)) == KatoReply(200, b'{"ok":true}')


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_a_connection_is_not_used_again_after_an_error_of_the_server(kato: Client, status: int) -> None:
    """KATO closes after an unhandled 500 without saying so: a request written in that instant would be unknown."""
    with serving(always(b"HTTP/1.1 %d No\r\ncontent-length: 2\r\n\r\nno" % status)) as server:
        for number in range(1, 4):
            assert kato.send(post(server.url)) == KatoReply(status, b"no")
            assert server.connections == number


def test_more_than_was_asked_for_is_never_the_next_calls_answer(kato: Client) -> None:
    wrong = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nwrong"
    with serving(always(OK + wrong)) as server:
        for number in range(1, 4):
            assert kato.send(post(server.url)).body == b'{"ok":true}'
            assert server.connections == number


# ------------------------------------------------------------------------------- what a head says


def test_a_reply_says_what_answered_and_where_a_redirect_leads(kato: Client) -> None:
    head = b"HTTP/1.1 301 Moved\r\nServer: gateway\r\nLocation: http://u:secret@kato:9/x\r\nContent-Type: text/html\r\n"
    with serving(always(head + b"content-length: 0\r\n\r\n")) as server:
        reply = kato.send(post(server.url))
    assert (reply.status, reply.server, reply.content_type) == (301, "gateway", "text/html")
    assert reply.location == "http://kato:9/x"


@pytest.mark.parametrize(
    ("name", "encode"),
    [
        (b"gzip", gzip.compress),
        (b"x-gzip", gzip.compress),
        (b"deflate", zlib.compress),
        (b"identity", bytes),
        (b"deflate, gzip", lambda body: gzip.compress(zlib.compress(body))),
    ],
)
def test_an_answer_that_was_compressed_unasked_is_read(
    kato: Client, name: bytes, encode: Callable[[bytes], bytes]
) -> None:
    body = encode(b'{"ok":true}')
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: %s\r\ncontent-length: %d\r\n\r\n" % (name, len(body))
    with serving(always(head + body)) as server:
        assert kato.send(post(server.url)) == KatoReply(200, b'{"ok":true}')


@pytest.mark.parametrize(
    ("name", "body", "reason"),
    [
        (b"br", b"\x0b\x05\x80", "encoded as br"),
        (b"gzip", b'{"ok":true}', "decompressed"),
        (b"gzip", gzip.compress(b'{"ok":true}', mtime=0)[:-9], "ends too early"),
    ],
)
def test_an_answer_that_cannot_be_decoded_is_none(kato: Client, name: bytes, body: bytes, reason: str) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: %s\r\ncontent-length: %d\r\n\r\n" % (name, len(body))
    with serving(always(head + body)) as server, pytest.raises(OutcomeUnknown, match=reason):
        kato.send(post(server.url))


@pytest.mark.parametrize("zipped", [False, True])
def test_an_answer_that_is_too_large_is_given_up_and_says_so(kato: Client, zipped: bool) -> None:
    """Falls when the limit of the request is not looked at: an answer of any size would be kept whole."""
    body = b"x" * 200_000
    head = b"HTTP/1.1 200 OK\r\n"
    if zipped:
        body, head = gzip.compress(body), head + b"content-encoding: gzip\r\n"
    head += b"content-length: %d\r\n\r\n" % len(body)
    with serving(always(head, body)) as server, pytest.raises(OutcomeUnknown, match="larger than"):
        kato.send(replace(post(server.url), most_bytes=100_000))


# ------------------------------------------------------------------------------- names and addresses


@contextmanager
def slow_dns(monkeypatch: pytest.MonkeyPatch, host: str, address: str) -> Iterator[threading.Event]:
    """A name whose look-up takes until the event is set."""
    go_on = threading.Event()
    real = socket.getaddrinfo

    def slow(asked: str, port: int, *rest: object, **more: object) -> object:
        if asked in (host, host.encode()):
            go_on.wait(20)
            asked = address
        return real(asked, port, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    try:
        yield go_on
    finally:
        go_on.set()


def test_a_slow_look_up_of_one_name_holds_up_no_other_call(kato: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Falls when `Origin.addresses` asks the resolver itself instead of a thread."""
    with serving(well) as server, slow_dns(monkeypatch, "slow.example", LOOPBACK) as go_on:
        calls = kato.calls()
        calls.begin(post(f"http://slow.example:{server.port}"), "slow")
        begun = time.monotonic()
        for _ in range(3):
            calls.begin(post(server.url), "quick")
            assert [(tag, error) for tag, _, error in calls.wait()] == [("quick", None)]
        assert time.monotonic() - begun < 0.9
        go_on.set()
        assert [(tag, error) for tag, _, error in calls.wait()] == [("slow", None)]
        calls.close()


def test_a_name_that_is_not_resolved_in_time_means_never_sent(kato: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(well) as server, slow_dns(monkeypatch, "slow.example", LOOPBACK) as go_on:
        begun = time.monotonic()
        with pytest.raises(KatoUnavailable):
            kato.send(post(f"http://slow.example:{server.port}"))
        assert time.monotonic() - begun < 4
        go_on.set()
        wait_until(lambda: kato.send(post(f"http://slow.example:{server.port}")).status == 200, 5)


def test_a_name_is_looked_up_once_for_all_connections_of_some_seconds(
    fast: HttpKato, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A detail of the fast client: httpx asks for each connection."""
    asked = []
    real = socket.getaddrinfo

    def counted(host: str, port: int, *rest: object, **more: object) -> object:
        asked.append(host)
        return real(LOOPBACK, port, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "getaddrinfo", counted)
    with serving(once(OK.replace(b"\r\n", b"\r\nconnection: close\r\n", 1))) as server:
        for _ in range(10):
            assert fast.send(post(f"http://kato.example:{server.port}")).status == 200
        assert server.connections == 10
        assert len(asked) == 1
        monkeypatch.setattr(resolving, "FRESH_SECONDS", 0.0)
        fast.send(post(f"http://kato.example:{server.port}"))
        assert len(asked) == 2


def test_an_international_name_is_asked_for_as_dns_writes_it(kato: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    heads: list[bytes] = []
    real = socket.getaddrinfo

    def noted(host: object, port: int, *rest: object, **more: object) -> object:
        asked.append(host)
        return real(LOOPBACK, port, *rest, **more)  # type: ignore[arg-type]

    def behave(peer: Peer) -> None:
        heads.append(peer.sock.recv(65_536))
        peer.answer()

    monkeypatch.setattr(socket, "getaddrinfo", noted)
    with serving(behave) as server:
        assert kato.send(post(f"http://straße.example:{server.port}")).status == 200
    assert set(asked) <= {"xn--strae-oqa.example", b"xn--strae-oqa.example"}
    assert f"host: xn--strae-oqa.example:{server.port}\r\n".encode() in heads[0].lower()


@pytest.mark.parametrize(
    "url",
    [
        *("http://h:99999", "http://h:port", "http://h:0", "http://", "http://h /", "http://h/ü", "ftp://h"),
        *("http://[::1", "http://h?x=1", "http://\u2028", "http://a b", "http://" + "ü" * 80),
    ],
)
def test_an_address_that_cannot_work_is_a_wrong_setting(kato: Client, url: str) -> None:
    with pytest.raises(ConfigurationError, match="KATO_URLS"):
        kato.send(post(url))


def test_without_a_free_descriptor_nothing_was_sent_and_nothing_leaks(
    kato: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(well) as server:
        real = socket.socket

        def full(*args: object, **named: object) -> object:
            raise OSError(errno.EMFILE, "Too many open files")

        with monkeypatch.context() as patch:
            patch.setattr(socket, "socket", full)
            for _ in range(20):
                with pytest.raises(KatoUnavailable, match="Too many open files"):
                    kato.send(post(server.url))
        assert socket.socket is real
        assert kato.send(post(server.url)).status == 200


# ------------------------------------------------------------------------------- memory


def test_a_call_that_ended_leaves_nothing_for_the_garbage_collector(fast: HttpKato) -> None:
    """The parser and what it reports to refer to each other. Falls without `answer.parser = None`."""

    with serving(well) as server:
        fast.send(post(server.url))
        gc.collect()
        gc.disable()
        try:
            for _ in range(5):
                fast.send(post(server.url))
            left = [found for found in gc.get_objects() if isinstance(found, Answer)]
        finally:
            gc.enable()
        assert left == []


def test_an_unreachable_port_among_reachable_calls_ends_alone(kato: Client) -> None:
    with serving(well) as server:
        calls = kato.calls()
        calls.begin(post(f"http://{LOOPBACK}:{free_port()}"), "nobody")
        calls.begin(post("http://h:99999"), "nowhere")
        calls.begin(post(server.url), "well")
        ended: dict[object, object] = {}
        while len(calls):
            ended |= {tag: type(error) for tag, _, error in calls.wait()}
        calls.close()
        assert ended == {"nobody": KatoUnavailable, "nowhere": ConfigurationError, "well": type(None)}
