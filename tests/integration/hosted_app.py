"""An application with a Celery app of its own: ours are on it when HOSTED is set, and only called without it.

Its broker and result backend are its own business (HOST_BROKER, HOST_BACKEND), and so is the kind of its queue
(HOST_QUORUM); what ran is written down in HOST_NOTES.
"""

from __future__ import annotations

import json
import os
from typing import Any

import redis
from celery import Celery, chain, shared_task

import kato_tasks

app = Celery("hosted", broker=os.environ["HOST_BROKER"], backend=os.environ["HOST_BACKEND"])
app.conf.task_default_queue = os.environ.get("HOST_QUEUE", "shop")
app.conf.task_routes = {"*": {"queue": app.conf.task_default_queue}}
app.conf.beat_schedule = {"count": {"task": "hosted.count", "schedule": 0.5}}
if os.environ.get("HOST_QUORUM"):
    app.conf.task_default_queue_type = "quorum"
if os.environ.get("HOSTED"):
    kato_tasks.install(app)


def note(name: str, value: Any) -> None:
    with redis.Redis.from_url(os.environ["HOST_NOTES"]) as client:
        client.rpush(name, json.dumps(value))


@app.task(name="hosted.notify")  # type: ignore[untyped-decorator]
def notify(value: Any, name: str) -> Any:
    """The step after one of ours."""
    note(name, value)
    return value


@app.task(name="hosted.failed")  # type: ignore[untyped-decorator]
def failed(task_id: str) -> None:
    """An errback: our workers know it by its name only, so it gets the failed task's id."""
    note("failed", task_id)


@app.task(name="hosted.count")  # type: ignore[untyped-decorator]
def count() -> None:
    """What its own beat sends."""
    note("counted", 1)


@shared_task(name="hosted.visit")  # type: ignore[untyped-decorator]
def visit(session: str) -> str:
    """A task of its own that calls ours; in the chain the host's worker sends ours as the next step."""
    observed = kato_tasks.observe.delay(session, {"strings": ["from its own task"]})
    steps = chain(notify.s("steps", session), kato_tasks.observe.si(session, {"strings": ["next"]}))
    steps |= notify.s(f"{session} ended")
    steps.apply_async()
    return str(observed.id)
