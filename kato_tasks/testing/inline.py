"""Everything in one process: the store, KATO and the worker of an application's unit tests.

No server is started and no network is used. The store's own scripts run on fakeredis, the embedded KATO answers in the
same process, and each task runs before the call that sent it returns.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from celery import Celery

from kato_tasks.bootstrap import Outside, forget_runtime, stand_on
from kato_tasks.celery_tasks.app.making import make_app
from kato_tasks.celery_tasks.app.own_app import app
from kato_tasks.embedded.kato.app import App, create_app
from kato_tasks.embedded.kato.control import answer
from kato_tasks.embedded.kato.kato import Request
from kato_tasks.settings import Settings, given_settings
from kato_tasks.testing.fake_store import FakeStoreServer
from kato_tasks.testing.in_process_worker import InProcessWorker
from kato_tasks.testing.kato_in_process import KatoInProcess

BROKER = "memory://"
RESULTS = "cache+memory://"
KATO = "http://kato.in.process"


class Inline:
    """What a test may ask of the process's own KATO, and of its worker."""

    def __init__(self, kato: App, worker: InProcessWorker) -> None:
        self.app: Celery = app
        """our Celery app, with the settings of this test"""
        self._kato = kato
        self._worker = worker

    def faults(self, *rules: dict[str, Any]) -> None:
        """Have KATO fail as these rules say (``embedded.kato.faults``); without any it is well again."""
        self._control("POST", "faults", {"rules": list(rules), "seed": 1})

    def stats(self) -> dict[str, Any]:
        """What KATO was asked: ``observes``, ``overlaps``, ``requests`` by route, and more."""
        return self._control("GET", "stats")

    def work(self) -> None:
        """Take whatever is due now; a thread does the same a few times a second."""
        self._worker.work()

    def _control(self, method: str, name: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        given = b"" if body is None else json.dumps(body).encode()
        told = answer(self._kato.state, Request(method, f"/_embedded/{name}", b"", given))
        if told.status != 200:
            raise ValueError(told.body.decode())
        found: dict[str, Any] = json.loads(told.body)
        return found


@contextmanager
def inline(**settings: Any) -> Iterator[Inline]:
    """Have this process's tasks applied inside it, as long as this lasts; each use begins with nothing.

    ``settings`` are those that the test wants to have (``shards=2``); where broker, store and KATO are is given.
    Whatever settings the process was given before, it has again afterwards. Raises ConfigurationError, as ``make_app``.
    """
    before = given_settings()
    store = FakeStoreServer()
    embedded = create_app(visible_after=0.0)
    places = {"broker_url": BROKER, "result_backend": RESULTS, "kato_urls": (KATO,)}
    with ExitStack() as stack:
        app.close()
        stack.callback(_restore, before)
        stack.callback(stand_on, None)
        stand_on(
            Outside(
                store=store.connect,
                loop_store=store.connect_loop,
                kato=lambda config: KatoInProcess(embedded, timeout_seconds=config.kato_timeout_seconds),
            )
        )
        stack.enter_context(make_app(Settings(**{**settings, **places})))
        worker = InProcessWorker(app)
        stack.enter_context(worker.serving())
        yield Inline(embedded, worker)


def _restore(before: Settings | None) -> None:
    forget_runtime(close=True)
    if before is not None:
        make_app(before)


__all__ = ["Inline", "inline"]
