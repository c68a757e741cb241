"""What the tests of calls and their results share: a system on which a result comes soon, also that of a refusal."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import redis

from kato_tasks.celery_app import app
from kato_tasks.testing.services import KatoServer, RedisServer
from tests.integration.system import Json, System

OWN_TASKS = ("--include", "tests.integration.user_tasks", "-Q", "kato.*")
"""Options of a worker that serves the queue of the application's own tasks (`user_tasks.py`) beside ours."""


@contextlib.contextmanager
def a_system_that_refuses_soon(
    broker: RedisServer, store: RedisServer, kato: KatoServer, directory: Path, **more: str
) -> Iterator[System]:
    """Events whose attempts are used up become dead letters, at the second attempt."""
    store.start()
    kato.start()
    settings = {"max_retries": "1", "backoff_base_seconds": "0.05", "on_exhausted": "dead_letter"}
    system = System(broker, store, kato, directory, **{**settings, **more})
    with system.here():
        system.empty()
        yield system


def seen(*strings: str) -> Json:
    return {"strings": list(strings)}


def noted(system: System, key: str) -> list[Any]:
    """What the application's own tasks wrote down under this key."""
    with redis.Redis.from_url(system.store.url.removesuffix("/0") + "/3") as client:
        return [json.loads(row) for row in client.lrange(key, 0, -1)]


@contextlib.contextmanager
def closing_what_celery_opened() -> Iterator[None]:
    """Put this around what a thread of a test does that waits for results with `get`, and that ends before the test.

    Celery has a result backend for each thread that asks it. Its sockets would stay open until the cycle collector
    comes, in some later test, and a socket that it takes before its owner is a ResourceWarning there.
    """
    try:
        yield
    finally:
        app.backend.client.connection_pool.disconnect()
