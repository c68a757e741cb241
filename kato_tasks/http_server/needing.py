"""What routes of the application ask for: the server's pieces, a key with a scope, and names in the path."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import unquote

from fastapi import Depends, Path
from pydantic import AfterValidator, BeforeValidator, Field
from starlette.requests import Request

from kato_tasks.bootstrap import Runtime
from kato_tasks.domain.api_keys import ApiKey, Scope
from kato_tasks.domain.events import check_session_id
from kato_tasks.domain.ids import MAX_ID_CHARS
from kato_tasks.errors import InvalidEvent
from kato_tasks.http_server.context import Context
from kato_tasks.http_server.problems import Problem, field_problem


def context_of(request: Request) -> Context:
    """Return the pieces of this server process."""
    context: Context = request.app.state.context
    return context


def runtime_of(request: Request) -> Runtime:
    """Return the process's pieces below the server."""
    return context_of(request).runtime


def needs(scope: Scope) -> Any:
    """Return a dependency that lets in only requests with a key that allows ``scope``. It gives the key."""

    def admitted(request: Request) -> ApiKey:
        return context_of(request).access.admit(request.scope, scope)

    return Depends(admitted)


def _decoded(text: str) -> str:
    """Return a name of the path, which is matched as it was sent, so that an encoded slash is a part of the name."""
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise ValueError("is no UTF-8; encode it with percent signs") from None


def _name(text: str) -> str:
    name = _decoded(text)
    if not 0 < len(name) <= MAX_ID_CHARS:
        raise ValueError(f"has {len(name)} characters; 1 to {MAX_ID_CHARS} are allowed")
    return name


def _session(text: str) -> str:
    try:
        return check_session_id(_decoded(text))
    except InvalidEvent as exc:
        raise ValueError(exc.reason) from None


def shown_as(example: Any) -> dict[int | str, dict[str, Any]]:
    """Return what a route says of its answer 200: this example."""
    return {200: {"content": {"application/json": {"example": example}}}}


def _whole(value: Any) -> Any:
    """Return a JSON number without a fraction as an int, which it is by JSON Schema however it is written."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


MOST_WHOLE = 2**53
"""Up to here every JSON reader has whole numbers as they are."""
Count = Annotated[int, Field(strict=True, ge=0, le=MOST_WHOLE), BeforeValidator(_whole)]
Position = Annotated[int, Field(strict=True, ge=1, le=MOST_WHOLE), BeforeValidator(_whole)]
"""Whole numbers in a body, and no text that looks like one."""
Rt = Annotated[Runtime, Depends(runtime_of)]
Reader = Annotated[ApiKey, needs("read")]
Admin = Annotated[ApiKey, needs("admin")]
Name = Annotated[
    str,
    AfterValidator(_name),
    Path(json_schema_extra={"minLength": 1, "maxLength": MAX_ID_CHARS, "example": "0a1b"}),
]
"""A name in the path."""
SessionId = Annotated[
    str,
    AfterValidator(_session),
    Path(
        description="the session's id, percent-encoded",
        json_schema_extra={"minLength": 1, "maxLength": MAX_ID_CHARS, "example": "visitor-17"},
    ),
]


def check_reach(key: ApiKey, session_id: str) -> None:
    """Raise Problem 403 if the key does not reach the session."""
    if not key.reaches(session_id):
        why = f"must begin with {key.session_prefix!r}, which is all that this key reaches"
        raise field_problem("session_id", why, 403)


def check_reaches_all(key: ApiKey) -> None:
    """Raise Problem 403 if the key is limited to some sessions, where a call is about all of them."""
    if key.session_prefix:
        raise Problem(403, f"The key {key.id} reaches only sessions that begin with {key.session_prefix!r}.")


__all__ = [
    "Admin",
    "Count",
    "Name",
    "Position",
    "Reader",
    "Rt",
    "SessionId",
    "check_reach",
    "check_reaches_all",
    "context_of",
    "needs",
    "shown_as",
]
