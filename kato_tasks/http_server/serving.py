"""Serve the application with uvicorn until a signal ends it."""

from __future__ import annotations

import contextlib
import logging
import resource
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from types import FrameType

import uvicorn

from kato_tasks.api.keys import list_keys
from kato_tasks.bootstrap import runtime
from kato_tasks.errors import ConfigurationError
from kato_tasks.http_server.access import is_loopback
from kato_tasks.http_server.app import create_app
from kato_tasks.http_server.context import Context
from kato_tasks.http_server.protocol import ConnectionLimits, limited_protocol
from kato_tasks.settings import settings
from kato_tasks.telemetry.log_events import log_event

log = logging.getLogger(__name__)
SPARE_FILES = 256
"""Files that a process has open beside its connections."""


def serve(host: str, port: int, *, said: Callable[[str], None]) -> None:
    """Serve HTTP until SIGTERM or SIGINT, and let requests under way go on for ``HTTP_STOP_SECONDS`` then.

    ``said`` is called with the address once requests are answered. Port 0 takes any free one.

    Raises:
        ConfigurationError: The address cannot be used; or it is not on loopback, and there is no key.
        StoreUnavailable, StoreFailed: The store does not answer, or cannot be used.
    """
    config = settings()
    on_loopback = is_loopback(host)
    keys = list_keys(runtime())
    if not on_loopback and not keys:
        raise ConfigurationError(
            f"{host} can be reached by other machines, and there are no keys: make one with "
            "`kato-tasks keys create --scope write`, or serve on --host 127.0.0.1"
        )
    bound = _listen(host, port)
    _allow_files(config.http_connections + SPARE_FILES)
    contexts: list[Context] = []
    counted: list[Callable[[int], object]] = []
    limits = ConnectionLimits(
        config.http_connections,
        config.http_max_header_bytes,
        config.http_header_seconds,
        lambda number: [tell(number) for tell in counted],
    )

    def started(context: Context) -> None:
        contexts.append(context)
        counted.append(context.metrics.connections.set)

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            if self.started:
                said(_address_of(bound))

        def handle_exit(self, sig: int, frame: FrameType | None) -> None:
            for context in contexts:
                context.stopping.set()
            super().handle_exit(sig, frame)

    server = Server(
        uvicorn.Config(
            create_app(on_loopback=on_loopback, started=started),
            http=limited_protocol(limits),
            loop="uvloop" if find_spec("uvloop") is not None else "asyncio",
            ws="none",
            lifespan="on",
            log_config=None,
            log_level="warning",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=max(1, round(config.http_keep_alive_seconds)),
            timeout_graceful_shutdown=max(1, round(config.http_stop_seconds)),
            backlog=4096,
        )
    )
    # uvicorn ends on these signals and raises them again for the handlers from before, which must do nothing.
    with _quiet_signals(), contextlib.closing(bound):
        server.run(sockets=[bound])
    log_event(log, logging.INFO, "http.stopped")
    if not server.started:
        sys.exit(2)


@contextlib.contextmanager
def _quiet_signals() -> Iterator[None]:
    before = {number: signal.signal(number, lambda *_: None) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _listen(host: str, port: int) -> socket.socket:
    """Return a bound socket. Raises ConfigurationError."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        # asyncio turns Nagle's algorithm off only if the protocol is named. Otherwise it costs 40 ms a request.
        server = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            server.bind(address)
        except BaseException:
            server.close()
            raise
    except (OSError, OverflowError, UnicodeError) as exc:
        raise ConfigurationError(
            f"cannot listen on {host} port {port}: {exc}; choose another --host or --port"
        ) from None
    return server


def _address_of(bound: socket.socket) -> str:
    host, port = bound.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _allow_files(wanted: int) -> None:
    """Let this process have so many files open, as far as its hard limit goes: a connection is one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, most), hard))


__all__ = ["serve"]
