"""Describe one session to a person, field by field, in the words of its JSON."""

from __future__ import annotations

import time
from datetime import datetime
from typing import TYPE_CHECKING, Any

from kato_tasks.cli.output import count, moment, seconds
from kato_tasks.domain.visible import visible_id

if TYPE_CHECKING:
    from kato_tasks.domain.results import BindingStatus, SessionStatus

Fields = list[tuple[str, object]]
_KNOWN = {"reason", "last_answer", "position", "event_id", "attempts", "first_ms", "last_ms"}


def fields_of(status: SessionStatus) -> Fields:
    """Return the fields that ``kato-tasks sessions show`` prints."""
    now_ms = time.time() * 1000
    left = status.head - status.cursor
    last_ms = ms_of(status.last_event_at)
    fields: Fields = [
        ("session", visible_id(status.session_id)),
        ("node", visible_id(status.node_id)),
        ("lane", visible_id(status.lane)),
        *([("generation", visible_id(status.generation))] if status.generation else []),
        ("state", status.state),
        ("head", f"{status.head:,}"),
        ("cursor", f"{status.cursor:,}, {count(left, 'event') + ' to apply' if left > 0 else 'all is applied'}"),
        ("last event", moment(last_ms, now_ms) if last_ms is not None else "none yet"),
        *_binding(status.binding),
    ]
    if status.reordered_events:
        held = f"{count(status.reordered_events, 'event')} with vectors hold their strings first"
        fields.append(("reordered", held))
    if status.due_in_seconds is not None:
        fields.append(("next try in", seconds(status.due_in_seconds)))
    if status.last_error:
        fields.append(("last error", f"{status.last_error} (attempts: {status.attempts})"))
    return fields + _parked(status.parked, now_ms)


def ms_of(iso: str | None) -> float | None:
    """Return a time from JSON in milliseconds, or None if there is none."""
    return None if iso is None else datetime.fromisoformat(iso).timestamp() * 1000


def why(status: SessionStatus) -> str:
    """Return why a session does not go on; the text is empty if it does."""
    if status.parked is not None:
        return str(status.parked.get("reason", ""))
    return status.last_error or ""


def _binding(binding: BindingStatus | None) -> Fields:
    if binding is None:
        return [("KATO session", "none now")]
    return [
        ("KATO session", f"{binding.kato_session_id} at {binding.kato_url}"),
        ("KATO node", visible_id(binding.node)),
        ("time", f"{binding.time:,}"),
        ("STM length", f"{binding.stm_length:,}"),
        ("epoch", f"{binding.epoch:,}"),
    ]


def _parked(parked: dict[str, Any] | None, now_ms: float) -> Fields:
    """Return since when and why the session waits for a person.

    Fields that another version wrote are shown as they are.
    """
    if parked is None:
        return []
    first, last = parked.get("first_ms"), parked.get("last_ms")
    fields: Fields = []
    if isinstance(last, int | float):
        fields.append(("parked since", moment(last, now_ms)))
    fields.append(("parked because", parked.get("reason", "")))
    if parked.get("event_id"):
        fields.append(("at event", f"{visible_id(str(parked['event_id']))}, position {parked.get('position')}"))
    if parked.get("attempts"):
        fields.append(("attempts", parked["attempts"]))
    if isinstance(first, int | float) and first != last:
        fields.append(("first failed", moment(first, now_ms)))
    if parked.get("last_answer"):
        fields.append(("KATO's answer", parked["last_answer"]))
    return fields + [(f"parked: {name}", value) for name, value in parked.items() if name not in _KNOWN]
