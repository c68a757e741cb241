"""A call's arguments are checked where the call is written, in words of the task that it calls."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from kato_tasks import learn, observe, predict
from kato_tasks.celery_tasks.arguments import as_json
from kato_tasks.celery_tasks.call_times import due_ms_of
from kato_tasks.domain.observations import Observation
from kato_tasks.errors import InvalidEvent

SEEN = {"strings": ["a"]}


@pytest.mark.parametrize("write", [observe.delay, observe.s, observe.si])
def test_a_misspelt_argument_is_refused_with_the_nearest_name(write: Any) -> None:
    with pytest.raises(TypeError) as caught:
        write("s", SEEN, nod_id="x")
    assert str(caught.value) == "process_observation_async() has no argument nod_id; did you mean node_id?"


def test_an_argument_that_is_like_none_is_told_which_there_are() -> None:
    with pytest.raises(TypeError, match=r"^learn\(\) has no argument foo; it takes session_id, event_id$"):
        learn.delay("s", foo=1)  # type: ignore[call-arg]


def test_a_missing_argument_is_named() -> None:
    with pytest.raises(TypeError, match=r"^process_observation_async\(\) needs observation$"):
        observe.delay("s")  # type: ignore[call-arg]


def test_a_misspelt_key_is_refused_in_a_signature_that_gets_its_session_later() -> None:
    with pytest.raises(InvalidEvent, match='strangs: is not a known key; did you mean "strings"'):
        observe.s({"strangs": ["a"]})
    with pytest.raises(TypeError, match="did you mean node_id"):
        observe.s(SEEN, nod_id="n")  # type: ignore[call-overload]
    with pytest.raises(InvalidEvent, match="emotive"):
        observe.s(observation={**SEEN, "emotive": {}})


def test_a_step_with_arguments_too_many_is_told_of_si() -> None:
    """What a chain of two `.s()` with all their arguments comes to: the first result is put before the second's."""
    with pytest.raises(TypeError, match=r"3 arguments were given; .* \.si\(\) in place of \.s\(\)$"):
        observe.call(({"status": "okay"}, "s", SEEN), {})  # type: ignore[attr-defined]


def test_arguments_too_many_and_a_session_that_is_none_are_told_where_the_signature_is_written() -> None:
    with pytest.raises(TypeError, match=r"^predict\(\) takes session_id by position, and 2 arguments were given"):
        predict.s("s", 1)  # type: ignore[call-overload]
    with pytest.raises(InvalidEvent, match=r"^session_id: must be text, not null$"):
        predict.s(None)  # type: ignore[call-overload]


def test_arguments_become_plain_json() -> None:
    assert as_json(Observation(strings=["a"])) == {"strings": ["a"], "vectors": [], "emotives": {}, "metadata": {}}
    assert as_json(datetime(2025, 1, 2, tzinfo=UTC)) == "2025-01-02T00:00:00+00:00"
    assert as_json({"vectors": ((1, 2),), "emotives": {"joy": Decimal("0.5")}}) == {
        "vectors": [[1, 2]],
        "emotives": {"joy": 0.5},
    }


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"countdown": "5"}, 'countdown: must be a number of seconds, not "5"'),
        ({"countdown": float("nan")}, "countdown: must be a number of seconds, not nan"),
        ({"eta": "tomorrow"}, 'eta: must be a datetime or ISO 8601 text, not "tomorrow"'),
        ({"eta": 5}, "eta: must be a datetime or ISO 8601 text, not 5"),
    ],
)
def test_a_time_that_is_none_is_refused_before_anything_is_appended(options: dict[str, Any], told: str) -> None:
    with pytest.raises(InvalidEvent) as caught:
        due_ms_of(options.get("countdown"), options.get("eta"))
    assert str(caught.value) == told
