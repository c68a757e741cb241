"""One HTTP/1.1 connection to KATO that never blocks, and that knows whether anything was sent.

Order and exactly-once effects depend on telling "never sent" from "may have been applied", and hundreds of calls
overlap in one thread, so this is our own code on a socket, a selector and httptools' parser.
``docs/performance.md`` compares it with httpx and httpcore on threads.
"""

from __future__ import annotations

import errno
import selectors
import socket
import ssl
from collections.abc import Callable
from typing import Any, Literal

import httptools

from kato_tasks.adapters.kato_http.access import Access
from kato_tasks.adapters.kato_http.answer import Answer, too_large
from kato_tasks.adapters.kato_http.resolving import Address, Lookup, Resolver
from kato_tasks.domain.instance import Instance
from kato_tasks.errors import ConfigurationError, KatoTasksError, KatoUnavailable, LeaseLost, OutcomeUnknown
from kato_tasks.ports.kato import KatoReply, KatoRequest

_CHUNK = 262_144
State = Literal["resolving", "connecting", "handshake", "sending", "reading", "idle", "closed"]


class Origin:
    """One KATO instance for its connections: where it is, and how each request to it begins."""

    def __init__(self, url: str, access: Access | None = None) -> None:
        access = access or Access()
        try:
            self.instance = Instance.parse(url)
        except ValueError as exc:
            raise ConfigurationError(f"KATO_TASKS_KATO_URLS: {exc}") from None
        self.url = url
        self.name = self.instance.name
        self.host = self.instance.host
        self.port = self.instance.port
        self.base = self.instance.path
        shown = f"[{self.host}]" if ":" in self.host else self.host
        given = "".join(f"{name}: {value}\r\n" for name, value in access.headers_for(self.instance).items())
        self.head = f"host: {shown}:{self.port}\r\naccept: application/json\r\naccept-encoding: identity\r\n{given}"
        self.tls = access.tls() if self.instance.scheme == "https" else None
        self._resolver = Resolver(self.host, self.port)

    def addresses(self) -> list[Address] | Lookup:
        """Return the addresses to connect to, or the look-up that will find them; raises KatoUnavailable."""
        try:
            return self._resolver.addresses()
        except OSError as exc:
            raise self.unresolved(str(exc)) from exc

    def unresolved(self, why: str) -> KatoUnavailable:
        """Return the error for a name that cannot be looked up."""
        return KatoUnavailable(f"KATO's address {self.name} cannot be resolved: {why}")

    def request(self, request: KatoRequest) -> bytes:
        """Return the bytes of a request."""
        body = request.body
        length = "" if body is None else f"content-type: application/json\r\ncontent-length: {len(body)}\r\n"
        text = f"{request.method} {self.base}{request.path} HTTP/1.1\r\n{self.head}{length}\r\n"
        return text.encode("ascii") + (body or b"")


