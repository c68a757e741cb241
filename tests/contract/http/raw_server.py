"""A server on a bare socket that misbehaves exactly as a test says, one thread for each connection."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator

from kato_tasks.testing.services import LOOPBACK

OK = b'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 11\r\n\r\n{"ok":true}'


class Peer:
    """The server's end of one connection."""

    def __init__(self, sock: socket.socket, number: int) -> None:
        self.sock = sock
        self.number = number
        self._rest = b""

    def request(self) -> tuple[str, bytes]:
        """The next request: its first line, and its body. Raises EOFError when the client has gone."""
        while b"\r\n\r\n" not in self._rest:
            self._more()
        head, _, self._rest = self._rest.partition(b"\r\n\r\n")
        length = 0
        for line in head.split(b"\r\n")[1:]:
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        while len(self._rest) < length:
            self._more()
        body, self._rest = self._rest[:length], self._rest[length:]
        return head.split(b"\r\n")[0].decode(), body

    def _more(self) -> None:
        data = self.sock.recv(65_536)
        if not data:
            raise EOFError
        self._rest += data

    def answer(self, data: bytes = OK) -> None:
        self.sock.sendall(data)

    def reset(self) -> None:
        """Close with RST, as a process does that was killed with data unread."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


Behaviour = Callable[[Peer], None]


class RawServer:
    """Listens; `connections` counts those accepted, `open` and `most_open` those at one time."""

    def __init__(self, behave: Behaviour, *, host: str = LOOPBACK, tls: ssl.SSLContext | None = None) -> None:
        self._behave = behave
        self._tls = tls
        self._lock = threading.Lock()
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = socket.create_server((host, 0), family=family, backlog=256)
        self.port = int(self._listener.getsockname()[1])
        self.connections = 0
        self.open = 0
        self.most_open = 0
        self.requests: list[tuple[str, bytes]] = []
        self.failures: list[BaseException] = []
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://{LOOPBACK}:{self.port}"

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                self.connections += 1
                number = self.connections
                self.open += 1
                self.most_open = max(self.most_open, self.open)
            threading.Thread(target=self._serve, args=(sock, number), daemon=True).start()

    def _serve(self, sock: socket.socket, number: int) -> None:
        try:
            if self._tls is not None:
                sock = self._tls.wrap_socket(sock, server_side=True)
            with sock:
                self._behave(_Noting(sock, number, self))
        except (OSError, EOFError):
            pass  # the client has gone: what that means is the test's business
        except BaseException as exc:
            self.failures.append(exc)
        finally:
            with self._lock:
                self.open -= 1

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        assert self.failures == []


class _Noting(Peer):
    """Notes each request at its server."""

    def __init__(self, sock: socket.socket, number: int, server: RawServer) -> None:
        super().__init__(sock, number)
        self._server = server

    def request(self) -> tuple[str, bytes]:
        found = super().request()
        self._server.requests.append(found)
        return found


@contextlib.contextmanager
def serving(behave: Behaviour, *, host: str = LOOPBACK, tls: ssl.SSLContext | None = None) -> Iterator[RawServer]:
    server = RawServer(behave, host=host, tls=tls)
    try:
        yield server
    finally:
        server.close()


def well(peer: Peer) -> None:
    """Answers every request."""
    while True:
        peer.request()
        peer.answer()
