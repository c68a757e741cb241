"""The client of KATO: never sent, or may have been applied? Nothing hangs on anything else.

Each test is one way in which a server, or the way to it, can fail.
"""

from __future__ import annotations

import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest

from kato_tasks.adapters.kato_http import pool as client_module
from kato_tasks.adapters.kato_http.access import Access
from kato_tasks.adapters.kato_http.pool import HttpKato
from kato_tasks.errors import ConfigurationError, KatoUnavailable, LeaseLost, OutcomeUnknown
from kato_tasks.ports.kato import KatoReply, KatoRequest
from kato_tasks.testing.services import LOOPBACK, free_port
from kato_tasks.testing.waiting import wait_until
from tests.contract.http.conftest import Client, Opens
from tests.contract.http.raw_server import OK, Peer, RawServer, serving, well


def post(url: str, body: bytes = b"{}", path: str = "/sessions/s/observe-sequence") -> KatoRequest:
    return KatoRequest(url, "POST", path, "observe-sequence", body)


def get(url: str) -> KatoRequest:
    return KatoRequest(url, "GET", "/sessions/s/stm", "stm")


# ------------------------------------------------------------------------------- what goes well


def test_a_call_gets_its_status_and_body(kato: Client) -> None:
    with serving(well) as server:
        assert kato.send(post(server.url, b'{"a":1}')) == KatoReply(200, b'{"ok":true}')
        assert server.requests == [("POST /sessions/s/observe-sequence HTTP/1.1", b'{"a":1}')]


def test_calls_one_after_the_other_share_a_connection(kato: Client) -> None:
    with serving(well) as server:
        for _ in range(20):
            kato.send(post(server.url))
        assert server.connections == 1


def test_an_answer_in_chunks_is_put_together(kato: Client) -> None:
    def chunks(peer: Peer) -> None:
        while True:
            peer.request()
            peer.answer(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
            for part in (b"one ", b"two ", b"three"):
                peer.answer(b"%x\r\n%s\r\n" % (len(part), part))
            peer.answer(b"0\r\n\r\n")

    with serving(chunks) as server:
        assert kato.send(get(server.url)).body == b"one two three"
        assert kato.send(get(server.url)).body == b"one two three"
        assert server.connections == 1


def test_a_body_that_drips_in_is_waited_for(kato: Client) -> None:
    def drip(peer: Peer) -> None:
        peer.request()
        for i in range(len(OK)):
            peer.answer(OK[i : i + 1])
            time.sleep(0.002)

    with serving(drip) as server:
        assert kato.send(post(server.url)).body == b'{"ok":true}'


def test_a_large_body_goes_both_ways(kato: Client) -> None:
    large = b"x" * 8_000_000

    def echo(peer: Peer) -> None:
        time.sleep(0.1)  # its buffers fill first
        _, body = peer.request()
        peer.answer(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body))
        peer.answer(body)

    with serving(echo) as server:
        assert kato.send(post(server.url, large)).body == large


@pytest.mark.parametrize("status", [400, 404, 422, 500])
def test_an_error_status_is_an_answer(kato: Client, status: int) -> None:
    def refuse(peer: Peer) -> None:
        peer.request()
        peer.answer(b"HTTP/1.1 %d No\r\ncontent-length: 2\r\n\r\nno" % status)

    with serving(refuse) as server:
        assert kato.send(post(server.url)) == KatoReply(status, b"no")


def test_503_carries_its_retry_after_and_its_connection_is_not_used_again(kato: Client) -> None:
    def full(peer: Peer) -> None:
        peer.request()
        peer.answer(b"HTTP/1.1 503 No\r\nretry-after: 7\r\nconnection: close\r\ncontent-length: 19\r\n\r\n")
        peer.answer(b"Service Unavailable")

    with serving(full) as server:
        for _ in range(2):
            assert kato.send(post(server.url)) == KatoReply(503, b"Service Unavailable", 7.0)
        assert server.connections == 2


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (lambda: "7", 7.0),
        (lambda: "1.5", 1.5),
        (lambda: "-3", 0.0),
        (lambda: formatdate(time.time() + 90, usegmt=True), 90.0),
        (lambda: "Wed, 21 Oct 2015 07:28:00 GMT", 0.0),
        (lambda: "soon", None),
        (lambda: "inf", None),
        (lambda: "nan", None),
        (lambda: "", None),
    ],
)
def test_a_retry_after_is_seconds_or_a_date(kato: Client, header: Callable[[], str], seconds: float | None) -> None:
    def full(peer: Peer) -> None:
        peer.request()
        peer.answer(b"HTTP/1.1 503 No\r\nRetry-After: %s\r\ncontent-length: 0\r\n\r\n" % header().encode())

    with serving(full) as server:
        assert kato.send(post(server.url)).retry_after == (seconds and pytest.approx(seconds, abs=5))


