"""HTTP/2 with the client on httpx, where h2 is installed: each call has a connection, and outcomes stay exact."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kato_tasks.adapters.kato_http import pool as fast
from kato_tasks.adapters.kato_http.access import Access
from kato_tasks.adapters.kato_http.httpx_pool import HttpxKato
from kato_tasks.errors import LeaseLost, OutcomeUnknown
from kato_tasks.ports.kato import KatoRequest
from kato_tasks.testing.services import LOOPBACK
from kato_tasks.testing.waiting import wait_until
from tests.contract.http.test_client import certificate  # noqa: F401

h2_connection = pytest.importorskip("h2.connection")
h2_events = pytest.importorskip("h2.events")
h2_config = pytest.importorskip("h2.config")

CONNECTIONS = 16
Behaviour = Callable[[Any, int, bytes], bool]
"""What to do with a whole request on a stream; False: close the connection."""


class Http2Server:
    """Answers with what ``behave`` says; ``requests`` are the paths, ``connections`` how many were accepted.

    ``open`` is how many connections are open now, and ``most_streams`` how many requests one had at once at most.
    """

    def __init__(self, files: tuple[Path, Path], behave: Behaviour) -> None:
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(*files)
        self._context.set_alpn_protocols(["h2"])
        self._behave = behave
        self._listener = socket.create_server((LOOPBACK, 0), backlog=64)
        self.url = f"https://{LOOPBACK}:{self._listener.getsockname()[1]}"
        self.connections = 0
        self.open = 0
        self.most_streams = 0
        self._lock = threading.Lock()
        self.requests: list[bytes] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, plain: socket.socket) -> None:
        with (
            contextlib.suppress(OSError),
            self._context.wrap_socket(plain, server_side=True) as sock,
            contextlib.ExitStack() as stack,
        ):
            conn = h2_connection.H2Connection(h2_config.H2Configuration(client_side=False))
            conn.initiate_connection()
            sock.sendall(conn.data_to_send())
            paths: dict[int, bytes] = {}
            with self._lock:
                self.open += 1
            stack.callback(self._closed)
            while data := sock.recv(65_536):
                for event in conn.receive_data(data):
                    if isinstance(event, h2_events.RequestReceived):
                        paths[event.stream_id] = dict(event.headers)[b":path"]
                        self.requests.append(paths[event.stream_id])
                        self.most_streams = max(self.most_streams, conn.open_inbound_streams)
                    elif isinstance(event, h2_events.DataReceived):
                        conn.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                    elif isinstance(event, h2_events.StreamEnded) and not self._behave(
                        conn, event.stream_id, paths[event.stream_id]
                    ):
                        return
                sock.sendall(conn.data_to_send())

    def _closed(self) -> None:
        with self._lock:
            self.open -= 1

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


@pytest.fixture
def serve(certificate: tuple[Path, Path]) -> Iterator[Callable[[Behaviour], Http2Server]]:  # noqa: F811
    servers: list[Http2Server] = []

    def start(behave: Behaviour) -> Http2Server:
        servers.append(Http2Server(certificate, behave))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture
def kato(certificate: tuple[Path, Path]) -> Iterator[HttpxKato]:  # noqa: F811
    kato = HttpxKato(connections=CONNECTIONS, timeout_seconds=5.0, access=Access(ca_file=str(certificate[0])))
    yield kato
    wait_until(lambda: kato.in_use == 0, 10)
    kato.close()


def well(conn: Any, stream: int, path: bytes) -> bool:
    status = path.rsplit(b"/", 1)[-1] if path.rsplit(b"/", 1)[-1].isdigit() else b"200"
    conn.send_headers(stream, [(b":status", status), (b"content-type", b"application/json"), (b"server", b"h2")])
    conn.send_data(stream, b'{"ok":true}', end_stream=True)
    return True


def post(url: str, path: str = "/sessions/s/learn") -> KatoRequest:
    return KatoRequest(url, "POST", path, "learn", b"{}")


def test_calls_one_after_another_share_a_connection_and_those_that_overlap_have_each_their_own(
    kato: HttpxKato, serve: Callable[[Behaviour], Http2Server]
) -> None:
    """Falls with one client for all threads: httpcore's HTTP/2 connection mixes up what several threads send on it."""
    server = serve(well)
    for _ in range(3):
        assert kato.send(post(server.url)).status == 200
    assert server.connections == 1
    calls = kato.calls()
    for i in range(200):
        calls.begin(post(server.url, f"/sessions/{i}/learn"), i)
    answered = []
    while len(calls):
        for tag, reply, error in calls.wait():
            assert (error, reply and reply.body) == (None, b'{"ok":true}')
            answered.append(tag)
    calls.close()
    assert sorted(answered) == list(range(200))
    assert sorted(server.requests) == sorted(
        [b"/sessions/s/learn"] * 3 + [b"/sessions/%d/learn" % i for i in range(200)]
    )
    assert server.connections <= CONNECTIONS
    assert server.most_streams == 1


