"""A gateway before KATO, as a deployment has one, that misbehaves as a test says: threads and plain sockets.

    with Gateway(kato.url) as gateway:                      # kato: KATO itself, on http://host:port
        ... KATO_URLS = gateway.url ...
        gateway.rules([Rule(status=401)])                   # every call, not passed on
        gateway.rules([Rule("learn", status=503, forward=True)])     # KATO applies it, the caller sees a 503
        gateway.rules([Rule(informational=(103,)), Rule(close=True, share=0.5)])
        gateway.clear()                                     # passes everything on again

The first rule that fits a call is carried out; without one the call is passed on, and the answer comes back as KATO
gave it, but for the headers of one connection. When KATO cannot be reached the answer is 502, as a gateway's is. A
caller that gives up takes its call with it: KATO sees the connection close, as without a gateway.
`gateway.seen` counts the calls by route, `gateway.ruled` those that a rule was carried out for.
"""

from __future__ import annotations

import collections
import contextlib
import http.client
import random
import select
import socket
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import urlsplit

from kato_tasks.testing.services import LOOPBACK

HTML = b"<html><body><h1>Something stands before KATO</h1></body></html>"
OF_ONE_CONNECTION = frozenset({"connection", "keep-alive", "content-length", "transfer-encoding", "date"})


@dataclass(frozen=True, slots=True)
class Rule:
    """What happens to calls of one route ("" is any): create, delete, config, observe-sequence, learn, clear-stm,
    predictions, cognition-data, exists, pattern, health.

    Without ``status`` the answer is KATO's own. ``share`` of the calls, chosen at random, and no more than ``times``.
    """

    route: str = ""
    status: int = 0
    body: bytes = HTML
    headers: Mapping[str, str] = field(default_factory=lambda: {"content-type": "text/html", "server": "gateway"})
    forward: bool = False
    """pass the call on before the answer of one's own"""
    drop: bool = False
    """pass the call on, then close the connection without an answer"""
    informational: tuple[int, ...] = ()
    """interim answers (1xx) before the answer"""
    close: bool = False
    """close the connection after the answer, and say so"""
    close_silently: bool = False
    """close the connection after the answer without having said so"""
    share: float = 1.0
    times: int = 0
    """0: no limit"""


