"""docs/schema/asyncapi.json is an AsyncAPI 3.0 document, and Celery's messages are those that it describes.

The check of its form is our own and small: it holds the parts of the specification that this document uses.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import Draft7Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT7

from docs import asyncapi
from kato_tasks.celery_app import app
from kato_tasks.celery_tasks import tasks
from kato_tasks.cli.listening import listen
from kato_tasks.domain.events import parse_event
from kato_tasks.domain.ids import CONTROL_QUEUE, queue_of
from kato_tasks.domain.log_entry import entry_of
from kato_tasks.ports.listening import OutgoingPrediction
from kato_tasks.sinks.prediction_events import original_of, prediction_event
from tests.acceptance.documents import CHECKOUT

Json = dict[str, Any]
FOLDER = CHECKOUT / "docs" / "schema"
DOCUMENT: Json = json.loads((CHECKOUT / asyncapi.FILE).read_text(encoding="utf-8"))
FIELDS = {
    "document": {"asyncapi", "info", "defaultContentType", "channels", "operations", "components"},
    "info": {"title", "version", "description", "license"},
    "channel": {"address", "description", "parameters", "messages", "bindings"},
    "operation": {"action", "channel", "summary", "messages", "reply"},
    "reply": {"channel", "messages"},
    "message": {"name", "title", "summary", "headers", "payload"},
}
"""Of the fields that AsyncAPI 3.0 gives each object, those that the document uses."""


def refs(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for one in value.values():
            yield from refs(one)
    elif isinstance(value, list):
        for one in value:
            yield from refs(one)


def at(ref: str) -> Any:
    """What a reference leads to: in the document, or in a file beside it."""
    name, _, pointer = ref.partition("#")
    found = json.loads((FOLDER / name).read_text(encoding="utf-8")) if name else DOCUMENT
    for step in pointer.split("/")[1:]:
        found = found[step]
    return found


def fields(kind: str, value: Json) -> None:
    unknown = {name for name in value if not name.startswith("x-")} - FIELDS[kind]
    assert unknown == set(), f"a {kind} has no such fields"


def test_the_document_has_the_form_of_asyncapi_3() -> None:
    fields("document", DOCUMENT)
    fields("info", DOCUMENT["info"])
    assert DOCUMENT["asyncapi"] == "3.0.0"
    assert DOCUMENT["info"].keys() >= {"title", "version"}
    for name, channel in DOCUMENT["channels"].items():
        fields("channel", channel)
        assert set(re.findall(r"{(\w+)}", channel["address"] or "")) == channel.get("parameters", {}).keys(), name
        assert all(ref.startswith("#/components/messages/") for ref in refs(channel["messages"]))
    for message in DOCUMENT["components"]["messages"].values():
        fields("message", message)
        Draft7Validator.check_schema(message["payload"])


def test_each_operation_names_a_channel_and_messages_of_that_channel() -> None:
    for name, operation in DOCUMENT["operations"].items():
        fields("operation", operation)
        assert operation["action"] in ("send", "receive"), name
        reply = operation.get("reply")
        for part in [operation] if reply is None else [operation, reply]:
            (channel,) = refs(part["channel"])
            assert channel.removeprefix("#/channels/") in DOCUMENT["channels"]
            assert part["messages"]
            assert all(ref.startswith(f"{channel}/messages/") for ref in refs(part["messages"])), name
        if reply is not None:
            fields("reply", reply)


def test_every_reference_leads_somewhere() -> None:
    found = set(refs(DOCUMENT))
    assert len(found) > 20
    for ref in found:
        assert at(ref) is not None, ref


def test_the_operations_are_what_runs_in_this_version() -> None:
    """Falls with a public task that has none, and with a source that nothing reads."""
    listeners = {f"listen{name.capitalize()}" for name in listen.commands}
    own = {"sentByName", "append_events", "publishPredictions"}
    assert DOCUMENT["operations"].keys() == {*tasks.PUBLIC, *own, *listeners}
    channels = DOCUMENT["channels"]
    assert channels["lane"]["address"].format(shard="07") == queue_of(7)
    assert [channels[name]["address"] for name in ("control", "log", "results")] == [CONTROL_QUEUE, None, None]


def test_what_is_read_is_what_the_listeners_read_by_default() -> None:
    channels = DOCUMENT["channels"]
    default = {
        name: {option.name: option.default for option in command.params} for name, command in listen.commands.items()
    }
    assert default["kafka"]["topics"] == (channels["kafka"]["address"],)
    assert default["redis"]["stream"] == channels["redis"]["address"]
    exchange = channels["rabbitmq"]["bindings"]["amqp"]["exchange"]
    assert default["rabbitmq"]["exchange"] == exchange["name"]
    assert default["rabbitmq"]["bindings"] == (channels["rabbitmq"]["address"].format(session_id="#"),)


@pytest.mark.parametrize(
    ("answer", "entry"),
    [
        ({"node_id": "ann", "predictions": [{"name": "PTRN|1"}], "future_potentials": []}, True),
        ({"error": {"type": "EventRefused", "message": "predict failed"}}, False),
    ],
)
def test_what_a_sink_publishes_is_what_is_described(answer: Json, *, entry: bool) -> None:
    event = parse_event({"session_id": "ann", "observation": {"strings": ["a"]}, "metadata": {"correlation_id": "r"}})
    text = entry_of(event, event_id="e").text if entry else ""
    row = OutgoingPrediction("e~prediction", "ann", 1, 1_790_000_000_000, text, json.dumps(answer))
    made = prediction_event(row, original_of(row))
    validator(DOCUMENT["components"]["messages"]["prediction"]["payload"]).validate(made)


def validator(schema: Json) -> Draft7Validator:
    files = [(f"./{path.name}", json.loads(path.read_text(encoding="utf-8"))) for path in FOLDER.glob("*.schema.json")]
    kept = [(name, Resource.from_contents(held)) for name, held in files]
    registry: Registry[Any] = Registry().with_resources(kept)
    return Draft7Validator(schema, registry=registry.with_resource("", DRAFT7.create_resource(schema)))


CALLS: list[tuple[str, tuple[Any, ...], Json]] = [
    ("observe", (), {"session_id": "ann", "observation": {"strings": ["a"]}, "metadata": {"from": "web"}}),
    ("process_observation_async", ("ann", {"strings": ["a"]}), {"node_id": "shop", "timestamp": "2025-11-13T10:30:00"}),
    ("learn", ("ann",), {"event_id": "e"}),
    ("clear_stm", (), {"session_id": "ann"}),
    ("predict", (), {"session_id": "ann", "raw": True}),
]


@pytest.mark.parametrize(("name", "args", "kwargs"), CALLS, ids=[call[0] for call in CALLS])
def test_the_message_that_celery_makes_of_a_call_is_the_one_described(
    name: str, args: tuple[Any, ...], kwargs: Json
) -> None:
    made = app.amqp.as_task_v2("id-1", f"kato_tasks.{name}", args, kwargs)
    headers, body = json.loads(json.dumps([made.headers, made.body], default=str))
    described = DOCUMENT["components"]["messages"][name]
    validator(described["headers"]).validate(headers)
    validator(described["payload"]).validate(body)
    body[1]["sesion_id"] = "ann"
    assert not validator(described["payload"]).is_valid(body), "an argument that the task has not"
    headers["task"] = "kato_tasks.other"
    assert not validator(described["headers"]).is_valid(headers)


def test_an_answer_is_described_with_what_its_task_returns() -> None:
    described = validator(DOCUMENT["components"]["messages"]["learnAnswer"]["payload"])
    result = {"status": "learned", "session_id": "s", "node_id": "s", "event_id": "e", "position": 2}
    answer = {"task_id": "id-1", "status": "SUCCESS", "result": {**result, "pattern_name": "p"}}
    described.validate(answer)
    assert not described.is_valid({**answer, "result": {"status": "learned"}})
