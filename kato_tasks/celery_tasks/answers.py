"""A task's answer: its event's result, or what stands in for a result that is not there."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from kato_tasks.domain.ids import default_node
from kato_tasks.engine.drain.context import error_json, result_json
from kato_tasks.errors import EventConflict, EventRefused, KatoTasksError, NotAppliedYet
from kato_tasks.ports.waiting_tasks import MAX_WAITING_TASKS, SessionProgress

Place = dict[str, Any]
"""Where a task's event is: ``lane``, ``position`` and ``event_id``, as its message carries them.

With position 0 a place may also have ``predict`` (true for a predict), ``due`` (the time, in ms since 1970, at which
the event is appended) or ``no_session`` (the session did not exist when the task was sent, so nothing was appended).
"""
_ERRORS: dict[str, type[KatoTasksError]] = {"EventConflict": EventConflict, "NotAppliedYet": NotAppliedYet}


@dataclass(frozen=True, slots=True)
class Sought:
    """What was found for a task.

    ``answer`` is its answer as JSON, or None if the task waits at ``place``. ``late`` says that the answer stands in
    for a result that has expired, so that the caller may have been told already. ``progress`` says how the
    session stands for which the task waits.
    """

    answer: str | None
    place: Place
    late: bool = False
    progress: SessionProgress | None = None


def describe_waiting(session: str, place: Place, progress: SessionProgress) -> dict[str, Any]:
    """Return what ``AsyncResult.info`` and Flower show of a task in the state WAITING.

    It has ``session_id`` and ``position``; ``waits_for``, a sentence that says what the task waits for; and ``since``,
    the time in ISO 8601, in UTC.
    """
    position = int(place["position"] or 0)
    meta = {"session_id": session, "position": position, "waits_for": _waits_for(session, place, position, progress)}
    return meta | {"since": _iso(progress.now_ms)}


def _waits_for(session: str, place: Place, position: int, progress: SessionProgress) -> str:
    if place.get("due"):
        return f"It is kept until {_iso(int(place['due']))} and takes its place in session {session!r} then."
    if progress.parked:
        return f"Session {session!r} is parked and waits for a person: see kato-tasks sessions show."
    ahead = position - progress.cursor - 1
    first = (
        f"{ahead} earlier event{'' if ahead == 1 else 's'} of session {session!r} come{'s' if ahead == 1 else ''} first"
    )
    if progress.error:
        again = (
            f" Session {session!r} is tried again at {_iso(progress.due_ms)}."
            if progress.due_ms > progress.now_ms
            else ""
        )
        return f"{progress.error.rstrip('.')}.{again}{f' Before it, {first}.' if ahead > 0 else ''}"
    if ahead > 0:
        return f"{first}."
    return f"Its node is at work: session {session!r} is next in its turn."


def _iso(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="seconds")


def is_error(answer: str) -> bool:
    """Return whether an answer is an error instead of a result."""
    return answer.startswith('{"error":') and set(json.loads(answer)) == {"error"}


def read_answer(answer: str) -> Any:
    """Return the value of an answer, which is JSON. Raises the error that the answer holds instead of a result.

    That is EventConflict, NotAppliedYet or EventRefused.
    """
    told = json.loads(answer)
    if isinstance(told, dict) and "error" in told and set(told) == {"error"}:
        raise _ERRORS.get(told["error"]["type"], EventRefused)(told["error"]["message"])
    return told


def error_answer(exc: Exception) -> str:
    """Return an error as an answer."""
    return error_json(type(exc).__name__, str(exc))


def applied_answer(session: str, place: Place, node: str) -> str:
    """Return the answer for an event that KATO has, and whose result has expired."""
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
    """Return the answer for an event that is a dead letter.

    ``letter`` is the dead letter's JSON; it is empty when the letter is no longer there.
    """
    kept: Mapping[str, Any] = json.loads(letter) if letter else {}
    reason, answer = kept.get("reason") or "it is a dead letter", kept.get("last_answer")
    return error_json("EventRefused", f"{reason}: {answer}" if answer else reason)


def too_many_waiting_answer(event_id: str) -> str:
    """Return the answer for a task that cannot wait, since too many tasks wait for its event already."""
    return error_json(
        "NotAppliedYet",
        f"{MAX_WAITING_TASKS} tasks wait for event {event_id!r} already; it is in the log and is applied in its turn",
    )


def expired_predict_answer() -> str:
    """Return the answer for a predict that was answered before, and whose answer is no longer kept."""
    return error_json("EventRefused", "the answer of this predict has expired: ask again")


def sessionless_answer(event_type: str, session: str, event_id: str) -> str:
    """Return the answer for a call that came before its session's first event. Such a call makes no session."""
    node = default_node(session)
    if event_type == "predict":
        told: dict[str, Any] = {"session_id": session, "node_id": node, "event_id": event_id, "after": 0}
        return result_json(told | {"predictions": [], "future_potentials": []})
    if event_type == "clear_stm":
        told = {"status": "cleared", "session_id": session, "node_id": node, "event_id": event_id, "position": 0}
        return result_json(told)
    return error_json("EventRefused", f"nothing to learn: session {session!r} has no events yet")
