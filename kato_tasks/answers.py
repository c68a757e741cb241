"""What a task is told: its event's result, or what stands in for one that is not there."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kato_tasks.domain.ids import default_node
from kato_tasks.engine.context import error_json, result_json
from kato_tasks.errors import EventConflict, EventRefused, KatoTasksError, NotAppliedYet
from kato_tasks.ports import PARKED_AT_MOST

Place = dict[str, Any]
"""Where a task's event is: ``lane``, ``position`` and ``event_id``, as its message carries them.

Beside position 0: ``predict``; ``due``, the ms at which it is appended; ``no_session``: the session did not exist when
the task was sent, so nothing was appended.
"""
_ERRORS: dict[str, type[KatoTasksError]] = {"EventConflict": EventConflict, "NotAppliedYet": NotAppliedYet}


@dataclass(frozen=True, slots=True)
class Sought:
    """What was found for a task: its answer (JSON), or None: it waits at ``place``.

    ``late``: the answer stands in for a result that has expired, so the caller may have been told already.
    """

    answer: str | None
    place: Place
    late: bool = False


def is_error(answer: str) -> bool:
    """Whether an answer is an error in the place of a result."""
    return answer.startswith('{"error":') and set(json.loads(answer)) == {"error"}


def delivered(answer: str) -> Any:
    """An answer as the task's own: its JSON, or the error in its place is raised."""
    told = json.loads(answer)
    if isinstance(told, dict) and "error" in told and set(told) == {"error"}:
        raise _ERRORS.get(told["error"]["type"], EventRefused)(told["error"]["message"])
    return told


def failed(exc: Exception) -> str:
    """An error as an answer."""
    return error_json(type(exc).__name__, str(exc))


def long_applied(session: str, place: Place, node: str) -> str:
    """The event is in KATO, and its result has expired."""
    return result_json(
        {
            "status": "applied",
            "session_id": session,
            "node_id": node,
            "event_id": place["event_id"],
            "position": place["position"],
        }
    )


def buried(letter: str) -> str:
    """The event is a dead letter (its JSON, empty when that is not there any more)."""
    kept: Mapping[str, Any] = json.loads(letter) if letter else {}
    reason, answer = kept.get("reason") or "it is a dead letter", kept.get("last_answer")
    return error_json("EventRefused", f"{reason}: {answer}" if answer else reason)


def too_many_wait(event_id: str) -> str:
    """So many tasks wait for one event that this one is told at once."""
    return error_json(
        "NotAppliedYet",
        f"{PARKED_AT_MOST} tasks wait for event {event_id!r} already; it is in the log and is applied in its turn",
    )


def expired_prediction() -> str:
    """A predict was answered, and the answer is kept no longer."""
    return error_json("EventRefused", "the answer of this predict has expired: ask again")


def without_session(event_type: str, session: str, event_id: str) -> str:
    """What a call is told that came before its session's first event; it makes no session."""
    node = default_node(session)
    if event_type == "predict":
        told: dict[str, Any] = {"session_id": session, "node_id": node, "event_id": event_id, "after": 0}
        return result_json(told | {"predictions": [], "future_potentials": []})
    if event_type == "clear_stm":
        told = {"status": "cleared", "session_id": session, "node_id": node, "event_id": event_id, "position": 0}
        return result_json(told)
    return error_json("EventRefused", f"nothing to learn: session {session!r} has no events yet")