def test_a_connection_that_was_not_used_for_long_is_closed(
    kato: HttpxKato, serve: Callable[[Behaviour], Http2Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    held = threading.Barrier(2)  # so the two calls overlap

    def together(conn: Any, stream: int, path: bytes) -> bool:
        if b"together" in path:
            held.wait(10)
        return well(conn, stream, path)

    server = serve(together)
    calls = kato.calls()
    for i in range(2):
        calls.begin(post(server.url, "/together"), i)
    while len(calls):
        assert all(error is None for _, _, error in calls.wait())
    calls.close()
    assert (server.connections, server.open) == (2, 2)
    monkeypatch.setattr(fast, "KEEPALIVE_SECONDS", 0.0)
    kato.send(post(server.url))
    wait_until(lambda: server.open <= 1, 10, "the other is closed")


def test_an_error_of_one_call_leaves_the_others_of_its_connection_alone(
    kato: HttpxKato, serve: Callable[[Behaviour], Http2Server]
) -> None:
    server = serve(well)
    for status in (500, 404, 200, 503, 200):
        reply = kato.send(post(server.url, f"/status/{status}"))
        assert (reply.status, reply.server) == (status, "h2")
    assert server.connections == 1


def test_a_connection_that_ends_before_the_answer_means_that_nobody_knows(
    kato: HttpxKato, serve: Callable[[Behaviour], Http2Server]
) -> None:
    server = serve(lambda conn, stream, path: False)
    with pytest.raises(OutcomeUnknown):
        kato.send(post(server.url))
    assert len(server.requests) == 1, "nothing was sent twice"


def test_a_stream_that_is_reset_means_that_nobody_knows(
    kato: HttpxKato, serve: Callable[[Behaviour], Http2Server]
) -> None:
    def reset(conn: Any, stream: int, path: bytes) -> bool:
        conn.reset_stream(stream)
        return True

    server = serve(reset)
    for number in (1, 2):
        with pytest.raises(OutcomeUnknown):
            kato.send(post(server.url))
        assert len(server.requests) == number


def test_a_call_whose_time_has_passed_is_not_sent(kato: HttpxKato, serve: Callable[[Behaviour], Http2Server]) -> None:
    server = serve(well)
    kato.send(post(server.url))
    with pytest.raises(LeaseLost):
        kato.send(replace(post(server.url), may_send=lambda: False))
    assert kato.send(post(server.url)).status == 200
    assert len(server.requests) == 2


def test_a_stream_that_gets_no_answer_in_time_means_that_nobody_knows_and_ends_alone(
    kato: HttpxKato, serve: Callable[[Behaviour], Http2Server]
) -> None:
    server = serve(lambda conn, stream, path: True if b"slow" in path else well(conn, stream, path))
    calls = kato.calls()
    calls.begin(replace(post(server.url, "/slow"), timeout_seconds=1.0), "slow")
    for i in range(5):
        calls.begin(post(server.url), i)
    ended: dict[object, object] = {}
    while len(calls):
        ended |= {tag: type(error) for tag, _, error in calls.wait()}
    calls.close()
    assert ended.pop("slow") is OutcomeUnknown
    assert list(ended.values()) == [type(None)] * 5
