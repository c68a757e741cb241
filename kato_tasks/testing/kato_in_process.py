"""The embedded KATO without a network: a transport that calls its application in this process.

One thread has an event loop on which the application answers, so that calls overlap, are late and break off as the
faults that a test asks for say, and who waits for them is told in the words of ``ports.KatoTransport``.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any
from urllib.parse import unquote

from kato_tasks.adapters.kato_http.answer import reply
from kato_tasks.embedded.kato.app import App
from kato_tasks.errors import LeaseLost, OutcomeUnknown
from kato_tasks.ports.kato import KatoReply, KatoRequest

Ended = tuple[Any, KatoReply | None, Exception | None]


class KatoInProcess:
    """Sends requests to an embedded KATO of this process, whatever instance they name."""

    def __init__(self, app: App, *, timeout_seconds: float = 30.0) -> None:
        self.app = app
        self.timeout_seconds = timeout_seconds
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="kato-in-process", daemon=True)
        self._thread.start()

    def calls(self, *, wakeable: bool = False) -> CallsInProcess:
        """A place for calls that overlap; it belongs to one thread."""
        return CallsInProcess(self, wakeable=wakeable)

    def send(self, request: KatoRequest) -> KatoReply:
        """One call, waited for. Raises OutcomeUnknown or LeaseLost."""
        calls = self.calls()
        calls.begin(request, None)
        ((_, answer, error),) = calls.wait()
        if error is not None:
            raise error
        assert answer is not None
        return answer

    def start(self, call: _Call) -> None:
        """Have the application answer a call."""
        asyncio.run_coroutine_threadsafe(self._carry_out(call), self._loop)

    async def _carry_out(self, call: _Call) -> None:
        try:
            call.end(await _asked(self.app, call.request), None)
        except Exception as exc:
            call.end(None, OutcomeUnknown(f"the embedded KATO gave no answer: {str(exc) or type(exc).__name__}"))

    def close(self) -> None:
        """End the thread; calls that are under way get no answer any more."""
        if self._loop.is_closed():
            return
        asyncio.run_coroutine_threadsafe(_cancel_others(), self._loop).result(5)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()


async def _cancel_others() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


async def _asked(app: App, request: KatoRequest) -> KatoReply:
    """What the application answers to one request. Raises whatever it raises when a fault breaks the call off."""
    path, _, query = request.path.partition("?")
    scope = {
        "type": "http",
        "method": request.method,
        "path": unquote(path),
        "query_string": query.encode(),
        "headers": [(b"content-type", b"application/json")] if request.body is not None else [],
    }
    started: dict[str, Any] = {}
    parts: list[bytes] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": request.body or b"", "more_body": False}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            started.update(message)
        else:
            parts.append(message.get("body", b""))

    await app(scope, receive, send)
    headers = {name.lower(): value for name, value in started["headers"]}
    return reply(started["status"], b"".join(parts), headers, request.most_bytes)


class _Call:
    """One request and what becomes of it; ``owner`` is told when it has ended."""

    def __init__(self, request: KatoRequest, tag: Any, owner: SimpleQueue[_Call | None], deadline: float) -> None:
        self.request = request
        self.tag = tag
        self.deadline = deadline
        self.reply: KatoReply | None = None
        self.error: Exception | None = None
        self._owner = owner
        self._over = False
        self._lock = threading.Lock()

    def end(self, answer: KatoReply | None, error: Exception | None) -> None:
        """End the call with this, unless it has ended before."""
        with self._lock:
            if not self._over:
                self._over, self.reply, self.error = True, answer, error
                self._owner.put(self)

    def hand_over(self, owner: SimpleQueue[_Call | None]) -> None:
        """Tell another owner from now on; it is told at once if the call has ended."""
        with self._lock:
            self._owner = owner
            if self._over:
                owner.put(self)


class CallsInProcess:
    """Calls under way, each with the caller's tag; see ``ports.KatoCalls``."""

    def __init__(self, kato: KatoInProcess, *, wakeable: bool = False) -> None:
        self._kato = kato
        self._wakeable = wakeable
        self._busy: set[_Call] = set()
        self._done: list[Ended] = []
        self._ended: SimpleQueue[_Call | None] = SimpleQueue()

    def __len__(self) -> int:
        return len(self._busy) + len(self._done)

    def begin(self, request: KatoRequest, tag: Any) -> None:
        """See ``ports.KatoCalls.begin``."""
        if request.may_send is not None and not request.may_send():
            self._done.append((tag, None, LeaseLost("the lease can have run out, so nothing was sent")))
            return
        deadline = time.monotonic() + (request.timeout_seconds or self._kato.timeout_seconds)
        call = _Call(request, tag, self._ended, deadline)
        self._busy.add(call)
        self._kato.start(call)

    def wait(self, timeout: float | None = None) -> Sequence[Ended]:
        """See ``ports.KatoCalls.wait``."""
        until = None if timeout is None else time.monotonic() + timeout
        woken = self._collect(0.0)
        while not (self._done or woken or (not self._busy and not self._wakeable)):
            stops = [call.deadline for call in self._busy] + ([] if until is None else [until])
            woken = self._collect(max(0.0, min(stops) - time.monotonic()) if stops else None)
            now = time.monotonic()
            for call in [call for call in self._busy if call.deadline <= now]:
                call.end(None, OutcomeUnknown("the embedded KATO gave no answer in time"))
            if until is not None and now >= until:
                break
        self._collect(0.0)
        done, self._done = self._done, []
        return done

    def _collect(self, seconds: float | None) -> bool:
        """Take what has ended, after waiting up to ``seconds`` for the first; True if ``wake`` was called."""
        woken = False
        with suppress(Empty):
            ended = self._ended.get_nowait() if seconds == 0.0 else self._ended.get(timeout=seconds)
            while True:
                woken = woken or ended is None
                if ended is not None and ended in self._busy:
                    self._busy.discard(ended)
                    self._done.append((ended.tag, ended.reply, ended.error))
                ended = self._ended.get_nowait()
        return woken

    def wake(self) -> None:
        """Let a ``wait`` in another thread return."""
        self._ended.put(None)

    def adopt(self, other: CallsInProcess) -> None:
        """Take over every call of another."""
        taken, other._busy = other._busy, set()
        self._busy |= taken
        for call in taken:
            call.hand_over(self._ended)
        self._done += other._done
        other._done = []

    def withdraw(self, url: str) -> Sequence[Any]:  # noqa: ARG002  the port's name
        """Take back what waits for a connection: nothing ever does."""
        return []

    def close(self) -> None:
        """Abandon what is under way; KATO carries it out all the same."""
        self._busy.clear()
        self._done.clear()


__all__ = ["CallsInProcess", "KatoInProcess"]
