"""A worker inside the process that sends: it runs each task when its message is published, as a worker does.

The broker is kombu's ``memory``, so messages are made, serialized and addressed as ever. The task runs in Celery's own
tracer before the call that published its message returns; what it publishes itself is taken when it has ended. One
task runs at a time. A thread takes what comes due later: a countdown, a session that waits, a task with an ETA.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from queue import Empty
from typing import Any

from celery.app.trace import build_tracer
from celery.signals import after_task_publish
from celery.worker.request import Request

from kato_tasks.bootstrap import Runtime, opened_runtime, waker
from kato_tasks.domain.ids import shard_of

log = logging.getLogger(__name__)
LOOK_SECONDS = 0.02
"""How often the thread looks for what is due."""
SOON_SECONDS = 0.5
"""What is due so soon is waited for by the call that appended it: a predict right after a learn, above all."""


class InProcessWorker:
    """Serves every queue of ``app``. Use it as a context manager; it opens nothing that others see."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self._slot = threading.RLock()
        self._running = False
        self._queues: dict[str, None] = {}
        self._due: list[tuple[float, Any]] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look, name="kato-inline", daemon=True)

    @contextmanager
    def serving(self) -> Iterator[InProcessWorker]:
        """Take what is published as long as this lasts."""
        self._drop_messages()
        after_task_publish.connect(self._published, weak=False)
        self._thread.start()
        try:
            yield self
        finally:
            after_task_publish.disconnect(self._published)
            self._stop.set()
            self._thread.join(10)

    # ------------------------------------------------------------------ messages

    def _published(self, exchange: str = "", routing_key: str = "", **_: Any) -> None:
        self._queues[routing_key or exchange] = None
        self.work()

    def work(self) -> None:
        """Run everything that waits or is due, unless this very thread is running it already."""
        with self._slot:
            if self._running:
                return
            self._running = True
            try:
                self._run_all()
            finally:
                self._running = False

    def _run_all(self) -> None:
        until = time.monotonic() + SOON_SECONDS
        while True:
            while self._run_some():
                pass
            rest = self._seconds_to_next(until - time.monotonic())
            if rest is None:
                return
            time.sleep(rest)

    def _run_some(self) -> bool:
        """Run the messages that are there, and what is due in the store; whether there was anything."""
        ran = False
        now = time.time()
        ready = [message for due, message in self._due if due <= now]
        self._due = [(due, message) for due, message in self._due if due > now]
        for message in ready:
            self._run(message)
            ran = True
        for queue in list(self._queues):
            while (message := self._taken(queue)) is not None:
                ran = True
                self._receive(message)
        return self._wake_due() or ran

    def _drop_messages(self) -> None:
        """Drop what an earlier test has left: kombu's memory is one for the whole process."""
        for queue in self._app.amqp.queues:
            while self._taken(queue) is not None:
                pass

    def _taken(self, queue: str) -> Any:
        with self._app.connection_for_read() as connection:
            try:
                return connection.default_channel.basic_get(queue, no_ack=True)
            except (Empty, KeyError):
                return None

    def _receive(self, message: Any) -> None:
        eta = Request(message, app=self._app, hostname="inline").eta if message.headers.get("eta") else None
        if eta is not None and eta > datetime.now(UTC):
            self._due.append((eta.timestamp(), message))
        else:
            self._run(message)

    def _run(self, message: Any) -> None:
        """Run one task, as a worker does."""
        request = Request(message, app=self._app, hostname="inline")
        args, kwargs, embed = message.payload
        context = {**request.request_dict, "is_eager": False, **(embed or {})}
        tracer: Callable[..., Any] = build_tracer(request.task.name, request.task, self._app.loader, app=self._app)
        info = tracer(request.id, args, kwargs, context).info
        if info is not None and info.state == "REJECTED" and info.retval.requeue:
            self._due.append((time.time() + LOOK_SECONDS, message))

    # ------------------------------------------------------------------ the store

    def _wake_due(self) -> bool:
        """Send a wake-up for what is due in the store, as the workers' sweep would; whether there was any."""
        rt = opened_runtime()
        if rt is None:
            return False
        now = rt.figures.now_ms()
        due = {partition for partition, score in _due_times(rt) if score <= now}
        shards = sorted({shard_of(partition, rt.settings.shards) for partition in due})
        for shard in shards:
            rt.marks.clear(shard)
        # No mark is set. A call that appends at this moment would find it, send no wake-up of its own, and return
        # before this thread has applied its events.
        if shards:
            waker().wake(shards)
        return bool(due)

    def _seconds_to_next(self, within: float) -> float | None:
        """How many seconds pass until a lane is due again; None if that is more than ``within``."""
        rt = opened_runtime()
        if rt is None or within <= 0:
            return None
        now = rt.figures.now_ms()
        ahead = [(score - now) / 1000 for _, score in _due_times(rt, ("ready",))]
        first = min(ahead, default=within + 1)
        return max(first, 0.001) if first <= within else None

    def _look(self) -> None:
        while not self._stop.wait(LOOK_SECONDS):
            try:
                now = time.time()
                rt = opened_runtime()
                stored = rt is not None and any(score <= rt.figures.now_ms() for _, score in _due_times(rt))
                if stored or any(due <= now for due, _ in self._due):
                    self.work()
            except Exception:
                log.exception("a look for what is due failed")


def _due_times(rt: Runtime, kinds: tuple[str, ...] = ("ready", "later")) -> Iterator[tuple[int, float]]:
    """When the first lane or kept event of each partition is due (ms); partitions without any are left out."""
    for kind in kinds:
        for key in rt.redis.scan_iter(f"kt:{{p*}}:{kind}", count=10_000):
            first: Any = rt.redis.zrange(str(key), 0, 0, withscores=True)
            if first:
                yield int(str(key).partition("{p")[2].partition("}")[0]), first[0][1]


__all__ = ["InProcessWorker"]
