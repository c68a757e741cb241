"""The same transport on httpx, for what the fast client lacks: the environment's proxies, and HTTP/2.

Each call has a thread, so that a drain's calls overlap; an instance has at most as many calls at once as connections.
A call that is given up while it connects or reads keeps its thread and its place until httpx returns.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from queue import Empty, SimpleQueue
from typing import Any, Generic, TypeVar

from kato_tasks.adapters.kato_http import pool as fast
from kato_tasks.adapters.kato_http.access import Access
from kato_tasks.adapters.kato_http.httpx_call import Call
from kato_tasks.adapters.kato_http.httpx_instances import Instances
from kato_tasks.adapters.kato_http.pool import Ended, no_connection
from kato_tasks.domain.instance import instance_name
from kato_tasks.errors import KatoUnavailable
from kato_tasks.ports.kato import KatoReply, KatoRequest

IDLE_SECONDS = 10.0
"""Seconds that a thread without work waits for some before it ends."""
Tag = TypeVar("Tag")


class HttpxKato:
    """The process's calls to KATO on httpx: thread-safe, opened after the fork, with a limited number per instance."""

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
        self._instances = Instances(access or Access(), connections)
        self._lock = threading.Lock()
        self._busy: dict[str, int] = {}
        self._free_threads = 0
        self._work: SimpleQueue[Call[Any]] = SimpleQueue()

    def calls(self, *, wakeable: bool = False) -> HttpxCalls[Any]:
        """Return a set of calls that overlap; it belongs to one thread."""
        return HttpxCalls(self, wakeable=wakeable)

    @property
    def in_use(self) -> int:
        """How many calls are under way now."""
        return sum(self._busy.values())

    def send(self, request: KatoRequest) -> KatoReply:
        """Send a request and wait for its reply. Raises KatoUnavailable (never sent) or OutcomeUnknown."""
        calls: HttpxCalls[None] = HttpxCalls(self)
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

    def take(self, url: str) -> bool:
        """Take a place for one call to this instance; returns False if none is free."""
        with self._lock:
            if self._busy.get(url, 0) >= self._limit:
                return False
            self._busy[url] = self._busy.get(url, 0) + 1
            return True

    def start(self, call: Call[Any]) -> None:
        """Have a thread carry out the call in the place that was taken; raises RuntimeError if none can start."""
        with self._lock:
            waits = self._free_threads > 0
            if waits:
                self._free_threads -= 1
        if waits:
            self._work.put(call)
            return
        try:
            threading.Thread(target=self._carry_out, args=(call,), name="kato-httpx", daemon=True).start()
        except BaseException:
            self._give_back(call.request.url)
            raise

    def _give_back(self, url: str) -> None:
        with self._lock:
            self._busy[url] -= 1

    def _carry_out(self, call: Call[Any]) -> None:
        while True:
            call.carry_out(self._instances)
            self._give_back(call.request.url)
            call.tell()
            with self._lock:
                self._free_threads += 1
            try:
                call = self._work.get(timeout=IDLE_SECONDS)
            except Empty:
                with self._lock:
                    if self._free_threads:
                        self._free_threads -= 1
                        return
                call = self._work.get()  # a call was given to this thread at that very moment

    def close(self) -> None:
        """Close the idle connections."""
        self._instances.close()


class HttpxCalls(Generic[Tag]):
    """Calls under way, each with the caller's tag; see ``ports.KatoCalls``. Only ``wake`` is thread-safe."""

    def __init__(self, kato: HttpxKato, *, wakeable: bool = False) -> None:
        self._kato = kato
        self._wakeable = wakeable
        self._waiting: dict[str, deque[tuple[KatoRequest, Tag, float]]] = {}
        self._busy: set[Call[Tag]] = set()
        self._done: list[Ended[Tag]] = []
        self._ended: SimpleQueue[Call[Tag] | None] = SimpleQueue()

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values())) + len(self._busy) + len(self._done)

    def begin(self, request: KatoRequest, tag: Tag) -> None:
        """See ``ports.KatoCalls.begin``."""
        self._waiting.setdefault(request.url, deque()).append((request, tag, time.monotonic()))

    def wait(self, timeout: float | None = None) -> list[Ended[Tag]]:
        """See ``ports.KatoCalls.wait``."""
        until = None if timeout is None else time.monotonic() + timeout
        while True:
            self._start()
            woken = self._collect(0.0)
            if self._done or woken or (not self._busy and not self._waiting and not self._wakeable):
                return self._taken()
            now = time.monotonic()
            stops = [call.deadline for call in self._busy]
            if self._waiting:
                stops.append(now + fast.POLL_SECONDS)
            if until is not None:
                stops.append(until)
            woken = self._collect(max(0.0, min(stops) - now) if stops else None)
            now = time.monotonic()
            for call in [call for call in self._busy if call.deadline <= now]:
                if call.give_up("timed out"):
                    self._end(call)
            if woken or (until is not None and now >= until):
                return self._taken()

    def _collect(self, seconds: float | None) -> bool:
        """Collect the calls that ended, waiting up to ``seconds`` for the first; returns True after a ``wake``."""
        woken = False
        try:
            call = self._ended.get_nowait() if seconds == 0.0 else self._ended.get(timeout=seconds)
            while True:
                if call is None:
                    woken = True
                elif call in self._busy:
                    self._end(call)
                call = self._ended.get_nowait()
        except Empty:
            return woken

    def _end(self, call: Call[Tag]) -> None:
        self._busy.discard(call)
        self._done.append((call.tag, call.reply, call.error))

    def _taken(self) -> list[Ended[Tag]]:
        done, self._done = self._done, []
        return done

    def wake(self) -> None:
        """Let a ``wait`` in another thread return."""
        self._ended.put(None)

    def adopt(self, other: HttpxCalls[Tag]) -> None:
        """Take over the calls of another set; of those without a place, as many as ``ADOPTED_WAITING`` allows."""
        for call in other._busy:
            call.hand_over(self._ended)
        other._collect(0.0)  # calls that ended before they were handed over
        self._busy |= other._busy
        other._busy = set()
        for url, queue in other._waiting.items():
            mine = self._waiting.setdefault(url, deque())
            mine.extend(queue)
            while len(mine) > fast.ADOPTED_WAITING:
                self._done.append((mine.pop()[1], None, no_connection(url)))
        other._waiting.clear()
        self._done += other._taken()
        other.close()

    def withdraw(self, url: str) -> list[Tag]:
        """Take back the calls to this instance that still wait for a place; returns their tags."""
        return [tag for _, tag, _ in self._waiting.pop(url, ())]

    def close(self) -> None:
        """Abandon the calls under way."""
        self._waiting.clear()
        for call in self._busy:
            call.give_up("abandoned")
        self._busy.clear()

    def _start(self) -> None:
        for url in list(self._waiting):
            queue = self._waiting[url]
            while queue:
                request, tag, since = queue[0]
                if since < time.monotonic() - fast.POOL_SECONDS:
                    self._done.append((tag, None, no_connection(url)))
                elif not self._kato.take(url):
                    break
                else:
                    self._begin(request, tag)
                queue.popleft()
            if not queue:
                del self._waiting[url]

    def _begin(self, request: KatoRequest, tag: Tag) -> None:
        patience = request.timeout_seconds or self._kato.timeout_seconds
        call = Call(request, tag, self._ended, (min(self._kato.connect_timeout_seconds, patience), patience))
        try:
            self._kato.start(call)
        except RuntimeError as exc:
            self._done.append((tag, None, KatoUnavailable(f"KATO at {instance_name(request.url)}: {exc}")))
            return
        self._busy.add(call)
