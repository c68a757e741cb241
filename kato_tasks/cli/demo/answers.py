"""Ask the stack for what the demos show: results of tasks, the embedded KATO's patterns, and Flower's list."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Sequence
from typing import Any, Protocol
from urllib.parse import quote, urlsplit

from celery.exceptions import TimeoutError as NotYet
from celery.result import AsyncResult

from kato_tasks.embedded.stack.stack import Stack, StackFailed

ANSWER_SECONDS = 300.0
FLOWER_SECONDS = 15.0
SHOWN = 2
"""How many ways to go on the demos show."""


class Watched(Protocol):
    """Describes what must keep running while a demo waits for an answer."""

    def check(self) -> None:
        """Raise an error when a part of it has ended."""
        ...


def wait_for_answer(stack: Watched, result: AsyncResult[Any]) -> dict[str, Any]:
    """Return a task's result. Raises StackFailed when a part ends meanwhile, or when the result takes too long."""
    deadline = time.monotonic() + ANSWER_SECONDS
    while True:
        try:
            answer: dict[str, Any] = result.get(timeout=1)
        except NotYet:
            stack.check()
            if time.monotonic() > deadline:
                raise StackFailed(f"task {result.id} has no result after {ANSWER_SECONDS:.0f} s", "worker") from None
        except Exception as exc:
            # The task may have raised an exception of any class in the worker.
            raise StackFailed(f"task {result.id} failed: {exc!r}", "worker") from exc
        else:
            return answer


def pick_best_ways(predictions: Sequence[dict[str, Any]]) -> list[tuple[str, dict[str, Any]]]:
    """Return the first ways in which the predictions go on, in words, each with the best prediction of it.

    Several patterns may go on in the same way.
    """
    ways: dict[str, dict[str, Any]] = {}
    for prediction in predictions:
        if prediction["future"]:
            ways.setdefault(" → ".join(one for event in prediction["future"] for one in event), prediction)
    return list(ways.items())[:SHOWN]


def read_patterns(stack: Stack, node: str) -> dict[str, Any]:
    """Return the patterns that the embedded KATO holds for a node, by name."""
    found: dict[str, Any] = get_json(stack.urls["kato"], f"/_embedded/patterns?node={quote(node)}")
    return found


def count_listed_by_flower(stack: Stack, ids: list[str]) -> int:
    """Return how many of these tasks Flower lists as done, after waiting for its events. Raises StackFailed."""
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
    """Return the JSON that a part of the stack answers to GET.

    No proxy of the environment is used, because the part runs on this machine.
    """
    where = urlsplit(url)
    connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=10)
    try:
        connection.request("GET", path)
        return json.loads(connection.getresponse().read())
    finally:
        connection.close()
