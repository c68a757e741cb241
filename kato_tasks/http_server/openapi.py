"""The OpenAPI document: what FastAPI knows of its routes, and ``POST /v1/events``, which the gate answers itself."""

from __future__ import annotations

import json
from typing import Any, Literal

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel, Field
from pydantic.json_schema import models_json_schema

from kato_tasks.domain.event_schema import event_schema
from kato_tasks.http_server import events
from kato_tasks.http_server.answering import SAFE, Header
from kato_tasks.http_server.events import KEY_FORM, MOST_KEY_CHARS
from kato_tasks.http_server.kato_front.described import KATO
from kato_tasks.http_server.problems import MEDIA_TYPE, TITLES

PROBLEM = MEDIA_TYPE.decode()
OPEN = ("/healthz", "/readyz", "/health")
"""Routes that need no key: probes have none."""
DOCS_POLICY = (
    b"default-src 'none'; connect-src 'self'; img-src 'self' data: https://fastapi.tiangolo.com; "
    b"script-src 'unsafe-inline' https://cdn.jsdelivr.net; style-src 'unsafe-inline' https://cdn.jsdelivr.net"
)
"""The page /docs loads its program from where FastAPI's page has it. No other answer may load anything."""
EXAMPLE = {
    "session_id": "visitor-17",
    "event_id": "order-4711-opened",
    "observation": {"strings": ["cart", "opened"]},
}


class WrongField(BaseModel):
    """What is wrong with one field."""

    field: str = Field(examples=["observation.strings"])
    reason: str = Field(examples=["must be a list, not text"])
    index: int | None = Field(default=None, description="of several events, which one")


class NamedEvent(BaseModel):
    """The id that an event of the request was given."""

    index: int
    event_id: str


class ProblemDetails(BaseModel):
    """An error as RFC 9457 has it."""

    type: str = Field(examples=["urn:kato-tasks:problem:422"])
    title: str = Field(examples=["A field is wrong"])
    status: int = Field(examples=[422])
    detail: str = Field(examples=["observation.strings: must be a list, not text"])
    errors: list[WrongField] | None = None
    event_ids: list[NamedEvent] | None = Field(
        default=None, description="ids that the server gave to events without one; send these when you repeat them"
    )


class EventAnswer(BaseModel):
    """What became of one event that was sent by itself."""

    status: Literal["accepted", "duplicate"]
    event_id: str = Field(examples=["order-4711-opened"])
    session_id: str = Field(examples=["visitor-17"])
    position: int | None = Field(description="its number in the session's log", examples=[1])


class EventOutcome(BaseModel):
    """What became of one event of several. A rejected one has `field` and `reason` instead of a place."""

    index: int = Field(examples=[0])
    status: Literal["accepted", "duplicate", "rejected"]
    event_id: str | None = None
    session_id: str | None = None
    position: int | None = None
    field: str | None = None
    reason: str | None = None


class Stopped(BaseModel):
    """Where the reading of an NDJSON body ended: the event at `index` and those after it are to be sent again."""

    index: int
    status: int
    detail: str
    event_ids: list[NamedEvent] | None = Field(
        default=None, description="ids that events without one were given whose fate is not known"
    )


class BatchAnswer(BaseModel):
    """What became of several events. Of more than 1,000 lines of NDJSON only those that were rejected are told."""

    accepted: int = Field(examples=[2])
    duplicates: int = Field(examples=[0])
    rejected: int = Field(examples=[0])
    results: list[EventOutcome]
    results_left_out: int | None = None
    stopped: Stopped | None = None


def docs_page_headers(path: str) -> list[Header]:
    """Return the headers that an answer of the application has, by its path."""
    if path.startswith("/docs"):
        return [(name, DOCS_POLICY if name == b"content-security-policy" else value) for name, value in SAFE]
    return SAFE


