"""An application's own tasks, around ours in its canvases; they write down that they ran."""

from __future__ import annotations

import json
import time
from typing import Any

import redis

from kato_tasks import app
from kato_tasks.settings import settings


def _note(name: str, value: Any) -> None:
    with redis.Redis.from_url(settings().store_url.removesuffix("/2") + "/3") as client:
        client.rpush(name, json.dumps(value))


@app.task(name="tests.remember")  # type: ignore[untyped-decorator]
def remember(value: Any, name: str) -> Any:
    """Write `value` down under `name` and hand it on."""
    _note(name, value)
    return value


@app.task(name="tests.tarry")  # type: ignore[untyped-decorator]
def tarry(seconds: float) -> None:
    """Hold a worker's slot."""
    time.sleep(seconds)


@app.task(name="tests.remember_failure")  # type: ignore[untyped-decorator]
def remember_failure(request: Any, exc: Any, traceback: Any) -> None:
    """An errback: write down which task failed, and how."""
    _note("failures", [request.id, type(exc).__name__, str(exc)])
