"""Compare detections with the labelled windows in which a sensor failed, and give the baselines to compare with."""

from __future__ import annotations

import csv
import json
import math
import statistics
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

Reading = tuple[datetime, float]
Span = tuple[datetime, datetime]
"""A first and a last moment, both of them part of it."""

SAME_ALARM = timedelta(hours=24)
"""Detections that follow each other within this time are one alarm: a person is called once for them."""


@dataclass(frozen=True, slots=True)
class Score:
    """How detections compare with the windows of a part of the data."""

    windows: int
    found: int
    false_alarms: int
    readings_outside: int
    """How many single readings outside all windows were called an anomaly."""


def read_readings(path: Path) -> list[Reading]:
    """Return the readings of a CSV file with the columns ``timestamp`` and ``value``, in the file's order."""
    with path.open(newline="") as file:
        return [(datetime.fromisoformat(row["timestamp"]), float(row["value"])) for row in csv.DictReader(file)]


def read_windows(path: Path, name: str) -> list[Span]:
    """Return the labelled windows of one data file from a JSON file that has those of several."""
    found: dict[str, list[tuple[str, str]]] = json.loads(path.read_text())
    return [(datetime.fromisoformat(first), datetime.fromisoformat(last)) for first, last in found[name]]


def alarms(detections: Iterable[datetime]) -> list[Span]:
    """Return the alarms that detections make up, given in the order of time."""
    spans: list[Span] = []
    for when in detections:
        if spans and when - spans[-1][1] <= SAME_ALARM:
            spans[-1] = spans[-1][0], when
        else:
            spans.append((when, when))
    return spans


def score(detections: Sequence[datetime], windows: Sequence[Span], part: Span) -> Score:
    """Return how the detections of a part of the data compare with the windows that begin in it.

    A window is found if a reading in it was called an anomaly. An alarm is false if none of its time is in a window.
    """
    mine = [window for window in windows if _within(window[0], part)]
    inside = [when for when in detections if _within(when, part)]
    spans = alarms(inside)
    return Score(
        windows=len(mine),
        found=sum(any(_within(when, window) for when in inside) for window in mine),
        false_alarms=sum(not any(first <= end and last >= begin for begin, end in windows) for first, last in spans),
        readings_outside=sum(not any(_within(when, window) for window in windows) for when in inside),
    )


def peaks(scores: Iterable[tuple[datetime, float]], windows: Sequence[Span], part: Span) -> tuple[float, float]:
    """Return the highest score of a part inside its windows, and outside of them, whatever any threshold says."""
    highest = {True: 0.0, False: 0.0}
    for when, value in scores:
        if _within(when, part):
            is_inside = any(_within(when, window) for window in windows)
            highest[is_inside] = max(highest[is_inside], value)
    return highest[True], highest[False]


def _within(when: datetime, span: Span) -> bool:
    return span[0] <= when <= span[1]


def deviations(readings: Sequence[Reading], length: int, smooth: int) -> list[tuple[datetime, float]]:
    """Return each reading's rolling z-score: its distance from the mean of the ``length`` readings before it.

    The distance is counted in standard deviations of those readings, and is the mean of the last ``smooth`` distances,
    which is how they may support each other as the votes of the judge do.
    """
    before: deque[float] = deque(maxlen=length)
    newest: deque[float] = deque(maxlen=smooth)
    found: list[tuple[datetime, float]] = []
    for when, value in readings:
        if len(before) == length:
            spread = statistics.pstdev(before)
            newest.append(abs(value - statistics.fmean(before)) / spread if spread else math.inf)
            if len(newest) == smooth:
                found.append((when, statistics.fmean(newest)))
        before.append(value)
    return found
