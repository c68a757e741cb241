"""Make log entries of events as they came over HTTP, and say what became of each."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from kato_tasks.domain.api_keys import ApiKey
from kato_tasks.domain.cloud_events import standard_event
from kato_tasks.domain.events import parse_event
from kato_tasks.domain.log_entry import Entry, entry_of
from kato_tasks.domain.observations import Limits
from kato_tasks.engine.appended import AppendedEntry
from kato_tasks.errors import InvalidEvent

Outcome = dict[str, Any]
"""``index``, ``status`` (accepted, duplicate, rejected), and the event's place or what is wrong with it."""


@dataclass(slots=True)
class Judged:
    """Events of one request: those that are valid, as entries with their indexes, and those that were refused."""

    entries: list[Entry] = field(default_factory=list)
    indexes: list[int] = field(default_factory=list)
    refused: list[tuple[int, InvalidEvent, bool]] = field(default_factory=list)
    """index, what is wrong, and whether the key may not do it"""
    named: dict[str, int] = field(default_factory=dict)
    """the ids that the server gave to events that had none, each with the event's index"""

    def judge(self, index: int, raw: Any, key: ApiKey, request_key: str, limits: Limits, *, cloud: bool) -> None:
        """Read one event. ``request_key`` names an event without an id of its own, so that it may be sent again."""
        try:
            event = parse_event(standard_event(raw) if cloud else raw, limits)
            event_id = event.event_id or request_key or uuid.uuid4().hex
            entry = entry_of(event, event_id=event_id, limits=limits)
        except InvalidEvent as exc:
            self.refused.append((index, exc.with_traceback(None), False))
            return
        if not key.reaches(entry.session_id):
            why = f"must begin with {key.session_prefix!r}, which is all that this key reaches"
            self.refused.append((index, InvalidEvent("session_id", why), True))
            return
        if not (event.event_id or request_key):
            self.named[event_id] = index
        self.entries.append(entry)
        self.indexes.append(index)

    @property
    def status_of_refusal(self) -> int:
        """Return with which status a request is answered of which every event was refused.

        403 says that the key may do none of it, 409 that each event contradicts what its session has, and 422 that
        some field is wrong.
        """
        if not self.refused:
            return 409
        return 403 if not self.entries and all(forbidden for _, _, forbidden in self.refused) else 422

    def outcomes(self, placed: Sequence[AppendedEntry]) -> list[Outcome]:
        """Return what became of each event, in the order of the request."""
        told = [_refused(index, exc) for index, exc, _ in self.refused]
        told += [
            _placed(index, one, one.appended.event_id in self.named)
            for index, one in zip(self.indexes, placed, strict=True)
        ]
        return told if not self.refused else sorted(told, key=lambda one: one["index"])


def _refused(index: int, exc: InvalidEvent) -> Outcome:
    return {"index": index, "status": "rejected", "field": exc.field, "reason": exc.reason}


def _placed(index: int, one: AppendedEntry, named_here: bool) -> Outcome:
    if one.other_node is not None:
        return _refused(index, one.other_node)
    done = one.appended
    if done.error is not None:
        field_name = "event_id" if one.conflict else "event"
        return {"index": index, "status": "rejected", "field": field_name, "reason": done.error}
    # An event whose id was made here can be known only because this same request was carried out before, in part.
    return {
        "index": index,
        "status": "duplicate" if done.duplicate and not named_here else "accepted",
        "event_id": done.event_id,
        "session_id": done.session_id,
        "position": done.position,
    }


__all__ = ["Judged", "Outcome"]
