"""uvicorn's HTTP protocol with the limits that it lacks: time and size of headers, and the number of connections."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from kato_tasks.http_server.answering import SAFE, WHOLE
from kato_tasks.http_server.problems import MEDIA_TYPE, Problem


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """The limits, as the settings of the same names say; ``counted`` is told how many connections are open."""

    connections: int
    header_bytes: int
    header_seconds: float
    counted: Callable[[int], object]


class _Limited(HttpToolsProtocol):
    limits: ConnectionLimits

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._timer: asyncio.TimerHandle | None = None
        self._header_bytes = 0
        self.limits.counted(len(self.connections))
        if len(self.connections) > self.limits.connections:
            self._refuse(Problem(503, "This server has all the connections that it may have. Nothing was accepted."))
            return
        self._begin_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end_headers()
        super().connection_lost(exc)
        self.limits.counted(len(self.connections))

    def data_received(self, data: bytes) -> None:
        if self._timer is not None:
            self._header_bytes += len(data)
            if self._header_bytes > self.limits.header_bytes and b"\r\n\r\n" not in data[: self.limits.header_bytes]:
                self._refuse(Problem(431, f"A request's headers may have {self.limits.header_bytes} bytes."))
                return
        super().data_received(data)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._begin_headers()

    def on_headers_complete(self) -> None:
        self._end_headers()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        scope: Any = self.scope
        scope[WHOLE] = True
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002  uvicorn's own words
        self._refuse(Problem(400, "This is no HTTP request."))

    def _begin_headers(self) -> None:
        if self._timer is None:
            self._header_bytes = 0
            self._timer = self.loop.call_later(self.limits.header_seconds, self._too_slow)

    def _end_headers(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _too_slow(self) -> None:
        self._timer = None
        cycle: Any = self.cycle
        if cycle is not None and not cycle.response_complete:
            return  # a request before this one is still being answered
        self._refuse(Problem(408, "The headers did not arrive in time."))

    def _refuse(self, problem: Problem) -> None:
        """Answer what is no request yet, and end the connection."""
        self._end_headers()
        body = problem.body()
        head = [
            b"HTTP/1.1 %d %s" % (problem.status, b"Refused"),
            b"content-type: " + MEDIA_TYPE,
            b"content-length: %d" % len(body),
            b"connection: close",
            *(name + b": " + value for name, value in SAFE),
        ]
        if not self.transport.is_closing():
            self.transport.write(b"\r\n".join([*head, b"", body]))
            self.transport.close()


def limited_protocol(limits: ConnectionLimits) -> type[asyncio.Protocol]:
    """Return the protocol class with these limits."""
    made: Any = type("LimitedProtocol", (_Limited,), {"limits": limits})
    return made  # type: ignore[no-any-return]


__all__ = ["ConnectionLimits", "limited_protocol"]
