"""Write answers to ASGI connections, with the headers that every answer has."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

from kato_tasks.http_server.problems import MEDIA_TYPE, Problem

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Header = tuple[bytes, bytes]

JSON = b"application/json"
WHOLE = "kato_tasks.whole"
"""The key under which the server's protocol notes in the scope that the whole request is there."""
LINGER_SECONDS = 2.0
"""For how long what a client still sends is thrown away, once its request was answered without being read."""
SAFE: list[Header] = [
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"cross-origin-resource-policy", b"same-origin"),
]
"""Headers that keep a browser from doing more with an answer than showing it."""


_SAFE_LINES = b"".join(name + b": " + value + b"\r\n" for name, value in SAFE)


def sent_at_once(send: Send, status: int, content_type: bytes, body: bytes) -> bool:
    """Send a whole answer in one write, if ``send`` is uvicorn's own and nothing stands in the way; else return False.

    uvicorn takes an answer in two messages and looks at each header with two regular expressions. For an answer of
    a single event that takes longer than all else that is done for it, and these headers are always the same.
    """
    cycle: Any = getattr(send, "__self__", None)
    if type(cycle) is not RequestResponseCycle or cycle.response_started or cycle.disconnected or not cycle.keep_alive:
        return False
    if cycle.flow.write_paused or cycle.access_log or cycle.scope["method"] == "HEAD":
        return False
    lines = [STATUS_LINE[status]]
    for name, value in cycle.default_headers:
        lines += (name, b": ", value, b"\r\n")
    lines += (b"content-type: ", content_type, b"\r\ncontent-length: ", str(len(body)).encode(), b"\r\n")
    lines += (_SAFE_LINES, b"\r\n", body)
    cycle.response_started = cycle.response_complete = True
    cycle.waiting_for_100_continue = False
    cycle.transport.write(b"".join(lines))
    cycle.message_event.set()
    cycle.on_response()
    return True


async def answer(
    send: Send,
    status: int,
    body: bytes,
    content_type: bytes = JSON,
    headers: Iterable[Header] = (),
    unread: Receive | None = None,
) -> None:
    """Send one whole answer, after which the connection ends if ``unread`` is given.

    ``unread`` receives what the client still sends. It is thrown away for a while: a connection that is closed while
    something of it is unread is reset, and the client may lose the answer.
    """
    if unread is None and not headers and sent_at_once(send, status, content_type, body):
        return
    length = (b"content-length", str(len(body)).encode())
    told = [(b"content-type", content_type), length, *SAFE, *headers]
    if unread is None:
        await send({"type": "http.response.start", "status": status, "headers": told})
        await send({"type": "http.response.body", "body": body})
        return
    await send({"type": "http.response.start", "status": status, "headers": [*told, (b"connection", b"close")]})
    await send({"type": "http.response.body", "body": body, "more_body": True})
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(LINGER_SECONDS):
            while (message := await unread())["type"] != "http.disconnect" and message.get("more_body"):
                pass
    await send({"type": "http.response.body", "body": b""})


async def answer_problem(send: Send, problem: Problem, receive: Receive) -> None:
    """Send a problem as the answer, and end the connection if it says so."""
    headers = [(name.encode(), value.encode()) for name, value in problem.headers.items()]
    unread = receive if problem.close else None
    await answer(send, problem.status, problem.body(), MEDIA_TYPE, headers, unread)


def header_of(scope: Scope, name: bytes) -> bytes | None:
    """Return a header of the request by its name in small letters, or None; of several, the first."""
    for key, value in scope["headers"]:
        if key == name:
            found: bytes = value
            return found
    return None
