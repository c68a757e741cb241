"""Makes calls to KATO over pooled connections, many at a time in one thread.

Idle connections are kept for less than KATO's own 5.0 s, and one that KATO has closed is noticed before anything is
written to it. Each instance has its own connections, so one that hangs takes none from another.
"""

from __future__ import annotations

import os
import selectors
import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from kato_tasks.adapters.kato_http.access import Access
from kato_tasks.adapters.kato_http.connection import Connection, Origin
from kato_tasks.domain.instance import instance_name
from kato_tasks.errors import KatoTasksError, KatoUnavailable, NoConnectionFree
from kato_tasks.ports.kato import KatoReply, KatoRequest

KEEPALIVE_SECONDS = 3.0
POOL_SECONDS = 5.0
"""Seconds that a call waits for a connection before it is given back unsent."""
POLL_SECONDS = 0.02
"""Seconds after which a call that waits for a connection looks again: another thread may have given one back."""
ADOPTED_WAITING = 64
"""Calls to one instance that may wait for a connection once the tasks that began them have ended. Each holds a lane, so
this limits how many lanes an instance that hangs can hold."""
Tag = TypeVar("Tag")
Ended = tuple[Tag, KatoReply | None, KatoTasksError | None]


class HttpKato:
    """The process's connections to KATO: thread-safe, opened after the fork, and limited in number per instance."""

    def __init__(
        self,
        *,
        connections: int = 16,
        timeout_seconds: float = 30.0,
        connect_timeout_seconds: float = 3.0,
        access: Access | None = None,
    ) -> None:
        self.timeout_seconds = timeout_seconds
        self.connect_timeout_seconds = connect_timeout_seconds
        self._limit = connections
        self._access = access or Access()
        self._lock = threading.Lock()
        self._origins: dict[str, Origin] = {}
        self._idle: dict[str, deque[Connection]] = {}
        self._busy: dict[str, int] = {}

    def calls(self, *, wakeable: bool = False) -> Calls[Any]:
        """Return a set of calls that overlap; it belongs to one thread."""
        return Calls(self, wakeable=wakeable)

    @property
    def in_use(self) -> int:
        """How many connections carry a call now."""
        return sum(self._busy.values())

    def send(self, request: KatoRequest) -> KatoReply:
        """Send a request and wait for its reply. Raises KatoUnavailable (never sent) or OutcomeUnknown."""
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

    def take(self, url: str) -> Connection | None:
        """Return a connection to this instance, idle or new; None when all that it may have are busy.

        Raises KatoUnavailable when the instance cannot be reached, ConfigurationError when its address cannot work.
        """
        with self._lock:
            if self._busy.get(url, 0) >= self._limit:
                return None
            origin = self._origins.get(url)
            if origin is None:
                origin = self._origins[url] = Origin(url, self._access)
            self._busy[url] = self._busy.get(url, 0) + 1
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
                self._busy[url] -= 1
            raise

    def give_back(self, connection: Connection) -> None:
        """Give back a connection whose call has ended; it is kept if it can carry another one."""
        url = connection.origin.url
        with self._lock:
            self._busy[url] -= 1
            if connection.reusable:
                connection.idle_since = time.monotonic()
                self._idle.setdefault(url, deque()).append(connection)
                return
        connection.close()

    def close(self) -> None:
        """Close the idle connections."""
        with self._lock:
            for idle in self._idle.values():
                while idle:
                    idle.pop().close()


@dataclass(slots=True)
class _UnderWay(Generic[Tag]):
    tag: Tag
    timeout_seconds: float
    events: int = 0
    """The events that the selector watches for; 0 if it does not watch the connection."""


@dataclass(frozen=True, slots=True)
class _Waiting(Generic[Tag]):
    request: KatoRequest
    tag: Tag
    since: float


