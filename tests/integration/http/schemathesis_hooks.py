"""What schemathesis must not ask for: events that break a rule which JSON Schema cannot say.

Each rule is one of ``domain.event_schema.NOT_IN_THE_SCHEMA``; all others are the schema's, and what it generates from
that must be accepted.
"""

from __future__ import annotations

import json
import re
from typing import Any

import schemathesis

from kato_tasks.domain.event_schema import NOT_IN_THE_SCHEMA
from kato_tasks.domain.observations import DEFAULT_LIMITS

_MOST_DEEP = 19
_TIME = re.compile(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d{1,6})?)?(Z|[+-]\d\d:\d\d)?)?")


def _depth(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max(map(_depth, value.values()), default=0)
    return 1 + max(map(_depth, value), default=0) if isinstance(value, list) else 0


def _numbers(value: Any) -> list[float]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return [number for one in value for number in _numbers(one)]
    return [value] if isinstance(value, int | float) and not isinstance(value, bool) else []


def _sizes(event: Any) -> set[int]:
    try:
        return {len(vector) for vector in event["observation"]["vectors"]}
    except (KeyError, TypeError):
        return set()


def broken(event: Any) -> list[str]:
    """The rules that JSON Schema cannot say and that this event breaks."""
    if not isinstance(event, dict):
        return []
    text = json.dumps(event, ensure_ascii=False)
    rules = {
        "vectors of one length": len(_sizes(event)) > 1,
        "node_id that is the session_id": event.get("node_id") == event.get("session_id"),
        "timestamp": isinstance(event.get("timestamp"), str) and not _TIME.fullmatch(event["timestamp"]),
        "half of a surrogate pair": bool(re.search("[\ud800-\udfff]", text)),
        "nesting": _depth(event) > _MOST_DEEP,
        "large numbers": any(abs(number) >= 2**63 for number in _numbers(event)),
        "schema_version with a decimal point": isinstance(event.get("schema_version"), float),
        "bytes": len(text) > DEFAULT_LIMITS.max_event_bytes // 2,
    }
    assert rules.keys() == NOT_IN_THE_SCHEMA.keys()
    return [name for name, breaks in rules.items() if breaks]


@schemathesis.hook
def filter_case(context: Any, case: Any) -> bool:
    body = case.body
    if str(case.path).startswith("/sessions") and isinstance(body, dict):
        body = [{**body, "observation": body}, *[{"observation": one} for one in observations_in(body)]]
    return not any(broken(event) for event in (body if isinstance(body, list) else [body]))


def observations_in(body: dict[str, Any]) -> list[Any]:
    """The observations of a sequence in KATO's own form."""
    given = body.get("observations")
    return given if isinstance(given, list) else []
