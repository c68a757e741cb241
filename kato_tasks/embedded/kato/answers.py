"""Answers in KATO's own words: JSON text, error bodies, and the errors that end a call."""

from __future__ import annotations

import json
from json.encoder import encode_basestring as quote
from typing import Any, NamedTuple

__all__ = [
    "Answer",
    "BadRequest",
    "Invalid",
    "ServerError",
    "bad_request",
    "gone",
    "invalid",
    "ok",
    "quote",
    "server_error",
    "text_of",
    "unavailable",
]

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


class Answer(NamedTuple):
    """One HTTP answer; `close` asks for the connection to be closed after it."""

    status: int
    body: bytes
    content_type: bytes = b"application/json"
    close: bool = False


class ServerError(Exception):
    """KATO failed inside: 500 in plain text, nothing of the session saved."""


class BadRequest(Exception):
    """A 400 whose `detail` is the argument."""


class Invalid(Exception):
    """A 422: the argument is the list of what is wrong with the body."""


def text_of(value: Any) -> str:
    """`value` as compact JSON text."""
    return _encode(value)


def ok(value: Any) -> Answer:
    """200 with `value` as JSON; a lone surrogate cannot be encoded and raises UnicodeEncodeError."""
    return Answer(200, _encode(value).encode())


def bad_request(detail: Any) -> Answer:
    return Answer(400, _encode({"detail": detail}).encode())


def invalid(errors: list[dict[str, Any]]) -> Answer:
    # What was wrong is quoted back, so it may hold a lone surrogate: escape it.
    return Answer(422, json.dumps({"detail": errors}).encode())


def server_error() -> Answer:
    return Answer(500, b"Internal Server Error", b"text/plain; charset=utf-8")


def unavailable() -> Answer:
    """What KATO's server says at its connection limit."""
    return Answer(503, b"Service Unavailable", b"text/plain; charset=utf-8", close=True)


def gone(session_id: str) -> Answer:
    error = {
        "code": "SESSION_NOT_FOUND",
        "message": f"Session {session_id} not found or expired",
        "session_id": session_id,
    }
    return Answer(404, json.dumps({"error": error}).encode())


def not_found() -> Answer:
    """A path that KATO has no route for."""
    return Answer(404, b'{"detail":"Not Found"}')


def not_allowed() -> Answer:
    """A path that KATO knows, asked with another method."""
    return Answer(405, b'{"detail":"Method Not Allowed"}')
