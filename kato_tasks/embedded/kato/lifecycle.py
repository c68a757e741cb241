"""KATO's routes for the life of a session: create, look at, configure, extend, delete."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs

from kato_tasks.embedded.kato import config as configuration
from kato_tasks.embedded.kato.answers import Answer, BadRequest, Invalid, ok
from kato_tasks.embedded.kato.bodies import read_config, read_new_session
from kato_tasks.embedded.kato.kato import Kato, Request
from kato_tasks.embedded.kato.sessions import Session


def create(kato: Kato, request: Request) -> Answer:
    new = read_new_session(request.body)
    session = kato.sessions.create(new.node_id, new.ttl_seconds, new.config, new.metadata)
    return ok(_shown(session, new.ttl_seconds or session.ttl, session.expires))


def exists(kato: Kato, session_id: str) -> Answer:
    """Whether a session lives: always 200, and its expiry stays as it is."""
    session = kato.sessions.peek_live(session_id)
    expired = session is not None and session.ends <= time.time()
    if session is not None and expired:
        kato.sessions.drop(session)
    live = session is not None and not expired
    return ok({"exists": live, "expired": expired, "session_id": session_id})


def get(_kato: Kato, session: Session, _request: Request) -> Answer:
    # Shows the expiry that a write would give, and does not set it.
    return ok(_shown(session, session.ttl, time.time() + session.ttl))


def delete(kato: Kato, session: Session, _request: Request) -> Answer:
    if kato.brain.saving:
        kato.sessions.drop(session)
    return ok({"status": "deleted", "session_id": session.id})


def read_configuration(_kato: Kato, session: Session, _request: Request) -> Answer:
    return ok({"session_id": session.id, "config": {**configuration.DEFAULTS, **session.config}})


def configure(kato: Kato, session: Session, request: Request) -> Answer:
    changes = read_config(request.body)
    refused = configuration.refusals(changes)
    if refused:
        raise BadRequest({"error": "Configuration validation failed", "validation_errors": refused})
    if kato.brain.saving:
        session.config = {**session.config, **configuration.accepted(changes)}
        session.saved(time.time())
    return ok({"status": "okay", "message": "Configuration updated", "session_id": session.id})


def extend(_kato: Kato, session: Session, request: Request) -> Answer:
    text = parse_qs(request.query.decode("latin-1")).get("ttl_seconds", ["3600"])[0]
    try:
        seconds = int(text)
    except ValueError:
        message = "Input should be a valid integer, unable to parse string as an integer"
        error = {"type": "int_parsing", "loc": ["query", "ttl_seconds"], "msg": message, "input": text}
        raise Invalid([error]) from None
    session.expires = session.kept_until = time.time() + seconds
    return ok({"status": "extended", "session_id": session.id, "ttl_seconds": seconds})


def _shown(session: Session, ttl: int, expires: float) -> dict[str, Any]:
    return {
        "session_id": session.id,
        "node_id": session.node_id,
        "created_at": _date(session.created),
        "expires_at": _date(expires),
        "ttl_seconds": ttl,
        "metadata": session.metadata,
        "session_config": {**configuration.DEFAULTS, **session.config},
    }


def _date(seconds: float) -> str:
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    except (OverflowError, ValueError):
        return "9999-12-31T23:59:59.999999Z"
