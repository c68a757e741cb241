"""What a task is told: its event's result, or what stands in for one that is not there."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from kato_tasks.domain.ids import default_node
from kato_tasks.engine.drain.context import error_json, result_json
from kato_tasks.errors import EventConflict, EventRefused, KatoTasksError, NotAppliedYet
from kato_tasks.ports.waiting_tasks import PARKED_AT_MOST, Waits

Place = dict[str, Any]
"""Where a task's event is: ``lane``, ``position`` and ``event_id``, as its message carries them.

Beside position 0: ``predict``; ``due``, the ms at which it is appended; ``no_session``: the session did not exist when
the task was sent, so nothing was appended.
"""
_ERRORS: dict[str, type[KatoTasksError]] = {"EventConflict": EventConflict, "NotAppliedYet": NotAppliedYet}


@dataclass(frozen=True, slots=True)
class Sought:
    """What was found for a task: its answer (JSON), or None: it waits at ``place``.

    ``late``: the answer stands in for a result that has expired, so the caller may have been told already. ``waits``:
    how its session stands, if it waits.
    """

    answer: str | None
    place: Place
    late: bool = False
    waits: Waits | None = None


def describe_waiting(session: str, place: Place, waits: Waits) -> dict[str, Any]:
    """What ``AsyncResult.info`` and Flower say of a task in the state WAITING.

    ``session_id`` and ``position``; ``waits_for``: a sentence that says for what; ``since``: the time in ISO 8601, UTC.
    """
    position = int(place["position"] or 0)
    meta = {"session_id": session, "position": position, "waits_for": _waits_for(session, place, position, waits)}
    return meta | {"since": _iso(waits.now_ms)}


def _waits_for(session: str, place: Place, position: int, waits: Waits) -> str:
    if place.get("due"):
        return f"It is kept until {_iso(int(place['due']))} and takes its place in session {session!r} then."
    if waits.parked:
        return f"Session {session!r} is parked and waits for a person: see kato-tasks sessions show."
    ahead = position - waits.cursor - 1
    first = (
        f"{ahead} earlier event{'' if ahead == 1 else 's'} of session {session!r} come{'s' if ahead == 1 else ''} first"
    )
    if waits.error:
        again = f" Session {session!r} is tried again at {_iso(waits.due_ms)}." if waits.due_ms > waits.now_ms else ""
        return f"{waits.error.rstrip('.')}.{again}{f' Before it, {first}.' if ahead > 0 else ''}"
    if ahead > 0:
        return f"{first}."
    return f"Its node is at work: session {session!r} is next in its turn."


def _iso(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="seconds")


def is_error(answer: str) -> bool:
    """Whether an answer is an error in the place of a result."""
    return answer.startswith('{"error":') and set(json.loads(answer)) == {"error"}


def read_answer(answer: str) -> Any:
    """An answer as the task's own: its JSON, or the error in its place is raised."""
    told = json.loads(answer)
    if isinstance(told, dict) and "error" in told and set(told) == {"error"}:
        raise _ERRORS.get(told["error"]["type"], EventRefused)(told["error"]["message"])
    return told


def error_answer(exc: Exception) -> str:
    """An error as an answer."""
    return error_json(type(exc).__name__, str(exc))


def applied_answer(session: str, place: Place, node: str) -> str:
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


def dead_letter_answer(letter: str) -> str:
    """The event is a dead letter (its JSON, empty when that is not there any more)."""
    kept: Mapping[str, Any] = json.loads(letter) if letter else {}
    reason, answer = kept.get("reason") or "it is a dead letter", kept.get("last_answer")
    return error_json("EventRefused", f"{reason}: {answer}" if answer else reason)


def too_many_waiting_answer(event_id: str) -> str:
    """So many tasks wait for one event that this one is told at once."""
    return error_json(
        "NotAppliedYet",
        f"{PARKED_AT_MOST} tasks wait for event {event_id!r} already; it is in the log and is applied in its turn",
    )


def expired_predict_answer() -> str:
    """A predict was answered, and the answer is kept no longer."""
    return error_json("EventRefused", "the answer of this predict has expired: ask again")


def sessionless_answer(event_type: str, session: str, event_id: str) -> str:
    """What a call is told that came before its session's first event; it makes no session."""
    node = default_node(session)
    if event_type == "predict":
        told: dict[str, Any] = {"session_id": session, "node_id": node, "event_id": event_id, "after": 0}
        return result_json(told | {"predictions": [], "future_potentials": []})
    if event_type == "clear_stm":
        told = {"status": "cleared", "session_id": session, "node_id": node, "event_id": event_id, "position": 0}
        return result_json(told)
    return error_json("EventRefused", f"nothing to learn: session {session!r} has no events yet")
