"""``/v1/sessions``: how sessions stand, and their history."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel

from kato_tasks.api.history import history
from kato_tasks.api.session_list import NoSuchSession, SessionFilter, list_sessions
from kato_tasks.api.sessions import session_status
from kato_tasks.domain.ids import MAX_ID_CHARS
from kato_tasks.domain.results import SessionStatus
from kato_tasks.http_server.needing import Reader, Rt, SessionId, check_reach, shown_as
from kato_tasks.http_server.problems import Problem, field_problem

router = APIRouter(prefix="/v1/sessions", tags=["sessions"])
MOST = 1_000
Limit = Annotated[int, Query(ge=1, le=MOST, examples=[100], description="how many at most")]
_STATUS = {
    "session_id": "visitor-17",
    "node_id": "visitor-17",
    "lane": "visitor_17",
    "head": 12,
    "cursor": 12,
    "state": "idle",
    "binding": None,
}
_EVENT = {"event_type": "observation", "event_id": "cart-1", "session_id": "visitor-17", "position": 1}


class SessionPage(BaseModel):
    """Sessions in the order of their ids. `next` is the `after` of the page that follows, or null."""

    sessions: list[SessionStatus]
    next: str | None = None


class EventPage(BaseModel):
    """Events in their order, each in the standard form with its `position`. `next` is the `after` of the next page."""

    events: list[dict[str, Any]]
    next: int | None = None


@router.get("", responses=shown_as({"sessions": [_STATUS], "next": None}))
def read_sessions(
    rt: Rt,
    key: Reader,
    state: Annotated[Literal["idle", "pending", "running", "waiting", "parked"] | None, Query()] = None,
    prefix: Annotated[str, Query(max_length=MAX_ID_CHARS, description="only sessions whose ids begin so")] = "",
    after: Annotated[str | None, Query(max_length=MAX_ID_CHARS, description="begin behind this session")] = None,
    limit: Limit = 100,
) -> SessionPage:
    """List sessions in the order of their ids."""
    _check_text("prefix", prefix)
    _check_text("after", after or "")
    if not prefix.startswith(key.session_prefix):
        if not key.session_prefix.startswith(prefix):
            return SessionPage(sessions=[])
        prefix = key.session_prefix
    try:
        page = list_sessions(rt, SessionFilter(state=state, prefix=prefix), after=after, limit=limit)
    except NoSuchSession as exc:
        raise Problem(404, str(exc)) from None
    return SessionPage(sessions=page.sessions, next=page.sessions[-1].session_id if page.more else None)


@router.get("/{session_id}", responses=shown_as(_STATUS))
def read_session(session_id: SessionId, key: Reader) -> SessionStatus:
    """Say how a session stands: how many events it has, how many are applied, and its session at KATO."""
    check_reach(key, session_id)
    status = session_status(session_id)
    if status is None:
        raise unknown_session(session_id)
    return status


@router.get("/{session_id}/events", responses=shown_as({"events": [_EVENT], "next": None}))
def read_events(
    session_id: SessionId,
    key: Reader,
    after: Annotated[int, Query(ge=0, le=2**53, description="begin behind this position")] = 0,
    limit: Limit = 100,
) -> EventPage:
    """Read a session's history in its order, across the store and the archive."""
    check_reach(key, session_id)
    events = list(history(session_id, after, limit + 1))
    if not events and session_status(session_id) is None:
        raise unknown_session(session_id)
    more, events = len(events) > limit, events[:limit]
    return EventPage(events=events, next=events[-1]["position"] if more else None)


def unknown_session(session_id: str) -> Problem:
    """Return the problem of a session that has had no event."""
    return Problem(404, f"Session {session_id[:100]!r} is not known: it has had no event.")


def _check_text(field: str, text: str) -> None:
    if any("\ud800" <= char <= "\udfff" for char in text):
        raise field_problem(field, "holds half of a surrogate pair, which is no valid Unicode text")
