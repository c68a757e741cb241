"""What a sink publishes: one prediction event for each prediction, in the form of the guide's stream processor."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from kato_tasks.domain.json_text import dumps
from kato_tasks.domain.log_entry import Logged
from kato_tasks.domain.wording import kind_of
from kato_tasks.errors import InvalidEvent
from kato_tasks.ports.listening import OutgoingPrediction
from kato_tasks.ports.senders import Outgoing

Encoder = Callable[[Mapping[str, Any]], Mapping[str, Any] | None]
"""Makes an application's own payload of a prediction event; None if nothing is to be published."""


def prediction_event(row: OutgoingPrediction, original: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the prediction event: what KATO predicted after ``original``, the standard event that it was asked after.

    ``timestamp`` is the original event's, ``event_id`` stays the same when it is published again, and
    ``correlation_id`` is the one in the original event's metadata. Where KATO could not be asked at all, ``error`` says
    why and ``predictions`` is empty.
    """
    answer = json.loads(row.answer)
    metadata = (original or {}).get("metadata") or {}
    at = datetime.fromtimestamp(row.at_ms / 1000, UTC).isoformat().replace("+00:00", "Z")
    event = {
        "event_type": "prediction",
        "event_id": row.id,
        "session_id": row.session,
        "node_id": answer.get("node_id") or (original or {}).get("node_id"),
        "timestamp": (original or {}).get("timestamp") or at,
        "predicted_at": at,
        "position": row.position,
        "predictions": answer.get("predictions") or [],
        "future_potentials": answer.get("future_potentials") or [],
        "original_event": None if original is None else dict(original),
        "correlation_id": metadata.get("correlation_id"),
    }
    if "error" in answer:
        event["error"] = answer["error"]["message"]
    return event


def original_of(row: OutgoingPrediction) -> dict[str, Any] | None:
    """Return the standard event that a prediction was made after, if the log still had it. Raises UnreadableRow."""
    if not row.entry:
        return None
    return Logged.parse(row.position, row.entry).event(row.session)


def outgoing(row: OutgoingPrediction, event: Mapping[str, Any], encoder: Encoder | None, name: str) -> Outgoing | None:
    """Return the message that is sent for a prediction event; None if the encoder leaves it out.

    ``name`` is how errors name the encoder. Raises InvalidEvent if the encoder fails.
    """
    payload: Any = event
    if encoder is not None:
        try:
            payload = encoder(event)
        except Exception as exc:
            raise InvalidEvent("prediction", f"the encoder {name} failed: {type(exc).__name__}: {exc}") from None
        if payload is None:
            return None
        if not isinstance(payload, Mapping):
            raise InvalidEvent("prediction", f"the encoder {name} returned {kind_of(payload)}, not a mapping")
    fields = {str(key): value if isinstance(value, str) else dumps(value) for key, value in payload.items()}
    return Outgoing(key=row.session, value=dumps(dict(payload)).encode(), message_id=row.id, fields=fields)
