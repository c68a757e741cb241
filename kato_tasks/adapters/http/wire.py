"""One HTTP/1.1 connection to KATO that never blocks, and that knows whether anything was sent.

Order and exactly-once effects hang on telling "never sent" from "may have been applied", and hundreds of
calls overlap in one thread, so this is our own code: a socket, a selector, and httptools' parser.
Measured against httpx and httpcore on threads in ``docs/performance.md``.
"""

from __future__ import annotations

import errno
import selectors
import socket
import ssl
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import httptools

from kato_tasks.errors import ConfigurationError, KatoUnavailable, LeaseLost, OutcomeUnknown
from kato_tasks.ports import KatoReply, KatoRequest

MAX_REPLY_BYTES = 256 * 1024 * 1024
_CHUNK = 262_144
_TOLD = {b"content-type": "content_type", b"server": "server", b"connection": "connection", b"location": "location"}
"""The headers that a reply carries on, and what it calls them."""


class Origin:
    """Scheme, host and port of one KATO instance, resolved once per connection."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigurationError(f"KATO_URLS: {url!r} is no http:// or https:// address; write http://host:port")
        self.url = url
        self.host = parts.hostname
        self.port = parts.port or (443 if parts.scheme == "https" else 80)
        self.base = parts.path.rstrip("/")
        shown = f"[{self.host}]" if ":" in self.host else self.host
        self.head = f"host: {shown}:{self.port}\r\naccept: application/json\r\n"
        self.tls = ssl.create_default_context() if parts.scheme == "https" else None

    def addresses(self) -> list[tuple[int, Any]]:
        try:
            found = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
        except OSError as exc:
            raise KatoUnavailable(f"KATO's address {self.url} cannot be resolved: {exc}") from exc
        return [(family, address) for family, _, _, _, address in found]

    def request(self, request: KatoRequest) -> bytes:
        body = request.body
        length = "" if body is None else f"content-type: application/json\r\ncontent-length: {len(body)}\r\n"
        text = f"{request.method} {self.base}{request.path} HTTP/1.1\r\n{self.head}{length}\r\n"
        return text.encode("ascii") + (body or b"")


class _Answer:
    """What httptools' parser reports of one response."""

    __slots__ = ("body", "complete", "keep_alive", "overrun", "parser", "retry_after", "said", "size")

    def __init__(self) -> None:
        self.parser: Any = None
        self.keep_alive = False
        self.body: list[bytes] = []
        self.size = 0
        self.complete = False
        self.overrun = False
        self.retry_after: float | None = None
        self.said: dict[str, str] = {}

    def on_message_begin(self) -> None:
        if self.complete:
            # More than was asked for: what it answers is anybody's guess, so the connection is not used again.
            self.overrun = True

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        if name == b"retry-after":
            try:
                self.retry_after = max(0.0, float(value))
            except ValueError:
                self.retry_after = None
        elif name in _TOLD:
            self.said[_TOLD[name]] = value.decode("latin-1")

    def on_body(self, part: bytes) -> None:
        if self.overrun:
            return
        self.size += len(part)
        if self.size > MAX_REPLY_BYTES:
            raise OutcomeUnknown("KATO's answer is larger than 256 MB")
        self.body.append(part)

    def on_message_complete(self) -> None:
        if self.complete:
            return
        self.complete = True
        # Only inside this callback does the parser still know.
        self.keep_alive = self.parser.should_keep_alive()


