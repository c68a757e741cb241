"""docs/schema/asyncapi.json: what comes in and what is answered, as an AsyncAPI 3.0 document made of the code.

It names what runs in this version: the queues of Celery's tasks, their answers, events that are appended, what
listeners read, and what sinks publish.
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

SOURCES: Json = {
    "kafka": {
        "address": "kato-observations",
        "description": "The Kafka topic that kato-tasks listen kafka reads; --topic names others. Its key is the "
        "session_id.",
        "bindings": {"kafka": {"topic": "kato-observations", "bindingVersion": "0.5.0"}},
    },
    "rabbitmq": {
        "address": "observations.{session_id}",
        "description": "The topic exchange whose messages kato-tasks listen rabbitmq reads, from the queue "
        "kato-observations, which is bound to it by observations.#; --queue, --exchange and --binding name others.",
        "parameters": {"session_id": {"description": "the session; it may have dots"}},
        "bindings": {
            "amqp": {
                "is": "routingKey",
                "exchange": {"name": "kato-events", "type": "topic", "durable": True, "autoDelete": False},
                "bindingVersion": "0.3.0",
            }
        },
    },
    "redis": {
        "address": "kato:observations",
        "description": "The Redis stream that kato-tasks listen redis reads in the group kato-processors; --stream and "
        "--group name others. An entry has the event's fields; observation, metadata and data are JSON text.",
    },
}
"""What listeners read, by its broker."""
PREDICTION: Json = {
    "type": "object",
    "required": ["event_type", "event_id", "session_id", "timestamp", "position", "predictions", "original_event"],
    "properties": {
        "event_type": {"const": "prediction"},
        "event_id": {"type": "string", "description": "stays the same when the prediction is published again"},
        "session_id": {"type": "string"},
        "node_id": {"type": ["string", "null"]},
        "timestamp": {"type": "string", "format": "date-time", "description": "the original event's"},
        "predicted_at": {"type": "string", "format": "date-time"},
        "position": {"type": "integer", "minimum": 1, "description": "of the original event in its session's log"},
        "predictions": {"type": "array", "items": {"type": "object"}, "description": "as KATO answers them"},
        "future_potentials": {"type": "array", "items": {"type": "object"}},
        "original_event": {"oneOf": [{"$ref": EVENT}, {"type": "null"}]},
        "correlation_id": {"description": "as in the original event's metadata"},
        "error": {"type": "string", "description": "why KATO could not be asked; predictions is empty then"},
    },
}
"""What a sink publishes."""


def document() -> Json:
    """The whole document."""
    called = {name: getattr(tasks, name) for name in tasks.PUBLIC}
    messages = {name: _message(name, task) for name, task in called.items()}
    answers = {f"{name}Answer": _answer(name) for name in called}
    event = {"name": "event", "title": "A standard event", "payload": {"$ref": EVENT}}
    prediction = {"name": "prediction", "title": "What KATO predicted after an event", "payload": PREDICTION}
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
            **{
                name: {**channel, "messages": _refs("components/messages", ["event"])}
                for name, channel in SOURCES.items()
            },
            "predictions": {
                "address": None,
                "description": "Where kato-tasks listen --predictions-to publishes KATO's predictions: a Kafka topic "
                "keyed by session_id, a RabbitMQ exchange by predictions.{session_id}, or a Redis stream.",
                "messages": _refs("components/messages", ["prediction"]),
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
            **{
                f"listen{name.capitalize()}": {
                    "action": "receive",
                    "channel": {"$ref": f"#/channels/{name}"},
                    "summary": "Append the event that a message holds, and acknowledge it then.",
                    "messages": list(_refs(f"channels/{name}/messages", ["event"]).values()),
                }
                for name in SOURCES
            },
            "publishPredictions": {
                "action": "send",
                "channel": {"$ref": "#/channels/predictions"},
                "summary": "Publish what KATO predicted after an event, in each session's order, at least once.",
                "messages": list(_refs("channels/predictions/messages", ["prediction"]).values()),
            },
            "append_events": {
                "action": "receive",
                "channel": {"$ref": "#/channels/log"},
                "summary": "Append events in bulk; each is applied in its turn.",
                "messages": list(_refs("channels/log/messages", ["event"]).values()),
            },
        },
        "components": {"messages": {**messages, **answers, "event": event, "prediction": prediction}},
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
