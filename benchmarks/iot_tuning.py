"""Which settings tell a sensor's labelled failure from the rest, on the part of its readings that is there for tuning.

    python -m benchmarks.iot_tuning --data ../shared/data/ambient_temperature.csv \
        --windows ../shared/data/anomaly_windows.json [--rest] [--out FILE]

For each way to categorise readings, KATO's own matching (of the embedded KATO, without its HTTP) predicts reading by
reading. Each rule of the judge, and each rolling z-score, gets the threshold that finds the failure with the fewest
false alarms. Of equals the one is best whose scores keep the most room: 1 less the highest score outside the failure
divided by the highest one inside.

Nothing from ``--until`` on is used to choose anything. With ``--rest`` each setting, with the threshold that it got, is
also tried on what comes after, which says how much hangs on the choice. It takes half an hour, with ``--rest`` three
times as long.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from examples.iot_anomaly.judging import Judge, Rules
from examples.iot_anomaly.pipeline import SESSION_CONFIG, Categories, events_of
from examples.iot_anomaly.scoring import Reading, Score, Span, deviations, read_readings, read_windows, score
from kato_tasks.embedded.kato.patterns import Patterns
from kato_tasks.embedded.kato.predicting import PredictionOptions, predict

OUT = Path(__file__).with_name("results") / "iot-tuning.json"
UNTIL = datetime.fromisoformat("2014-01-15")
DEGREES = (2.0, 2.5, 3.0, 4.0, 5.0, 6.0)
HOURS = (24, 12, 8, 6)
THRESHOLDS = (0.1, 0.2)
VOTES = (6, 12, 24, 36, 48)
LENGTHS = (24, 72, 168, 336, 672)
SMOOTHS = (1, 6, 12, 24, 48)
WARM_UP = Rules().warm_up

Scored = list[tuple[datetime, float]]


def prediction_events(
    readings: Sequence[Reading], categories: Categories, threshold: float
) -> Iterator[tuple[datetime, dict[str, Any]]]:
    """What the sink would publish: after each reading what KATO predicts, of its memory as it is then."""
    options = PredictionOptions(recall_threshold=threshold, max_predictions=SESSION_CONFIG["max_predictions"])
    patterns, stm = Patterns(), list[list[str]]()
    for when, value in readings:
        given = {"sensor_id": "sensor", "reading": value, "timestamp": when.isoformat()}
        for event in events_of(given, categories):
            if event["event_type"] == "observation":
                stm.append(sorted(event["observation"]["strings"]))
                answer = json.loads(predict(patterns, stm, options).predictions)
                yield when, {"session_id": "sensor", "predictions": answer, "original_event": event}
                continue
            if event["event_type"] == "learn":
                patterns.learn(stm, [], [], visible_at=0.0, stored=True)
                patterns.show(1.0)
            stm = []


def judged(readings: Sequence[Reading], categories: Categories, threshold: float) -> dict[int, Scored]:
    """The judge's scores after the warm-up, for each number of votes."""
    judges = {votes: Judge(Rules(votes=votes)) for votes in VOTES}
    scores: dict[int, Scored] = {votes: [] for votes in VOTES}
    for number, (when, event) in enumerate(prediction_events(readings, categories, threshold), 1):
        for votes, judge in judges.items():
            verdict = judge.judge(event)
            if verdict is not None and verdict.is_unexpected is not None and number > WARM_UP:
                scores[votes].append((when, verdict.score))
    return scores


def figures(scores: Scored, windows: Sequence[Span], parts: Sequence[Span]) -> dict[str, Any]:
    """The threshold that finds the first part's window with the fewest false alarms, how many there are, and its room.

    Then what that threshold finds in the other part, if there is one.
    """
    end = parts[0][1]
    inside = max(score for when, score in scores if when <= end and any(a <= when <= b for a, b in windows))
    outside = max(score for when, score in scores if when <= end and not any(a <= when <= b for a, b in windows))
    threshold = (inside + outside) / 2 if inside > outside else inside
    detections = [when for when, one in scores if one >= threshold]
    done = [score(detections, windows, part) for part in parts]
    return {
        "inside": round(inside, 4),
        "outside": round(outside, 4),
        "threshold": round(threshold, 4),
        "found": done[0].found,
        "false_alarms": done[0].false_alarms,
        "room": round(1 - outside / inside, 4),
    } | {name: value for rest in done[1:] for name, value in _rest(rest).items()}


def _rest(found: Score) -> dict[str, Any]:
    return {"rest_found": found.found, "rest_false_alarms": found.false_alarms}


def best_first(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(rows, key=lambda row: (row["false_alarms"], -row["room"]))


def one_row_a_line(report: dict[str, Any]) -> str:
    """The report as JSON that people can read, and whose versions can be compared."""

    def text(value: Any) -> str:
        return "[\n  " + ",\n  ".join(map(json.dumps, value)) + "\n ]" if isinstance(value, list) else json.dumps(value)

    return "{\n " + ",\n ".join(f"{json.dumps(name)}: {text(value)}" for name, value in report.items()) + "\n}\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--windows", type=Path, required=True)
    parser.add_argument("--until", type=datetime.fromisoformat, default=UNTIL)
    parser.add_argument("--rest", action="store_true", help="try each setting on the rest, too")
    parser.add_argument("--recall", type=float, nargs="*", default=THRESHOLDS, help="recall thresholds to try")
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args()
    all_readings = read_readings(given.data)
    tuning = [one for one in all_readings if one[0] < given.until]
    readings = all_readings if given.rest else tuning
    parts = [(tuning[0][0], tuning[-1][0]), (given.until, all_readings[-1][0])][: 1 + given.rest]
    windows = read_windows(given.windows, given.data.name)
    kato: list[dict[str, Any]] = []
    for degrees, hours, threshold in itertools.product(DEGREES, HOURS, given.recall):
        for votes, scores in judged(readings, Categories(degrees, hours), threshold).items():
            of = {"degrees": degrees, "hours": hours, "recall_threshold": threshold, "votes": votes}
            kato.append(of | figures(scores, windows, parts))
        print(json.dumps(best_first(kato[-len(VOTES) :])[0]), flush=True)
    rolling: list[dict[str, Any]] = []
    for length, smooth in itertools.product(LENGTHS, SMOOTHS):
        after = readings[WARM_UP][0]
        scores = [one for one in deviations(readings, length, smooth) if one[0] >= after]
        rolling.append({"length": length, "smooth": smooth} | figures(scores, windows, parts))
    report = {
        "until": given.until.isoformat(),
        "readings": len(tuning),
        "windows": sum(first < given.until for first, _ in windows),
        "warm_up": WARM_UP,
        "max_predictions": SESSION_CONFIG["max_predictions"],
        "kato": best_first(kato),
        "rolling_z_score": best_first(rolling),
    }
    # One setting a line, so that two reports can be compared.
    given.out.write_text(one_row_a_line(report))
    print(json.dumps({"best": report["kato"][0], "rolling_z_score": report["rolling_z_score"][0]}, indent=1))


if __name__ == "__main__":
    main()
