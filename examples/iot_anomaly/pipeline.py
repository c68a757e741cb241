"""What a sensor's reading means to KATO: its categories, and the events that a message becomes.

The listener calls ``decode`` for every message of the queue, and the sink ``encode`` for every prediction. ``decode``
keeps no state, and a message that is handed out again gives the same events again: where a window of learning ends is
told by the reading's own timestamp.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from kato_tasks.errors import InvalidEvent
from kato_tasks.ports.sources import Message

HOUR, BAND = "hour:", "temp:"
"""How the two categories of a reading begin. KATO sorts the strings of an event, so each must say what it is."""
SESSION_CONFIG: Mapping[str, Any] = {"recall_threshold": 0.1, "max_predictions": 20}
"""What KATO's session config must hold (``KATO_TASKS_KATO_SESSION_CONFIG``) for the figures of the README."""

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Categories:
    """How readings are put into categories. The defaults were tuned on the sensor of the README.

    ``degrees`` is the width of a band. A window of learning has ``hours`` hours, which divide a day, so that every
    window begins at the same hours of each day.
    """

    degrees: float = 6.0
    hours: int = 6

    def band(self, reading: float) -> str:
        """Return the band that a reading lies in, as ``temp:66-72``."""
        low = math.floor(reading / self.degrees) * self.degrees
        return f"{BAND}{low:g}-{low + self.degrees:g}"

    def window(self, when: datetime) -> str:
        """Return the name of the window that a moment lies in: the hour with which it begins."""
        return when.replace(hour=when.hour - when.hour % self.hours, minute=0, second=0).strftime("%Y-%m-%dT%H")

    def is_first_hour(self, when: datetime) -> bool:
        """Return whether a reading of this moment begins a window."""
        return when.hour % self.hours == 0

    def is_last_hour(self, when: datetime) -> bool:
        """Return whether a reading of this moment ends a window."""
        return when.hour % self.hours == self.hours - 1


TUNED = Categories()


def categorise(reading: float, when: datetime | None = None, categories: Categories = TUNED) -> list[str]:
    """Return the categories of a reading: its band, and before it the hour of its day where that is known.

    With the hour, KATO lays a day beside those earlier days that resemble it so far, hour by hour. Without it, a warm
    night could stand for a cool noon.
    """
    band = categories.band(reading)
    return [band] if when is None else [f"{HOUR}{when.hour:02d}", band]


def decode(message: Message) -> list[Json]:
    """Return the events that a message ``{"sensor_id": …, "reading": …, "timestamp": …}`` stands for, in their order.

    Raises InvalidEvent for anything else, which the listener keeps as a dead letter.
    """
    return events_of(_object(message.value))


def events_of(given: Mapping[str, Any], categories: Categories = TUNED) -> list[Json]:
    """Return the events of one reading, in the form of the standard event, in the session of its sensor.

    A reading of a window's last hour is followed by a ``learn``. One of a window's first hour comes after a
    ``clear_stm``: where the last hour never arrived, half a window is forgotten instead of being learned as the
    beginning of the next one. A reading without a timestamp, as the guide's sensors send it, is observed alone.
    """
    sensor, reading, when = _sensor(given), _reading(given), _moment(given)
    event: Json = {"session_id": sensor}
    observed: Json = {
        "event_type": "observation",
        "observation": {
            "strings": categorise(reading, when, categories),
            "vectors": [],
            "emotives": {"value": reading / 100.0},
        },
    }
    if when is None:
        return [event | observed]
    event["timestamp"] = when.isoformat()
    events = [event | observed | {"metadata": {"window": categories.window(when)}}]
    if categories.is_first_hour(when):
        events.insert(0, event | {"event_type": "clear_stm"})
    if categories.is_last_hour(when):
        events.append(event | {"event_type": "learn"})
    return events


def encode(prediction: Mapping[str, Any]) -> Json:
    """Return a prediction event with nothing but the futures of its predictions, which is all that the judge reads.

    That is a fifteenth of what KATO answers.
    """
    kept = {name: value for name, value in prediction.items() if name != "future_potentials"}
    return kept | {"predictions": [{"future": one["future"]} for one in prediction["predictions"]]}


def _object(value: bytes) -> Mapping[str, Any]:
    try:
        given = json.loads(value)
    except ValueError as exc:
        raise InvalidEvent("message", f"must be JSON ({exc})") from None
    if not isinstance(given, dict):
        raise InvalidEvent("message", "must be an object with sensor_id and reading")
    return given


def _sensor(given: Mapping[str, Any]) -> str:
    sensor = given.get("sensor_id")
    if not isinstance(sensor, str) or not sensor:
        raise InvalidEvent("sensor_id", "must be text that is not empty")
    return sensor


def _reading(given: Mapping[str, Any]) -> float:
    reading = given.get("reading")
    # json.loads takes NaN and Infinity for numbers; no band holds them.
    if isinstance(reading, bool) or not isinstance(reading, int | float) or not math.isfinite(reading):
        raise InvalidEvent("reading", "must be a finite number")
    return float(reading)


def _moment(given: Mapping[str, Any]) -> datetime | None:
    timestamp = given.get("timestamp")
    if timestamp is None:
        return None
    try:
        return datetime.fromisoformat(timestamp)
    except (TypeError, ValueError):
        raise InvalidEvent("timestamp", "must be text in ISO 8601, such as 2013-07-04T00:00:00") from None
