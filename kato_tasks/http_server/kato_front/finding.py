"""Find the session that a request is about, and answer for one that is not there."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, NamedTuple
from urllib.parse import unquote

from fastapi import Depends
from starlette.requests import Request

from kato_tasks.api.front_sessions import FoundSession, find_session
from kato_tasks.domain.api_keys import ApiKey
from kato_tasks.domain.events import check_session_id
from kato_tasks.errors import InvalidEvent
from kato_tasks.http_server.bodies import size_of
from kato_tasks.http_server.context import Context
from kato_tasks.http_server.needing import check_reach, context_of, needs

Writer = Annotated[ApiKey, needs("write")]
Pieces = Annotated[Context, Depends(context_of)]


class Asked(NamedTuple):
    """The session that a request names, and what is known of it. ``found`` is None for one that does not exist.

    ``ended``: it was there, and its client deleted it.
    """

    session_id: str
    found: FoundSession | None
    ended: bool = False


async def held(request: Request, context: Pieces) -> AsyncIterator[None]:
    """Count the request's body while it is worked on. Raises Problem 413, and 503 where there would be too much."""
    with context.holding(size_of(request.scope, context.runtime.settings.http_max_body_bytes)):
        yield


async def asked_for(request: Request, context: Pieces) -> Asked:
    """Return what is known of the session in the path, which is matched as it was sent."""
    name = unquote(str(request.path_params["session_id"]), errors="replace")
    try:
        session_id = check_session_id(name)
    except InvalidEvent:
        return Asked(name, None)
    found = await context.ask(lambda here: find_session(here.protocol, session_id))
    if found is not None and found.front.ended:
        return Asked(session_id, None, ended=True)
    return Asked(session_id, found)


def reach(key: ApiKey, asked: Asked) -> None:
    """Raise Problem 403 if the key does not reach the session."""
    check_reach(key, asked.session_id)


WITH_BODY = [Depends(held)]
"""What routes that read a body depend on, too."""
Session = Annotated[Asked, Depends(asked_for)]
"""The session that the path names."""

__all__ = ["WITH_BODY", "Asked", "Pieces", "Session", "Writer", "reach"]
