"""Keep the requests of tasks that wait for their lane, and complete each task where its event is committed."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

from celery.app.trace import build_tracer
from celery.exceptions import BackendError
from kombu.exceptions import OperationalError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from kato_tasks.bootstrap import Runtime
from kato_tasks.celery_tasks.answers import Place, is_error
from kato_tasks.celery_tasks.app.home import home
from kato_tasks.celery_tasks.wakeups import wake_soon
from kato_tasks.domain.ids import partition_of
from kato_tasks.engine.running.slices import SliceResult
from kato_tasks.engine.store_retry import execute_with_retry, raise_errors
from kato_tasks.errors import StoreUnavailable
from kato_tasks.ports.lanes import WaitingTask
from kato_tasks.ports.waiting_tasks import DropWaitingTask
from kato_tasks.telemetry.log_events import log_event

log = logging.getLogger(__name__)
_answers = threading.local()
Json = dict[str, Any]
PASSING = (StoreUnavailable, OperationalError, BackendError, RedisConnectionError, RedisTimeoutError, OSError)
"""The errors that a store, a broker or a result backend raises while it is away. Trying again later can succeed."""
_NOT_KEPT = frozenset({"_children", "_protected", "called_directly", "args", "kwargs", "kato_told"})


@cache
def _tracer(app: Any, name: str, strict: bool, backend: Any) -> Any:  # noqa: ARG001  Celery's tracer keeps it
    return build_tracer(name, app.tasks[name], app=app, propagate=strict)


def _traced(task_id: str, stored: Mapping[str, Any], *, strict: bool) -> Any:
    app = home()
    trace = _tracer(app, stored["task"], strict, app.backend)
    return trace(task_id, [], dict(stored["kwargs"]), dict(stored["request"]))


def answer_being_delivered(task_id: str) -> str | None:
    """Return the stored answer if this thread is completing ``task_id`` with one, and None otherwise."""
    known: tuple[str, str] | None = getattr(_answers, "current", None)
    return known[1] if known is not None and known[0] == task_id else None


def request_to_keep(task: Any, call: Mapping[str, Any]) -> Json:
    """Return a task's request as it is kept until its event is applied.

    It holds what Celery's tracer needs to finish the task.
    """
    request = {k: v for k, v in vars(task.request).items() if k not in _NOT_KEPT}
    return {"task": task.name, "kwargs": dict(call), "request": request}


def dump_waiting_request(stored: Mapping[str, Any], place: Place) -> str:
    """Return a request as JSON, as it waits in the store, with the place at which it looks for its event."""
    return json.dumps({**stored, "request": {**stored["request"], "kato": place}}, default=str)


def finish_slice(rt: Runtime, done: SliceResult) -> None:
    """Complete the waiting tasks whose results a slice has brought, and wake the lanes that are due now or soon."""
    complete(rt, ((done.lane_of[tasks.session], tasks) for tasks in done.completed))
    if done.due_lanes:
        rt.wake({partition_of(lane) for lane in done.due_lanes})
    if done.due_soon:
        wake_soon(rt, {partition_of(lane): due_ms for lane, due_ms in done.due_soon.items()})


def complete(rt: Runtime, completed: Iterable[tuple[str, WaitingTask]]) -> None:
    """Finish waiting tasks with Celery's own tracer: state, result, links, chains, chords.

    ``completed`` has pairs of a lane and the tasks that wait in it for one event. A task's waiting request is dropped
    only after the task is finished, so if the worker dies in between, the repetition is harmless. While the store, the
    broker or the result backend is away, the tasks go on waiting, and the sweep completes them.
    """
    broker_away = False
    for lane, waiting in completed:
        for task_id, text in waiting.requests.items():
            try:
                stored = json.loads(text)
                if broker_away and (stored["request"].get("callbacks") or stored["request"].get("chain")):
                    continue
                answer = _answer_for(rt, waiting, task_id, stored)
                if answer is None:
                    continue
                finish(task_id, stored, answer)
                waits_in = (stored["request"].get("kato") or {}).get("lane") or lane
                raise_errors(
                    execute_with_retry(
                        rt.store, [DropWaitingTask(waits_in, waiting.session, waiting.event_id, task_id)]
                    )
                )
            except PASSING as exc:
                log_event(log, logging.WARNING, "task.completion_postponed", id=task_id, error=exc)
                if not isinstance(exc, OperationalError):
                    return
                broker_away = True  # the others need no broker
            except Exception:
                log_event(log, logging.ERROR, "task.completion_failed", id=task_id, exc_info=True)


def _answer_for(rt: Runtime, waiting: WaitingTask, task_id: str, stored: Mapping[str, Any]) -> str | None:
    """Return a waiting task's answer, or None if it goes on waiting at the place where its event is now."""
    task, call = home().tasks[stored["task"]], stored["kwargs"]
    place = stored["request"].get("kato")
    if waiting.result:
        return str(task.own(rt, call, place, waiting.result)) if place else waiting.result
    sought = task.look_again(rt, call, task_id, stored)
    if sought.answer is None and place and place["lane"] != sought.place["lane"]:
        raise_errors(
            execute_with_retry(rt.store, [DropWaitingTask(place["lane"], waiting.session, waiting.event_id, task_id)])
        )
    answer: str | None = sought.answer
    return answer


def finish(task_id: str, stored: Mapping[str, Any], answer: str) -> None:
    """End a task with this answer, as a worker would. Raises one of ``PASSING`` while its end cannot be told.

    Celery's tracer marks a step as failed when its next step cannot be sent, though the step's event is in KATO. So an
    answer that is not an error is traced by a tracer that raises, and a passing error leaves the task for a later try.
    """
    outer = getattr(_answers, "current", None)
    _answers.current = (task_id, answer)
    try:
        try:
            traced = _traced(task_id, stored, strict=not is_error(answer))
        except PASSING:
            raise
        except Exception as exc:
            log_event(log, logging.WARNING, "task.next_refused", id=task_id, error=exc)
            traced = _traced(task_id, stored, strict=False)
    finally:
        _answers.current = outer
    failed = traced.info is not None and traced.info.state == "FAILURE"
    try:
        with home().events.default_dispatcher(hostname=stored["request"].get("hostname")) as events:
            if failed:
                events.send("task-failed", uuid=task_id, exception=repr(traced.info.retval), traceback="")
            else:
                events.send("task-succeeded", uuid=task_id, result=traced.retstr, runtime=traced.runtime)
    except Exception as exc:
        # Only Flower misses something: the result is stored, and links and chords were sent.
        log_event(log, logging.WARNING, "task.event_unsent", id=task_id, error=exc)
