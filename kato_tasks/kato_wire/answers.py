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
    """Holds one HTTP answer. ``close`` closes the connection after it; ``hang_up`` closes it without an answer."""

    status: int
    body: bytes
    content_type: bytes = b"application/json"
    close: bool = False
    hang_up: bool = False
    headers: tuple[tuple[bytes, bytes], ...] = ()


class ServerError(Exception):
    """Raised when KATO fails inside: it answers 500 in plain text, and saves nothing of the session."""


class BadRequest(Exception):
    """Raised for an answer 400 whose ``detail`` is the argument."""


class Invalid(Exception):
    """Raised for an answer 422. The argument is the list of what is wrong with the body."""


def text_of(value: Any) -> str:
    """Return ``value`` as compact JSON text. A number that JSON cannot express becomes null."""
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
    """Return whether ``text`` can be sent or stored. Half of a surrogate pair, which JSON can name, cannot."""
    return text.isascii() or not _HALF_A_PAIR.search(text)


def ok(value: Any) -> Answer:
    """Return 200 with ``value`` as JSON. Raises UnicodeEncodeError for a lone surrogate, which cannot be encoded."""
    return Answer(200, text_of(value).encode())


def bad_request(detail: Any) -> Answer:
    """Return 400 with ``detail``."""
    return Answer(400, _encode({"detail": detail}).encode())


def invalid(errors: list[dict[str, Any]]) -> Answer:
    """Return 422, which quotes what is wrong. Raises ValueError if JSON cannot hold the quoted values."""
    return Answer(422, _encode({"detail": errors}).encode())


def server_error() -> Answer:
    """Return what KATO's server answers after an uncaught exception. It then closes the connection unannounced."""
    return Answer(500, b"Internal Server Error", b"text/plain; charset=utf-8", hang_up=True)


def unavailable() -> Answer:
    """Return what KATO's server answers at its connection limit."""
    return Answer(503, b"Service Unavailable", b"text/plain; charset=utf-8", close=True)


def gone(session_id: str) -> Answer:
    """Return the answer for a missing session to every call on it, except the one that reads the session itself."""
    message = _gone(session_id)
    error = {"code": "SESSION_NOT_FOUND", "message": message, "session_id": session_id}
    return Answer(404, _encode({"error": error}).encode("utf-8", "replace"))


def gone_itself(session_id: str) -> Answer:
    """Return the answer to the call that reads a missing session itself."""
    return Answer(404, _encode({"detail": _gone(session_id)}).encode("utf-8", "replace"))


def _gone(session_id: str) -> str:
    return f"Session {session_id} not found or expired"


def not_found() -> Answer:
    """Return the answer for a path that KATO has no route for."""
    return Answer(404, b'{"detail":"Not Found"}')


def not_allowed(*allowed: str) -> Answer:
    """Return the answer for a path that KATO knows, but not with the method of the request."""
    headers = ((b"allow", ", ".join(allowed).encode()),) if allowed else ()
    return Answer(405, b'{"detail":"Method Not Allowed"}', headers=headers)


def redirect(path: str) -> Answer:
    """Return the answer for a path with one slash too many, which redirects to ``path``."""
    return Answer(307, b"", b"", headers=((b"location", quote_path(path).encode()),))
