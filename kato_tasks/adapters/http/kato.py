"""Calls to KATO over pooled connections, many at a time in one thread.

Idle connections are kept shorter than KATO's own 5.0 s, and one that KATO closed meanwhile is noticed
before anything is written to it.
"""

from __future__ import annotations

import selectors
import threading
import time
from collections import deque
from typing import Any, Generic, TypeVar

from kato_tasks.adapters.http.wire import Connection, Origin
from kato_tasks.errors import KatoTasksError
from kato_tasks.ports import KatoReply, KatoRequest

KEEPALIVE_SECONDS = 3.0
Tag = TypeVar("Tag")


class HttpKato:
    """The process's connections to KATO: thread-safe, opened after the fork, at most so many at once."""

    def __init__(
        self, *, connections: int = 16, timeout_seconds: float = 30.0, connect_timeout_seconds: float = 3.0
    ) -> None:
        self.timeout_seconds = timeout_seconds
        self.connect_timeout_seconds = connect_timeout_seconds
        self._limit = connections
        self._lock = threading.Lock()
        self._origins: dict[str, Origin] = {}
        self._idle: dict[str, deque[Connection]] = {}
        self._busy = 0

    def calls(self) -> Calls[Any]:
        """A place for calls that overlap; it belongs to one thread."""
        return Calls(self)

    def send(self, request: KatoRequest) -> KatoReply:
        """One call, waited for. Raises KatoUnavailable (never sent) or OutcomeUnknown."""
        calls: Calls[None] = Calls(self)
        try:
            calls.begin(request, None)
            while True:
                for _, reply, error in calls.wait():
                    if error is not None:
                        raise error
                    assert reply is not None
                    return reply
        finally:
            calls.close()

    def take(self, url: str, *, must: bool) -> Connection | None:
        """A connection, idle or new; None when the limit is reached (``must``: one over it)."""
        with self._lock:
            if self._busy >= self._limit and not must:
                return None
            origin = self._origins.get(url)
            if origin is None:
                origin = self._origins[url] = Origin(url)
            self._busy += 1
            idle = self._idle.setdefault(url, deque())
            oldest_good = time.monotonic() - KEEPALIVE_SECONDS
            found: Connection | None = None
            while idle and found is None:
                candidate = idle.pop()
                if candidate.idle_since < oldest_good or candidate.stale():
                    candidate.close()
                else:
                    found = candidate
        if found is not None:
            return found
        try:
            return Connection(origin)
        except BaseException:
            with self._lock:
                self._busy -= 1
            raise

    def give_back(self, connection: Connection) -> None:
        with self._lock:
            self._busy -= 1
            if connection.reusable:
                connection.idle_since = time.monotonic()
                self._idle.setdefault(connection.origin.url, deque()).append(connection)
                return
        connection.close()

    def close(self) -> None:
        """Close what is idle."""
        with self._lock:
            for idle in self._idle.values():
                while idle:
                    idle.pop().close()


class Calls(Generic[Tag]):
    """Calls under way, each with the caller's tag. Not thread-safe."""

    def __init__(self, kato: HttpKato) -> None:
        self._kato = kato
        self._selector = selectors.DefaultSelector()
        self._waiting: deque[tuple[KatoRequest, Tag]] = deque()
        self._busy: dict[Connection, tuple[Tag, int]] = {}
        self._done: list[tuple[Tag, KatoReply | None, KatoTasksError | None]] = []

    def __len__(self) -> int:
        return len(self._waiting) + len(self._busy) + len(self._done)

    def begin(self, request: KatoRequest, tag: Tag) -> None:
        """Send it, or keep it until a connection is free."""
        self._waiting.append((request, tag))

    def wait(self) -> list[tuple[Tag, KatoReply | None, KatoTasksError | None]]:
        """The calls that ended, at least one; none only when none is under way."""
        while True:
            self._start()
            if self._done or not self._busy:
                done, self._done = self._done, []
                if done or not self._waiting:
                    return done
                continue
            nearest = min(c.deadline for c in self._busy)
            for key, _ in self._selector.select(max(0.0, nearest - time.monotonic())):
                self._proceed(key.data)
            now = time.monotonic()
            if now >= nearest:
                for connection in [c for c in self._busy if c.deadline <= now]:
                    self._timed_out(connection)

    def _timed_out(self, connection: Connection) -> None:
        if not connection.connecting:
            self._end(connection, None, connection.failure("timed out"))
            return
        tag, before = self._busy[connection]
        if before:
            self._selector.unregister(connection.socket)
        self._busy[connection] = (tag, 0)
        failure = connection.failure("connecting timed out")
        try:
            another = connection.try_next_address()
        except KatoTasksError:
            another = False
        if another:
            connection.deadline = time.monotonic() + self._kato.connect_timeout_seconds
            self._watch(connection, selectors.EVENT_WRITE)
        else:
            self._end(connection, None, failure)

    def close(self) -> None:
        """Abandon what is under way."""
        for connection in list(self._busy):
            self._end(connection, None, connection.failure("abandoned"))
        self._selector.close()

    def _start(self) -> None:
        while self._waiting:
            request, tag = self._waiting[0]
            try:
                connection = self._kato.take(request.url, must=not self._busy)
            except KatoTasksError as exc:
                self._waiting.popleft()
                self._done.append((tag, None, exc))
                continue
            if connection is None:
                return
            self._waiting.popleft()
            fresh = not connection.reusable
            limit = self._kato.connect_timeout_seconds if fresh else self._kato.timeout_seconds
            connection.deadline = time.monotonic() + limit
            connection.begin(request)
            self._busy[connection] = (tag, 0)
            if fresh:
                self._watch(connection, selectors.EVENT_WRITE)
            else:
                self._proceed(connection)

    def _watch(self, connection: Connection, events: int) -> None:
        tag, before = self._busy[connection]
        if events == before:
            return
        if before:
            self._selector.unregister(connection.socket)
        self._selector.register(connection.socket, events, connection)
        self._busy[connection] = (tag, events)

    def _proceed(self, connection: Connection) -> None:
        sock, connecting = connection.socket, connection.connecting
        try:
            events, reply = connection.proceed()
        except KatoTasksError as exc:
            self._end(connection, None, exc, sock)
            return
        if connecting and not connection.connecting:
            connection.deadline = time.monotonic() + self._kato.timeout_seconds
        if reply is not None:
            self._end(connection, reply, None, sock)
        elif connection.socket is not sock:
            # Another of the host's addresses is tried, or TLS wrapped the socket.
            tag, before = self._busy[connection]
            if before:
                self._forget(sock)
            self._busy[connection] = (tag, 0)
            self._watch(connection, events)
        else:
            self._watch(connection, events)

    def _forget(self, sock: object) -> None:
        try:
            self._selector.unregister(sock)  # type: ignore[arg-type]
        except (KeyError, ValueError):
            # A closed socket has no descriptor any more: find its entry by the object.
            for key in list(self._selector.get_map().values()):
                if key.fileobj is sock:
                    self._selector.unregister(key.fd)

    def _end(
        self,
        connection: Connection,
        reply: KatoReply | None,
        error: KatoTasksError | None,
        sock: object | None = None,
    ) -> None:
        tag, before = self._busy.pop(connection)
        if before:
            self._forget(sock if sock is not None else connection.socket)
        if error is not None:
            connection.abandon()
        self._kato.give_back(connection)
        self._done.append((tag, reply, error))
