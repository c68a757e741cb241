"""Sends the steps of a canvas that are not ours to the queue to which their own app would send them.

A worker that does not know the next step's task sends it by its name. The application's process knows the task, so the
queue is written into the signature there, before the signature leaves the process.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, MutableMapping
from typing import Any

from celery import _state
from kombu import Queue

from kato_tasks.celery_tasks.app.home import home_app
from kato_tasks.celery_tasks.app.queueing import CELERYS, OURS
from kato_tasks.telemetry.log_events import log_event

log = logging.getLogger(__name__)
_CARRIED = ("serializer", "compression", "priority", "expires", "time_limit", "soft_time_limit", "ignore_result")
"""Those options of a task with which its message is sent."""
_told: set[str] = set()


def address(steps: Any) -> None:
    """Write into each signature, at any depth, where its task's own app sends it; one that names a queue keeps it."""
    if isinstance(steps, list | tuple):
        for step in steps:
            address(step)
    elif isinstance(steps, MutableMapping) and "task" in steps:
        _address_one(steps)


def _address_one(step: MutableMapping[str, Any]) -> None:
    options = step.get("options")
    inner = step.get("kwargs") or {}
    if step.get("subtask_type"):
        for name in ("tasks", "header", "body"):
            address(inner.get(name))
    if not isinstance(options, MutableMapping):
        return
    for name in ("link", "link_error", "chain", "chord"):
        address(options.get(name))
    task = step["task"]
    if task.startswith((OURS, CELERYS)) or "queue" in options or "exchange" in options:
        return
    known = _known(step, task)
    if known is not None:
        _write(step, options, known)


def _known(step: Any, name: str) -> Any:
    """Return the signature's task if this process knows it on an app that can say where it goes, else None."""
    known = getattr(step, "_type", None)
    if known is None:
        running = _state.get_current_worker_task()
        app = getattr(step, "_app", None) or (running.app if running is not None else home_app())
        known = app._tasks.get(name)  # noqa: SLF001  app.tasks would finalize it
    if known is None:
        return None
    return None if _is_fallback(known.app) else known


def _is_fallback(app: Any) -> bool:
    """Whether Celery made this app itself because a shared task is used in a process without an app."""
    return app is _state.default_app and app.main == "default" and not app._config_source  # noqa: SLF001  no public name


def _write(step: Mapping[str, Any], options: MutableMapping[str, Any], known: Any) -> None:
    own = {name: value for name, value in known._get_exec_options().items() if value is not None}  # noqa: SLF001
    carried = {name: own[name] for name in _CARRIED if name in own and _is_json(own[name])}
    if known.ignore_result:
        carried["ignore_result"] = True
    route = known.app.amqp.router.route(dict(own), known.name, step.get("args"), step.get("kwargs"), known)
    queue = route.get("queue")
    for name in ("exchange", "routing_key"):
        if route.get(name):
            carried[name] = getattr(route[name], "name", route[name])
    if queue is not None:
        carried["queue"] = queue.name if isinstance(queue, Queue) else str(queue)
    for name, value in carried.items():
        options.setdefault(name, value)
    _tell_of_another_broker(known)


def _tell_of_another_broker(known: Any) -> None:
    theirs, ours = known.app.conf.broker_write_url, home_app().conf.broker_write_url
    if theirs == ours or known.name in _told:
        return
    _told.add(known.name)
    meaning = (
        "its app has another broker than kato_tasks, whose workers send it to theirs; give both the same broker, or "
        "put our tasks on that app with kato_tasks.install"
    )
    log_event(log, logging.WARNING, "step.elsewhere", task=known.name, meaning=meaning)


def _is_json(value: Any) -> bool:
    try:
        json.dumps(value)
    except (TypeError, ValueError):
        return False
    return True


__all__ = ["address"]
