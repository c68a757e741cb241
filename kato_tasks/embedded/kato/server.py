"""Serve an embedded KATO over HTTP, in this thread or in one of its own."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from kato_tasks.embedded.kato.app import CALL, App, create_app
from kato_tasks.embedded.kato.traffic import Connection, Traffic

if TYPE_CHECKING:
    import uvicorn

KEEP_ALIVE_SECONDS = 5
"""Seconds after which KATO closes an idle connection."""


def _protocol(app: App) -> type[asyncio.Protocol]:
    """Return uvicorn's HTTP protocol, extended to say when a whole request is there and when a client leaves.

    The application itself runs too late to see that two requests came in together.
    """
    traffic = app.state.traffic
    try:
        from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
    except ImportError:
        from uvicorn.protocols.http.h11_impl import H11Protocol

        class SlowProtocol(H11Protocol):
            def eof_received(self) -> None:
                _leave(traffic, self.scope)
                super().eof_received()

            def connection_lost(self, exc: Exception | None) -> None:
                _leave(traffic, self.scope)
                super().connection_lost(exc)

            def handle_events(self) -> None:
                super().handle_events()
                cycle: Any = self.cycle
                if cycle is not None and not cycle.more_body and CALL not in cycle.scope:
                    _arrive(traffic, cycle.scope, self.transport)

        return SlowProtocol

    class FastProtocol(HttpToolsProtocol):
        def on_message_complete(self) -> None:
            super().on_message_complete()
            _arrive(traffic, self.scope, self.transport)

        def eof_received(self) -> None:
            # The loop tells of the connection's loss only in its next round.
            _leave(traffic, self.scope)
            super().eof_received()

        def connection_lost(self, exc: Exception | None) -> None:
            _leave(traffic, self.scope)
            super().connection_lost(exc)

    return FastProtocol


def _arrive(traffic: Traffic, scope: Any, connection: Connection) -> None:
    path = scope["path"]
    if not path.startswith("/_embedded/"):
        scope[CALL] = traffic.arrive(path, connection)


def _leave(traffic: Traffic, scope: Any) -> None:
    # A connection that never asked anything has no scope yet.
    call = scope.get(CALL) if scope else None
    if call is not None:
        traffic.leave(call)


def listen(host: str, port: int) -> socket.socket:
    """Return a bound socket. Port 0 takes any free port. Raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio turns Nagle's algorithm off only if the protocol is named. Otherwise it costs 40 ms a call.
    server = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        server.bind((host, port))
    except BaseException:
        server.close()
        raise
    return server


def base_url(bound: socket.socket) -> str:
    """Return the base URL of a server on this socket."""
    host, port = bound.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def make_server(app: App, *, access_log: bool = False, ready: Callable[[], None]) -> uvicorn.Server:
    """Return a uvicorn server for ``app`` that calls ``ready`` when it accepts connections.

    Raises ImportError when uvicorn is not installed (extra ``http``).
    """
    import uvicorn

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            ready()

    config = uvicorn.Config(
        app,
        http=_protocol(app),
        loop="uvloop" if find_spec("uvloop") is not None else "asyncio",
        ws="none",
        interface="asgi3",
        lifespan="off",
        log_level="info" if access_log else "critical",
        access_log=access_log,
        proxy_headers=False,
        server_header=False,
        date_header=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        # A call held by a delay fault must not hold the stop.
        timeout_graceful_shutdown=1,
        backlog=4096,
    )
    return Server(config)


@contextmanager
def serve_in_thread(host: str = "127.0.0.1", port: int = 0, **options: Any) -> Iterator[str]:
    """Serve an embedded KATO in a thread, and yield its base URL. The keywords are those of ``create_app``."""
    bound = listen(host, port)
    started = threading.Event()
    app = create_app(**options)
    server = make_server(app, ready=started.set)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]}, name="embedded-kato", daemon=True)
    thread.start()
    try:
        if not started.wait(10):
            raise RuntimeError("the embedded KATO did not start within 10 s")
        yield base_url(bound)
    finally:
        server.should_exit = True
        thread.join(10)
        bound.close()
        app.state.close()
