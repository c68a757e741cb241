"""The integration guide's Celery task, written as plainly as it is there, the same with a pool, and an empty one.

Each notes when KATO's answer was back (one small write, some 3 µs), so that latency can be told.
"""

from __future__ import annotations

import os
import time
from functools import cache
from pathlib import Path
from typing import Any

import httpx
from celery import Celery

KATO_URL = os.environ.get("BENCH_KATO_URL", "http://127.0.0.1:8000")

app = Celery("guide", broker=os.environ.get("BENCH_BROKER_URL", "redis://127.0.0.1:6379/3"))
app.conf.update(task_default_queue="guide", broker_connection_retry_on_startup=True)


@app.task(bind=True, max_retries=3)  # type: ignore[untyped-decorator]
def observe(self: Any, session_id: str, observation: dict[str, Any], event: str) -> Any:
    """A new client for every call; a failure is retried after 1, 2, 4 s."""
    try:
        client = httpx.Client(base_url=KATO_URL, timeout=30.0)
        response = client.post(f"/sessions/{session_id}/observe", json=observation)
        response.raise_for_status()
    except Exception as exc:
        raise self.retry(exc=exc, countdown=2**self.request.retries) from exc
    note(event)
    return response.json()


@app.task(bind=True, max_retries=3)  # type: ignore[untyped-decorator]
def observe_pooled(self: Any, session_id: str, observation: dict[str, Any], event: str) -> Any:
    """The same with one client, and so one pool of connections, per process."""
    try:
        response = pool(os.getpid()).post(f"/sessions/{session_id}/observe", json=observation)
        response.raise_for_status()
    except Exception as exc:
        raise self.retry(exc=exc, countdown=2**self.request.retries) from exc
    note(event)
    return response.json()


@app.task(acks_late=True)  # type: ignore[untyped-decorator]
def empty() -> None:
    """Nothing. Late acks, so that an empty queue means that every task was run."""


@cache
def pool(_pid: int) -> httpx.Client:
    """The process's client: a fork's child makes its own."""
    return httpx.Client(base_url=KATO_URL, timeout=30.0)


@cache
def _times(pid: int) -> int:
    path = Path(os.environ.get("BENCH_TIMES", ".")) / f"{pid}.txt"
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)


def note(event: str) -> None:
    os.write(_times(os.getpid()), f"{event} {time.time()}\n".encode())
