"""Events of older schema versions, lifted to the current one when they are read. Pure.

Two places lift, both with ``upcast``: ``parse_event``, the door through which every event comes in, and
``Logged.event``, by which a log or the archive shows what lies in it (history, sinks, exports). What lies there is
never rewritten. docs/schema.md says how to add a version.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from kato_tasks.errors import InvalidEvent

SCHEMA_VERSION = 1
"""The version that events have when they are appended."""
Upcaster = Callable[[dict[str, Any]], dict[str, Any]]
UPCASTERS: dict[int, Upcaster] = {}
"""A version → the pure step that makes an event of the next version of it. Version 1 is the first and needs none."""
SETTLED = ("event_type", "session_id", "node_id", "event_id", "position", "observation")
"""What an upcaster must hand on untouched: what KATO is sent, to which session and node, under which id.

KATO has seen it. A rebuild and a replay send the entry's own text, so KATO would not get what history shows, patterns
would get other names, and a retry by an older producer would be an EventConflict.
"""


def upcast(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of an event, lifted step by step from its ``schema_version`` (default 1) to ``SCHEMA_VERSION``.

    Raises InvalidEvent for a version that is no whole number from 1, or that a later kato_tasks wrote.
    """
    event = dict(raw)
    version = event.get("schema_version", 1)
    if version is None:
        version = 1
    check_version(version)
    while version < SCHEMA_VERSION:
        event = _step(version, event)
        version += 1
    event["schema_version"] = SCHEMA_VERSION
    return event


def check_version(version: Any) -> None:
    """Raise InvalidEvent for a version that is no whole number from 1, or that a later kato_tasks wrote."""
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise InvalidEvent("schema_version", f"must be a whole number from 1, not {version!r}")
    if version > SCHEMA_VERSION:
        raise InvalidEvent(
            "schema_version",
            f"is {version}, and this kato_tasks knows versions up to {SCHEMA_VERSION}; upgrade kato_tasks first",
        )


def _step(version: int, event: dict[str, Any]) -> dict[str, Any]:
    lifted = UPCASTERS[version](dict(event))
    for field in SETTLED:
        if lifted.get(field) is not event.get(field):
            raise RuntimeError(f"the upcaster of version {version} changes {field}, which KATO has seen; it must not")
    return lifted
