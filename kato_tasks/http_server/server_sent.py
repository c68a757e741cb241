"""``GET /v1/sessions/{id}/results``: what becomes of a session's events, and what KATO predicts, as they come.

Server-sent events. A result's id is its event's position. Predictions stand behind the last event that they reflect,
and their id is its position with ``p``. So a client that comes again with ``Last-Event-ID`` misses neither.
"""

from __future__ import annotations

import asyncio
import re
import uuid
from collections.abc import AsyncIterator
from typing import Annotated, Any

from celery.exceptions import TimeoutError as CeleryTimeoutError
from fastapi import APIRouter, Header, Query
from pydantic_core import to_json
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from kato_tasks.api.front_sessions import FoundSession, find_session
from kato_tasks.api.history import history
from kato_tasks.api.session_results import results_of
from kato_tasks.bootstrap.loops import on_this_loop
from kato_tasks.celery_tasks.tasks import predict
from kato_tasks.domain.api_keys import ApiKey
from kato_tasks.errors import ArchiveUnavailable, EventRefused, NotAppliedYet, StoreUnavailable, TooManyPredicts
from kato_tasks.http_server.context import Context
from kato_tasks.http_server.needing import Reader, SessionId, check_reach, context_of
from kato_tasks.http_server.problems import field_problem
from kato_tasks.http_server.session_watch import SessionWatch, Watched
from kato_tasks.http_server.sessions import unknown_session

router = APIRouter(prefix="/v1/sessions", tags=["sessions"])
PAGE = 500
"""Events that are told at a time."""
QUIET_SECONDS = 15.0
"""After this long without an event a comment is sent, so that nothing on the way takes the connection for dead."""
PREDICT_SECONDS = 60.0
RETRY_MS = 2_000
_ID = re.compile(r"(\d{1,15})(p?)")
_EXAMPLE = (
    "id: 12\nevent: result\n"
    'data: {"session_id":"visitor-17","position":12,"event_id":"cart-3","event_type":"observation",'
    '"status":"applied"}\n\n'
)


@router.get(
    "/{session_id}/results",
    response_class=Response,
    responses={200: {"content": {"text/event-stream": {"schema": {"type": "string"}, "example": _EXAMPLE}}}},
)
async def read_results(
    session_id: SessionId,
    key: Reader,
    request: Request,
    after: Annotated[int | None, Query(ge=0, le=10**15, description="begin behind this position; else now")] = None,
    predictions: Annotated[bool, Query(description="whether KATO is asked for predictions, too")] = True,
    last_event_id: Annotated[str | None, Header(description="where a stream that broke off is to go on")] = None,
) -> Response:
    """Tell what becomes of a session's events and what KATO predicts, as server-sent events, as they come."""
    context = context_of(request)
    check_reach(key, session_id)
    found = await context.ask(lambda here: find_session(here.protocol, session_id))
    if found is None:
        raise unknown_session(session_id)
    place = Place(found.state.cursor if after is None else after, predicted=after is None)
    if last_event_id:
        match = _ID.fullmatch(last_event_id)
        if match is None:
            raise field_problem("Last-Event-ID", "must be the id of an event of this stream, such as 12 or 12p")
        place = Place(int(match[1]), predicted=bool(match[2]))
    told = _stream(context, key, found, place, wants_predictions=predictions)
    return StreamingResponse(told, media_type="text/event-stream", headers={"x-accel-buffering": "no"})


class Place:
    """Up to where a stream has told its session: ``position``, and whether the predictions behind it were told."""

    def __init__(self, position: int, *, predicted: bool) -> None:
        self.position = position
        self.predicted = predicted


async def _stream(
    context: Context, key: ApiKey, found: FoundSession, place: Place, *, wants_predictions: bool
) -> AsyncIterator[bytes]:
    here = await on_this_loop()
    watch = here.part(SessionWatch, SessionWatch)
    yield f"retry: {RETRY_MS}\n\n".encode()
    async with watch.watching(found.lane, found.session_id, found.state) as watched:
        while not context.stopping.is_set():
            watched.changed.clear()
            if watched.state is None or not context.access.still_admits(key):
                return  # the session was forgotten, or the key was revoked
            try:
                async for part in _news(context, found, watched, place, wants_predictions=wants_predictions):
                    yield part
            except (StoreUnavailable, ArchiveUnavailable, TooManyPredicts):
                await asyncio.sleep(1.0)
                continue
            if watched.changed.is_set():
                continue
            if not await _changes(context, watched):
                yield b": nothing new\n\n"


async def _news(
    context: Context, found: FoundSession, watched: Watched, place: Place, *, wants_predictions: bool
) -> AsyncIterator[bytes]:
    """Yield what is new behind ``place``, and move it. Raises StoreUnavailable."""
    while watched.state is not None and place.position < watched.state.cursor:
        cursor = watched.state.cursor
        most = min(PAGE, cursor - place.position)
        events = await asyncio.to_thread(_read, found.session_id, place.position, most)
        events = [event for event in events if event["position"] <= cursor]
        if not events:
            place.position = cursor  # what stood there was forgotten
            return
        results = await context.ask(lambda here: results_of(found.lane, found.session_id, events))  # noqa: B023
        for result in results:
            yield _part("result", str(result["position"]), result)
        place.position, place.predicted = events[-1]["position"], False
    if wants_predictions and not place.predicted and place.position > 0:
        kind, told = await _predicted(context, found.session_id)
        # Where KATO knew of later events already, their results come first, and predictions behind those. A server
        # that stops tells nothing, so that the client asks the next one.
        if kind and int(told.get("after") or 0) <= place.position:
            place.predicted = True
            yield _part(kind, f"{place.position}p", told)


def _read(session_id: str, after: int, most: int) -> list[dict[str, Any]]:
    return list(history(session_id, after, most))


async def _predicted(context: Context, session_id: str) -> tuple[str, dict[str, Any]]:
    """Return what KATO predicts, or why that cannot be told; '' and nothing where the server stops before."""
    result, _ = await context.patiently(
        lambda: predict.aplace((), {"session_id": session_id}, task_id=uuid.uuid4().hex)  # type: ignore[attr-defined]
    )
    getting = asyncio.ensure_future(result.aget(timeout=PREDICT_SECONDS))
    stopping = asyncio.ensure_future(context.stopping.wait())
    try:
        await asyncio.wait({getting, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not getting.done():
            return "", {}
        return "predictions", dict(getting.result())
    except (EventRefused, NotAppliedYet, CeleryTimeoutError) as exc:
        return "refused", {"session_id": session_id, "reason": str(exc)}
    finally:
        getting.cancel()
        stopping.cancel()


async def _changes(context: Context, watched: Watched) -> bool:
    """Wait until the session changed or the server stops; False after ``QUIET_SECONDS``."""
    waiting = {asyncio.ensure_future(watched.changed.wait()), asyncio.ensure_future(context.stopping.wait())}
    try:
        done, _ = await asyncio.wait(waiting, timeout=QUIET_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        return bool(done)
    finally:
        for one in waiting:
            one.cancel()


def _part(kind: str, name: str, told: dict[str, Any]) -> bytes:
    return f"id: {name}\nevent: {kind}\ndata: ".encode() + to_json(told) + b"\n\n"


__all__ = ["router"]