class Calls(Generic[Tag]):
    """Calls under way, each with the caller's tag; see ``ports.KatoCalls``. Only ``wake`` is thread-safe."""

    def __init__(self, kato: HttpKato, *, wakeable: bool = False) -> None:
        self._kato = kato
        self._selector = selectors.DefaultSelector()
        self._waiting: dict[str, deque[_Waiting[Tag]]] = {}
        self._busy: dict[Connection, _UnderWay[Tag]] = {}
        self._done: list[Ended[Tag]] = []
        self._waker = -1
        if wakeable:
            self._waker = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
            self._selector.register(self._waker, selectors.EVENT_READ)

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values())) + len(self._busy) + len(self._done)

    def begin(self, request: KatoRequest, tag: Tag) -> None:
        """Send the request, or keep it until a connection to its instance is free."""
        self._waiting.setdefault(request.url, deque()).append(_Waiting(request, tag, time.monotonic()))

    def wait(self, timeout: float | None = None) -> list[Ended[Tag]]:
        """See ``ports.KatoCalls.wait``."""
        until = None if timeout is None else time.monotonic() + timeout
        while True:
            self._start()
            if self._done or (not self._busy and not self._waiting and self._waker < 0):
                return self._taken()
            now = time.monotonic()
            stops = [call.deadline for call in self._busy]
            if self._waiting:
                stops.append(now + POLL_SECONDS)
            if until is not None:
                stops.append(until)
            woken = False
            for key, _ in self._selector.select(max(0.0, min(stops) - now) if stops else None):
                if key.data is None:
                    os.eventfd_read(self._waker)
                    woken = True
                else:
                    self._proceed(key.data)
            now = time.monotonic()
            for connection in [c for c in self._busy if c.deadline <= now]:
                self._timed_out(connection)
            if woken or (until is not None and now >= until):
                return self._taken()

    def _taken(self) -> list[Ended[Tag]]:
        done, self._done = self._done, []
        return done

    def wake(self) -> None:
        """Let a ``wait`` in another thread return."""
        os.eventfd_write(self._waker, 1)

    def adopt(self, other: Calls[Tag]) -> None:
        """Take over the calls of another set; of those without a connection, as many as ``ADOPTED_WAITING`` allows."""
        for connection, call in list(other._busy.items()):
            other._unwatch(connection, call)
            events = call.events
            self._busy[connection] = _UnderWay(call.tag, call.timeout_seconds)
            self._watch(connection, events or selectors.EVENT_WRITE)
        other._busy.clear()
        for url, queue in other._waiting.items():
            mine = self._waiting.setdefault(url, deque())
            mine.extend(queue)
            while len(mine) > ADOPTED_WAITING:
                self._done.append((mine.pop().tag, None, no_connection(url)))
        other._waiting.clear()
        self._done += other._taken()
        other.close()

    def withdraw(self, url: str) -> list[Tag]:
        """Take back the calls to this instance that still wait for a connection; returns their tags."""
        return [waiting.tag for waiting in self._waiting.pop(url, ())]

    def _timed_out(self, connection: Connection) -> None:
        if not connection.connecting:
            self._end(connection, None, connection.failure("timed out"))
            return
        call = self._busy[connection]
        self._unwatch(connection, call)
        call.events = 0
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
        """Abandon the calls under way, and give every connection back."""
        self._waiting.clear()
        for connection in list(self._busy):
            self._end(connection, None, connection.failure("abandoned"))
        self._selector.close()
        if self._waker >= 0:
            os.close(self._waker)
            self._waker = -1

    def _start(self) -> None:
        for url in list(self._waiting):
            queue = self._waiting[url]
            while queue:
                if queue[0].since < time.monotonic() - POOL_SECONDS:
                    self._done.append((queue.popleft().tag, None, no_connection(url)))
                    continue
                try:
                    connection = self._kato.take(url)
                except Exception as exc:
                    # Nothing was sent. A problem of one call (a bad address, no free descriptor) must not affect
                    # others.
                    unsent = KatoUnavailable(f"KATO at {instance_name(url)}: {exc!r}")
                    error = exc if isinstance(exc, KatoTasksError) else unsent
                    self._done.append((queue.popleft().tag, None, error))
                    continue
                if connection is None:
                    break
                self._begin_on(connection, queue.popleft())
            if not queue:
                del self._waiting[url]

    def _begin_on(self, connection: Connection, waiting: _Waiting[Tag]) -> None:
        fresh = not connection.reusable
        timeout = waiting.request.timeout_seconds or self._kato.timeout_seconds
        limit = min(self._kato.connect_timeout_seconds, timeout) if fresh else timeout
        connection.deadline = time.monotonic() + limit
        self._busy[connection] = _UnderWay(waiting.tag, timeout)
        try:
            connection.begin(waiting.request)
        except Exception as exc:
            self._end(connection, None, connection.failure(repr(exc)))
            return
        if fresh:
            self._watch(connection, selectors.EVENT_WRITE)
        else:
            self._proceed(connection)

    def _watch(self, connection: Connection, events: int) -> None:
        call = self._busy[connection]
        if events == call.events:
            return
        self._unwatch(connection, call)
        self._selector.register(connection.socket, events, connection)
        call.events = events

    def _unwatch(self, connection: Connection, call: _UnderWay[Tag]) -> None:
        if call.events:
            self._selector.unregister(connection.socket)

    def _proceed(self, connection: Connection) -> None:
        sock, connecting = connection.socket, connection.connecting
        try:
            events, reply = connection.proceed()
        except KatoTasksError as exc:
            self._end(connection, None, exc, sock)
            return
        except Exception as exc:
            # An unexpected error in this answer must end this call only.
            self._end(connection, None, connection.failure(repr(exc)), sock)
            return
        call = self._busy[connection]
        if connecting and not connection.connecting:
            connection.deadline = time.monotonic() + call.timeout_seconds
        if reply is not None:
            self._end(connection, reply, None, sock)
        elif connection.socket is not sock:
            # Another of the host's addresses is being tried, or TLS has wrapped the socket.
            if call.events:
                self._forget(sock)
            call.events = 0
            self._watch(connection, events)
        else:
            self._watch(connection, events)

    def _forget(self, sock: object) -> None:
        try:
            self._selector.unregister(sock)  # type: ignore[arg-type]
        except (KeyError, ValueError):
            # A closed socket has no descriptor any more, so find its entry by the object.
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
        call = self._busy.pop(connection)
        if call.events:
            self._forget(sock if sock is not None else connection.socket)
        if error is not None:
            connection.abandon()
        self._kato.give_back(connection)
        self._done.append((call.tag, reply, error))


def no_connection(url: str) -> NoConnectionFree:
    """Return the error for a call that found no free connection in time."""
    return NoConnectionFree(f"every connection to KATO at {instance_name(url)} was busy for too long; nothing was sent")