# ------------------------------------------------------------------------------- never sent


def test_a_refused_connection_means_never_sent(kato: Client) -> None:
    with pytest.raises(KatoUnavailable, match="cannot be reached"):
        kato.send(post(f"http://{LOOPBACK}:{free_port()}"))


def test_a_name_that_cannot_be_resolved_means_never_sent(kato: Client) -> None:
    with pytest.raises(KatoUnavailable, match="resolved"):
        kato.send(post("http://no-such-host.invalid:1"))


def test_an_address_that_is_none_is_a_wrong_setting_and_costs_no_connection(kato: Client) -> None:
    for _ in range(20):
        with pytest.raises(ConfigurationError, match="KATO_URLS"):
            kato.send(post("kato:8000"))
    assert kato.in_use == 0


def test_a_host_that_never_accepts_means_never_sent_and_soon(kato: Client) -> None:
    """The whole patience of a call is not for connecting. Falls without the connect timeout."""
    with socket.socket() as listener:
        listener.bind((LOOPBACK, 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        fillers = []
        try:
            for _ in range(4):  # fill its queue: further attempts are left unanswered
                filler = socket.socket()
                filler.setblocking(False)
                filler.connect_ex((LOOPBACK, port))
                fillers.append(filler)
            begun = time.monotonic()
            with pytest.raises(KatoUnavailable):
                kato.send(post(f"http://{LOOPBACK}:{port}"))
            assert time.monotonic() - begun < 4.0
        finally:
            for filler in fillers:
                filler.close()


def test_a_connection_that_the_server_closed_while_idle_is_replaced_not_unknown(kato: Client) -> None:
    """Falls when take() uses an idle connection without asking `stale`."""

    def once(peer: Peer) -> None:
        peer.request()
        peer.answer()

    with serving(once) as server:
        for number in range(1, 6):
            assert kato.send(post(server.url)).status == 200
            wait_until(lambda: server.open == 0, 5)
            assert server.connections == number
        assert len(server.requests) == 5


def test_a_connection_that_the_server_reset_while_idle_is_replaced_too(kato: Client) -> None:
    def once(peer: Peer) -> None:
        peer.request()
        peer.answer()
        if peer.number == 1:
            peer.reset()

    with serving(once) as server:
        kato.send(post(server.url))
        wait_until(lambda: server.open == 0, 5)
        assert kato.send(post(server.url)).status == 200


def test_a_connection_with_bytes_that_nobody_asked_for_is_not_used_again(kato: Client) -> None:
    sent = threading.Event()

    def chatter(peer: Peer) -> None:
        peer.request()
        peer.answer()
        if peer.number == 1:
            peer.answer(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nwrong")
            sent.set()
            peer.request()

    with serving(chatter) as server:
        kato.send(post(server.url))
        assert sent.wait(5)
        time.sleep(0.05)
        assert kato.send(post(server.url)).body == b'{"ok":true}'
        assert server.connections == 2


def test_an_idle_connection_is_not_kept_as_long_as_katos_own_five_seconds(
    kato: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert client_module.KEEPALIVE_SECONDS < 5.0
    monkeypatch.setattr(client_module, "KEEPALIVE_SECONDS", 0.05)
    with serving(well) as server:
        kato.send(post(server.url))
        time.sleep(0.1)
        kato.send(post(server.url))
        assert server.connections == 2


# ------------------------------------------------------------------------------- may have been applied

HALF = OK[: len(OK) // 2]
BREAKS: dict[str, Callable[[Peer], None]] = {
    "closed without an answer": lambda peer: None,
    "reset without an answer": lambda peer: peer.reset(),
    "closed inside the head": lambda peer: peer.answer(HALF),
    "closed inside the body": lambda peer: peer.answer(OK[:-3]),
    "closed inside a chunk": lambda peer: peer.answer(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nab"),
    "closed before the last chunk": lambda peer: peer.answer(
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n"
    ),
    "garbage": lambda peer: peer.answer(b"\x00\x01\x02 this is no HTTP at all\r\n\r\n"),
    "another protocol": lambda peer: peer.answer(b"SSH-2.0-OpenSSH_9.2\r\n"),
    "a length that is no number": lambda peer: peer.answer(b"HTTP/1.1 200 OK\r\ncontent-length: many\r\n\r\nab"),
}


@pytest.mark.parametrize("how", BREAKS)
@pytest.mark.parametrize("reused", [False, True])
def test_after_sending_every_break_means_that_nobody_knows(kato: Client, how: str, reused: bool) -> None:
    """Invariant 3. Falls when `failure` in wire.py answers KatoUnavailable though `_sent` is set."""

    def behave(peer: Peer) -> None:
        if reused:
            peer.request()
            peer.answer()
        peer.request()
        BREAKS[how](peer)

    with serving(behave) as server:
        if reused:
            kato.send(post(server.url))
        with pytest.raises(OutcomeUnknown, match="observe-sequence"):
            kato.send(post(server.url))


@pytest.mark.parametrize("sent", [b"", HALF, OK[:-1]])
def test_an_answer_that_does_not_come_in_time_means_that_nobody_knows(make: Opens, sent: bytes) -> None:
    kato = make(timeout_seconds=0.3)
    hold = threading.Event()

    def hang(peer: Peer) -> None:
        peer.request()
        peer.answer(sent)
        hold.wait(10)

    with serving(hang) as server:
        begun = time.monotonic()
        with pytest.raises(OutcomeUnknown, match="timed out"):
            kato.send(post(server.url))
        assert 0.25 < time.monotonic() - begun < 3
        hold.set()
        # Nothing of the late answer may reach the next call.
        hold.clear()
        with pytest.raises(OutcomeUnknown):
            kato.send(post(server.url))
        assert server.connections == 2
        hold.set()
    kato.close()


def test_a_body_that_drips_for_ever_is_given_up_in_time(make: Opens) -> None:
    kato = make(timeout_seconds=0.5)

    def drip(peer: Peer) -> None:
        peer.request()
        peer.answer(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n")
        for _ in range(2_000):
            peer.answer(b"x")
            time.sleep(0.01)

    with serving(drip) as server:
        begun = time.monotonic()
        with pytest.raises(OutcomeUnknown, match="timed out"):
            kato.send(post(server.url))
        assert time.monotonic() - begun < 3
    kato.close()


def test_a_server_that_reads_half_of_a_body_and_closes_means_that_nobody_knows(kato: Client) -> None:
    def half(peer: Peer) -> None:
        peer.sock.recv(1_000)
        peer.reset()

    with serving(half) as server, pytest.raises(OutcomeUnknown):
        kato.send(post(server.url, b"x" * 20_000_000))


# ------------------------------------------------------------------------------- many at once


def test_a_hundred_calls_overlap_on_no_more_connections_than_allowed(make: Opens) -> None:
    kato = make(connections=7)
    together = threading.Semaphore(0)

    def slow(peer: Peer) -> None:
        while True:
            _, body = peer.request()
            time.sleep(0.01)
            peer.answer(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
            together.release()

    with serving(slow) as server:
        calls = kato.calls()
        for i in range(100):
            calls.begin(post(server.url, str(i).encode()), i)
        assert len(calls) == 100
        got: dict[int, bytes] = {}
        while len(calls):
            for tag, reply, error in calls.wait():
                assert error is None
                assert reply is not None
                got[tag] = reply.body
        calls.close()
        assert got == {i: str(i).encode() for i in range(100)}
        assert server.most_open == 7
        assert server.connections == 7
    kato.close()


def test_a_call_that_fails_leaves_the_others_alone(kato: Client) -> None:
    def some(peer: Peer) -> None:
        while True:
            _, body = peer.request()
            if int(body) % 5 == 0:
                return
            peer.answer()

    with serving(some) as server:
        calls = kato.calls()
        for i in range(40):
            calls.begin(post(server.url, str(i).encode()), i)
        ends: dict[int, type] = {}
        while len(calls):
            for tag, _, error in calls.wait():
                ends[tag] = type(error)
        calls.close()
        assert ends == {i: OutcomeUnknown if i % 5 == 0 else type(None) for i in range(40)}
        assert len(server.requests) == 40, "nothing was sent twice"


def test_threads_share_the_connections(kato: Client) -> None:
    with serving(well) as server, ThreadPoolExecutor(16) as pool:
        replies = list(pool.map(lambda i: kato.send(post(server.url, b"%d" % i)).status, range(300)))
        assert replies == [200] * 300
        assert len(server.requests) == 300
        assert server.most_open <= 8


def test_calls_to_several_instances_go_to_the_right_ones(kato: Client) -> None:
    with serving(well) as one, serving(well) as two:
        calls = kato.calls()
        for i in range(20):
            calls.begin(post((one, two)[i % 2].url, b"%d" % (i % 2)), i)
        while len(calls):
            assert all(error is None for _, _, error in calls.wait())
        calls.close()
        assert {body for _, body in one.requests} == {b"0"}
        assert {body for _, body in two.requests} == {b"1"}


def hang(peer: Peer) -> None:
    """Take every request and never answer."""
    while True:
        peer.request()


def test_an_instance_that_hangs_takes_no_connection_of_another(kato: Client) -> None:
    """Falls when the limit counts all connections together."""
    with serving(hang) as slow, serving(well) as quick:
        calls = kato.calls()
        for i in range(40):
            calls.begin(post(slow.url), i)
        calls.wait(0.1)
        other = kato.calls()
        for i in range(20):
            other.begin(post(quick.url), i)
        ended = 0
        while len(other):
            ended += sum(error is None for _, _, error in other.wait(1.0))
        other.close()
        assert ended == 20
        assert slow.most_open == 8
        calls.close()


def test_a_call_that_waits_for_a_connection_gets_one_that_another_thread_gives_back(kato: Client) -> None:
    release = threading.Event()

    def held(peer: Peer) -> None:
        while True:
            peer.request()
            release.wait(10)
            peer.answer()

    with serving(held) as server:
        first, second = kato.calls(), kato.calls()
        for i in range(8):
            first.begin(post(server.url), i)
        assert first.wait(0.2) == []
        second.begin(post(server.url), "waits")
        assert second.wait(0.1) == []
        release.set()
        while len(first):
            first.wait()
        ((tag, reply, error),) = second.wait(5)
        assert (tag, reply and reply.status, error) == ("waits", 200, None)
        first.close()
        second.close()


def test_a_call_that_waits_for_a_connection_for_too_long_is_given_back_unsent(
    kato: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "POOL_SECONDS", 0.1)
    with serving(hang) as slow:
        calls = kato.calls()
        for i in range(9):
            calls.begin(post(slow.url), i)
        ((tag, _, error),) = calls.wait(5)
        assert tag == 8
        assert isinstance(error, KatoUnavailable)
        wait_until(lambda: len(slow.requests) == 8, 5)
        calls.close()


def test_calls_under_way_can_be_adopted_and_their_answers_come_to_the_adopter(kato: Client) -> None:
    release = threading.Event()

    def held(peer: Peer) -> None:
        while True:
            _, body = peer.request()
            release.wait(10)
            peer.answer(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body) + body)

    with serving(held) as server:
        first, second = kato.calls(), kato.calls(wakeable=True)
        for i in range(20):
            first.begin(post(server.url, str(i).encode()), i)
        assert first.wait(0.2) == []
        second.adopt(first)
        assert (len(first), len(second)) == (0, 20)
        release.set()
        got: dict[int, bytes] = {}
        while len(second):
            for tag, reply, error in second.wait(5):
                assert error is None
                assert reply is not None
                got[tag] = reply.body
        second.close()
        assert got == {i: str(i).encode() for i in range(20)}
        assert len(server.requests) == 20, "nothing was sent twice"


def test_of_adopted_calls_without_a_connection_only_so_many_wait_and_the_rest_ends_unsent(
    kato: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What an instance that hangs can hold is bounded (invariant 5)."""
    monkeypatch.setattr(client_module, "ADOPTED_WAITING", 10)
    with serving(hang) as slow:
        background = kato.calls(wakeable=True)
        for task in range(5):
            calls = kato.calls()
            for i in range(8):
                calls.begin(post(slow.url), f"{task}.{i}")
            calls.wait(0.05)
            background.adopt(calls)
        ended = background.wait(1)
        assert len(background) == 8 + 10
        assert len(ended) == 22
        assert all(isinstance(error, KatoUnavailable) for _, _, error in ended)
        wait_until(lambda: len(slow.requests) == 8, 5)
        background.close()


def test_a_wait_returns_when_another_thread_wakes_it(kato: Client) -> None:
    calls = kato.calls(wakeable=True)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(calls.wait)
        calls.wake()
        assert waiting.result(5) == []
    calls.close()


def test_calls_that_wait_for_a_connection_can_be_taken_back(kato: Client) -> None:
    with serving(hang) as slow:
        calls = kato.calls()
        for i in range(10):
            calls.begin(post(slow.url), i)
        calls.wait(0.1)
        assert calls.withdraw(slow.url) == [8, 9]
        assert len(calls) == 8
        calls.close()


def test_a_call_has_the_time_that_its_request_gives_it(kato: Client) -> None:
    with serving(hang) as slow:
        began = time.monotonic()
        with pytest.raises(OutcomeUnknown, match="timed out"):
            kato.send(replace(post(slow.url), timeout_seconds=0.2))
        assert time.monotonic() - began < 2


def test_a_call_that_cannot_be_begun_ends_alone(fast: HttpKato) -> None:
    """A detail of the fast client: httpx writes the path as it must be."""
    with serving(well) as server:
        calls = fast.calls()
        calls.begin(post(server.url, path="/ß"), "wrong")
        calls.begin(post("http://127.0.0.1:99999"), "no port")
        calls.begin(post(server.url), "right")
        ends = {}
        while len(calls):
            ends.update({tag: error for tag, _, error in calls.wait()})
        calls.close()
        assert ends["right"] is None
        assert isinstance(ends["wrong"], KatoUnavailable)
        assert isinstance(ends["no port"], KatoUnavailable | ConfigurationError)


def test_abandoned_calls_close_their_connections(kato: Client) -> None:
    with serving(hang) as slow, serving(well) as quick:
        calls = kato.calls()
        for i in range(5):
            calls.begin(post(slow.url), i)

        def under_way() -> bool:
            calls.begin(post(quick.url), "quick")
            return bool(calls.wait()) and len(slow.requests) == 5

        wait_until(under_way, 5)
        assert len(calls) == 5
        calls.close()
        wait_until(lambda: slow.open == 0, 5)


# ------------------------------------------------------------------------------- addresses and TLS


def test_a_host_with_several_addresses_is_reached_at_the_one_that_answers(
    kato: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`localhost` may be ::1 first, where nobody listens. Falls when `_finish_connecting` gives up at once."""
    with serving(well) as server:
        real = socket.getaddrinfo

        def both(host: str, port: int, *rest: object, **more: object) -> object:
            if host != "kato.example":
                return real(host, port, *rest, **more)  # type: ignore[arg-type]
            return [
                (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1", port, 0, 0)),
                (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.2", port)),
                (socket.AF_INET, socket.SOCK_STREAM, 6, "", (LOOPBACK, port)),
            ]

        monkeypatch.setattr(socket, "getaddrinfo", both)
        for _ in range(3):
            assert kato.send(post(f"http://kato.example:{server.port}")).status == 200
        assert server.connections == 1
        calls = kato.calls()
        for i in range(8):
            calls.begin(post(f"http://kato.example:{server.port}"), i)
        ended: list[Any] = []
        while len(calls):
            ended += calls.wait()
        calls.close()
        assert [error for _, _, error in ended] == [None] * 8


def test_when_no_address_answers_nothing_was_sent(kato: Client) -> None:
    with pytest.raises(KatoUnavailable):
        kato.send(post(f"http://localhost:{free_port()}"))


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1, signed by itself, and its key."""
    directory = tmp_path_factory.mktemp("tls")
    cert, key = directory / "cert.pem", directory / "key.pem"
    words = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"]
    words += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(cert)]
    subprocess.run(words, check=True, capture_output=True)
    return cert, key


@pytest.fixture
def secure(certificate: tuple[Path, Path]) -> Iterator[RawServer]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    with serving(well, tls=context) as server:
        yield server


def test_a_trusted_certificate_is_good(
    kato: Client, secure: RawServer, certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
    for _ in range(3):
        assert kato.send(post(secure.url, b"x" * 300_000)).body == b'{"ok":true}'
    calls = kato.calls()
    for i in range(20):
        calls.begin(post(secure.url), i)
    while len(calls):
        assert all(error is None for _, _, error in calls.wait())
    calls.close()
    assert secure.connections <= 8
    assert len(secure.requests) == 23


def test_a_certificate_that_nobody_vouches_for_is_a_wrong_setting(
    kato: Client, secure: RawServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    with pytest.raises(ConfigurationError, match="certificate"):
        kato.send(post(secure.url))
    assert secure.requests == []


def test_a_server_without_tls_means_never_sent(kato: Client) -> None:
    with serving(lambda peer: peer.answer(b"HTTP/1.1 400 No\r\n\r\n")) as server, pytest.raises(KatoUnavailable):
        kato.send(post(server.url.replace("http:", "https:")))


def test_a_tls_server_that_closed_while_idle_is_connected_anew(
    kato: Client, certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)

    def once(peer: Peer) -> None:
        peer.request()
        peer.answer()

    with serving(once, tls=context) as server:
        for number in range(1, 4):
            assert kato.send(post(server.url)).status == 200
            wait_until(lambda: server.open == 0, 5)
            assert server.connections == number


def test_a_call_whose_time_has_passed_is_not_sent(kato: Client) -> None:
    """Falls when `_proceed` in wire.py does not ask `still` before the first byte."""
    with serving(well) as server:
        kato.send(post(server.url))
        with pytest.raises(LeaseLost):
            kato.send(replace(post(server.url), may_send=lambda: False))
        assert kato.send(replace(post(server.url), may_send=lambda: True)).status == 200
        assert len(server.requests) == 2


# ------------------------------------------------------------------------------- behind a gateway


def test_a_gateway_that_asks_for_a_certificate_and_a_token_gets_both(
    make: Opens, certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`KATO_CA_FILE`, `KATO_CLIENT_CERT_FILE`, `KATO_CLIENT_KEY_FILE`: no variable of the environment is needed."""
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    cert, key = map(str, certificate)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    context.load_verify_locations(cert)
    context.verify_mode = ssl.CERT_REQUIRED
    heads: list[bytes] = []

    def note(peer: Peer) -> None:
        while data := peer.sock.recv(65_536):
            heads.append(data)
            peer.answer()

    with serving(note, tls=context) as server:
        access = Access(headers={"authorization": "Bearer t"}, ca_file=cert, cert_file=cert, key_file=key)
        kato = make(access=access)
        assert kato.send(get(server.url)).status == 200
        assert b"authorization: bearer t\r\n" in heads[0].lower()
        kato.close()
        nobody = make(access=Access(ca_file=cert))
        with pytest.raises((KatoUnavailable, OutcomeUnknown)):  # TLS 1.3 refuses after the request was sent
            nobody.send(get(server.url))
        assert len(heads) == 1
        nobody.close()


def test_credentials_in_an_address_are_sent_and_not_told(make: Opens) -> None:
    heads: list[bytes] = []

    def drop(peer: Peer) -> None:
        heads.append(peer.sock.recv(65_536))

    with serving(drop) as server:
        kato = make()
        with pytest.raises(OutcomeUnknown) as caught:
            kato.send(get(server.url.replace("://", "://me:pw-7f3a@")))
        assert b"authorization: basic bwu6chctn2yzyq==\r\n" in heads[0].lower()
        assert "pw-7f3a" not in str(caught.value)
        kato.close()
