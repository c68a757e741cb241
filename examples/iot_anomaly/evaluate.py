"""Compare the judge's verdicts with the labelled windows, beside two baselines: a table, a JSON file and a picture.

    python -m examples.iot_anomaly.evaluate --data ../shared/data/ambient_temperature.csv \
        --windows ../shared/data/anomaly_windows.json --detections found.jsonl

What lies before ``--report-from`` was used for tuning, and is shown apart from the rest. The picture needs matplotlib.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from examples.iot_anomaly.judging import TUNED
from examples.iot_anomaly.pipeline import SESSION_CONFIG
from examples.iot_anomaly.pipeline import TUNED as CATEGORIES
from examples.iot_anomaly.scoring import (
    Reading,
    Score,
    Span,
    alarms,
    deviations,
    peaks,
    read_readings,
    read_windows,
    score,
)

HERE = Path(__file__).parent
REPORT_FROM = datetime.fromisoformat("2014-01-15")


@dataclass(frozen=True, slots=True)
class Rolling:
    """The baseline's settings, which were tuned on the same part as the judge's."""

    length: int = 672
    smooth: int = 6
    threshold: float = 3.9


ROLLED = Rolling()


@dataclass(frozen=True, slots=True)
class Verdicts:
    """What the judge wrote down: the moments it called an anomaly, and its score of each reading that it judged."""

    anomalies: list[datetime]
    scores: list[tuple[datetime, float]]
    judged: int
    unexpected: int


def read_verdicts(path: Path) -> Verdicts:
    """Return what a file of verdicts holds."""
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    times = [datetime.fromisoformat(row["timestamp"]).replace(tzinfo=None) for row in rows]
    return Verdicts(
        anomalies=[when for when, row in zip(times, rows, strict=True) if row["is_anomaly"]],
        scores=[(when, row["score"]) for when, row in zip(times, rows, strict=True)],
        judged=sum(row["is_unexpected"] is not None for row in rows),
        unexpected=sum(bool(row["is_unexpected"]) for row in rows),
    )


@dataclass(frozen=True, slots=True)
class Way:
    """A way to find anomalies: a score of each reading, and the threshold from which on it is called an anomaly."""

    scores: list[tuple[datetime, float]]
    threshold: float

    def detections(self) -> list[datetime]:
        """Return the moments that it calls an anomaly."""
        return [when for when, value in self.scores if value >= self.threshold]


@dataclass(frozen=True, slots=True)
class Result:
    """What a way found in one part, and the highest scores that it gave there: they say what a threshold could do."""

    score: Score
    highest_inside: float
    highest_outside: float


def ways_of(readings: Sequence[Reading], verdicts: Verdicts, rolling: Rolling = ROLLED) -> dict[str, Way]:
    """Return the judge and the baselines. The rolling z-score begins after as many readings as the judge waits."""
    begin = readings[min(TUNED.warm_up, len(readings) - 1)][0]
    rolled = deviations(readings, rolling.length, rolling.smooth)
    return {
        "KATO and the judge": Way([one for one in verdicts.scores if one[0] >= begin], TUNED.share),
        "rolling z-score": Way([one for one in rolled if one[0] >= begin], rolling.threshold),
        "always quiet": Way([], math.inf),
    }


def compared(
    readings: Sequence[Reading], windows: Sequence[Span], ways: Mapping[str, Way], report_from: datetime
) -> dict[str, dict[str, Result]]:
    """Return, for the part that was tuned on and for the rest, what each way to find anomalies found."""
    begin, end = readings[0][0], readings[-1][0]
    parts = {"tuning": (begin, report_from - timedelta(seconds=1)), "report": (report_from, end)}
    return {
        name: {
            way: Result(score(one.detections(), windows, part), *peaks(one.scores, windows, part))
            for way, one in ways.items()
        }
        for name, part in parts.items()
    }


def table(results: Mapping[str, Mapping[str, Result]], thresholds: Mapping[str, float]) -> str:
    """Return the results as a table in Markdown; a way without a threshold gives no scores."""
    lines = [
        "| part | | windows found | false alarms | highest score in a window | highest elsewhere | threshold |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    for part, found in results.items():
        for way, one in found.items():
            counts = f"{one.score.found} of {one.score.windows} | {one.score.false_alarms}"
            peak = "- | - | -"
            if way in thresholds:
                peak = f"{one.highest_inside:.2f} | {one.highest_outside:.2f} | {thresholds[way]:.2f}"
            lines.append(f"| {part} | {way} | {counts} | {peak} |")
    return "\n".join(lines)


def draw(
    path: Path, readings: Sequence[Reading], windows: Sequence[Span], verdicts: Verdicts, report_from: datetime
) -> None:
    """Draw readings, labelled windows, alarms and the judge's score to a PNG file."""
    import matplotlib.dates
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    # Its types know only numbers on an axis, and its own functions for dates have none.
    dates: Any = matplotlib.dates
    figure = Figure(figsize=(12, 6), layout="constrained")
    FigureCanvasAgg(figure)
    panels: Any = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    above, below = panels
    above.plot([when for when, _ in readings], [value for _, value in readings], color="0.35", linewidth=0.6)
    above.set_ylabel("°F")
    below.plot([when for when, _ in verdicts.scores], [value for _, value in verdicts.scores], linewidth=0.7)
    below.axhline(TUNED.share, color="tab:red", linewidth=0.8, linestyle="--")
    below.set_ylabel(f"unexpected,\nof the last {TUNED.votes}")
    below.set_ylim(0, 1.02)
    # A short alarm would not be seen in a year.
    spans = [(first, max(last, first + timedelta(hours=18))) for first, last in alarms(verdicts.anomalies)]
    for axes in panels:
        for marked, color, alpha, label in (
            (windows, "tab:orange", 0.25, "labelled failure"),
            (spans, "tab:red", 0.6, "alarm"),
        ):
            for index, (first, last) in enumerate(marked):
                axes.axvspan(first, last, color=color, alpha=alpha, label=None if index else label)
        axes.axvline(report_from, color="black", linewidth=1)
    for text, side in (("tuned on this side ", "right"), (" reported", "left")):
        above.annotate(text, (report_from, 0.98), xycoords=("data", "axes fraction"), ha=side, va="top")
    above.legend(loc="lower left")
    locator = dates.AutoDateLocator()
    below.xaxis.set_major_locator(locator)
    below.xaxis.set_major_formatter(dates.ConciseDateFormatter(locator))
    # Without the version of its program in it, the same figures make the same file for longer.
    figure.savefig(path, dpi=100, metadata={"Software": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="a CSV file with the columns timestamp and value")
    parser.add_argument("--windows", type=Path, required=True, help="a JSON file with the windows of each data file")
    parser.add_argument("--detections", type=Path, required=True, help="the file of verdicts that the judge wrote")
    parser.add_argument("--report-from", type=datetime.fromisoformat, default=REPORT_FROM)
    parser.add_argument("--out", type=Path, default=HERE / "figures.json")
    parser.add_argument("--picture", type=Path, default=HERE / "readings.png")
    given = parser.parse_args()
    readings = read_readings(given.data)
    windows = read_windows(given.windows, given.data.name)
    verdicts = read_verdicts(given.detections)
    ways = ways_of(readings, verdicts)
    results = compared(readings, windows, ways, given.report_from)
    thresholds = {name: way.threshold for name, way in ways.items() if way.threshold < math.inf}
    report: dict[str, Any] = {
        "data": given.data.name,
        "readings": len(readings),
        "report_from": given.report_from.isoformat(),
        "categories": asdict(CATEGORIES),
        "session_config": dict(SESSION_CONFIG),
        "judge": asdict(TUNED),
        "rolling_z_score": asdict(ROLLED),
        "thresholds": thresholds,
        "judged": verdicts.judged,
        "unexpected": verdicts.unexpected,
        "parts": {part: {way: asdict(one) for way, one in found.items()} for part, found in results.items()},
        "alarms": [[first.isoformat(), last.isoformat()] for first, last in alarms(verdicts.anomalies)],
    }
    given.out.write_text(json.dumps(report, indent=1) + "\n")
    draw(given.picture, readings, windows, verdicts, given.report_from)
    print(table(results, thresholds))


if __name__ == "__main__":
    main()
