"""docs/schema/asyncapi.json: what comes in and what is answered, as an AsyncAPI 3.0 document made of the code.

It names what runs in this version: the queues of Celery's tasks, their answers, and events that are appended. The
sources that a later version reads stand under ``x-planned``, which tools do not take for channels.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, get_args

from docs.schemas import EVENT_FILE, RESULTS_FILE
from kato_tasks.celery_tasks import tasks
from kato_tasks.celery_tasks.app.queueing import CONTROL_QUEUE, EXCHANGE, OURS
from kato_tasks.domain.ids import queue_of
from kato_tasks.domain.replays import ENDED, ReplayMode
from kato_tasks.domain.upcasters import SCHEMA_VERSION
from kato_tasks.version import __version__

Json = dict[str, Any]
FILE = "docs/schema/asyncapi.json"
EVENT, ANSWERS = (f"./{name.rpartition('/')[2]}" for name in (EVENT_FILE, RESULTS_FILE))
DESCRIPTION = f"""\
kato_tasks keeps every session's events in a log of its own and applies them to KATO in that order, once.

Operations are those that this version carries out. Where the broker and the result backend are, the settings
KATO_TASKS_BROKER_URL and KATO_TASKS_RESULT_BACKEND say; it is Redis or RabbitMQ. Messages are Celery's, protocol 2, in
JSON; applications send them by calling the tasks. Events have schema version {SCHEMA_VERSION} (docs/schema.md)."""

PLANNED: Json = {
    "description": "Sources of events that this version does not read yet. Each message is one standard event.",
    "kafka": {"topic": "kato-observations", "key": "the session_id"},
    "rabbitmq": {"exchange": "kato-events", "type": "topic", "routingKey": "observations.{session_id}"},
    "redis": {"stream": "kato:observations", "field": "observation"},
    "payload": {"$ref": EVENT},
}


def document() -> Json:
    """The whole document."""
    called = {name: getattr(tasks, name) for name in tasks.PUBLIC}
    messages = {name: _message(name, task) for name, task in called.items()}
    answers = {f"{name}Answer": _answer(name) for name in called}
    event = {"name": "event", "title": "A standard event", "payload": {"$ref": EVENT}}
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "kato_tasks",
            "version": __version__,
            "description": f"{DESCRIPTION}\n\n{_own_messages()}",
            "license": {"name": "MIT"},
        },
        "defaultContentType": "application/json",
        "channels": {
            "lane": {
                "address": queue_of(0).removesuffix("00") + "{shard}",
                "description": "The Celery queue of a shard.",
                "parameters": {"shard": {"description": "two digits, from 00; KATO_TASKS_SHARDS says how many"}},
                "messages": _refs("components/messages", messages),
                "bindings": _EXCHANGE,
            },
            "control": {
                "address": CONTROL_QUEUE,
                "description": "The Celery queue of tasks that were sent by name, by a process without kato_tasks: "
                "their events are appended on arrival, not at the call.",
                "messages": _refs("components/messages", messages),
                "bindings": _EXCHANGE,
            },
            "log": {
                "address": None,
                "description": "The sessions' logs. append_events, append_events_async and kato-tasks import append to "
                "them without a message.",
                "messages": _refs("components/messages", ["event"]),
            },
            "results": {
                "address": None,
                "description": "Celery's result backend, where each task's answer is under the task's id.",
                "messages": _refs("components/messages", answers),
            },
        },
        "operations": {
            **{name: _operation(name, task) for name, task in called.items()},
            "sentByName": {
                "action": "receive",
                "channel": {"$ref": "#/channels/control"},
                "summary": "Append the event of a task that was sent by name, and go on as for any task.",
                "messages": list(_refs("channels/control/messages", messages).values()),
            },
            "append_events": {
                "action": "receive",
                "channel": {"$ref": "#/channels/log"},
                "summary": "Append events in bulk; each is applied in its turn.",
                "messages": list(_refs("channels/log/messages", ["event"]).values()),
            },
        },
        "components": {"messages": {**messages, **answers, "event": event}},
        "x-planned": PLANNED,
    }


_EXCHANGE: Json = {
    "amqp": {
        "is": "routingKey",
        "exchange": {"name": EXCHANGE.name, "type": EXCHANGE.type, "durable": EXCHANGE.durable, "autoDelete": False},
        "bindingVersion": "0.3.0",
    }
}


def _own_messages() -> str:
    own = sorted(task.name for task in tasks.all_tasks() if task.name.removeprefix(OURS) not in tasks.PUBLIC)
    return f"The queues also carry what kato_tasks sends to itself, and no other program may send: {', '.join(own)}."


def _refs(where: str, names: Mapping[str, Any] | list[str]) -> Json:
    return {name: {"$ref": f"#/{where}/{name}"} for name in names}


def _operation(name: str, task: Any) -> Json:
    return {
        "action": "receive",
        "channel": {"$ref": "#/channels/lane"},
        "summary": _summary(task),
        "messages": [{"$ref": f"#/channels/lane/messages/{name}"}],
        "reply": {
            "channel": {"$ref": "#/channels/results"},
            "messages": [{"$ref": f"#/channels/results/messages/{name}Answer"}],
        },
    }


def _message(name: str, task: Any) -> Json:
    parameters = inspect.signature(task.run).parameters.values()
    by_position = [one.name for one in parameters if one.kind is one.POSITIONAL_OR_KEYWORD]
    return {
        "name": OURS + name,
        "title": f"A call of {name}",
        "summary": _summary(task),
        "headers": {
            "type": "object",
            "required": ["lang", "task", "id"],
            "properties": {
                "lang": {"const": "py"},
                "task": {"const": OURS + name},
                "id": {"type": "string", "description": "the task's id, and the event_id of an event that has none"},
                "kato": {
                    "type": "object",
                    "description": "where the event is that the call has appended; kato_tasks alone writes it",
                    "required": ["lane", "position", "event_id"],
                },
            },
        },
        "payload": {
            "type": "array",
            "description": "Celery's args, kwargs and embed",
            "minItems": 3,
            "maxItems": 3,
            "items": [
                {"type": "array", "maxItems": len(by_position), "description": ", ".join(by_position)},
                {
                    "type": "object",
                    "properties": {one.name: _argument(one.name) for one in parameters},
                    "additionalProperties": False,
                },
                {"type": "object", "description": "Celery's callbacks, errbacks, chain and chord"},
            ],
        },
    }


_OWN_ARGUMENTS: dict[str, Json] = {
    "raw": {"type": "boolean", "default": False},
    "mode": {"enum": list(get_args(ReplayMode))},
    "flagged": {"type": "boolean", "default": False},
    "position": {"type": ["integer", "null"], "minimum": 1},
    "time": {"type": ["string", "null"], "format": "date-time"},
}
"""Arguments that are no field of an event."""


def _argument(name: str) -> Json:
    if name in _OWN_ARGUMENTS:
        return _OWN_ARGUMENTS[name]
    return {"$ref": f"{EVENT}#/$defs/Observation" if name == "observation" else f"{EVENT}#/properties/{name}"}


_STATUS: Json = {
    "type": "object",
    "required": ["id", "mode", "state", "events_done", "events_total", "differences", "sessions"],
    "properties": {
        "id": {"type": "string"},
        "mode": {"enum": list(get_args(ReplayMode))},
        "state": {"enum": list(ENDED)},
        "events_done": {"type": "integer"},
        "events_total": {"type": "integer"},
        "differences": {"type": "array", "items": {"type": "string"}},
        "sessions": {"type": "object", "additionalProperties": {"type": "string"}},
    },
}
"""What the task `replay` ends with."""


def _answer(name: str) -> Json:
    call = "observe" if name == "process_observation_async" else name  # its long name
    return {
        "name": f"{OURS}{name} answer",
        "title": f"The answer of {name}",
        "payload": {
            "type": "object",
            "required": ["task_id", "status", "result"],
            "properties": {
                "task_id": {"type": "string"},
                "status": {"const": "SUCCESS", "description": "a task that failed has Celery's FAILURE and its error"},
                "result": _STATUS if name == "replay" else {"$ref": f"{ANSWERS}#/$defs/{call}"},
            },
        },
    }


def _summary(task: Any) -> str:
    return inspect.getdoc(task.run).partition("\n\n")[0]  # type: ignore[union-attr]
