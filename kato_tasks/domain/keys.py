"""Which keys a standard event may have, and what becomes of the others. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from kato_tasks.domain.known_names import UnknownKeys, place, shown, unknown_among, unknown_key
from kato_tasks.errors import InvalidEvent

Warn = Callable[[str, str], None]
"""Called for a key that is not known, with its place and what is wrong with it."""
OBSERVATION_KEYS = frozenset({"strings", "vectors", "emotives", "metadata"})
EVENT_KEYS = frozenset(
    {
        "event_type",
        "session_id",
        "node_id",
        "timestamp",
        "observation",
        "metadata",
        "data",
        "event_id",
        "schema_version",
    }
)
SHOWN_EVENT_KEYS = EVENT_KEYS | {"position", "lane_order"}
"""Events of a history also show their places. Only the store gives places, so these keys are left out."""
_IN_THE_OBSERVATION = {
    key: f'it belongs in the observation: "observation": {{"{key}": …}}' for key in OBSERVATION_KEYS - {"metadata"}
}
_BESIDE_THE_OBSERVATION = {
    key: f'"{key}" belongs beside the observation, not in it' for key in EVENT_KEYS - OBSERVATION_KEYS
} | {"unique_id": "KATO is told the event_id as its unique_id, so give an event_id beside the observation"}


def known_event(raw: dict[str, Any], unknown: UnknownKeys, warn: Warn | None = None) -> dict[str, Any]:
    """Return the event with known keys only. Raises InvalidEvent for the first other where ``unknown`` is "refuse"."""
    seen = raw.get("observation")
    if raw.keys() <= EVENT_KEYS and type(seen) is dict and seen.keys() <= OBSERVATION_KEYS:
        return raw  # nearly every event of an import: nothing more is looked at
    odd = unknown_among(raw, SHOWN_EVENT_KEYS)
    _judge(odd, (), EVENT_KEYS, _IN_THE_OBSERVATION, unknown, warn)
    if not raw.keys() <= EVENT_KEYS:
        raw = {key: value for key, value in raw.items() if key in EVENT_KEYS}
    if isinstance(seen, Mapping):
        kept = known_observation(seen, unknown, warn)
        if kept is not seen:
            raw = {**raw, "observation": kept}
    return raw


def known_observation(seen: Mapping[str, Any], unknown: UnknownKeys, warn: Warn | None = None) -> Mapping[str, Any]:
    """Return the observation with known keys only, as ``known_event`` does."""
    odd = unknown_among(seen, OBSERVATION_KEYS)
    if not odd:
        return seen
    _judge(odd, ("observation",), OBSERVATION_KEYS, _BESIDE_THE_OBSERVATION, unknown, warn)
    return {key: value for key, value in seen.items() if key in OBSERVATION_KEYS}


def _judge(
    odd: list[Any],
    where: tuple[str, ...],
    known: frozenset[str],
    elsewhere: Mapping[str, str],
    unknown: UnknownKeys,
    warn: Warn | None,
) -> None:
    for key in odd:
        if isinstance(key, str):
            field, reason = place((*where, key)), unknown_key(key, known, elsewhere)
        else:
            field, reason = place(where) or "event", f"has a key that is no text: {shown(key)}"
        if unknown == "refuse":
            raise InvalidEvent(field, reason)
        if unknown == "warn" and warn is not None:
            warn(field, reason)
