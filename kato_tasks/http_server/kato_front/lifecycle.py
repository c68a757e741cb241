"""The life of a session in KATO's form: create, look at, configure, extend, delete."""

from __future__ import annotations

import time
import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from kato_tasks.api.front_sessions import FoundSession, change_session, make_session
from kato_tasks.celery_tasks.tasks import clear_stm
from kato_tasks.domain.events import check_session_id
from kato_tasks.domain.front_session import DEFAULT_TTL_SECONDS, MOST_TTL_SECONDS, FrontSession
from kato_tasks.domain.ids import check_node_id
from kato_tasks.errors import InvalidEvent
from kato_tasks.http_server.context import Context
from kato_tasks.http_server.kato_front.answers import in_katos_words, refused, respond
from kato_tasks.http_server.kato_front.described import described
from kato_tasks.http_server.kato_front.finding import WITH_BODY, Pieces, Session, Writer, reach
from kato_tasks.http_server.kato_front.waiting import send
from kato_tasks.http_server.needing import Reader
from kato_tasks.kato_wire import config as configuration
from kato_tasks.kato_wire.answers import BadRequest, gone, gone_itself, ok
from kato_tasks.kato_wire.bodies import read_config, read_new_session, read_whole

router = APIRouter()


@router.post("/sessions", **described("create"), dependencies=WITH_BODY)
@in_katos_words
async def create_session(key: Writer, request: Request, context: Pieces) -> Response:
    """Make a session on a node, and answer with it. It does not expire."""
    new = read_new_session(await request.body(), content_type(request))
    check_node_id(new.node_id)
    ttl = new.ttl_seconds or DEFAULT_TTL_SECONDS
    now = time.time()
    if not 0 <= ttl <= MOST_TTL_SECONDS:
        return respond(refused(f"must be 0 to {MOST_TTL_SECONDS} seconds", "ttl_seconds", given=ttl))
    session_id = check_session_id(f"{key.session_prefix}session-{uuid.uuid4().hex}-{int(now * 1000)}")
    front = FrontSession(
        metadata=new.metadata,
        config=configuration.at_creation(new.config or {}),
        ttl_seconds=ttl,
        created_ms=int(now * 1000),
    )
    check_size(front, context)
    await context.ask(lambda here: make_session(here.protocol, session_id, new.node_id, front))
    return respond(ok(_shown(session_id, new.node_id, front, context.runtime.settings.kato_session_config)))


@router.get("/sessions/{session_id}", **described("read"))
@in_katos_words
async def read_session(key: Reader, asked: Session, context: Pieces) -> Response:
    """Answer with a session."""
    reach(key, asked)
    if asked.found is None:
        return respond(gone_itself(asked.session_id))
    found = asked.found
    shown = _shown(found.session_id, found.node_id, found.front, context.runtime.settings.kato_session_config)
    # KATO answers in whole seconds that are left, and part of the last one is gone.
    return respond(ok({**shown, "ttl_seconds": max(0, found.front.ttl_seconds - 1)}))


@router.delete("/sessions/{session_id}", **described("delete"))
@in_katos_words
async def delete_session(key: Writer, asked: Session, context: Pieces) -> Response:
    """End a session: its short-term memory is cleared in its turn. Its history and what it taught its node stay."""
    reach(key, asked)
    if asked.found is None:
        return respond(gone(asked.session_id))
    await _end(context, asked.found)
    return respond(ok({"status": "deleted", "session_id": asked.session_id}))


@router.get("/sessions/{session_id}/exists", **described("exists"))
@in_katos_words
async def session_exists(key: Reader, asked: Session) -> Response:
    """Answer whether a session exists."""
    reach(key, asked)
    return respond(ok({"exists": asked.found is not None, "expired": False, "session_id": asked.session_id}))


@router.post("/sessions/{session_id}/extend", **described("extend"))
@in_katos_words
async def extend_session(key: Writer, request: Request, asked: Session, context: Pieces) -> Response:
    """Answer as if the session were extended, which does not expire anyway. An extension to nothing ends it."""
    reach(key, asked)
    if asked.found is None:
        return respond(gone(asked.session_id))
    text = request.query_params.get("ttl_seconds")
    seconds = 3600 if text is None else read_whole(text, "query", "ttl_seconds")
    if seconds <= 0:
        await _end(context, asked.found)
    elif seconds > MOST_TTL_SECONDS:
        return respond(refused(f"must be at most {MOST_TTL_SECONDS} seconds", "ttl_seconds", given=seconds))
    return respond(ok({"status": "extended", "session_id": asked.session_id, "ttl_seconds": seconds}))


@router.get("/sessions/{session_id}/config", **described("read_config"))
@in_katos_words
async def read_configuration(key: Reader, asked: Session, context: Pieces) -> Response:
    """Answer with a session's configuration."""
    reach(key, asked)
    if asked.found is None:
        return respond(gone(asked.session_id))
    shown = _shown_config(asked.found.front, context.runtime.settings.kato_session_config)
    return respond(ok({"session_id": asked.session_id, "config": shown}))


@router.post("/sessions/{session_id}/config", **described("configure"), dependencies=WITH_BODY)
@in_katos_words
async def configure_session(key: Writer, request: Request, asked: Session, context: Pieces) -> Response:
    """Change a session's configuration. It is kept, and KATO is told it each time that the session is made there."""
    reach(key, asked)
    if asked.found is None:
        return respond(gone(asked.session_id))
    changes = read_config(await request.body(), content_type(request))
    wrong = configuration.refusals(changes)
    if wrong:
        raise BadRequest({"error": "Configuration validation failed", "validation_errors": wrong})
    found: FoundSession = asked.found

    def changed(front: FrontSession) -> FrontSession:
        after = replace(front, config=configuration.changed(dict(front.config), changes))
        check_size(after, context)
        return after

    if await context.ask(lambda here: change_session(here.protocol, found, changed)) is None:
        return respond(gone(asked.session_id))
    return respond(ok({"status": "okay", "message": "Configuration updated", "session_id": asked.session_id}))


def check_size(front: FrontSession, context: Context) -> None:
    """Raise InvalidEvent where what is kept of a session takes more bytes than an event may."""
    size, most = len(front.dump().encode("utf-8", "surrogatepass")), context.limits.max_event_bytes
    if size > most:
        raise InvalidEvent("config", f"takes {size} bytes with the metadata; at most {most} are allowed")


async def _end(context: Context, found: FoundSession) -> None:
    if not found.state.has_empty_stm:
        await send(context, clear_stm, uuid.uuid4().hex, session_id=found.session_id)
    await context.ask(lambda here: change_session(here.protocol, found, lambda front: replace(front, ended=True)))


def content_type(request: Request) -> bytes:
    """Return the request's content type as KATO reads it."""
    return request.headers.get("content-type", "").encode("latin-1")


def _shown(session_id: str, node_id: str, front: FrontSession, own: dict[str, Any]) -> dict[str, Any]:
    return {
        "session_id": session_id,
        "node_id": node_id,
        "created_at": _date(front.created_ms / 1000),
        "expires_at": _date(time.time() + front.ttl_seconds),
        "ttl_seconds": front.ttl_seconds,
        "metadata": front.metadata,
        "session_config": _shown_config(front, own),
    }


def _shown_config(front: FrontSession, own: dict[str, Any]) -> dict[str, Any]:
    """Return a session's config as KATO shows it: what the client asked for, then what is set for all sessions."""
    return configuration.shown({**own, **front.config})


def _date(seconds: float) -> str:
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


__all__ = ["content_type", "router"]
