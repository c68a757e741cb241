"""Read how a session stands."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal

from kato_tasks.bootstrap import runtime
from kato_tasks.domain.events import check_session_id
from kato_tasks.domain.results import BindingStatus, SessionStatus
from kato_tasks.ports.sessions import Nodes, SessionRow, Sessions


def session_status(session_id: str) -> SessionStatus | None:
    """Return how a session stands now.

    Args:
        session_id: Your own name for the session.

    Returns:
        A ``SessionStatus``: its node, how many events it has (``head``), how many of them are applied (``cursor``),
        its ``state`` and its session at KATO (``binding``). None if it has had no event.

    Raises:
        InvalidEvent: ``session_id`` is no text that can name a session.
        StoreUnavailable: The store cannot be reached.
        ConfigurationError: A setting cannot work.
    """
    sessions = runtime().sessions
    node = sessions.node_of(check_session_id(session_id))
    return None if node is None else session_statuses(sessions, {session_id: node})[0]


def session_statuses(sessions: Sessions, nodes: Nodes) -> list[SessionStatus]:
    """Return how sessions stand now, in the order of ``nodes``, which gives each session's node as KATO is told it.

    This takes two round trips. Raises StoreUnavailable.
    """
    return [_status(row) for row in sessions.read(nodes)]


def _status(row: SessionRow) -> SessionStatus:
    binding, wait = row.binding, row.due_in_seconds
    return SessionStatus(
        session_id=row.session,
        node_id=row.node_id,
        lane=row.lane,
        head=row.head,
        cursor=row.cursor,
        state=_state(row),
        binding=BindingStatus(
            kato_url=binding.url,
            kato_session_id=binding.kato_session,
            node=binding.node,
            time=binding.time - binding.base,
            stm_length=binding.stm_length,
            epoch=binding.epoch,
        )
        if binding
        else None,
        parked=dict(row.parked) if row.parked is not None else None,
        reordered_events=row.reordered,
        attempts=row.attempts,
        last_error=row.last_error,
        due_in_seconds=wait if wait is not None and wait > 0 else None,
        last_event_at=iso_time(row.last_event_ms) if row.last_event_ms is not None else None,
        generation=row.generation,
    )


def iso_time(ms: int) -> str:
    """Return the time ``ms`` (milliseconds since 1970) in ISO 8601, in UTC and to the millisecond."""
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _state(row: SessionRow) -> Literal["idle", "pending", "running", "waiting", "parked"]:
    if row.parked is not None:
        return "parked"
    if row.due_in_seconds is None:
        return "idle"
    if row.due_in_seconds > 0:
        return "waiting"
    return "running" if row.leased else "pending"
