"""Answer KATO's routes for the life of a session: create, look at, configure, extend, delete."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

from kato_tasks.embedded.kato.kato import Kato, Request
from kato_tasks.embedded.kato.sessions import Session
from kato_tasks.kato_wire import config as configuration
from kato_tasks.kato_wire.answers import Answer, BadRequest, ServerError, ok
from kato_tasks.kato_wire.bodies import read_config, read_new_session, read_whole


def create(kato: Kato, request: Request) -> Answer:
    """Create a session and answer with it."""
    new = read_new_session(request.body, request.content_type)
    session = kato.sessions.create(new.node_id, new.ttl_seconds, new.config, new.metadata)
    return ok(_shown(session, new.ttl_seconds or session.ttl, session.expires))


def exists(kato: Kato, session_id: str) -> Answer:
    """Answer whether a session lives. The answer is always 200, and the session's expiry stays as it is.

    KATO reports a session as expired while its store still keeps it, which is so after a read that moves no expiry.
    """
    session = kato.sessions.peek_live(session_id)
    now = time.time()
    live = session is not None and session.ends > now
    expired = session is not None and not live and session.kept_until > now
    if session is not None and not live:
        kato.sessions.drop(session)
    return ok({"exists": live, "expired": expired, "session_id": session_id})


def get(_kato: Kato, session: Session, _request: Request) -> Answer:
    """Answer with the session."""
    # The answer shows the expiry that a write would give, but does not set it. Part of its last second is gone already.
    return ok(_shown(session, max(0, session.ttl - 1), time.time() + session.ttl))


def delete(kato: Kato, session: Session, _request: Request) -> Answer:
    """Delete the session."""
    if kato.brain.saving:
        kato.sessions.drop(session)
    return ok({"status": "deleted", "session_id": session.id})


def read_configuration(_kato: Kato, session: Session, _request: Request) -> Answer:
    """Answer with the session's configuration."""
    return ok({"session_id": session.id, "config": configuration.shown(session.config)})


def configure(kato: Kato, session: Session, request: Request) -> Answer:
    """Change the session's configuration. Raises ``BadRequest`` if KATO refuses a value."""
    changes = read_config(request.body, request.content_type)
    refused = configuration.refusals(changes)
    if refused:
        raise BadRequest({"error": "Configuration validation failed", "validation_errors": refused})
    if kato.brain.saving:
        session.config = configuration.changed(session.config, changes)
        session.saved(time.time())
    return ok({"status": "okay", "message": "Configuration updated", "session_id": session.id})


def extend(kato: Kato, session: Session, request: Request) -> Answer:
    """Extend the session by ``ttl_seconds`` of the query, or by an hour."""
    text = request.asked("ttl_seconds")
    seconds = 3600 if text is None else read_whole(text, "query", "ttl_seconds")
    if seconds <= 0:
        kato.sessions.drop(session)
    else:
        try:
            datetime.now(UTC) + timedelta(seconds=seconds)
        except OverflowError as exc:
            raise ServerError("a TTL beyond all dates") from exc
        session.expires = session.kept_until = time.time() + seconds
        session.note()
    return ok({"status": "extended", "session_id": session.id, "ttl_seconds": seconds})


def _shown(session: Session, ttl: int, expires: float) -> dict[str, Any]:
    return {
        "session_id": session.id,
        "node_id": session.node_id,
        "created_at": _date(session.created),
        "expires_at": _date(expires),
        "ttl_seconds": ttl,
        "metadata": session.metadata,
        "session_config": configuration.shown(session.config),
    }


def _date(seconds: float) -> str:
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    except (OverflowError, ValueError):
        return "9999-12-31T23:59:59.999999Z"
