"""Calls of KATO's API that read. Those of a session take their turn, so they show every event accepted before them."""

from __future__ import annotations

import asyncio
import uuid
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from kato_tasks.api.node_patterns import read_pattern
from kato_tasks.api.readiness import read_readiness
from kato_tasks.celery_tasks.tasks import predict, read_session
from kato_tasks.errors import InvalidEvent, KatoError
from kato_tasks.http_server.context import Context
from kato_tasks.http_server.kato_front.answers import in_katos_words, respond
from kato_tasks.http_server.kato_front.described import described
from kato_tasks.http_server.kato_front.events import tell
from kato_tasks.http_server.kato_front.finding import Asked, Pieces, Session, Writer, reach
from kato_tasks.http_server.kato_front.waiting import preference, send
from kato_tasks.http_server.needing import Reader
from kato_tasks.http_server.problems import Problem
from kato_tasks.kato_wire.answers import gone, ok
from kato_tasks.kato_wire.names import processor_id

router = APIRouter()
DEFAULT_NODE = "default_node"
"""The node of which KATO shows a pattern where the request names none."""


@router.get("/sessions/{session_id}/stm", **described("stm"))
@in_katos_words
async def read_stm(key: Reader, request: Request, asked: Session, context: Pieces) -> Response:
    """Answer with a session's short-term memory, as of every event that was accepted before."""
    return await _read(key, request, asked, context, "stm", _stm)


@router.get("/sessions/{session_id}/predictions", **described("predictions"))
@in_katos_words
async def read_predictions(key: Reader, request: Request, asked: Session, context: Pieces) -> Response:
    """Answer with KATO's predictions, as of every event that was accepted before."""
    return await _read(key, request, asked, context, "", _predictions)


@router.get("/sessions/{session_id}/cognition-data", **described("cognition"))
@in_katos_words
async def read_cognition(key: Reader, request: Request, asked: Session, context: Pieces) -> Response:
    """Answer with a session's state at KATO."""
    return await _read(key, request, asked, context, "cognition-data", _cognition)


@router.get("/sessions/{session_id}/percept-data", **described("percept"))
@in_katos_words
async def read_percept(key: Reader, request: Request, asked: Session, context: Pieces) -> Response:
    """Answer with a session's last observation since its short-term memory was emptied."""
    return await _read(key, request, asked, context, "percept-data", _percept)


@router.post("/sessions/{session_id}/finalize-training", **described("finalize"))
@in_katos_words
async def finalize_training(key: Writer, request: Request, asked: Session, context: Pieces) -> Response:
    """Have KATO compute the figures of the patterns of a session's node."""
    return await _read(key, request, asked, context, "finalize-training", _finalized)


@router.post("/sessions/{session_id}/clear-all", **described("clear_all"))
@in_katos_words
async def clear_all(key: Writer, asked: Session) -> Response:
    """Refuse to empty a node of its patterns."""
    reach(key, asked)
    if asked.found is None:
        return respond(gone(asked.session_id))
    raise Problem(
        409,
        "clear-all is not carried out: it would erase what other sessions of the node taught, which their history says "
        "that KATO knows. Use another node, or forget sessions with kato-tasks sessions forget and rebuild the node.",
    )


@router.get("/pattern/{pattern_id}", **described("pattern"))
@in_katos_words
async def read_one_pattern(key: Reader, request: Request, context: Pieces) -> Response:  # noqa: ARG001
    """Answer with a pattern of a node, as KATO shows it."""
    name = unquote(str(request.path_params["pattern_id"]), errors="replace")
    node_id = request.query_params.get("node_id", DEFAULT_NODE)
    shown: dict[str, Any]
    try:
        shown = await asyncio.to_thread(read_pattern, context.runtime, node_id, name)
    except InvalidEvent:  # no session can be on such a node
        shown = {"status": "error", "message": f"Pattern {name} not found"}
    except KatoError:
        raise Problem(503, "KATO does not answer. Repeat the request later.", headers={"retry-after": "2"}) from None
    return respond(ok({"pattern": shown, "node_id": processor_id(node_id)}))


@router.get("/health", **described("health"))
async def health(context: Pieces) -> Response:
    """Answer whether everything behind this server is well, in KATO's form, always with 200."""
    readiness = await asyncio.to_thread(read_readiness, context.runtime)
    healthy = "healthy" if readiness.status == "ok" else "degraded"
    told = {
        "status": healthy,
        "processor_status": healthy,
        "service_name": "kato",
        "uptime_seconds": context.uptime_seconds,
        "issues": [f"{check.name}: {check.reason}" for check in readiness.checks if not check.ok],
        "metrics_collected": 0,
        "last_collection": None,
        "active_sessions": None,
        "timestamp": datetime.now(UTC).isoformat(),
    }
    return respond(ok(told))


async def _read(key: Any, request: Request, asked: Asked, context: Context, what: str, shown: Any) -> Response:
    """Read something of a session in its turn; ``what`` '' is its predictions. ``shown`` brings it into KATO's form."""
    reach(key, asked)
    if asked.found is None:
        return respond(gone(asked.session_id))
    wait = preference(request, context)
    if asked.found.state.has_empty_stm and what != "finalize-training":
        return respond(ok(shown(asked, {})))
    # A read may be repeated, and must show what is there then: a key says nothing here.
    task_id = uuid.uuid4().hex
    if what:
        sent = await send(context, read_session, task_id, session_id=asked.session_id, what=what)
    else:
        sent = await send(context, predict, task_id, session_id=asked.session_id, raw=True)
    return await tell(context, sent, wait, lambda told: shown(asked, told))


def _stm(asked: Asked, told: dict[str, Any]) -> dict[str, Any]:
    stm = told.get("stm") or []
    return {"stm": stm, "session_id": asked.session_id, "length": len(stm)}


def _predictions(asked: Asked, told: dict[str, Any]) -> dict[str, Any]:
    predictions = told.get("predictions") or []
    return {
        "predictions": predictions,
        "future_potentials": told.get("future_potentials") or [],
        "session_id": asked.session_id,
        "processor_id": None,
        "count": len(predictions),
        "time": None,
        "unique_id": None,
    }


def _cognition(asked: Asked, told: dict[str, Any]) -> dict[str, Any]:
    stm = told.get("stm") or []
    nothing: dict[str, Any] = {
        "predictions": [],
        "emotives": {},
        "symbols": [symbol for event in stm for symbol in event],
        "command": "",
        "metadata": {},
        "path": [],
        "strings": [],
        "vectors": [],
        "short_term_memory": stm,
    }
    data = nothing | dict(told.get("data") or {}) | {"time": told.get("time") or 0}
    return {"cognition_data": data, "session_id": asked.session_id, "node_id": _node_id(asked)}


def _percept(asked: Asked, told: dict[str, Any]) -> dict[str, Any]:
    return {"percept_data": told.get("data") or {}, "session_id": asked.session_id, "node_id": _node_id(asked)}


def _finalized(asked: Asked, told: dict[str, Any]) -> dict[str, Any]:
    return {**told.get("data", {}), "session_id": asked.session_id, "node_id": _node_id(asked)}


def _node_id(asked: Asked) -> str:
    assert asked.found is not None
    return asked.found.node_id


__all__ = ["router"]
