"""Errors as RFC 9457 problem details. They name the field and the remedy, and nothing of the inside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic_core import to_json

MEDIA_TYPE = b"application/problem+json"
TITLES = {
    400: "The request cannot be read",
    401: "A key is needed",
    403: "The key does not allow this",
    404: "There is no such thing",
    405: "This method is not served here",
    408: "The request took too long to arrive",
    409: "This contradicts what is there",
    413: "The request is too large",
    415: "The form of the body is not served",
    421: "This server does not answer under this name",
    422: "A field is wrong",
    429: "Too much at once",
    431: "The headers are too large",
    500: "The server failed",
    503: "Nothing was accepted",
}


class Problem(Exception):
    """A request that is answered with an error.

    ``errors`` has one object for each field that is wrong: ``field``, ``reason`` and, of several events, ``index``.
    ``more`` is merged into the body, and ``close`` says that the connection ends, since the body was not read.
    """

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        errors: Sequence[Mapping[str, Any]] = (),
        headers: Mapping[str, str] | None = None,
        more: Mapping[str, Any] | None = None,
        close: bool = False,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.errors = list(errors)
        self.headers = dict(headers or {})
        self.more = dict(more or {})
        self.close = close

    def body(self) -> bytes:
        """Return the problem details as JSON."""
        told: dict[str, Any] = {
            "type": f"urn:kato-tasks:problem:{self.status}",
            "title": TITLES.get(self.status, "The request failed"),
            "status": self.status,
            "detail": self.detail,
        }
        if self.errors:
            told["errors"] = self.errors
        return to_json({**told, **self.more}, inf_nan_mode="null")


def field_problem(field: str, reason: str, status: int = 422) -> Problem:
    """Return the problem of one field."""
    return Problem(status, f"{field}: {reason}", errors=[{"field": field, "reason": reason}])


def failed() -> Problem:
    """Return what is told of an error of the server itself: nothing of it, since the log has it."""
    return Problem(500, "The server met an unexpected error, which its log describes. Nothing is known to be accepted.")


def full() -> Problem:
    """Return the problem of a store that has no room."""
    return Problem(
        429,
        "The store is full up to the share that is kept for applying events (STORE_FULL_SHARE). Nothing was accepted; "
        "repeat the request when some events are applied.",
        headers={"retry-after": "1"},
    )


def broken() -> Problem:
    """Return the problem of a session whose rows in the store are broken."""
    return Problem(
        500,
        "The store refuses this, and would again: what it holds of a session is broken. kato-tasks status on the "
        "server's machine says more.",
    )
