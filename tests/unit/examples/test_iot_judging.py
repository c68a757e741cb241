"""How readings are judged by what was predicted before them."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

import pytest

from examples.iot_anomaly.drive import prediction_events
from examples.iot_anomaly.judge import event_of, write
from examples.iot_anomaly.judging import Judge, Rules, Verdict
from examples.iot_anomaly.pipeline import SESSION_CONFIG, encode
from kato_tasks.testing.inline import Inline

QUICK = Rules(votes=4, share=0.75, warm_up=0)
FUTURE = [["hour:01", "temp:70-75"], ["hour:02", "temp:75-80"]]


def event(
    band: str, hour: int | None = 0, future: Iterable[Any] | None = (), window: str | None = "a", **more: Any
) -> dict[str, Any]:
    """A prediction event; ``future`` is the one future that KATO predicts after this reading, None: no prediction."""
    strings = [f"temp:{band}"] if hour is None else [f"hour:{hour:02d}", f"temp:{band}"]
    return {
        "event_type": "prediction",
        "session_id": "office",
        "timestamp": "2013-07-04T00:00:00Z",
        "predictions": {"predictions": [] if future is None else [{"future": list(future)}]},
        "original_event": {
            "observation": {"strings": strings},
            "timestamp": "2013-07-04T00:00:00",
            "metadata": {} if window is None else {"window": window},
        },
    } | more


def judged(judge: Judge, given: Mapping[str, Any]) -> Verdict:
    verdict = judge.judge(given)
    assert verdict is not None
    return verdict


def test_a_reading_is_judged_by_what_was_predicted_before_it_and_not_by_what_is_predicted_after_it() -> None:
    judge = Judge(QUICK)
    judged(judge, event("70-75", 0, FUTURE))
    after = [["hour:02", "temp:60-65"]]
    verdict = judged(judge, event("60-65", 1, after))
    assert (verdict.is_unexpected, verdict.expected) == (True, ("temp:70-75",))
    assert judged(judge, event("60-65", 2, ())).is_unexpected is False


def test_nothing_is_said_of_a_window_s_first_reading_for_kato_s_memory_was_empty_before_it() -> None:
    judge = Judge(QUICK)
    assert judged(judge, event("70-75", 11, FUTURE)).is_unexpected is None
    verdict = judged(judge, event("90-95", 12, None, window="b"))
    assert (verdict.is_unexpected, verdict.score, verdict.is_anomaly) == (None, 0.0, False)


def test_a_reading_is_unexpected_where_kato_predicted_nothing_in_the_middle_of_a_window() -> None:
    judge = Judge(QUICK)
    judged(judge, event("70-75", 0, None))
    assert judged(judge, event("70-75", 1, None)).is_unexpected is True


def test_nothing_is_said_of_a_reading_before_which_kato_could_not_be_asked() -> None:
    judge = Judge(QUICK)
    judged(judge, event("70-75", 0, None, error="KATO failed it for too long"))
    assert judged(judge, event("70-75", 1, None)).is_unexpected is None


def test_after_a_gap_a_reading_is_compared_with_what_was_predicted_for_its_own_hour() -> None:
    judge = Judge(QUICK)
    judged(judge, event("70-75", 0, FUTURE))
    assert judged(judge, event("75-80", 2, ())).is_unexpected is False


def test_a_reading_without_a_timestamp_is_compared_with_the_next_event_in_either_form_of_kato_s_answer() -> None:
    for future in ([["temp:70-75"], ["temp:75-80"]], ["temp:70-75", "temp:75-80"]):
        judge = Judge(QUICK)
        judged(judge, event("70-75", None, future, window=None))
        judged(judge, event("70-75", None, future, window=None))
        assert judged(judge, event("75-80", None, future, window=None)).is_unexpected is True


def test_the_last_readings_vote_and_enough_unexpected_ones_are_an_anomaly() -> None:
    judge = Judge(QUICK)
    judged(judge, event("70-75", 1, FUTURE))
    verdicts = [
        judged(judge, event(band, 1, FUTURE)) for band in ("0-5", "70-75", "0-5", "0-5", "0-5", "70-75", "70-75")
    ]
    assert [verdict.score for verdict in verdicts] == [0.25, 0.25, 0.5, 0.75, 0.75, 0.75, 0.5]
    assert [verdict.is_anomaly for verdict in verdicts] == [False, False, False, True, True, True, False]


def test_the_first_readings_are_never_an_anomaly() -> None:
    judge = Judge(Rules(votes=2, share=0.5, warm_up=5))
    verdicts = [judged(judge, event("0-5", 1, FUTURE)) for _ in range(7)]
    assert [verdict.is_anomaly for verdict in verdicts] == [False] * 5 + [True] * 2


def test_each_sensor_is_judged_by_its_own_predictions() -> None:
    judge = Judge(QUICK)
    judged(judge, event("70-75", 0, FUTURE))
    assert judged(judge, event("0-5", 1, FUTURE, session_id="cellar")).is_unexpected is None
    assert judged(judge, event("70-75", 1, FUTURE)).is_unexpected is False


def test_an_event_that_the_sink_publishes_twice_votes_once() -> None:
    judge = Judge(QUICK)
    judged(judge, event("70-75", 0, FUTURE, event_id="one"))
    assert judged(judge, event("0-5", 1, FUTURE, event_id="two")).score == 0.25
    assert judge.judge(event("0-5", 1, FUTURE, event_id="two")) is None
    assert judged(judge, event("70-75", 1, FUTURE, event_id="three")).score == 0.25


def test_predictions_for_what_is_no_reading_are_passed_over() -> None:
    judge = Judge(QUICK)
    assert judge.judge(event("x", original_event={"event_type": "learn"})) is None
    assert judge.judge(event("x", original_event=None)) is None
    assert judge.judge(event("x", original_event={"observation": {"strings": ["hour:01", "door"]}})) is None


def test_verdicts_are_written_a_line_each_and_each_alarm_is_printed_once(capsys: pytest.CaptureFixture[str]) -> None:
    lines = io.StringIO()
    windows = {"70-75": "aaa", "0-5": "aaaaab"}
    given = [event(band, 1, FUTURE, window) for band in ("70-75", "0-5", "70-75") for window in windows[band]]
    assert write(given, Judge(QUICK), lines) == 12
    rows = [json.loads(line) for line in lines.getvalue().splitlines()]
    # The reading that begins a window is not judged, and the alarm goes on after it.
    assert [row["is_anomaly"] for row in rows] == [False] * 5 + [True] * 3 + [False] * 2 + [True] + [False]
    printed = capsys.readouterr().out
    assert printed == (
        "ANOMALY DETECTED: office - temp:0-5 at 2013-07-04T00:00:00; 75% of the last readings were not expected\n"
    )


def test_the_judge_says_the_same_of_an_event_of_which_the_encoder_leaves_only_the_futures() -> None:
    whole = [{"future": FUTURE, "matches": ["hour:00"], "sequence": FUTURE}]
    full, slim = Judge(QUICK), Judge(QUICK)
    for band, hour in (("70-75", 0), ("0-5", 1), ("75-80", 2)):
        given = event(band, hour, predictions=whole, future_potentials=[{"future": FUTURE}])
        assert judged(slim, encode(given)) == judged(full, given)
    assert "matches" not in str(encode(given))
    assert "future_potentials" not in encode(given)


def test_an_entry_of_a_redis_stream_is_the_same_event() -> None:
    given = event("70-75", 0, FUTURE, event_id="one")
    fields = {
        name.encode(): (value if isinstance(value, str) else json.dumps(value)).encode()
        for name, value in given.items()
    }
    assert event_of(fields) == given


@pytest.fixture
def kato_tasks_settings() -> dict[str, Any]:
    return {"kato_session_config": dict(SESSION_CONFIG)}


def test_a_sensor_that_fails_after_two_like_days_is_found_and_the_guide_s_own_check_finds_nothing(
    kato_tasks_inline: Inline,
) -> None:
    """The whole pipeline but for the brokers, on a KATO that learns and predicts."""
    sent = [
        {
            "sensor_id": "office",
            "reading": 90.0 if day == 2 and hour > 6 else 70 + 6 * math.sin((hour - 9) / 24 * 2 * math.pi),
            "timestamp": f"2013-07-{4 + day:02d}T{hour:02d}:00:00",
        }
        for day in range(3)
        for hour in range(24 if day < 2 else 12)
    ]
    judge = Judge(Rules(votes=4, share=0.75, warm_up=30))
    published = list(prediction_events(sent, slim=False))
    verdicts = [judged(judge, one) for one in published]
    assert [verdict.timestamp[8:13] for verdict in verdicts if verdict.is_anomaly] == ["06T09", "06T10", "06T11"]
    # It looks for the category in the text of the answer that KATO gives after it has observed that very reading.
    guide = [verdict.category not in str(one["predictions"]) for verdict, one in zip(verdicts, published, strict=True)]
    assert guide[:6] == [True] * 6, "before anything is learned it calls every reading an anomaly"
    assert not any(guide[24:]), "and once KATO predicts anything, none: what no pattern has is among the extras"