class Connection:
    """A connection with at most one call on it. ``deadline`` belongs to whoever waits for it."""

    def __init__(self, origin: Origin) -> None:
        self.origin = origin
        self._addresses = origin.addresses()
        self._sock: socket.socket | None = None
        self._state = "new"
        self._out = memoryview(b"")
        self._sent = False
        self._answer = _Answer()
        self._parser: Any = None
        self._still: Callable[[], bool] | None = None
        self._route = ""
        self.idle_since = 0.0
        self.deadline = 0.0
        self._connect()

    # ------------------------------------------------------------ the socket

    @property
    def socket(self) -> socket.socket:
        assert self._sock is not None
        return self._sock

    def _connect(self) -> None:
        while self._addresses:
            family, address = self._addresses.pop(0)
            sock = socket.socket(family, socket.SOCK_STREAM)
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            code = sock.connect_ex(address)
            if code in (0, errno.EINPROGRESS):
                self._sock, self._state = sock, "connecting"
                return
            sock.close()
        raise KatoUnavailable(f"KATO at {self.origin.url} cannot be reached")

    @property
    def connecting(self) -> bool:
        """Whether no request can have been written yet (TCP or TLS is still being set up)."""
        return self._state in ("connecting", "handshake")

    def try_next_address(self) -> bool:
        """Give up on this address; False when the host has no other."""
        self.close()
        if not self._addresses:
            return False
        self._connect()
        return True

    def _connected(self) -> bool:
        code = self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            self.close()
            if self._addresses:
                self._connect()
                return False
            raise KatoUnavailable(f"KATO at {self.origin.url} cannot be reached: {errno.errorcode.get(code, code)}")
        if self.origin.tls is not None:
            self._sock = self.origin.tls.wrap_socket(
                self.socket, server_hostname=self.origin.host, do_handshake_on_connect=False
            )
            self._state = "handshake"
        else:
            self._state = "sending"
        return True

    def close(self) -> None:
        if self._sock is not None:
            self._sock.close()

    # --------------------------------------------------------------- a call

    def begin(self, request: KatoRequest) -> None:
        """Put a call on the connection."""
        self._out = memoryview(self.origin.request(request))
        self._sent = False
        self._still = request.still
        self._route = request.route
        self._answer = _Answer()
        self._parser = self._answer.parser = httptools.HttpResponseParser(self._answer)
        if self._state == "idle":
            self._state = "sending"

    def stale(self) -> bool:
        """Whether the other side closed this idle connection already (nothing was sent: take another)."""
        try:
            self.socket.recv(1, socket.MSG_PEEK) if self.origin.tls is None else self.socket.recv(1)
        except (BlockingIOError, ssl.SSLWantReadError):
            return False
        except OSError:
            return True
        return True  # EOF, or bytes that nobody asked for

    def proceed(self) -> tuple[int, KatoReply | None]:
        """Do what can be done without blocking: the selector events to wait for next, and the reply when it is there.

        Raises KatoUnavailable when nothing had been sent, OutcomeUnknown when something had.
        """
        try:
            return self._proceed()
        except (ssl.SSLWantReadError, BlockingIOError):
            return selectors.EVENT_READ, None
        except ssl.SSLWantWriteError:
            return selectors.EVENT_WRITE, None
        except ssl.SSLCertVerificationError as exc:
            raise ConfigurationError(f"KATO_URLS: {self.origin.url} has no valid certificate: {exc}") from exc
        except httptools.HttpParserError as exc:
            raise OutcomeUnknown(f"{self._route}: KATO's answer is no HTTP ({exc})") from exc
        except OSError as exc:
            raise self.failure(str(exc)) from exc

    def failure(self, why: str) -> KatoUnavailable | OutcomeUnknown:
        """What the end of this connection means for the call on it."""
        if self._sent:
            return OutcomeUnknown(f"{self._route}: no answer from KATO at {self.origin.url} ({why})")
        return KatoUnavailable(f"KATO at {self.origin.url} cannot be reached ({why})")

    def _proceed(self) -> tuple[int, KatoReply | None]:
        if self._state == "connecting" and not self._connected():
            return selectors.EVENT_WRITE, None
        if self._state == "handshake":
            sock = self.socket
            assert isinstance(sock, ssl.SSLSocket)
            sock.do_handshake()
            self._state = "sending"
        if self._state == "sending":
            if not self._sent and self._still is not None and not self._still():
                raise LeaseLost("the lease ran out before the call to KATO was sent")
            while self._out:
                try:
                    self._sent = True  # from here on nobody can know
                    written = self.socket.send(self._out)
                except (BlockingIOError, ssl.SSLWantWriteError):
                    return selectors.EVENT_WRITE, None
                self._out = self._out[written:]
            self._state = "reading"
        return self._read()

    def _read(self) -> tuple[int, KatoReply | None]:
        while True:
            data = self.socket.recv(_CHUNK)
            if not data:
                raise self.failure("the connection was closed")
            self._parser.feed_data(data)
            if self._answer.complete:
                break
        answer = self._answer
        reply = KatoReply(self._parser.get_status_code(), b"".join(answer.body), answer.retry_after, **answer.said)
        self._state = "idle" if self._answer.keep_alive and not self._answer.overrun else "closed"
        return 0, reply

    def abandon(self) -> None:
        """The call on it failed: whatever still comes is not to be read."""
        self._state = "closed"

    @property
    def reusable(self) -> bool:
        return self._state == "idle"
