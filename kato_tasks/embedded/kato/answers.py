"""Answers in KATO's own words: JSON text, error bodies, and the errors that end a call."""

from __future__ import annotations

import json
import math
import re
from json.encoder import encode_basestring as quote
from typing import Any, NamedTuple
from urllib.parse import quote as quote_path

__all__ = [
    "Answer",
    "BadRequest",
    "Invalid",
    "ServerError",
    "bad_request",
    "gone",
    "has_utf8",
    "invalid",
    "not_allowed",
    "not_found",
    "ok",
    "quote",
    "redirect",
    "server_error",
    "text_of",
    "unavailable",
]

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode
_HALF_A_PAIR = re.compile("[\ud800-\udfff]")


class Answer(NamedTuple):
    """One HTTP answer; `close` says that the connection is closed after it, `hang_up` closes it without a word."""

    status: int
    body: bytes
    content_type: bytes = b"application/json"
    close: bool = False
    hang_up: bool = False
    headers: tuple[tuple[bytes, bytes], ...] = ()


class ServerError(Exception):
    """KATO failed inside: 500 in plain text, nothing of the session saved."""


class BadRequest(Exception):
    """A 400 whose `detail` is the argument."""


class Invalid(Exception):
    """A 422: the argument is the list of what is wrong with the body."""


def text_of(value: Any) -> str:
    """`value` as compact JSON text; a number that JSON has no text for becomes null."""
    try:
        return _encode(value)
    except ValueError:
        return _encode(_finite(value))


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list) else value


def has_utf8(text: str) -> bool:
    """Whether it can be sent or stored: half of a surrogate pair, which JSON can name, cannot."""
    return text.isascii() or not _HALF_A_PAIR.search(text)


def ok(value: Any) -> Answer:
    """200 with `value` as JSON; a lone surrogate cannot be encoded and raises UnicodeEncodeError."""
    return Answer(200, text_of(value).encode())


def bad_request(detail: Any) -> Answer:
    return Answer(400, _encode({"detail": detail}).encode())


def invalid(errors: list[dict[str, Any]]) -> Answer:
    """422 with what is wrong; it is quoted back, and what JSON can't hold raises ValueError."""
    return Answer(422, _encode({"detail": errors}).encode())


def server_error() -> Answer:
    """What KATO's server answers after an uncaught exception; it then closes the connection unannounced."""
    return Answer(500, b"Internal Server Error", b"text/plain; charset=utf-8", hang_up=True)


def unavailable() -> Answer:
    """What KATO's server says at its connection limit."""
    return Answer(503, b"Service Unavailable", b"text/plain; charset=utf-8", close=True)


def gone(session_id: str) -> Answer:
    """A session that isn't there, for every call on it but the one that reads the session itself."""
    message = _gone(session_id)
    error = {"code": "SESSION_NOT_FOUND", "message": message, "session_id": session_id}
    return Answer(404, _encode({"error": error}).encode("utf-8", "replace"))


def gone_itself(session_id: str) -> Answer:
    """The same for the session itself."""
    return Answer(404, _encode({"detail": _gone(session_id)}).encode("utf-8", "replace"))


def _gone(session_id: str) -> str:
    return f"Session {session_id} not found or expired"


def not_found() -> Answer:
    """A path that KATO has no route for."""
    return Answer(404, b'{"detail":"Not Found"}')


def not_allowed(*allowed: str) -> Answer:
    """A path that KATO knows, asked with another method."""
    headers = ((b"allow", ", ".join(allowed).encode()),) if allowed else ()
    return Answer(405, b'{"detail":"Method Not Allowed"}', headers=headers)


def redirect(path: str) -> Answer:
    """A path with a slash too many."""
    return Answer(307, b"", b"", headers=((b"location", quote_path(path).encode()),))
