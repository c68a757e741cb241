"""What the analytics pipeline makes of messages: observations of page events, and analytics of predictions.

The listener calls ``decode`` for every message of the topic, and the sink calls ``encode`` for every prediction. Both
are pure: a message that is handed out again gives the same events again.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from kato_tasks.errors import InvalidEvent
from kato_tasks.ports.sources import Message

NODE = "site"
"""All visitors share one node, so that each of them is predicted from what the others did."""
LEAVE = "leave"
"""The action that ends a visit: what was observed since the last one becomes a pattern."""
MOST = 5
"""How many predicted actions are told at most."""

Json = dict[str, Any]


def decode(message: Message) -> list[Json]:
    """Return the events that a message ``{"user_id": …, "action": …, "page": …}`` stands for, in their order.

    They are an observation of action and page in the user's own session, and a ``learn`` after it if the user leaves.
    A ``timestamp`` may be given. Raises InvalidEvent for anything else, which the listener keeps as a dead letter.
    """
    given = _object(message.value)
    user, action, page = (_text(given, name) for name in ("user_id", "action", "page"))
    event: Json = {"session_id": user, "node_id": NODE}
    if given.get("timestamp") is not None:
        event["timestamp"] = given["timestamp"]
    observation = {"strings": [action, page], "vectors": [], "emotives": {}}
    events: list[Json] = [{**event, "event_type": "observation", "observation": observation}]
    if action == LEAVE:
        events.append({**event, "event_type": "learn"})
    return events


def encode(prediction: Mapping[str, Any]) -> Json | None:
    """Return ``{"user_id", "current_action", "predicted_actions"}`` of a prediction event of the sink.

    ``predicted_actions`` holds what may come next, the likeliest first: action, page and their share of everything that
    KATO expects next, from 0 to 1. It is empty where KATO has seen nothing like this visit. Returns None,
    so that nothing is published, where the log no longer has the event that KATO was asked after.
    """
    original = prediction["original_event"]
    if original is None:
        return None
    strings = original["observation"]["strings"]
    return {
        "user_id": prediction["session_id"],
        "current_action": strings[0],
        "predicted_actions": predicted_actions(prediction["predictions"]),
    }


def predicted_actions(answer: Any, most: int = MOST) -> list[Json]:
    """Return the next events of all predictions, each with its share of their weight, the heaviest first.

    A prediction weighs as much as its pattern was learned often and is similar to the visit. ``answer`` is what KATO
    answered, or the list of its predictions.
    """
    weights: dict[tuple[str, ...], float] = defaultdict(float)
    for one in answer["predictions"] if isinstance(answer, Mapping) else answer:
        for event in one["future"][:1]:
            weights[tuple(event)] += one["frequency"] * one["similarity"]
    total = sum(weights.values())
    best = sorted(weights.items(), key=lambda item: (-item[1], item[0]))[:most]
    return [{**_named(event), "share": round(weight / total, 3)} for event, weight in best]


def _named(event: tuple[str, ...]) -> Json:
    """Tell action and page apart again: KATO sorts the strings of an event, and a page begins with a slash."""
    pages = [text for text in event if text.startswith("/")]
    actions = [text for text in event if not text.startswith("/")]
    return {"action": actions[0] if actions else None, "page": pages[0] if pages else None}


def _object(value: bytes) -> Mapping[str, Any]:
    try:
        given = json.loads(value)
    except ValueError as exc:
        raise InvalidEvent("message", f"must be JSON ({exc})") from None
    if not isinstance(given, dict):
        raise InvalidEvent("message", "must be an object with user_id, action and page")
    return given


def _text(given: Mapping[str, Any], name: str) -> str:
    value = given.get(name)
    # Many shops number their users; their numbers are as good a name as text.
    if name == "user_id" and isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str) or not value:
        raise InvalidEvent(name, "must be text that is not empty")
    if name == "page" and not value.startswith("/"):
        raise InvalidEvent(name, "must begin with a slash, which tells it from an action when KATO has sorted both")
    return value
