"""Tasks that wait for their lane: parked requests, and their completion by whoever commits the event."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterable, Mapping
from typing import Any

from celery.app.trace import trace_task

from kato_tasks.bootstrap import Runtime
from kato_tasks.celery_app import app
from kato_tasks.domain.ids import partition_of
from kato_tasks.engine.patience import patiently, raise_errors
from kato_tasks.engine.wakeup import Slice
from kato_tasks.instrumentation import say
from kato_tasks.ports import Parked, Unpark
from kato_tasks.waking import wake

log = logging.getLogger(__name__)
_answers = threading.local()
_NOT_KEPT = frozenset({"_children", "_protected", "called_directly", "args", "kwargs"})


def answer_known(task_id: str) -> str | None:
    """The result with which this very task is being completed, in this thread."""
    known: tuple[str, str] | None = getattr(_answers, "current", None)
    return known[1] if known is not None and known[0] == task_id else None


def park_request(task: Any, call: Mapping[str, Any]) -> str:
    """A task's request as it is kept until its event is applied: what Celery's tracer needs to finish it."""
    request = {k: v for k, v in vars(task.request).items() if k not in _NOT_KEPT}
    return json.dumps({"task": task.name, "kwargs": dict(call), "request": request}, default=str)


def slice_done(rt: Runtime, done: Slice) -> None:
    """After a slice: complete the parked tasks whose results are there, and wake what is due again."""
    complete(rt, ((done.lane_of[parked.session], parked) for parked in done.completed))
    if done.due_lanes:
        wake(rt, {partition_of(lane) for lane in done.due_lanes})


def complete(rt: Runtime, parked: Iterable[tuple[str, Parked]]) -> None:
    """Finish parked tasks with Celery's own tracer: state, result, links, chains, chords.

    A task's parked entry goes only after that, so a death in between repeats it harmlessly.
    """
    for lane, waiting in parked:
        for task_id, stored in waiting.requests.items():
            try:
                _finish(task_id, json.loads(stored), waiting.result)
            except Exception:
                # Kept parked: the sweep completes it.
                say(log, logging.ERROR, "task.completion_failed", id=task_id, exc_info=True)
                continue
            raise_errors(patiently(rt.store, [Unpark(lane, waiting.session, waiting.event_id, task_id)]))


def _finish(task_id: str, stored: Mapping[str, Any], result: str) -> None:
    task = app.tasks[stored["task"]]
    outer = getattr(_answers, "current", None)
    _answers.current = (task_id, result)
    try:
        traced = trace_task(task, task_id, [], dict(stored["kwargs"]), dict(stored["request"]), app=app)
    finally:
        _answers.current = outer
    failed = traced.info is not None and traced.info.state == "FAILURE"
    try:
        with app.events.default_dispatcher(hostname=stored["request"].get("hostname")) as events:
            if failed:
                events.send("task-failed", uuid=task_id, exception=repr(traced.info.retval), traceback="")
            else:
                events.send("task-succeeded", uuid=task_id, result=traced.retstr, runtime=traced.runtime)
    except Exception as exc:
        # Only Flower misses something: the result is stored, links and chords went out.
        say(log, logging.WARNING, "task.event_unsent", id=task_id, error=exc)
