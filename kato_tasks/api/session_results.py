"""What became of a session's events, as far as they are applied: KATO's answer where it is still known."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from kato_tasks.engine.store_protocol import StoreProtocol
from kato_tasks.engine.store_retry import raise_errors
from kato_tasks.ports.waiting_tasks import ReadDeadLettersAt, ReadResults


def results_of(lane: str, session: str, events: Sequence[Mapping[str, Any]]) -> StoreProtocol[list[dict[str, Any]]]:
    """Return what became of each of these applied events of a session, in their order.

    ``events`` are standard events with their positions. Each result has ``session_id``, ``position``, ``event_id``,
    ``event_type`` and ``status``: KATO's own answer with its fields while the store keeps it, which it does for events
    whose caller waits; ``dead_letter`` with the ``reason``; or else ``applied``. Raises StoreUnavailable.
    """
    ids = [str(event["event_id"]) for event in events]
    positions = [int(event["position"]) for event in events]
    asked = [ReadResults(lane, session, ids), ReadDeadLettersAt(lane, session, positions)]
    results, letters = raise_errors((yield asked))
    return [_told(session, event, *kept) for event, *kept in zip(events, results, letters, strict=True)]


def _told(session: str, event: Mapping[str, Any], result: str | None, letter: str | None) -> dict[str, Any]:
    told = {
        "session_id": session,
        "position": event["position"],
        "event_id": event["event_id"],
        "event_type": event["event_type"],
        "status": "applied",
    }
    if letter is not None:
        return told | {"status": "dead_letter", "reason": json.loads(letter).get("reason")}
    answer = json.loads(result) if result is not None else {}
    return told if "error" in answer else told | answer


__all__ = ["results_of"]
