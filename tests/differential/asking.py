"""A KATO that a history is asked of, and its answers in words that two of them can share."""

import http.client
import json
import re
import socket
import time
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

from tests.differential.calls import Call

IDLE_SECONDS = 3.0
"""KATO closes a connection that was idle for 5 s."""
VISIBLE_WITHIN = 1.0
"""KATO shows a new pattern 50 to 200 ms after it was learned."""
_NAME = re.compile(rb"~([snp])(\d+)")
_PATTERN = re.compile(r"PTRN\|[0-9a-f]{40}")
_HEADERS = ("content-type", "connection", "allow")


class Answer(NamedTuple):
    """One answer: what is compared of it, and the names of patterns it speaks of."""

    status: int
    headers: dict[str, str]
    body: Any
    closes: bool | None
    """Whether the connection was closed after it, where that was looked at."""
    at: float
    """When it came, in seconds since 1970."""


class Side:
    """One KATO during one history: what its sessions and nodes are called there."""

    def __init__(self, url: str, tag: str) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "", parts.port or 80
        self._tag = tag
        self._connection: http.client.HTTPConnection | None = None
        self._used = 0.0
        self._process: Any = None
        self.sessions: dict[str, str] = {}
        self.patterns: list[str] = []

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def ask(self, call: Call) -> Answer:
        """Make `call` and answer with what came, this run's ids replaced by the history's names."""
        status, headers, data, closes = self._exchange(call)
        at = time.time()
        if status == 200 and (call.method, call.path) == ("POST", "/sessions"):
            self.sessions[call.makes or f"~s{1000 + len(self.sessions)}"] = json.loads(data)["session_id"]
        text = data.decode(errors="surrogateescape")
        for name, session_id in self.sessions.items():
            text = text.replace(session_id, name)
        text = text.replace(self._tag, "~n")
        for pattern in dict.fromkeys(_PATTERN.findall(text)):
            if status == 200 and pattern not in self.patterns and call.kind != "pattern":
                self.patterns.append(pattern)
        kept = {name: value for name, value in headers.items() if name in _HEADERS}
        body: Any = text
        if headers.get("content-type", "").startswith("application/json"):
            body = json.loads(text)
        return Answer(status, kept, body, closes, at)

    def wait_for(self, pattern: str, node_id: str) -> None:
        """Wait until a new pattern can be read back, but not for long: some are never stored."""
        path = f"/pattern/{pattern}?node_id={quote(self._node(node_id), safe='')}"
        end = time.monotonic() + VISIBLE_WITHIN
        while time.monotonic() < end:
            status, _, data, _ = self._exchange(Call("pattern", "GET", path))
            if status == 200 and json.loads(data)["pattern"]["status"] == "okay":
                break
            time.sleep(0.01)

    def _node(self, node_id: str) -> str:
        return self._named(node_id.encode(errors="surrogatepass")).decode(errors="surrogatepass")

    def _named(self, data: bytes) -> bytes:
        def name(found: re.Match[bytes]) -> bytes:
            number = int(found[2])
            if found[1] == b"n":
                return f"{self._tag}{number}".encode()
            if found[1] == b"p":
                known = self.patterns
                return (known[number % len(known)] if known else "PTRN|none").encode()
            return self.sessions.get(found[0].decode(), found[0].decode()).encode()

        return _NAME.sub(name, data)

    def _exchange(self, call: Call) -> tuple[int, dict[str, str], bytes, bool | None]:
        path = quote(self._named(call.path.encode()), safe="/?&=|%+~")
        body = None if call.body is None else self._named(call.body)
        headers = {} if call.content_type is None or body is None else {"Content-Type": call.content_type}
        if self._connection is not None and time.monotonic() - self._used > IDLE_SECONDS:
            self.close()
        if self._connection is None:
            self._connection = self._connected()
        connection = self._connection
        connection.request(call.method, path, body, headers)
        response = connection.getresponse()
        data = response.read()
        self._used = time.monotonic()
        closes = None
        if response.status >= 500:
            closes = _closed(connection.sock)
            self.close()
        elif connection.sock is None:
            closes = True
        return response.status, {k.lower(): v for k, v in response.getheaders()}, data, closes

    def _connected(self) -> http.client.HTTPConnection:
        """A connection to the server process that answered first.

        KATO's processes keep figures of a node, and the vectors that they have learned, each for itself: another
        one may answer with what was true before.
        """
        for _ in range(3000):
            connection = http.client.HTTPConnection(self._host, self._port, timeout=300)
            connection.request("GET", "/health")
            health = json.loads(connection.getresponse().read())
            # When it began to collect, which is when it was started.
            process = health.get("last_collection")
            if self._process is None:
                self._process = process
            if process == self._process:
                return connection
            connection.close()
        raise ConnectionError("the process that answered first is not to be reached any more")


def _closed(connected: socket.socket | None) -> bool:
    """Whether the other end closes within half a second."""
    if connected is None:
        return True
    connected.settimeout(0.5)
    try:
        return connected.recv(1) == b""
    except TimeoutError:
        return False
    except ConnectionError:
        return True