@dataclass(frozen=True, slots=True)
class Received:
    """A call as it came in."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def route(self) -> str:
        parts = self.path.partition("?")[0].strip("/").split("/")
        if parts[0] != "sessions":
            return parts[0]
        if len(parts) == 1:
            return "create"
        return "delete" if self.method == "DELETE" else (parts[2] if len(parts) > 2 else "get")


Answer = tuple[int, dict[str, str], bytes]


class Gateway:
    """Listens on a port of its own while it is entered (or between ``start`` and ``stop``). Thread-safe."""

    def __init__(self, upstream: str, *, seed: int = 1, timeout_seconds: float = 60.0) -> None:
        at = urlsplit(upstream)
        assert at.hostname is not None
        self._upstream = (at.hostname, at.port or 80)
        self._timeout = timeout_seconds
        self._rng = random.Random(seed)
        self._lock = threading.Lock()
        self._rules: list[Rule] = []
        self._left: list[int] = []
        self._listener: socket.socket | None = None
        self._open: set[socket.socket] = set()
        self._under_way: dict[socket.socket, socket.socket] = {}
        self.port = 0
        self.seen: collections.Counter[str] = collections.Counter()
        self.ruled: collections.Counter[str] = collections.Counter()

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Listen, on the port of last time if there was one."""
        if self._listener is None:
            self._listener = socket.create_server((LOOPBACK, self.port), backlog=512)
            self.port = self._listener.getsockname()[1]
            threading.Thread(target=self._accept, args=(self._listener,), name="gateway", daemon=True).start()

    def stop(self) -> None:
        """Close everything, in the middle of calls too."""
        listener, self._listener = self._listener, None
        if listener is not None:
            _close(listener)
        with self._lock:
            still = list(self._open)
        for sock in still:
            _close(sock)

    def rules(self, rules: Sequence[Rule]) -> None:
        """These from the next call on, in place of those before."""
        with self._lock:
            self._rules = list(rules)
            self._left = [rule.times for rule in rules]

    def clear(self) -> None:
        self.rules([])

    # ------------------------------------------------------------------- one connection

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            with self._lock:
                self._open.add(sock)
            threading.Thread(target=self._serve, args=(sock,), name="gateway-connection", daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            with sock.makefile("rb") as stream, contextlib.suppress(OSError, ValueError):
                while (call := _read(stream)) is not None and self._handle(sock, call):  # type: ignore[arg-type]
                    pass
        finally:
            with self._lock:
                self._open.discard(sock)
            _close(sock)

    def _handle(self, sock: socket.socket, call: Received) -> bool:
        """Answer one call; whether the connection stays open."""
        self._let_go()
        rule = self._choose(call.route)
        answer: Answer | None = None
        if not rule.status or rule.forward or rule.drop:
            answer = self._passed_on(call, sock)
        if rule.drop:
            return False
        if rule.status:
            answer = rule.status, dict(rule.headers), rule.body
        assert answer is not None
        return self._write(sock, call, answer, rule.informational, rule.close) and not rule.close_silently

    def _write(
        self,
        sock: socket.socket,
        call: Received,
        answer: Answer,
        informational: Sequence[int] = (),
        close: bool = False,
    ) -> bool:
        """Whether the connection stays open for the next call."""
        status, headers, body = answer
        for interim in informational:
            sock.sendall(b"HTTP/1.1 %d Interim\r\nlink: </style.css>; rel=preload\r\n\r\n" % interim)
        keep = not close and call.headers.get("connection", "").lower() != "close"
        lines = [f"HTTP/1.1 {status} {http.client.responses.get(status, 'No')}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        lines += [f"content-length: {len(body)}", *([] if keep else ["connection: close"]), "", ""]
        sock.sendall("\r\n".join(lines).encode("latin-1") + body)
        return keep

    def _choose(self, route: str) -> Rule:
        with self._lock:
            self.seen[route] += 1
            for index, rule in enumerate(self._rules):
                if rule.route not in ("", route) or (rule.times and not self._left[index]):
                    continue
                if rule.share < 1.0 and self._rng.random() >= rule.share:
                    continue
                self._left[index] -= 1
                self.ruled[route] += 1
                return rule
        return _PASS_ON

    def _passed_on(self, call: Received, caller: socket.socket) -> Answer:
        upstream = http.client.HTTPConnection(*self._upstream, timeout=self._timeout)
        try:
            headers = {n: v for n, v in call.headers.items() if n not in OF_ONE_CONNECTION}
            upstream.request(call.method, call.path, call.body or None, headers)
            assert upstream.sock is not None
            with self._lock:
                self._under_way[caller] = upstream.sock
            _wait(upstream.sock, caller)
            reply = upstream.getresponse()
            body = reply.read()
            kept = {n.lower(): v for n, v in reply.getheaders() if n.lower() not in OF_ONE_CONNECTION}
        except (OSError, http.client.HTTPException):
            return 502, {"content-type": "text/html", "server": "gateway"}, HTML
        finally:
            with self._lock:
                self._under_way.pop(caller, None)
            upstream.close()
        return reply.status, kept, body

    def _let_go(self) -> None:
        """Close what goes on for callers that have gone, before anything that they may send next is passed on.

        The threads that wait there would do it, too, but later on a busy machine: KATO would see the two overlap.
        """
        with self._lock:
            for caller, upstream in self._under_way.items():
                if has_gone(caller):
                    _close(upstream)


_PASS_ON = Rule()


def _read(stream: socket.SocketIO) -> Received | None:
    """The next request of a connection; None when its caller has gone."""
    first = stream.readline().decode("latin-1").split()
    if len(first) != 3:
        return None
    headers: dict[str, str] = {}
    while (line := stream.readline().strip()) != b"":
        name, _, value = line.decode("latin-1").partition(":")
        headers[name.strip().lower()] = value.strip()
    length = int(headers.get("content-length", "0"))
    body = stream.read(length) or b""
    return Received(first[0], first[1], headers, body) if len(body) == length else None


def _wait(upstream: socket.socket, caller: socket.socket) -> None:
    """Until KATO answers; raises ConnectionError when the caller has gone before that."""
    watched = [upstream, caller]
    while upstream not in (ready := select.select(watched, [], [])[0]):
        if ready and has_gone(caller):
            raise ConnectionError("the caller has gone")
        watched = [upstream]  # it sends its next request already


def has_gone(caller: socket.socket) -> bool:
    """Whether a caller that waits for its answer has closed its connection."""
    try:
        return caller.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


def _close(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)
    sock.close()
