"""A stack for a run of an application's tests: Redis, an embedded KATO and a worker, in processes of their own."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from celery import Celery

from kato_tasks.celery_tasks.app.making import make_app
from kato_tasks.celery_tasks.app.own_app import app
from kato_tasks.embedded.stack.parts import Part
from kato_tasks.embedded.stack.stack import Stack
from kato_tasks.settings import Settings, given_settings

_PREFIX = "KATO_TASKS_"


class _Stack(Stack):
    """Without Flower, which tests do not look at, and without beat, whose rounds a worker does itself."""

    def _clients(self) -> list[Part]:
        return [part for part in super()._clients() if part.name == "worker"]


class RunningStack:
    """What a test may ask of the stack that runs."""

    def __init__(self, stack: Stack) -> None:
        self.app: Celery = app
        """our Celery app in this process, which uses the stack"""
        self.environment = stack.environment
        """the settings with which another process uses it, as environment variables"""
        self._kato = stack.urls["kato"]

    def own(self, name: str) -> str:
        """A name of a session or node that no other test has: this one, and something random."""
        return f"{name} {uuid.uuid4().hex[:8]}"

    def faults(self, *rules: dict[str, Any]) -> None:
        """Have KATO fail as these rules say (``embedded.kato.faults``); without any it is well again."""
        self._control("faults", {"rules": list(rules), "seed": 1})

    def stats(self) -> dict[str, Any]:
        """What KATO was asked since the start: ``observes``, ``overlaps``, ``requests`` by route, and more."""
        return self._control("stats")

    def _control(self, name: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self._kato}/_embedded/{name}", data)  # noqa: S310  an address of ours
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310  an address of ours
                found: dict[str, Any] = json.loads(answer.read())
        except urllib.error.HTTPError as exc:
            raise ValueError(exc.read().decode()) from None
        return found


@contextmanager
def running_stack() -> Iterator[RunningStack]:
    """Start a stack, have this process use it, and stop it at the end. Call it from the main thread.

    Raises ``kato_tasks.embedded.stack.stack.StackFailed`` when a part cannot start, and ConfigurationError as
    ``make_app`` does. Whatever settings the process was given before, it has again afterwards.
    """
    before = given_settings()
    with ExitStack() as ends:
        stack = ends.enter_context(_Stack())
        given = {name.removeprefix(_PREFIX).lower(): text for name, text in stack.environment.items()}
        app.close()
        if before is not None:
            ends.callback(make_app, before)
        ends.enter_context(make_app(Settings(**given)))
        yield RunningStack(stack)


__all__ = ["RunningStack", "running_stack"]
