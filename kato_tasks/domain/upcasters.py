"""Events of older schema versions, lifted to the current one when they are read. Pure.

To change the schema of events: raise ``SCHEMA_VERSION``, and add to ``UPCASTERS`` the step from the version before.
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


def upcast(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of an event, lifted step by step from its ``schema_version`` (default 1) to ``SCHEMA_VERSION``.

    Raises InvalidEvent for a version that is no whole number from 1, or that a later kato_tasks wrote.
    """
    event = dict(raw)
    version = event.get("schema_version", 1)
    if version is None:
        version = 1
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise InvalidEvent("schema_version", f"must be a whole number from 1, not {version!r}")
    if version > SCHEMA_VERSION:
        raise InvalidEvent(
            "schema_version",
            f"is {version}, and this kato_tasks knows versions up to {SCHEMA_VERSION}; upgrade kato_tasks first",
        )
    while version < SCHEMA_VERSION:
        event = UPCASTERS[version](event)
        version += 1
    event["schema_version"] = SCHEMA_VERSION
    return event
