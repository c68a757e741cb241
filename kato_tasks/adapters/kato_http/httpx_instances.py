"""The httpx clients of each KATO instance, with its connections, headers and certificates."""

from __future__ import annotations

import logging
import ssl
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.cookiejar import CookieJar, DefaultCookiePolicy
from importlib.util import find_spec

import httpx

from kato_tasks.adapters.kato_http import pool as fast
from kato_tasks.adapters.kato_http.access import Access
from kato_tasks.domain.instance import Instance
from kato_tasks.errors import ConfigurationError

HTTP_2 = find_spec("h2") is not None


@dataclass
class _Opened:
    """An instance and its free clients, with the time at which each became free; the one used last is at the right."""

    instance: Instance
    tls: ssl.SSLContext
    shared: httpx.Client | None = None
    free: deque[tuple[float, httpx.Client]] = field(default_factory=deque)


class Instances:
    """Lends the httpx clients of each instance. Thread-safe.

    Calls of several threads share one client, and with it a pool of connections, unless the instance may speak HTTP/2.
    httpcore puts the calls of all threads on one HTTP/2 connection, and there they race for the number of a stream, for
    the state of the header compression and for the bytes to be sent. So each such call has a client, with a connection,
    for itself while it lasts; the next call takes it over.
    """

    def __init__(self, access: Access, connections: int) -> None:
        self._access = access
        self._connections = connections
        self._lock = threading.Lock()
        self._opened: dict[str, _Opened] = {}
        # These log each request at INFO, and each answer's headers, which may hold a gateway's secrets, at DEBUG.
        for name in ("httpx", "httpcore"):
            logging.getLogger(name).setLevel(logging.WARNING)

    @contextmanager
    def client(self, url: str) -> Iterator[tuple[Instance, httpx.Client]]:
        """Lend the instance at this address and a client of it for one call.

        Raises ConfigurationError when the address or a certificate cannot work.
        """
        with self._lock:
            opened = self._opened.get(url)
            if opened is None:
                opened = self._opened[url] = self._open(url)
            client = opened.shared
            if client is None:
                client = opened.free.pop()[1] if opened.free else self._made(opened, 1)
        try:
            yield opened.instance, client
        finally:
            if client is not opened.shared:
                self._take_back(url, opened, client)

    def _take_back(self, url: str, opened: _Opened, client: httpx.Client) -> None:
        now = time.monotonic()
        with self._lock:
            unused = []
            if self._opened.get(url) is opened:
                opened.free.append((now, client))
                while opened.free[0][0] < now - fast.KEEPALIVE_SECONDS:
                    unused.append(opened.free.popleft()[1])
            else:  # closed meanwhile
                unused.append(client)
        for one in unused:
            one.close()

    def _open(self, url: str) -> _Opened:
        try:
            instance = Instance.parse(url)
        except ValueError as exc:
            raise ConfigurationError(f"KATO_TASKS_KATO_URLS: {exc}") from None
        secure = instance.scheme == "https"
        # Loading the system's authorities takes a tenth of a second, so it is not done without TLS.
        opened = _Opened(instance, self._access.tls() if secure else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
        if secure and HTTP_2:  # only over TLS is HTTP/2 agreed on
            opened.free.append((time.monotonic(), self._made(opened, 1)))
        else:
            opened.shared = self._made(opened, self._connections)
        return opened

    def _made(self, opened: _Opened, connections: int) -> httpx.Client:
        instance = opened.instance
        headers = {"accept": "application/json", "accept-encoding": "identity", **self._access.headers_for(instance)}
        limits = httpx.Limits(
            max_connections=connections,
            max_keepalive_connections=connections,
            keepalive_expiry=fast.KEEPALIVE_SECONDS,
        )
        jar = CookieJar(DefaultCookiePolicy(allowed_domains=[]))  # no call may depend on the one before it
        try:
            return httpx.Client(headers=headers, verify=opened.tls, http2=HTTP_2, limits=limits, cookies=jar)
        except (ValueError, ImportError, httpx.InvalidURL) as exc:
            raise ConfigurationError(
                f"KATO_TASKS_KATO_TRANSPORT=httpx: {exc}; look at the proxies of the environment"
            ) from exc

    def close(self) -> None:
        """Close every client that is shared or free. One that is lent is closed when it comes back."""
        with self._lock:
            for opened in self._opened.values():
                for client in [opened.shared, *(client for _, client in opened.free)]:
                    if client is not None:
                        client.close()
            self._opened.clear()
