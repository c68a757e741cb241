"""Write answers to ASGI connections, with the headers that every answer has."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

from kato_tasks.http_server.problems import MEDIA_TYPE, Problem

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Header = tuple[bytes, bytes]

JSON = b"application/json"
SAFE: list[Header] = [
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"cross-origin-resource-policy", b"same-origin"),
]
"""Headers that keep a browser from doing more with an answer than showing it."""


async def answer(
    send: Send, status: int, body: bytes, content_type: bytes = JSON, headers: Iterable[Header] = ()
) -> None:
    """Send one whole answer."""
    length = (b"content-length", str(len(body)).encode())
    told = [(b"content-type", content_type), length, *SAFE, *headers]
    await send({"type": "http.response.start", "status": status, "headers": told})
    await send({"type": "http.response.body", "body": body})


async def answer_problem(send: Send, problem: Problem) -> None:
    """Send a problem as the answer."""
    headers = [(name.encode(), value.encode()) for name, value in problem.headers.items()]
    await answer(send, problem.status, problem.body(), MEDIA_TYPE, headers)


def header_of(scope: Scope, name: bytes) -> bytes | None:
    """Return a header of the request by its name in small letters, or None; of several, the first."""
    for key, value in scope["headers"]:
        if key == name:
            found: bytes = value
            return found
    return None
