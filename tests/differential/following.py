"""What the answers of a history tell about its sessions, as far as comparing the next answer needs it."""

import json
from collections.abc import Iterator
from typing import Any

from tests.differential.asking import Answer, Side
from tests.differential.calls import Call
from tests.differential.comparing import About


class Following:
    """Follows one history; it is shown each call with its answer."""

    def __init__(self) -> None:
        self._nodes: dict[str, str] = {}
        self._limits: dict[str, int] = {}
        self._unsettled: set[str] = set()
        self._known: set[tuple[str, str]] = set()

    def about(self, call: Call, answer: Answer) -> About:
        body = answer.body if isinstance(answer.body, dict) else {}
        session = _session(call)
        if "session_config" in body:
            session = body["session_id"]
            self._nodes[session] = body["node_id"]
            self._limit(session, body["session_config"].get("max_predictions"))
        elif call.method == "POST" and call.path.endswith("/config") and answer.status == 200:
            self._limit(session, _changed(call).get("max_predictions"))
        if answer.status == 200 and body.get("status") in ("okay", "completed", "learned", "cleared"):
            learned = bool(body.get("auto_learned_patterns"))
            (self._unsettled.add if learned else self._unsettled.discard)(session)
        empty = not body.get("predictions")
        # What an observe predicts is cut at KATO's own limit.
        limit = self._limits.get(session, 100) if "/cognition-data" not in call.path else 100
        return About(call.kind, answer.at, limit, session in self._unsettled, empty)

    def _limit(self, session: str, value: Any) -> None:
        if isinstance(value, int):
            self._limits[session] = value

    def learned(self, call: Call, answer: Answer, side: Side) -> Iterator[tuple[str, str]]:
        """Patterns that the answer names for the first time, with their node."""
        session = _session(call)
        node_id = self._nodes.get(session)
        if call.kind == "clear-all":
            self._known.clear()
        if node_id is None or not isinstance(answer.body, dict) or "status" not in answer.body:
            return
        text = str(answer.body)
        for pattern in side.patterns:
            if (node_id, pattern) not in self._known and pattern in text:
                self._known.add((node_id, pattern))
                yield pattern, node_id


def _changed(call: Call) -> dict[str, Any]:
    """The configuration that a call asks for."""
    try:
        body = json.loads(call.body or b"")
        config = body.get("config", body)
    except (ValueError, AttributeError):
        return {}
    return config if isinstance(config, dict) else {}


def _session(call: Call) -> str:
    parts = call.path.split("?")[0].split("/")
    return parts[2] if len(parts) > 2 and parts[1] == "sessions" else ""
