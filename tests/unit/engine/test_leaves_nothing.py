"""Whether a learn leaves something behind is told from the text of the observations, most often without parsing it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from kato_tasks.domain.events import parse_event
from kato_tasks.domain.log_entry import Logged, entry_of
from kato_tasks.engine.drain.known_sessions import leaves_nothing

LOOKS_EMPTY = ',"emotives":{},"metadata":{},"unique_id":'


def logged(**more: Any) -> Logged:
    seen = {"strings": ["a"], **more}
    return Logged.parse(1, entry_of(parse_event({"session_id": "s", "observation": seen}), event_id="e").text)


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"strings": ["{}", LOOKS_EMPTY]},
        {"vectors": [[1.0, 2.0]]},
        {"emotives": {}, "metadata": {}},
    ],
)
def test_observations_without_emotives_and_metadata_leave_nothing(more: dict[str, Any]) -> None:
    assert leaves_nothing([logged(), logged(**more)])


@pytest.mark.parametrize(
    "more",
    [
        {"emotives": {"joy": 0.5}},
        {"metadata": {"page": "a"}},
        {"metadata": {"inner": {"x": [], "emotives": {}, "metadata": {}, "unique_id": "u"}}},
        {"metadata": {"text": LOOKS_EMPTY}},
        {"strings": ["{{{", json.dumps(LOOKS_EMPTY)], "emotives": {"joy": 1.0}},
    ],
)
def test_emotives_and_metadata_stay_whatever_the_text_looks_like(more: dict[str, Any]) -> None:
    assert not leaves_nothing([logged(), logged(**more)])