class Connection:
    """A connection that carries at most one call. ``deadline`` is for the use of the code that waits for it."""

    def __init__(self, origin: Origin) -> None:
        self.origin = origin
        self._addresses: list[Address] = []
        self._lookup: Lookup | None = None
        self._sock: socket.socket | None = None
        self._state: State = "resolving"
        self._out = memoryview(b"")
        self._sent = False
        self._answer: Answer | None = None
        self._parser: Any = None
        self._may_send: Callable[[], bool] | None = None
        self._route = ""
        self.idle_since = 0.0
        self.deadline = 0.0
        found = origin.addresses()
        if isinstance(found, Lookup):
            self._lookup = found
            self._sock = found.bell()
        else:
            self._addresses = found
            self._connect()

    # ------------------------------------------------------------ the socket

    @property
    def socket(self) -> socket.socket:
        """The socket to select on: that of the look-up at first, then the connection's own."""
        assert self._sock is not None
        return self._sock

    def _connect(self) -> None:
        """Begin to connect to the next address; raises KatoUnavailable when none is left."""
        why = ""
        while self._addresses:
            family, address = self._addresses.pop(0)
            try:
                sock = socket.socket(family, socket.SOCK_STREAM)
            except OSError as exc:  # no descriptor is free, or the machine has no IPv6
                why = f" ({exc})"
                continue
            try:
                sock.setblocking(False)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                code = sock.connect_ex(address)
            except (OSError, ValueError, OverflowError) as exc:
                sock.close()
                why = f" ({exc})"
                continue
            if code in (0, errno.EINPROGRESS):
                self._sock, self._state = sock, "connecting"
                return
            sock.close()
            why = f" ({errno.errorcode.get(code, code)})"
        raise KatoUnavailable(f"KATO at {self.origin.name} cannot be reached{why}")

    def _connect_if_resolved(self) -> bool:
        """Begin to connect if the name has been looked up; the connection then has another socket."""
        lookup = self._lookup
        assert lookup is not None
        if not lookup.done:
            return False
        self.close()
        self._lookup = None
        if not lookup.addresses:
            raise self.origin.unresolved(lookup.error or "it has no address")
        self._addresses = list(lookup.addresses)
        self._connect()
        return True

    @property
    def connecting(self) -> bool:
        """Whether no request can have been written yet, because the name, TCP or TLS is not ready."""
        return self._state in ("resolving", "connecting", "handshake")

    def try_next_address(self) -> bool:
        """Give up this address and try the next one; returns False when the host has no other."""
        self.close()
        if not self._addresses:
            return False
        self._connect()
        return True

    def _finish_connecting(self) -> bool:
        code = self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            self.close()
            if self._addresses:
                self._connect()
                return False
            raise KatoUnavailable(f"KATO at {self.origin.name} cannot be reached ({errno.errorcode.get(code, code)})")
        if self.origin.tls is not None:
            self._sock = self.origin.tls.wrap_socket(
                self.socket, server_hostname=self.origin.host, do_handshake_on_connect=False
            )
            self._state = "handshake"
        else:
            self._state = "sending"
        return True

    def close(self) -> None:
        """Close the connection. A call on it gets no answer."""
        if self._sock is not None:
            self._sock.close()

    # --------------------------------------------------------------- a call

    def begin(self, request: KatoRequest) -> None:
        """Start a call on the connection; ``proceed`` sends it."""
        self._out = memoryview(self.origin.request(request))
        self._sent = False
        self._may_send = request.may_send
        self._route = request.route
        answer = self._answer = Answer(request.most_bytes)
        self._parser = answer.parser = httptools.HttpResponseParser(answer)
        if self._state == "idle":
            self._state = "sending"

    def _let_go(self, state: State) -> None:
        """Forget the call that is over (the parser and its answer refer to each other)."""
        self._state = state
        if self._answer is not None:
            self._answer.parser = None
        self._answer = self._parser = self._may_send = None
        self._out = memoryview(b"")

    def stale(self) -> bool:
        """Return whether the other side has closed this idle connection; nothing was sent, so take another one."""
        try:
            self.socket.recv(1, socket.MSG_PEEK) if self.origin.tls is None else self.socket.recv(1)
        except (BlockingIOError, ssl.SSLWantReadError):
            return False
        except OSError:
            return True
        return True  # EOF, or bytes that were not asked for

    def proceed(self) -> tuple[int, KatoReply | None]:
        """Do what is possible without blocking; returns the selector events to wait for next, and the reply if any.

        On any failure it raises KatoUnavailable if nothing had been sent, and OutcomeUnknown if something had.
        LeaseLost and ConfigurationError are raised only if nothing had been sent.
        """
        try:
            return self._proceed()
        except (ssl.SSLWantReadError, BlockingIOError):
            return selectors.EVENT_READ, None
        except ssl.SSLWantWriteError:
            return selectors.EVENT_WRITE, None
        except KatoTasksError:
            raise
        except ssl.SSLCertVerificationError as exc:
            raise ConfigurationError(
                f"KATO_TASKS_KATO_URLS: {self.origin.name} has no certificate that is trusted here ({exc}); "
                "KATO_TASKS_KATO_CA_FILE names whom to trust"
            ) from exc
        except httptools.HttpParserUpgrade as exc:
            raise self.failure("it changed to another protocol") from exc
        except httptools.HttpParserError as exc:
            raise OutcomeUnknown(f"{self._route}: KATO's answer is no HTTP ({exc})") from exc
        except Exception as exc:
            raise self.failure(str(exc) or type(exc).__name__) from exc

    def failure(self, why: str) -> KatoUnavailable | OutcomeUnknown:
        """Return the error that the end of this connection means for its call: KatoUnavailable if it was never sent."""
        if self._state == "resolving":
            return self.origin.unresolved(why)
        if self._sent:
            return OutcomeUnknown(f"{self._route}: no answer from KATO at {self.origin.name} ({why})")
        return KatoUnavailable(f"KATO at {self.origin.name} cannot be reached ({why})")

    def _proceed(self) -> tuple[int, KatoReply | None]:
        if self._state == "resolving":
            return (selectors.EVENT_WRITE if self._connect_if_resolved() else selectors.EVENT_READ), None
        if self._state == "connecting" and not self._finish_connecting():
            return selectors.EVENT_WRITE, None
        if self._state == "handshake":
            sock = self.socket
            assert isinstance(sock, ssl.SSLSocket)
            sock.do_handshake()
            self._state = "sending"
        if self._state == "sending":
            if not self._sent and self._may_send is not None and not self._may_send():
                raise LeaseLost("the lease ran out before the call to KATO was sent")
            while self._out:
                try:
                    self._sent = True  # from here on the outcome is unknown
                    written = self.socket.send(self._out)
                except (BlockingIOError, ssl.SSLWantWriteError):
                    return selectors.EVENT_WRITE, None
                self._out = self._out[written:]
            self._state = "reading"
        return self._read()

    def _read(self) -> tuple[int, KatoReply | None]:
        answer = self._answer
        assert answer is not None
        while True:
            data = self.socket.recv(_CHUNK)
            # KATO's answers are JSON objects, so one that was cut off does not parse, and is noticed.
            if not data and answer.ended_with_the_connection():
                break
            if not data:
                raise self.failure("the connection was closed")
            try:
                self._parser.feed_data(data)
            except httptools.HttpParserError:
                if not answer.complete:
                    raise
                answer.overrun = True  # a complete answer stays valid, whatever follows it
            if answer.complete:
                break
            if answer.too_large:
                raise OutcomeUnknown(f"{self._route}: {too_large(answer.most_bytes)}")
            if answer.switched:
                raise self.failure("it changed to another protocol")
        reply = answer.reply()
        # KATO closes the connection after an error of its own without saying so.
        again = answer.keep_alive and not answer.overrun and reply.status < 500
        self._let_go("idle" if again else "closed")
        return 0, reply

    def abandon(self) -> None:
        """Give up the call on it, which failed; whatever still arrives must not be read."""
        self._let_go("closed")

    @property
    def reusable(self) -> bool:
        """Whether the connection can carry another call."""
        return self._state == "idle"
