"""Provide the embedded KATO as an ASGI application."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from kato_tasks.embedded.kato import control
from kato_tasks.embedded.kato.faults import KINDS, Rule
from kato_tasks.embedded.kato.kato import Request
from kato_tasks.embedded.kato.options import Options
from kato_tasks.embedded.kato.routes import NAMES, Found, find
from kato_tasks.embedded.kato.traffic import Call
from kato_tasks.kato_wire.answers import Answer, gone, server_error, unavailable

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

CALL = "kato.call"
"""The key under which the server's protocol leaves the ``Call`` in the scope, once the whole request is there."""

_LENGTHS = [str(number).encode() for number in range(4096)]


class App:
    """Implements ASGI 3. Each call happens between two awaits, unless latency or a fault says otherwise."""

    def __init__(self, options: Options) -> None:
        self.state = control.State(options)
        self._latency = options.latency

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one ASGI connection."""
        if scope["type"] != "http":
            raise RuntimeError(f"the embedded KATO speaks HTTP only, not {scope['type']}")
        message = await receive()
        body: bytes = message.get("body", b"")
        if message.get("more_body"):
            parts = [body]
            while message.get("more_body"):
                message = await receive()
                parts.append(message.get("body", b""))
            body = b"".join(parts)
        if message["type"] == "http.disconnect":
            # The client left before the request was complete, so there was no call.
            return
        request = Request(scope["method"], scope["path"], scope["query_string"], body, _content_type(scope))
        if request.path.startswith(control.PREFIX):
            answered = control.answer(self.state, request)
            await _write(send, answered if self.state.keep() else server_error())
            return
        call: Call | None = scope.get(CALL)
        if call is None:
            call = self.state.traffic.arrive(request.path, None)
        try:
            answer = await self._answer(call, request)
        except BaseException:
            self.state.traffic.finish(call)
            raise
        if not self.state.keep() and answer is not None:
            answer = server_error()
        # This comes before the write, because the client may send its next call as soon as it has read this answer.
        self.state.traffic.finish(call)
        if answer is not None:
            await _write(send, answer)
            if answer.hang_up and call.connection is not None:
                call.connection.close()
        elif call.connection is not None:
            call.connection.abort()
            while (await receive())["type"] != "http.disconnect":
                pass
        else:
            raise ConnectionAbortedError("closed without an answer, as a fault asked")

    async def _answer(self, call: Call, request: Request) -> Answer | None:
        """Return the answer, or None when the connection is to be closed without one."""
        if self._latency:
            await asyncio.sleep(self._latency)
        found = find(request)
        if isinstance(found, Answer):
            return found
        state = self.state
        state.requests[found.name] = state.requests.get(found.name, 0) + 1
        if state.faults.rules and found.name in NAMES:
            rule = state.faults.choose(found.name, call.session.node.key if call.session else "")
            if rule is not None:
                return await self._faulty(rule, call, found)
        answer = found.carry_out(state.kato)
        if found.changes and call.gone_at is not None:
            state.traffic.landed(call, applied=answer.status == 200)
        return answer

    async def _faulty(self, rule: Rule, call: Call, found: Found) -> Answer | None:
        state, kind = self.state, KINDS[rule.kind]
        answer: Answer | None = None
        if kind.wait_before:
            await asyncio.sleep(rule.seconds)
        kato = state.kato
        if kind.prepare == "lose_all":
            kato.sessions.lose_all()
            kato.brain.vectors.clear()
        elif kind.prepare == "expire" and call.session is not None:
            kato.sessions.drop(call.session)
        if kind.apply:
            kato.brain.saving, kato.brain.clickhouse_up = kind.save, kind.clickhouse
            try:
                answer = found.carry_out(kato)
            finally:
                kato.brain.saving = kato.brain.clickhouse_up = True
            if found.changes:
                state.traffic.landed(call, applied=answer.status == 200)
        if kind.wait_after:
            await asyncio.sleep(rule.seconds)
        if kind.close:
            return None
        if kind.answer == "error":
            return server_error()
        if kind.answer == "gone":
            # A call that has no session to miss fails instead, such as a creation while Redis is down.
            return gone(found.session_id) if found.session_id else server_error()
        if kind.answer == "unavailable":
            return unavailable()
        return answer


def _content_type(scope: Scope) -> bytes:
    for name, value in scope["headers"]:
        if name == b"content-type":
            found: bytes = value
            return found
    return b""


async def _write(send: Send, answer: Answer) -> None:
    body = answer.body
    size = len(body)
    length = _LENGTHS[size] if size < 4096 else str(size).encode()
    headers = [(b"content-type", answer.content_type), (b"content-length", length)]
    if answer.headers:
        headers = [header for header in (*headers, *answer.headers) if header[1]]
    if answer.close:
        # KATO's server, not KATO, answers at the connection limit, and this is how a client can tell.
        headers += [(b"connection", b"close"), (b"server", b"uvicorn")]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def create_app(**options: Any) -> App:
    """Return a new embedded KATO. The keywords are the fields of ``Options``."""
    return App(Options(**options))
