"""Calls of KATO's API that change a session: observe, learn, clear-stm."""

from __future__ import annotations

import time
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from kato_tasks.api.front_sessions import make_session
from kato_tasks.celery_tasks.tasks import clear_stm, learn, observe
from kato_tasks.domain.front_session import FrontSession
from kato_tasks.errors import EventRefused
from kato_tasks.http_server.context import Context
from kato_tasks.http_server.kato_front.answers import in_katos_words, refused, respond
from kato_tasks.http_server.kato_front.described import described
from kato_tasks.http_server.kato_front.finding import WITH_BODY, Asked, Pieces, Session, Writer, reach
from kato_tasks.http_server.kato_front.lifecycle import content_type
from kato_tasks.http_server.kato_front.waiting import (
    Sent,
    StillWaiting,
    Wait,
    accepted,
    answer_of,
    applied,
    names_of,
    preference,
    send,
)
from kato_tasks.kato_wire.answers import Answer, bad_request, gone, ok
from kato_tasks.kato_wire.bodies import Observation, read_observation

router = APIRouter()
NOTHING_TO_LEARN = "nothing to learn"
"""What the refusal of a learn begins with whose session has an empty STM (``engine.drain.learning``)."""
EMPTY_STM = "Cannot learn from empty STM"


@router.post("/sessions/{session_id}/observe", **described("observe"), dependencies=WITH_BODY)
@in_katos_words
async def observe_once(key: Writer, request: Request, asked: Session, context: Pieces) -> Response:
    """Observe in a session, in its turn, and answer what KATO answered. An unknown session is made by it."""
    reach(key, asked)
    if asked.ended:
        return respond(gone(asked.session_id))
    seen = read_observation(await request.body(), content_type(request))
    names, wait = names_of(request, asked.session_id), preference(request, context)
    sent = await send(
        context,
        observe,
        names.task_id,
        session_id=asked.session_id,
        observation=observation_of(seen),
        event_id=names.event_id,
    )
    await ensure_made(context, asked)
    return await tell(context, sent, wait, _observed)


@router.post("/sessions/{session_id}/learn", **described("learn"))
@in_katos_words
async def learn_stm(key: Writer, request: Request, asked: Session, context: Pieces) -> Response:
    """Learn a session's short-term memory as a pattern of its node, in the session's turn."""
    reach(key, asked)
    if asked.found is None:
        return respond(gone(asked.session_id))
    names, wait = names_of(request, asked.session_id), preference(request, context)
    if asked.found.state.has_empty_stm and not names.given:
        # KATO refuses it, too, and a refused event would become a dead letter. With a key it may be a repetition.
        return respond(bad_request(EMPTY_STM))
    sent = await send(context, learn, names.task_id, session_id=asked.session_id, event_id=names.event_id)
    return await tell(context, sent, wait, _learned)


@router.post("/sessions/{session_id}/clear-stm", **described("clear_stm"))
@in_katos_words
async def clear_memory(key: Writer, request: Request, asked: Session, context: Pieces) -> Response:
    """Empty a session's short-term memory, in its turn."""
    reach(key, asked)
    if asked.found is None:
        return respond(gone(asked.session_id))
    names, wait = names_of(request, asked.session_id), preference(request, context)
    sent = await send(context, clear_stm, names.task_id, session_id=asked.session_id, event_id=names.event_id)
    return await tell(context, sent, wait, lambda told: {"status": "cleared", "session_id": told["session_id"]})


async def ensure_made(context: Context, asked: Asked) -> None:
    """Keep what KATO would know of a session that its first event has made."""
    if asked.found is None:
        front = FrontSession(created_ms=int(time.time() * 1000))
        await context.ask(lambda here: make_session(here.protocol, asked.session_id, None, front))


def observation_of(seen: Observation) -> dict[str, Any]:
    """Return an observation of KATO's wire as an event has it."""
    return {"strings": seen.strings, "vectors": seen.vectors, "emotives": seen.emotives, "metadata": seen.metadata}


async def tell(context: Context, sent: Sent, wait: Wait, shown: Any) -> Response:
    """Wait for a task and answer what it returned in KATO's form (``shown`` makes it), or 202 while it goes on."""
    try:
        told = await answer_of(context, sent, wait)
    except StillWaiting:
        return accepted(sent, wait)
    except EventRefused as exc:
        return respond(refusal(exc))
    response = respond(ok(shown(told)))
    response.headers.update(applied(wait))
    return response


def refusal(exc: EventRefused) -> Answer:
    """Return the answer for an event that KATO refused."""
    if str(exc).startswith(NOTHING_TO_LEARN):
        return bad_request(EMPTY_STM)
    return refused(str(exc))


def _observed(told: dict[str, Any]) -> dict[str, Any]:
    return {
        "status": "okay",
        "session_id": told["session_id"],
        "processor_id": told["node_id"],
        "stm_length": told.get("stm_length"),
        "time": told.get("time"),
        "unique_id": told["event_id"],
        "auto_learned_pattern": None,
    }


def _learned(told: dict[str, Any]) -> dict[str, Any]:
    name = told.get("pattern_name") or ""
    return {
        "status": "learned",
        "pattern_name": name,
        "session_id": told["session_id"],
        "processor_id": None,
        "message": f"Learned pattern {name} from 0 events",
    }


__all__ = ["ensure_made", "observation_of", "refusal", "router", "tell"]
