"""What the demos ask the stack: results of tasks, the embedded KATO's patterns, Flower's list."""

from __future__ import annotations

import http.client
import json
import time
from typing import Any, Protocol
from urllib.parse import quote, urlsplit

from celery.exceptions import TimeoutError as NotYet
from celery.result import AsyncResult

from kato_tasks.embedded.stack.stack import Stack, StackFailed

ANSWER_SECONDS = 300.0
FLOWER_SECONDS = 15.0


class Watched(Protocol):
    """What runs beside the one who asks."""

    def check(self) -> None:
        """Raises when a part of it has ended."""
        ...


def answer_of(stack: Watched, result: AsyncResult[Any]) -> dict[str, Any]:
    """A task's result; raises StackFailed when a part ends meanwhile, or when it takes too long."""
    deadline = time.monotonic() + ANSWER_SECONDS
    while True:
        try:
            answer: dict[str, Any] = result.get(timeout=1)
        except NotYet:
            stack.check()
            if time.monotonic() > deadline:
                raise StackFailed(f"task {result.id} has no result after {ANSWER_SECONDS:.0f} s", "worker") from None
        except Exception as exc:
            # What it raised in the worker, of whatever class that is.
            raise StackFailed(f"task {result.id} failed: {exc!r}", "worker") from exc
        else:
            return answer


def patterns_of(stack: Stack, node: str) -> dict[str, Any]:
    """The patterns that the embedded KATO holds of a node, by name."""
    found: dict[str, Any] = get_json(stack.urls["kato"], f"/_embedded/patterns?node={quote(node)}")
    return found


def listed_by_flower(stack: Stack, ids: list[str]) -> int:
    """How many of these tasks Flower lists as done; waits for its events. Raises StackFailed."""
    deadline = time.monotonic() + FLOWER_SECONDS
    while True:
        tasks = get_json(stack.urls["flower"], "/api/tasks?limit=10000")
        done = sum(1 for task_id in ids if tasks.get(task_id, {}).get("state") == "SUCCESS")
        if done == len(ids):
            return done
        stack.check()
        if time.monotonic() > deadline:
            raise StackFailed(f"Flower lists {done} of {len(ids)} tasks as done", "flower")
        time.sleep(0.1)


def get_json(url: str, path: str) -> Any:
    """GET from a part of the stack. Not through a proxy of the environment: it is this machine."""
    where = urlsplit(url)
    connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=10)
    try:
        connection.request("GET", path)
        return json.loads(connection.getresponse().read())
    finally:
        connection.close()
