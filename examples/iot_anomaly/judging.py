"""Judge readings by what KATO predicted before they were observed."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from examples.iot_anomaly.pipeline import BAND, HOUR

REMEMBERED_IDS = 1_000
"""How many newest ids of prediction events are known again for each sensor. A sink may publish one twice."""


@dataclass(frozen=True, slots=True)
class Rules:
    """When readings are called an anomaly. The defaults were tuned on the sensor of the README.

    A single reading in another band than predicted is common at a band's edge. So the last ``votes`` readings vote: a
    reading is an anomaly if at least ``share`` of them were unexpected. A sensor's first ``warm_up`` readings are never
    called one, because KATO has learned too little by then.
    """

    votes: int = 48
    share: float = 0.35
    warm_up: int = 672


TUNED = Rules()


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is said of one reading.

    ``expected`` holds the bands that KATO predicted for it. ``is_unexpected`` is None where KATO was not asked, or
    could not be, in the reading's own window before it. ``score`` is the share of unexpected readings
    among the last ones, from 0 to 1.
    """

    sensor_id: str
    timestamp: str
    category: str
    expected: tuple[str, ...]
    is_unexpected: bool | None
    score: float
    is_anomaly: bool


@dataclass(slots=True)
class _Sensor:
    votes: deque[bool]
    readings: int = 0
    window: object = None
    predictions: list[Mapping[str, Any]] | None = None
    ids: dict[str, None] = field(default_factory=dict)


class Judge:
    """Reads prediction events, each sensor's in their order, and says which readings are an anomaly.

    It remembers what was predicted after each sensor's last reading. The guide's program looks for a reading's category
    in the answer that KATO gives after it has observed that reading, which repeats what was just observed: it can find
    no anomaly.
    """

    def __init__(self, rules: Rules = TUNED) -> None:
        self._rules = rules
        self._sensors: dict[str, _Sensor] = {}

    def judge(self, event: Mapping[str, Any]) -> Verdict | None:
        """Return the verdict on the reading that a prediction event was published for.

        Returns None for an event that is no sensor's reading, and for one that was judged before: a sink may publish
        the same event twice.
        """
        original = event["original_event"] or {}
        strings = (original.get("observation") or {}).get("strings") or []
        band = next((text for text in strings if text.startswith(BAND)), None)
        if band is None:
            return None
        sensor = self._sensor(event["session_id"])
        if not _is_new(sensor.ids, event.get("event_id")):
            return None
        hour = next((text for text in strings if text.startswith(HOUR)), None)
        window = (original.get("metadata") or {}).get("window")
        known = sensor.predictions if window == sensor.window else None
        expected = sorted(set(expected_bands(known or [], hour)))
        is_unexpected = None if known is None else band not in expected
        sensor.readings += 1
        if is_unexpected is not None:
            sensor.votes.append(is_unexpected)
        sensor.window, sensor.predictions = window, predictions_of(event)
        score = sum(sensor.votes) / self._rules.votes
        ready = sensor.readings > self._rules.warm_up and is_unexpected is not None
        is_anomaly = ready and score >= self._rules.share
        when = str(original.get("timestamp") or event["timestamp"])
        return Verdict(event["session_id"], when, band, tuple(expected), is_unexpected, score, is_anomaly)

    def _sensor(self, sensor_id: str) -> _Sensor:
        if sensor_id not in self._sensors:
            self._sensors[sensor_id] = _Sensor(deque(maxlen=self._rules.votes))
        return self._sensors[sensor_id]


def predictions_of(event: Mapping[str, Any]) -> list[Mapping[str, Any]] | None:
    """Return an event's list of predictions, be it given as such or in KATO's whole answer.

    Returns None where KATO could not be asked: that it predicted nothing would speak against the next reading.
    """
    if event.get("error"):
        return None
    answer = event["predictions"]
    return list(answer["predictions"] if isinstance(answer, Mapping) else answer)


def expected_bands(predictions: Iterable[Mapping[str, Any]], hour: str | None) -> Iterator[str]:
    """Yield the band that each prediction expects next: at this ``hour``, or as its next event where no hour is known.

    Readings may be missing, so the next event of a prediction is not always of the hour that comes in. A prediction
    that knows nothing of the hour expects nothing.
    """
    for prediction in predictions:
        for event in prediction["future"]:
            # For a memory of one symbol KATO predicts symbols instead of events.
            symbols = [event] if isinstance(event, str) else event
            if hour is None or hour in symbols:
                yield from (symbol for symbol in symbols if symbol.startswith(BAND))
                break


def _is_new(known: dict[str, None], event_id: str | None) -> bool:
    if event_id is None:
        return True
    if event_id in known:
        return False
    known[event_id] = None
    if len(known) > REMEMBERED_IDS:
        del known[next(iter(known))]
    return True
