"""What the OpenAPI document says of the routes in KATO's form."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from kato_tasks.domain.event_schema import event_schema
from kato_tasks.domain.front_session import MOST_TTL_SECONDS
from kato_tasks.http_server.events import KEY_FORM, MOST_KEY_CHARS

KATO = "KATO's own API"
"""The tag of routes that answer in KATO's words."""
_OBSERVATION = {"$ref": "#/components/schemas/Observation"}
"""KATO takes more than this schema says, and what cannot be applied is refused here as in an event."""
_NODE: dict[str, Any] = event_schema()["properties"]["node_id"]
_SEQUENCE = {
    "type": "object",
    "required": ["observations"],
    "properties": {
        "observations": {"type": "array", "items": _OBSERVATION, "maxItems": 300},
        "learn_after_each": {"type": "boolean"},
        "learn_at_end": {"type": "boolean"},
        "clear_stm_between": {"type": "boolean"},
    },
}
_NEW = {
    "type": "object",
    "required": ["node_id"],
    "properties": {
        "node_id": {**_NODE, "type": "string"},
        "ttl_seconds": {"type": ["integer", "null"], "minimum": 0, "maximum": MOST_TTL_SECONDS},
        "metadata": {"type": ["object", "null"]},
        "config": {"type": ["object", "null"]},
    },
}
_CONFIG = {
    "type": "object",
    "required": ["config"],
    "properties": {"config": {"type": "object", "properties": {"recall_threshold": {"type": "number"}}}},
}
_SESSION = {
    "session_id": "session-0123456789abcdef0123456789abcdef-1764000000000",
    "node_id": "shop",
    "created_at": "2026-01-02T03:04:05.000000Z",
    "expires_at": "2026-01-02T04:04:05.000000Z",
    "ttl_seconds": 3600,
    "metadata": {},
    "session_config": {"recall_threshold": 0.3},
}
_OBSERVED = {
    "status": "okay",
    "session_id": _SESSION["session_id"],
    "processor_id": "shop",
    "stm_length": 1,
    "time": 1,
    "unique_id": "obs-0a1b",
    "auto_learned_pattern": None,
}
_EXAMPLES: dict[str, Any] = {
    "create": _SESSION,
    "read": _SESSION,
    "delete": {"status": "deleted", "session_id": "s"},
    "exists": {"exists": True, "expired": False, "session_id": "s"},
    "extend": {"status": "extended", "session_id": "s", "ttl_seconds": 3600},
    "read_config": {"session_id": "s", "config": {"recall_threshold": 0.3}},
    "configure": {"status": "okay", "message": "Configuration updated", "session_id": "s"},
    "observe": _OBSERVED,
    "sequence": {"status": "completed", "observations_processed": 2, "results": [_OBSERVED]},
    "learn": {"status": "learned", "pattern_name": "PTRN|0a1b", "session_id": "s"},
    "clear_stm": {"status": "cleared", "session_id": "s"},
    "stm": {"stm": [["cart", "opened"]], "session_id": "s", "length": 1},
    "predictions": {"predictions": [], "future_potentials": [], "session_id": "s", "count": 0},
    "cognition": {"cognition_data": {"short_term_memory": [], "time": 0}, "session_id": "s", "node_id": "shop"},
    "percept": {"percept_data": {}, "session_id": "s", "node_id": "shop"},
    "finalize": {"status": "completed", "patterns_processed": 1, "session_id": "s", "node_id": "shop"},
    "clear_all": {},
    "pattern": {"pattern": {"status": "error", "message": "Pattern PTRN|0a1b not found"}, "node_id": "shop_kato"},
    "health": {"status": "healthy", "processor_status": "healthy", "service_name": "kato", "issues": []},
}
_BODY_EXAMPLES: dict[str, Any] = {
    "create": {"node_id": "shop", "config": {"recall_threshold": 0.3}},
    "observe": {"strings": ["cart", "opened"]},
    "sequence": {"observations": [{"strings": ["cart"]}, {"strings": ["opened"]}], "learn_at_end": True},
    "configure": {"config": {"recall_threshold": 0.3}},
}
_BODIES: dict[str, Any] = {"create": _NEW, "observe": _OBSERVATION, "sequence": _SEQUENCE, "configure": _CONFIG}
_WAITS = {"observe", "sequence", "learn", "clear_stm", "stm", "predictions", "cognition", "percept", "finalize"}
"""Routes that wait for a task."""
_CHANGES = {"observe", "sequence", "learn", "clear_stm"}
_PREFER: dict[str, Any] = {
    "name": "Prefer",
    "in": "header",
    "schema": {"type": "string"},
    "example": "respond-async",
    "description": "`respond-async` answers 202 at once; `wait=N` waits N seconds for KATO's answer",
}
_KEY: dict[str, Any] = {
    "name": "Idempotency-Key",
    "in": "header",
    "schema": {"type": "string", "maxLength": MOST_KEY_CHARS, "pattern": f"^{KEY_FORM.pattern}$"},
    "description": "the same request with the same key applies nothing twice",
}
_QUERIES: dict[str, dict[str, Any]] = {
    "extend": {"name": "ttl_seconds", "schema": {"type": "integer", "maximum": MOST_TTL_SECONDS}},
    "pattern": {"name": "node_id", "schema": {"type": "string"}},
}
_ACCEPTED = {
    "status": "accepted",
    "task_id": "6f1c",
    "task": "/v1/tasks/6f1c",
    "session_id": "s",
    "event_id": "obs-0a1b",
    "position": 1,
}
_OBJECT = {"schema": {"type": "object"}}


def _path_of(name: str) -> list[dict[str, Any]]:
    if name in ("create", "health"):
        return []
    named = {"type": "string", "minLength": 1}
    if name == "pattern":
        return [{"name": "pattern_id", "schema": named, "example": "PTRN|0a1b"}]
    return [{"name": "session_id", "schema": named, "example": "visitor-17"}]


def described(name: str) -> dict[str, Any]:
    """Return what FastAPI is told of the route ``name`` beside its path."""
    responses: dict[int | str, dict[str, Any]] = {
        200: {"description": "KATO's answer", "content": {"application/json": {**_OBJECT, "example": _EXAMPLES[name]}}}
    }
    in_both = {"application/json": _OBJECT, "application/problem+json": _OBJECT}
    for status, said in ((400, "KATO refuses it"), (404, "There is no such session"), (422, "A field is wrong")):
        responses[status] = {"description": said, "content": in_both}
    extra: dict[str, Any] = {}
    parameters: list[dict[str, Any]] = [{**one, "in": "path", "required": True} for one in _path_of(name)]
    if name in _WAITS:
        responses[202] = {
            "description": "The store has it; the address in `task` (and in `Location`) tells KATO's answer.",
            "content": {"application/json": {**_OBJECT, "example": _ACCEPTED}},
        }
        parameters.append(_PREFER)
    if name in _CHANGES:
        parameters.append(_KEY)
    if name in _QUERIES:
        parameters.append({**_QUERIES[name], "in": "query", "required": False})
    if parameters:
        extra["parameters"] = parameters
    if name in _BODIES:
        content = {"schema": _BODIES[name], "example": _BODY_EXAMPLES[name]}
        extra["requestBody"] = {"required": True, "content": {"application/json": content}}
    return {"responses": responses, "openapi_extra": extra, "response_class": Response, "tags": [KATO]}


__all__ = ["KATO", "described"]
