"""Celery's lines about our tasks, as its own logger would write them."""

from __future__ import annotations

import contextlib
import logging
import pickle
from typing import Any

import pytest
from celery import Celery
from celery.app.trace import TraceInfo
from celery.exceptions import Ignore

from kato_tasks.celery_tasks.lane_task import LaneTask
from kato_tasks.celery_tasks.task_log import CELERYS_LOGGER, GoesBack, LeftWaiting, OurTasksLines, Told, waits_where


class Lines(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage() + (" with a traceback" if record.exc_info else ""))


def logged(error: Exception, filters: bool = True) -> list[str]:
    """What Celery logs of a task that ended with this."""

    def nothing() -> None: ...

    task = Celery("t", set_as_current=False).task(nothing, name="any.task", shared=False)
    logger, lines, ours = logging.getLogger(CELERYS_LOGGER), Lines(), OurTasksLines()
    logger.addHandler(lines)
    if filters:
        logger.addFilter(ours)
    level, propagate = logger.level, logger.propagate
    logger.setLevel(logging.INFO)
    logger.propagate = False
    try:
        task.push_request(id="id", args=(), kwargs={})
        with contextlib.suppress(type(error)):
            try:
                raise error
            finally:
                TraceInfo("IGNORED", error).handle_ignore(task, task.request)
    finally:
        logger.removeHandler(lines)
        logger.removeFilter(ours)
        logger.setLevel(level)
        logger.propagate = propagate
    return lines.lines


def test_a_waiting_task_is_logged_as_waiting_and_not_as_ignored() -> None:
    waits = LeftWaiting(waits_where("ann \x1b[31m", {"position": 7}, "observation"))
    assert logged(waits) == ["Task any.task[id] waits at position 7 of session 'ann \\x1b[31m'"]
    assert "ignored" in logged(waits, filters=False)[0]


@pytest.mark.parametrize(
    ("place", "kind", "said"),
    [
        ({"position": 0, "due": 5}, "observation", "for its time in session 'x'"),
        ({"position": 0}, "predict", "for its turn in session 'x' (predict)"),
    ],
)
def test_what_has_no_position_waits_for_its_time_or_its_turn(place: dict[str, Any], kind: str, said: str) -> None:
    assert waits_where("x", place, kind) == said


def test_a_task_that_was_told_already_and_one_that_goes_back_write_no_line_and_no_traceback() -> None:
    assert logged(Told()) == []
    assert logged(GoesBack("Redis does not answer", requeue=True)) == []


def test_other_tasks_lines_stay_as_celery_writes_them() -> None:
    assert logged(Ignore()) == ["Task any.task[id] ignored"]


@pytest.mark.parametrize("error", [LeftWaiting("here"), Told(), GoesBack("why", requeue=True)])
def test_they_pass_from_a_pool_process_to_its_parent(error: Any) -> None:
    again = pickle.loads(pickle.dumps(error))  # noqa: S301  our own
    assert type(again) is type(error)
    assert getattr(again, "requeue", None) == getattr(error, "requeue", None)


def test_what_an_event_may_end_with_is_expected_of_our_tasks() -> None:
    from kato_tasks.errors import EventConflict, EventRefused, InvalidEvent, NodeConflict, TooManyPredicts

    for error in (EventRefused, EventConflict, InvalidEvent, NodeConflict, TooManyPredicts):
        assert issubclass(error, LaneTask.throws)