def describe(app: FastAPI) -> dict[str, Any]:
    """Return the OpenAPI document, made once."""
    if app.openapi_schema is None:
        document = get_openapi(title=app.title, version=app.version, summary=app.summary, routes=app.routes)
        schemas = document.setdefault("components", {}).setdefault("schemas", {})
        models = (ProblemDetails, EventAnswer, BatchAnswer)
        _, made = models_json_schema(
            [(model, "validation") for model in models], ref_template="#/components/schemas/{model}"
        )
        schemas.update(made["$defs"])
        schemas.update(_event_schemas())
        for unused in ("HTTPValidationError", "ValidationError"):
            schemas.pop(unused, None)
        document["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        document["paths"][events.PATH] = {"post": _append_events()}
        for path, methods in document["paths"].items():
            for method, operation in methods.items():
                _add_problems(path, method, operation)
        app.openapi_schema = document
    return app.openapi_schema


def _add_problems(path: str, method: str, operation: dict[str, Any]) -> None:
    """Name the problems that an operation may answer with, and whether it needs a key."""
    statuses = {503}
    if path not in OPEN:
        operation["security"] = [{"key": []}]
        statuses |= {401, 403, 429}
    if operation.get("parameters"):
        statuses |= {422}
    if "{" in path:
        statuses |= {404}
    if "after" in [one["name"] for one in operation.get("parameters", ())]:
        statuses |= {404}
    if method == "post" and not path.startswith("/v1/keys"):
        statuses |= {409}
    if "requestBody" in operation:
        statuses |= {400, 408, 413, 415, 422}
    problem = {PROBLEM: _schema("ProblemDetails")}
    responses = operation["responses"]
    for status in sorted(statuses):
        # What FastAPI says of 422 is its own form, in which nothing is answered here.
        if (status == 422 and KATO not in operation.get("tags", ())) or str(status) not in responses:
            responses[str(status)] = {"description": TITLES[status], "content": problem}
    if 422 not in statuses:
        responses.pop("422", None)


def _event_schemas() -> dict[str, Any]:
    """Return the standard event and what its schema stands on, each under its name."""
    text = json.dumps(event_schema()).replace('"#/$defs/', '"#/components/schemas/')
    whole = json.loads(text)
    parts: dict[str, Any] = whole.pop("$defs")
    return parts | {"Event": {name: value for name, value in whole.items() if name not in ("$schema", "$id")}}


def _schema(name: str) -> dict[str, Any]:
    return {"schema": {"$ref": f"#/components/schemas/{name}"}}


def _append_events() -> dict[str, Any]:
    one = {"$ref": "#/components/schemas/Event"}
    cloud = {
        "type": "object",
        "required": ["specversion", "id", "source", "type"],
        "properties": {
            "specversion": {"const": "1.0"},
            "id": {"type": "string", "minLength": 1},
            "source": {"type": "string", "minLength": 1, "format": "uri-reference"},
            "type": {"type": "string", "minLength": 1},
            "subject": {"type": "string", "minLength": 1},
            "time": {"type": "string", "format": "date-time"},
            "data": {},
        },
    }
    cloud_example = {
        "specversion": "1.0",
        "id": "4711",
        "source": "/shop",
        "type": "kato.observation",
        "subject": "visitor-17",
        "data": {"strings": ["cart", "opened"]},
    }
    return {
        "tags": ["events"],
        "operationId": "append_events",
        "summary": "Append events",
        "description": "One event, an array, NDJSON of any length, or CloudEvents 1.0 (structured, batch, binary). "
        "The answer comes once the store has them. An event without `event_id` is named by the `Idempotency-Key`, so "
        "that the same request may be repeated and nothing is applied twice.",
        "parameters": [
            {
                "name": "Idempotency-Key",
                "in": "header",
                "required": False,
                "schema": {"type": "string", "maxLength": MOST_KEY_CHARS, "pattern": f"^{KEY_FORM.pattern}$"},
                "description": "names the events of this request that have no `event_id`",
            }
        ],
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": {"anyOf": [one, {"type": "array", "items": one, "minItems": 1}]},
                    "examples": {
                        "one event": {"value": EXAMPLE},
                        "several": {"value": [EXAMPLE, {"session_id": "visitor-17", "event_type": "learn"}]},
                    },
                },
                "application/x-ndjson": {"schema": {"type": "string"}},
                "application/cloudevents+json": {"schema": cloud, "example": cloud_example},
                "application/cloudevents-batch+json": {
                    "schema": {"type": "array", "items": cloud, "minItems": 1},
                    "example": [cloud_example],
                },
            },
        },
        "responses": {
            "202": {
                "description": "The store has what was accepted.",
                "content": {
                    "application/json": {
                        "schema": {
                            "anyOf": [
                                {"$ref": "#/components/schemas/EventAnswer"},
                                {"$ref": "#/components/schemas/BatchAnswer"},
                            ]
                        }
                    }
                },
            },
            "207": {
                "description": "Of an NDJSON body, the lines before `stopped.index` were looked at, and no others.",
                "content": {"application/json": _schema("BatchAnswer")},
            },
        },
    }


__all__ = ["describe", "docs_page_headers"]
