"""How detections are compared with labelled windows."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from examples.iot_anomaly.evaluate import ROLLED, Result, Verdicts, compared, draw, read_verdicts, table, ways_of
from examples.iot_anomaly.judging import TUNED as RULES
from examples.iot_anomaly.pipeline import SESSION_CONFIG
from examples.iot_anomaly.pipeline import TUNED as CATEGORIES
from examples.iot_anomaly.scoring import Score, alarms, deviations, peaks, read_readings, read_windows, score

CHECKOUT = Path(__file__).resolve().parents[3]
EXAMPLE = CHECKOUT / "examples" / "iot_anomaly"
TUNING = CHECKOUT / "benchmarks" / "results" / "iot-tuning.json"
BEGIN = datetime.fromisoformat("2014-01-01")
THRESHOLDS = {"KATO and the judge": 0.35, "rolling z-score": 3.9}
PART = (BEGIN, BEGIN + timedelta(days=100))


def after(days: float) -> datetime:
    return BEGIN + timedelta(days=days)


def test_detections_within_a_day_of_each_other_are_one_alarm() -> None:
    assert alarms([after(0), after(1), after(1.5), after(2.6), after(9)]) == [
        (after(0), after(2.6 - 1.1)),
        (after(2.6), after(2.6)),
        (after(9), after(9)),
    ]
    assert alarms([]) == []


def test_a_window_is_found_by_one_reading_in_it_and_an_alarm_outside_all_windows_is_false() -> None:
    windows = [(after(10), after(20)), (after(30), after(40)), (after(200), after(201))]
    assert score([after(5), after(15), after(50), after(50.5)], windows, PART) == Score(2, 1, 2, 3)


def test_an_alarm_that_reaches_into_a_window_is_not_false_though_its_readings_outside_are_counted() -> None:
    assert score([after(19.5), after(20.3), after(21)], [(after(10), after(20))], PART) == Score(1, 1, 0, 2)


def test_an_alarm_in_another_part_counts_for_that_part_alone() -> None:
    assert score([after(-1), after(101)], [], PART) == Score(0, 0, 0, 0)


def test_a_deviation_is_counted_from_the_readings_before_and_smoothed_over_the_last_ones() -> None:
    readings = [(after(day), value) for day, value in enumerate((1.0, 3.0, 1.0, 3.0, 6.0, 2.0))]
    assert deviations(readings, length=4, smooth=1)[0] == (after(4), 4.0)
    ((when, smoothed),) = deviations(readings, length=4, smooth=2)
    assert when == after(5)
    assert smoothed == pytest.approx((4.0 + 1.25 / 1.7853571) / 2)


def test_files_of_readings_and_windows_are_read_as_they_are_published(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("timestamp,value\n2013-07-04 00:00:00,69.88\n")
    (tmp_path / "w.json").write_text('{"a.csv": [["2013-12-15 07:00:00.000000", "2013-12-30 09:00:00.000000"]]}')
    assert read_readings(tmp_path / "a.csv") == [(datetime.fromisoformat("2013-07-04"), 69.88)]
    (window,) = read_windows(tmp_path / "w.json", "a.csv")
    assert [when.isoformat() for when in window] == ["2013-12-15T07:00:00", "2013-12-30T09:00:00"]


def test_the_highest_scores_inside_and_outside_are_those_of_the_part_alone() -> None:
    windows = [(after(10), after(20))]
    scores = [(after(-1), 9.0), (after(5), 2.0), (after(15), 3.0), (after(20), 4.0), (after(30), 1.0)]
    assert peaks(scores, windows, PART) == (4.0, 2.0)
    assert peaks([], windows, PART) == (0.0, 0.0)


def test_the_two_parts_are_reported_apart_with_both_baselines() -> None:
    readings = [(after(hour / 24), 70 + hour % 24 / 10) for hour in range(24 * 60)]
    windows = [(after(30), after(32)), (after(50), after(52))]
    # The first one is in the warm-up.
    found = Verdicts([], [(after(3), 1.0), (after(31), 0.5), (after(45), 0.4), (after(51), 0.3)], 4, 4)
    ways = ways_of(readings, found)
    results = compared(readings, windows, ways, report_from=after(40))
    assert results["tuning"]["KATO and the judge"] == Result(Score(1, 1, 0, 0), 0.5, 0.0)
    assert results["report"]["KATO and the judge"] == Result(Score(1, 0, 1, 1), 0.3, 0.4)
    assert results["report"]["rolling z-score"].score == Score(1, 0, 0, 0)
    assert results["report"]["always quiet"] == Result(Score(1, 0, 0, 0), 0.0, 0.0)
    assert "| report | KATO and the judge | 0 of 1 | 1 | 0.30 | 0.40 | 0.35 |" in table(results, THRESHOLDS)
    assert "| report | always quiet | 0 of 1 | 0 | - | - | - |" in table(results, THRESHOLDS)


def test_the_picture_is_a_png_of_readings_windows_and_detections(tmp_path: Path) -> None:
    row = '{"timestamp": "2014-01-06T00:00:00Z", "is_anomaly": true, "is_unexpected": true, "score": 0.9}\n'
    (tmp_path / "found.jsonl").write_text(row)
    verdicts = read_verdicts(tmp_path / "found.jsonl")
    assert verdicts.anomalies == [after(5)]
    readings = [(after(day), 70.0) for day in range(10)]
    draw(tmp_path / "a.png", readings, [(after(2), after(3))], verdicts, report_from=after(4))
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_the_readme_shows_the_figures_that_were_measured_with_the_settings_of_today() -> None:
    measured = json.loads((EXAMPLE / "figures.json").read_text())
    results = {
        part: {way: Result(**{**one, "score": Score(**one["score"])}) for way, one in found.items()}
        for part, found in measured["parts"].items()
    }
    assert table(results, measured["thresholds"]) in (EXAMPLE / "README.md").read_text()
    assert measured["categories"] == asdict(CATEGORIES)
    assert measured["judge"] == asdict(RULES)
    assert measured["rolling_z_score"] == asdict(ROLLED)


def test_the_settings_are_those_that_the_tuning_found_best() -> None:
    tuned = json.loads(TUNING.read_text())
    best, rolled = tuned["kato"][0], tuned["rolling_z_score"][0]
    assert (best["degrees"], best["hours"], best["votes"]) == (CATEGORIES.degrees, CATEGORIES.hours, RULES.votes)
    assert {k: tuned.get(k, best.get(k)) for k in SESSION_CONFIG} == SESSION_CONFIG
    # Votes are counted, so that a threshold between two counts means the greater one.
    assert math.ceil(RULES.share * RULES.votes) == math.ceil(best["threshold"] * RULES.votes)
    assert (rolled["length"], rolled["smooth"]) == (ROLLED.length, ROLLED.smooth)
    assert rolled["threshold"] == pytest.approx(ROLLED.threshold, abs=0.01)


def test_the_readme_says_how_many_settings_find_the_second_failure() -> None:
    tried = json.loads(TUNING.with_name("iot-tuning-rest.json").read_text())
    readme = (EXAMPLE / "README.md").read_text()
    for way, name in (("kato", "KATO and the judge"), ("rolling_z_score", "rolling z-score")):
        good = [row for row in tried[way] if row["found"] and not row["false_alarms"]]
        finding = [row for row in good if row["rest_found"]]
        false = [row for row in good if row["rest_false_alarms"]]
        both = [row for row in finding if row in false]
        assert f"| {name} | {len(finding)} of {len(good)} | {len(both)} | {len(false) - len(both)} |" in readme
