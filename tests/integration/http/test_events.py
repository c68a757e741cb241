"""``POST /v1/events`` of a real server on a real store: every form of body, and what each event is told."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from cloudevents.core.bindings import http as binding
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent

from kato_tasks import append_events, history, session_status
from kato_tasks.testing.waiting import wait_until
from tests.integration.http.server import HttpServer, event, post
from tests.integration.system import System

NDJSON = {"content-type": "application/x-ndjson"}


def kept(session: str) -> list[tuple[str, Any]]:
    return [(one["event_id"], one.get("observation", {}).get("strings")) for one in history(session)]


def test_an_event_is_accepted_and_the_same_again_is_a_duplicate(client: httpx.Client, name: str) -> None:
    first = post(client, event(name, "e1"))
    assert (first.status_code, first.json()) == (
        202,
        {"status": "accepted", "event_id": "e1", "session_id": name, "position": 1},
    )
    again = post(client, event(name, "e1"))
    assert (again.status_code, again.json()["status"], again.json()["position"]) == (202, "duplicate", 1)
    assert kept(name) == [("e1", ["x"])]


def test_a_wrong_field_is_named_and_nothing_is_appended(client: httpx.Client, name: str) -> None:
    answer = post(client, {"session_id": name, "observation": {"strings": "x"}})
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["errors"] == [{"field": "observation.strings", "reason": "must be a list, not str"}]
    assert session_status(name) is None


def test_an_id_with_another_body_and_another_node_are_conflicts(client: httpx.Client, name: str) -> None:
    post(client, event(name, "e1"))
    assert post(client, event(name, "e1", "other")).status_code == 409
    other = post(client, event(name, "e2", node_id="elsewhere"))
    assert (other.status_code, other.json()["errors"][0]["field"]) == (409, "node_id")
    assert kept(name) == [("e1", ["x"])]


def test_a_batch_is_told_by_index_and_its_good_events_are_appended_in_order(client: httpx.Client, name: str) -> None:
    append_events([event(name, "e0")])
    batch = [
        event(name, "e1"),
        {"session_id": name},
        event(name, "e0"),
        event(name, "e2"),
        event(name, None, node_id="z"),
    ]
    answer = post(client, batch)
    assert answer.status_code == 202
    told = answer.json()
    assert (told["accepted"], told["duplicates"], told["rejected"]) == (2, 1, 2)
    assert [one["status"] for one in told["results"]] == ["accepted", "rejected", "duplicate", "accepted", "rejected"]
    assert [one["index"] for one in told["results"]] == [0, 1, 2, 3, 4]
    assert told["results"][1]["field"] == "observation"
    assert told["results"][4]["field"] == "node_id"
    assert [event_id for event_id, _ in kept(name)] == ["e0", "e1", "e2"]


def test_a_batch_of_which_nothing_is_accepted_is_refused_with_each_reason(client: httpx.Client, name: str) -> None:
    answer = post(client, [{"session_id": name}, 7, {"observation": {"strings": ["x"]}}])
    assert answer.status_code == 422
    assert [(one["index"], one["field"]) for one in answer.json()["errors"]] == [
        (0, "observation"),
        (1, "event"),
        (2, "session_id"),
    ]


def test_the_same_request_with_its_key_is_applied_once_though_its_events_have_no_ids(
    client: httpx.Client, name: str
) -> None:
    for _ in range(3):
        assert post(client, event(name), **{"idempotency-key": '"order 17"'}).status_code == 202
    for _ in range(2):
        told = post(client, [event(name), event(name)], **{"idempotency-key": "batch"}).json()
    assert (told["accepted"], told["duplicates"]) == (0, 2)
    assert [event_id for event_id, _ in kept(name)] == ["order 17", "batch/0", "batch/1"]
    assert post(client, event(name), **{"idempotency-key": "a\tb"}).status_code == 422


def test_learn_and_clear_are_events_like_others(client: httpx.Client, name: str) -> None:
    batch = [event(name), {"session_id": name, "event_type": "learn"}, {"session_id": name, "event_type": "clear_stm"}]
    assert post(client, batch).json()["accepted"] == 3
    assert [one["event_type"] for one in history(name)] == ["observation", "learn", "clear_stm"]


def test_lines_are_appended_and_each_is_told(client: httpx.Client, name: str) -> None:
    lines = [
        json.dumps(event(name, "e1")),
        "",
        "no json",
        json.dumps({"session_id": name}),
        json.dumps(event(name, "e2")),
    ]
    answer = client.post("/v1/events", content="\n".join(lines).encode(), headers=NDJSON)
    assert answer.status_code == 202
    told = answer.json()
    assert [(one["index"], one["status"]) for one in told["results"]] == [
        (0, "accepted"),
        (1, "rejected"),
        (2, "rejected"),
        (3, "accepted"),
    ]
    assert [event_id for event_id, _ in kept(name)] == ["e1", "e2"]
    assert client.post("/v1/events", content=b"\n\n", headers=NDJSON).status_code == 422
    assert client.post("/v1/events", content=b"no\nno\n", headers=NDJSON).status_code == 422


def test_lines_are_read_wherever_the_parts_of_the_body_are_cut(client: httpx.Client, name: str) -> None:
    text = "".join(json.dumps(event(name, f"é{i}", "ü" * i)) + "\r\n" for i in range(40)).encode()
    parts = (text[at : at + 37] for at in range(0, len(text), 37))
    told = client.post("/v1/events", content=parts, headers=NDJSON).json()
    assert (told["accepted"], told["results_left_out"]) == (40, 0)
    assert [event_id for event_id, _ in kept(name)] == [f"é{i}" for i in range(40)]


def test_a_line_that_is_too_long_is_refused_and_those_after_it_are_appended(client: httpx.Client, name: str) -> None:
    lines = [event(name, "e1"), event(name, "e2", "y" * 400_000), event(name, "e3")]
    told = client.post("/v1/events", content="\n".join(map(json.dumps, lines)).encode(), headers=NDJSON).json()
    assert [one["status"] for one in told["results"]] == ["accepted", "rejected", "accepted"]
    assert "bytes" in told["results"][1]["reason"]


def test_a_body_of_100_mb_of_lines_is_never_held(server: HttpServer, client: httpx.Client, name: str) -> None:
    """1 MB of lines is held at a time, so the server's memory stays as it was.

    Falls when only lines are counted: 500 of these are 100 MB.
    """
    line = json.dumps(event(name, "same", "x" * 20_000, *("y" * 20_000 for _ in range(9)))).encode() + b"\n"
    client.post("/v1/events", content=line * 20, headers=NDJSON)
    before, most = server.rss(), 0

    def lines() -> Iterator[bytes]:
        nonlocal most
        for number in range(500):
            yield line
            if number % 50 == 0:
                most = max(most, server.rss())

    told = client.post("/v1/events", content=lines(), headers=NDJSON, timeout=100).json()
    assert told["duplicates"] == 500
    assert max(most, server.rss()) - before < 25_000_000


def test_more_than_a_thousand_lines_are_told_as_counts_and_rejections(client: httpx.Client, name: str) -> None:
    lines = [json.dumps(event(name, f"e{i}")) if i % 100 else "no" for i in range(2_500)]
    told = client.post("/v1/events", content="\n".join(lines).encode(), headers=NDJSON).json()
    assert (told["accepted"], told["rejected"], told["results_left_out"]) == (2_475, 25, 2_475)
    assert [one["index"] for one in told["results"]] == list(range(0, 2_500, 100))


# ----------------------------------------------------------------------------------------- CloudEvents


def cloud(name: str, number: int, kind: str, data: Any, **more: Any) -> CloudEvent:
    attributes = {"id": f"{number}", "source": "/shop", "type": kind, "subject": name, "specversion": "1.0", **more}
    return CloudEvent(attributes, data)


def sent(client: httpx.Client, message: Any) -> httpx.Response:
    return client.post("/v1/events", content=message.body, headers=dict(message.headers))


def test_cloud_events_of_the_sdk_are_taken_in_both_modes(client: httpx.Client, name: str) -> None:
    seen = cloud(name, 1, "kato.observation", {"strings": ["cart"]}, time=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))
    structured = sent(client, binding.to_structured(seen, JSONFormat()))
    assert (structured.status_code, structured.json()["event_id"]) == (202, "/shop 1"), structured.text
    binary = sent(client, binding.to_binary(cloud(name, 2, "kato.observation", {"strings": ["pay"]}), JSONFormat()))
    assert (binary.status_code, binary.json()["position"]) == (202, 2), binary.text
    again = sent(client, binding.to_binary(seen, JSONFormat()))
    assert again.json()["status"] == "duplicate"
    first, second = history(name)
    assert (first["timestamp"], first["observation"]["strings"]) == ("2026-01-02T03:04:05Z", ["cart"])
    assert second["metadata"]["cloudevent"] == {"id": "2", "source": "/shop", "type": "kato.observation"}


def test_a_cloud_event_of_any_other_type_is_observed_as_its_type_and_keeps_its_data(
    client: httpx.Client, name: str
) -> None:
    batch = [
        {
            "specversion": "1.0",
            "id": "1",
            "source": "/s",
            "type": "com.shop.paid",
            "subject": name,
            "data": {"euro": 7},
        },
        {"specversion": "1.0", "id": "2", "source": "/s", "type": "kato.learn", "subject": name},
        {"specversion": "1.0", "id": "3", "source": "/s", "type": "kato.observation", "data": event(name, None, "z")},
        {"specversion": "1.0", "id": "4", "source": "/s", "type": "com.shop.paid"},
        {"specversion": "0.3", "id": "5", "source": "/s", "type": "com.shop.paid", "subject": name},
    ]
    headers = {"content-type": "application/cloudevents-batch+json; charset=utf-8"}
    told = client.post("/v1/events", content=json.dumps(batch).encode(), headers=headers).json()
    assert [one["status"] for one in told["results"]] == ["accepted"] * 3 + ["rejected"] * 2
    assert [one["field"] for one in told["results"][3:]] == ["subject", "specversion"]
    paid, learned, seen = history(name)
    assert (paid["observation"]["strings"], paid["data"]) == (["com.shop.paid"], {"euro": 7})
    assert (learned["event_type"], seen["observation"]["strings"]) == ("learn", ["z"])


# ----------------------------------------------------------------------------------------- what is refused


JSON = "application/json"
UNREADABLE: dict[str, tuple[bytes, dict[str, str], int]] = {
    "text": (b"{}", {"content-type": "text/plain"}, 415),
    "no type": (b"{}", {}, 415),
    "another charset": (b"{}", {"content-type": "application/json; charset=utf-16"}, 415),
    "compressed": (gzip.compress(b"{}", mtime=0), {"content-type": JSON, "content-encoding": "gzip"}, 415),
    "cut off": (b"{", {"content-type": JSON}, 400),
    "empty": (b"", {"content-type": JSON}, 400),
    "no UTF-8": (b"\xff\xfe", {"content-type": JSON}, 400),
    "no number": (b'{"session_id": NaN}', {"content-type": JSON}, 400),
    "nested": (b"[" * 100_000, {"content-type": JSON}, 400),
    "no event": (b"[]", {"content-type": JSON}, 422),
    "a number": (b"7", {"content-type": JSON}, 422),
    "half a surrogate pair": (b'"\\ud800"', {"content-type": JSON}, 400),
    "too many": (b"[" + b"7," * 10_000 + b"7]", {"content-type": JSON}, 413),
    "too large": (b'"' + b"x" * 17_000_000 + b'"', {"content-type": JSON}, 413),
}


@pytest.mark.parametrize("what", UNREADABLE)
def test_a_body_that_cannot_be_read_is_refused_with_a_problem(client: httpx.Client, what: str) -> None:
    content, headers, status = UNREADABLE[what]
    answer = client.post("/v1/events", content=content, headers=headers)
    assert (answer.status_code, answer.json()["status"]) == (status, status), answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_another_method_and_another_path_are_refused_with_a_problem(client: httpx.Client) -> None:
    assert (client.get("/v1/events").status_code, client.get("/v1/events").headers["allow"]) == (405, "POST")
    assert client.get("/v2").json()["status"] == 404


# ----------------------------------------------------------------------------------------- and KATO


def test_what_is_posted_is_applied_in_order(system: System, client: httpx.Client, name: str) -> None:
    session = name.replace("[", "").replace("]", "")
    with system.workers(["--pool", "threads", "--concurrency", "2"]):
        for number in range(20):
            assert post(client, event(session, f"e{number}", f"w{number}")).status_code == 202
        wait_until(lambda: (found := session_status(session)) and found.cursor == 20, 30, "all are applied")
        status = session_status(session)
        assert status is not None
        assert status.binding is not None
        assert system.applied(session) == [f"e{number}" for number in range(20)]
        ready = client.get("/readyz").json()
        assert (ready["status"], ready["ready"]) == ("ok", True), ready
