"""What a sensor's message becomes, before KATO sees it."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import pytest

from examples.iot_anomaly.pipeline import Categories, categorise, decode
from examples.iot_anomaly.producer import messages
from kato_tasks.domain.events import parse_event
from kato_tasks.errors import InvalidEvent
from kato_tasks.ports.sources import Message


def message(reading: Any = 71.2, timestamp: Any = "2013-07-04T13:00:00", **more: Any) -> Message:
    return Message(json.dumps({"sensor_id": "office", "reading": reading, "timestamp": timestamp} | more).encode(), "")


def kinds(timestamp: str) -> list[str]:
    return [event["event_type"] for event in decode(message(timestamp=timestamp))]


def test_a_reading_is_observed_by_hour_and_band_with_a_hundredth_of_it_as_the_emotive() -> None:
    assert decode(message()) == [
        {
            "session_id": "office",
            "timestamp": "2013-07-04T13:00:00",
            "event_type": "observation",
            "observation": {
                "strings": ["hour:13", "temp:66-72"],
                "vectors": [],
                "emotives": {"value": pytest.approx(0.712)},
            },
            "metadata": {"window": "2013-07-04T12"},
        }
    ]


def test_a_reading_without_a_timestamp_as_the_guide_sends_it_is_observed_by_its_band_alone() -> None:
    body = Message(b'{"sensor_id": "s1", "reading": 19}', "")
    (event,) = decode(body)
    assert event["observation"]["strings"] == ["temp:18-24"]
    assert "timestamp" not in event
    assert "metadata" not in event


def test_a_window_begins_with_a_clear_and_ends_with_a_learn_by_the_reading_s_own_hour() -> None:
    for day in ("2013-07-04", "2014-03-30"):
        for hour in range(24):
            expected = ["observation"]
            if hour in (0, 6, 12, 18):
                expected = ["clear_stm", "observation"]
            if hour in (5, 11, 17, 23):
                expected = ["observation", "learn"]
            assert kinds(f"{day}T{hour:02d}:00:00") == expected


def test_a_message_that_comes_again_gives_the_same_events_whatever_came_between() -> None:
    first = decode(message(timestamp="2013-07-04T23:00:00"))
    decode(message(timestamp="2013-07-05T00:00:00"))
    assert decode(message(timestamp="2013-07-04T23:00:00")) == first


def test_an_hour_is_that_of_the_sensor_s_own_offset() -> None:
    (event,) = decode(message(timestamp="2013-07-04T22:30:00-05:00"))
    assert event["observation"]["strings"][0] == "hour:22"
    assert event["metadata"]["window"] == "2013-07-04T18"


def test_every_event_of_every_hour_is_a_standard_event() -> None:
    for hour in range(24):
        for event in decode(message(timestamp=f"2013-07-04T{hour:02d}:00:00")):
            assert parse_event(event).timestamp is not None


@pytest.mark.parametrize(
    ("reading", "band"),
    [(66.0, "temp:66-72"), (71.999, "temp:66-72"), (72, "temp:72-78"), (-0.5, "temp:-6-0"), (0, "temp:0-6")],
)
def test_a_band_holds_its_lower_edge_and_not_its_upper_one(reading: float, band: str) -> None:
    assert categorise(reading) == [band]


def test_bands_and_windows_may_have_other_sizes() -> None:
    narrow = Categories(degrees=2.5, hours=12)
    assert narrow.band(71) == "temp:70-72.5"
    assert narrow.window(datetime.fromisoformat("2013-07-04T17:59:59")) == "2013-07-04T12"
    day = datetime.fromisoformat("2013-07-04")
    assert [hour for hour in range(24) if narrow.is_last_hour(day.replace(hour=hour))] == [11, 23]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"no JSON", "message"),
        (b"\xff", "message"),
        (b"[1]", "message"),
        (b'{"reading": 1}', "sensor_id"),
        (b'{"sensor_id": "", "reading": 1}', "sensor_id"),
        (b'{"sensor_id": "s1"}', "reading"),
        (b'{"sensor_id": "s1", "reading": true}', "reading"),
        (b'{"sensor_id": "s1", "reading": "71"}', "reading"),
        (b'{"sensor_id": "s1", "reading": NaN}', "reading"),
        (b'{"sensor_id": "s1", "reading": 1, "timestamp": 1372939200}', "timestamp"),
        (b'{"sensor_id": "s1", "reading": 1, "timestamp": "yesterday"}', "timestamp"),
    ],
)
def test_what_is_no_reading_is_refused_with_the_name_of_the_field(body: bytes, field: str) -> None:
    with pytest.raises(InvalidEvent) as refused:
        decode(Message(body, ""))
    assert refused.value.field == field


def test_the_producer_sends_what_the_guide_s_sensors_send_and_the_time() -> None:
    assert list(messages([(datetime.fromisoformat("2013-07-04"), 69.88)], "s1")) == [
        {"sensor_id": "s1", "reading": 69.88, "timestamp": "2013-07-04T00:00:00"}
    ]
