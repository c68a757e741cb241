"""Why an event is not applied: the record in a dead letter, and in a parked session. Both are stored as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kato_tasks.domain.json_text import dumps
from kato_tasks.errors import UnreadableRow

ANSWER_CHARS = 2_000
"""How much of KATO's last answer is kept."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why an event at a position is not applied, and how often and how long it was tried.

    ``position`` is the event's place in its session's log (None: it never got one) and ``event_id`` its id ('' where
    the record is about a session and no event of it). ``attempts`` counts the calls that failed. ``first_ms`` and
    ``last_ms`` are when the first and the last of them failed, in milliseconds since 1970 by the store's clock.
    ``last_answer`` is KATO's answer to the last one, cut at ``ANSWER_CHARS``.
    """

    reason: str
    position: int | None
    attempts: int
    first_ms: int
    last_ms: int
    last_answer: str = ""
    event_id: str = ""

    def as_parked(self) -> dict[str, Any]:
        """Return the fields of a parked session's record, in the order in which they are stored."""
        return {
            "reason": self.reason,
            "last_answer": self.last_answer[:ANSWER_CHARS],
            "position": self.position,
            "event_id": self.event_id,
            "attempts": self.attempts,
            "first_ms": self.first_ms,
            "last_ms": self.last_ms,
        }

    def dump(self) -> str:
        """Return the record of a parked session as it is stored."""
        return dumps(self.as_parked())

    @classmethod
    def load(cls, text: str) -> Refusal:
        """Read the record of a parked session. Unknown fields are a later version's, and are left out.

        Raises UnreadableRow for anything else.
        """
        return cls.of(_object(text))

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Refusal:
        """Take the record out of a parked session's or a dead letter's fields. Raises UnreadableRow."""
        try:
            return cls(
                reason=row["reason"],
                position=row.get("position"),
                attempts=row["attempts"],
                first_ms=int(row["first_ms"]),
                last_ms=int(row["last_ms"]),
                last_answer=row.get("last_answer", ""),
                event_id=row.get("event_id", ""),
            )
        except (KeyError, TypeError, ValueError) as exc:
            raise UnreadableRow(f"the record of a refusal is broken ({exc!r})") from None


@dataclass(frozen=True, slots=True)
class BuriedEvent:
    """A dead letter as it is stored: the event that is not going to be applied, whose it is, and why.

    ``event`` is the event in its standard form. Where it never came to a position its log entry's text may be kept
    instead, as ``raw``, and where a message was no valid event, that message is (``RefusedMessage.as_json``).
    """

    session_id: str
    node_id: str
    lane: str
    refusal: Refusal
    event: Mapping[str, Any] | None = None
    raw: str = ""
    message: Mapping[str, Any] | None = None

    def as_letter(self) -> dict[str, Any]:
        """Return the fields in the order in which they are stored. A letter that KATO never saw has no answer."""
        refusal = self.refusal
        content: dict[str, Any] = {"raw": self.raw} if self.event is None else {"event": dict(self.event)}
        if self.message is not None:
            content = {"event_id": refusal.event_id, "message": dict(self.message)}
        answer = {"last_answer": refusal.last_answer[:ANSWER_CHARS]} if refusal.attempts else {}
        return {
            "session_id": self.session_id,
            "node_id": self.node_id,
            "lane": self.lane,
            "position": refusal.position,
            **content,
            "reason": refusal.reason,
            **answer,
            "attempts": refusal.attempts,
            "first_ms": refusal.first_ms,
            "last_ms": refusal.last_ms,
        }

    def dump(self) -> str:
        """Return the letter as it is stored."""
        return dumps(self.as_letter())

    @classmethod
    def load(cls, text: str) -> BuriedEvent:
        """Read a dead letter. Raises UnreadableRow for anything else."""
        row = _object(text)
        try:
            return cls(
                session_id=row["session_id"],
                node_id=row["node_id"],
                lane=row["lane"],
                refusal=Refusal.of(row),
                event=row.get("event"),
                raw=row.get("raw", ""),
                message=row.get("message"),
            )
        except KeyError as exc:
            raise UnreadableRow(f"the dead letter has no {exc}") from None


def _object(text: str) -> dict[str, Any]:
    try:
        row = json.loads(text)
    except ValueError as exc:
        raise UnreadableRow(f"the record of a refusal is no JSON ({exc})") from None
    if not isinstance(row, dict):
        raise UnreadableRow("the record of a refusal is no JSON object")
    return row
