"""Writes the signs of life (``signs``) of workers and beat, from a thread that nothing else waits for."""

from __future__ import annotations

import logging
import os
import socket
import threading
from typing import Any

from celery.signals import (
    after_task_publish,
    beat_embedded_init,
    beat_init,
    worker_ready,
    worker_shutdown,
    worker_shutting_down,
)

from kato_tasks.api import signs
from kato_tasks.bootstrap import runtime
from kato_tasks.celery_tasks.app.queueing import serves_lanes
from kato_tasks.errors import KatoTasksError
from kato_tasks.telemetry.log_events import log_event
from kato_tasks.version import __version__

log = logging.getLogger(__name__)
BEATS_TASK = "kato_tasks.sweep"


class WorkerSigns:
    """Writes the worker's sign of life from a thread of its parent process."""

    def __init__(self, consumer: Any) -> None:
        self._consumer = consumer
        self._started_ms = 0
        self._stopping = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="kato-signs", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def note_stop(self) -> None:
        """Note that the worker takes no new messages, without waiting: this is called from a signal handler."""
        self._stopping = True

    def stop(self) -> None:
        """End the thread and take the sign back. If the store is away, the sign stays until it expires."""
        self._stop.set()
        self._thread.join(5)
        try:
            signs.withdraw_worker_sign(runtime().store, self.about())
        except KatoTasksError as exc:
            log_event(log, logging.DEBUG, "sign.not_given", error=exc)

    def about(self) -> signs.AboutWorker:
        """Describe the worker as it is now: its queues and its size may change while it runs."""
        worker = self._consumer.controller
        pool = worker.pool_cls if isinstance(worker.pool_cls, str) else worker.pool_cls.__module__
        kind = pool.rpartition(".")[2].partition(":")[0]
        return signs.AboutWorker(
            name=str(self._consumer.hostname),
            pid=os.getpid(),
            host=socket.gethostname(),
            pool="threads" if kind == "thread" else kind,
            concurrency=1 if kind == "solo" else int(worker.concurrency or 0),
            queues=sorted(str(name) for name in list(self._consumer.app.amqp.queues.consume_from)),
            version=__version__,
            started_ms=self._started_ms,
            stopping=self._stopping,
        )

    def _run(self) -> None:
        wait = 0.0
        while not self._stop.wait(wait):
            wait = signs.EVERY_SECONDS
            try:
                rt = runtime()
                self._started_ms = self._started_ms or rt.figures.now_ms()
                signs.give_worker_sign(rt.store, self.about())
            except KatoTasksError as exc:
                log_event(log, logging.DEBUG, "sign.not_given", error=exc)  # that the store is away is logged elsewhere
            except Exception:
                log_event(log, logging.ERROR, "sign.not_given", exc_info=True)


class BeatSigns:
    """Writes beat's sign of life from a thread, so that beat publishes on time even if the store is away or hangs."""

    def __init__(self) -> None:
        self._published = threading.Event()
        self._thread: threading.Thread | None = None

    def note_published(self) -> None:
        """Note that beat has just published the sweep."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="kato-beat-signs", daemon=True)
            self._thread.start()
        self._published.set()

    def _run(self) -> None:
        while True:
            self._published.wait()
            self._published.clear()
            try:
                signs.give_beat_sign(runtime().store, __version__)
            except KatoTasksError as exc:
                log_event(log, logging.DEBUG, "sign.not_given", error=exc)
            except Exception:
                log_event(log, logging.ERROR, "sign.not_given", exc_info=True)


_worker: list[WorkerSigns] = []
_beat = BeatSigns()


@worker_ready.connect(weak=False)
def begin_signs(sender: Any, **_: Any) -> None:
    """Start the worker's signs of life; a worker that begins again after it lost its broker continues them.

    A host's worker that takes none of our messages gives no sign, because nothing of ours depends on it.
    """
    if _worker or not serves_lanes(sender.app):
        return
    given = WorkerSigns(sender)
    _worker.append(given)
    given.start()


@worker_shutting_down.connect(weak=False)
def say_that_it_stops(**_: Any) -> None:
    """Note that the worker only finishes what it has, and so no longer serves its queues."""
    for given in _worker:
        given.note_stop()


@worker_shutdown.connect(weak=False)
def take_the_sign_back(**_: Any) -> None:
    """Take back the sign of a worker that stopped well, so that it is not reported as missing."""
    while _worker:
        _worker.pop().stop()


@beat_init.connect(weak=False)
@beat_embedded_init.connect(weak=False)
def watch_beat(**_: Any) -> None:
    """Connect to beat's publishing, in beat's process only: other processes that publish a sweep are not beat."""
    after_task_publish.connect(note_that_beat_published, sender=BEATS_TASK, weak=False)


def note_that_beat_published(**_: Any) -> None:
    """Note that beat sent our sweep; Celery calls this right afterwards, with any scheduler."""
    _beat.note_published()
