"""The analytics pipeline: what becomes of page events and of predictions, on a KATO that really predicts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import pytest

from examples.realtime_analytics.pipeline import NODE, decode, encode
from examples.realtime_analytics.producer import NEXT, START, page_events
from examples.realtime_analytics.watch import line
from kato_tasks import append_events, predict
from kato_tasks.errors import InvalidEvent
from kato_tasks.ports.sources import Message
from kato_tasks.testing.inline import Inline


def message(body: Any) -> Message:
    return Message(json.dumps(body).encode(), "a test")


def page(user: str, action: str, path: str) -> Message:
    return message({"user_id": user, "action": action, "page": path})


def prediction(answer: Any, original: Mapping[str, Any] | None) -> dict[str, Any]:
    """A prediction event as the sink publishes it."""
    return {
        "event_type": "prediction",
        "session_id": original["session_id"] if original else "ann",
        "node_id": NODE,
        "timestamp": "2025-11-13T10:30:00Z",
        "predictions": answer,
        "original_event": original,
        "correlation_id": None,
        "event_id": "one",
    }


def test_a_page_event_is_an_observation_of_action_and_page_in_the_session_of_its_user() -> None:
    assert decode(page("ann", "view", "/home")) == [
        {
            "event_type": "observation",
            "session_id": "ann",
            "node_id": NODE,
            "observation": {"strings": ["view", "/home"], "vectors": [], "emotives": {}},
        }
    ]


def test_a_user_that_has_a_number_is_named_by_it() -> None:
    assert decode(message({"user_id": 7, "action": "view", "page": "/home"}))[0]["session_id"] == "7"


def test_a_visit_is_learned_when_its_user_leaves_and_the_time_goes_with_both_events() -> None:
    given = {"user_id": "ann", "action": "leave", "page": "/home", "timestamp": "2025-11-13T10:30:00Z"}
    observed, learned = decode(message(given))
    assert observed["event_type"] == "observation"
    assert learned == {
        "event_type": "learn",
        "session_id": "ann",
        "node_id": NODE,
        "timestamp": "2025-11-13T10:30:00Z",
    }


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"no JSON", "message"),
        (b"[]", "message"),
        (b"{}", "user_id"),
        (b'{"user_id": true, "action": "view", "page": "/"}', "user_id"),
        (b'{"user_id": "ann", "action": 3, "page": "/"}', "action"),
        (b'{"user_id": "ann", "action": "view", "page": "home"}', "page"),
    ],
)
def test_what_is_no_page_event_is_refused_with_the_name_of_the_field(body: bytes, field: str) -> None:
    with pytest.raises(InvalidEvent) as refused:
        decode(Message(body, "a test"))
    assert refused.value.field == field


def test_a_user_is_told_what_earlier_visitors_did_next_the_likeliest_first(kato_tasks_inline: Inline) -> None:
    visits = {
        "ann": [("view", "/home"), ("search", "/search"), ("buy", "/checkout"), ("leave", "/checkout")],
        "ben": [("view", "/home"), ("search", "/search"), ("buy", "/checkout"), ("leave", "/checkout")],
        "cid": [("view", "/home"), ("search", "/search"), ("view", "/product"), ("leave", "/product")],
    }
    for user, steps in visits.items():
        append_events([event for step in steps for event in decode(page(user, *step))])
    last: Mapping[str, Any] = {}
    for step in visits["ann"][:2]:
        (last,) = decode(page("dan", *step))
        append_events([last])
    # The sink publishes what KATO itself answered; a task's result has the same fields.
    for raw in (True, False):
        answer = predict.delay("dan", raw=raw).get()
        told = encode(prediction(answer["predictions"], last))
        assert told is not None
        assert told == encode(prediction(answer, last))
        assert (told["user_id"], told["current_action"]) == ("dan", "search")
        assert [(one["action"], one["page"]) for one in told["predicted_actions"]] == [
            ("buy", "/checkout"),
            ("view", "/product"),
        ]
        assert told["predicted_actions"][0]["share"] == pytest.approx(2 / 3, abs=0.01)


def test_nothing_is_expected_where_nothing_was_learned() -> None:
    (original,) = decode(page("ann", "view", "/home"))
    told = encode(prediction([], original))
    assert told is not None
    assert told == {"user_id": "ann", "current_action": "view", "predicted_actions": []}
    assert line(told) == "ann: view; next: nothing known"


def test_nothing_is_published_of_an_event_that_the_log_no_longer_has() -> None:
    assert encode(prediction([], None)) is None


def test_a_line_of_analytics_names_what_is_expected() -> None:
    expected = [{"action": "buy", "page": "/checkout", "share": 0.667}]
    told = {"user_id": "ann", "current_action": "add", "predicted_actions": expected}
    assert line(told) == "ann: add; next: buy /checkout 67%"


def test_made_up_visits_interleave_begin_at_home_follow_the_table_and_end_with_leaving() -> None:
    events = list(page_events(visits=60, users=8, seed=3))
    assert events == list(page_events(visits=60, users=8, seed=3))
    steps: dict[str, list[tuple[str, str]]] = {}
    for event in events:
        steps.setdefault(event["user_id"], []).append((event["action"], event["page"]))
    assert len(steps) == 8
    assert any(one["user_id"] != other["user_id"] for one, other in pairwise(events))
    for done in steps.values():
        assert done[0] == START
        assert done[-1][0] == "leave"
        for before, after in pairwise(done):
            following = [START] if before[0] == "leave" else [step for step, _ in NEXT[before]]
            assert after in following
    assert sum(done.count(START) for done in steps.values()) == 60
