"""Send wake-ups, of which a shard has at most one outstanding. It is harmless to lose, repeat or reorder them."""

from __future__ import annotations

import logging
import math
import os
import threading
import time
from collections.abc import Awaitable, Iterable, Mapping
from functools import partial
from typing import Any

from kombu.exceptions import KombuError
from kombu.exceptions import OperationalError as BrokerError

from kato_tasks.bootstrap.runtime import Runtime
from kato_tasks.bootstrap.waking import fill_waker
from kato_tasks.celery_tasks.app.home import addresses, home, home_app
from kato_tasks.celery_tasks.calling.publishing import publisher
from kato_tasks.domain.ids import CONTROL_QUEUE, queue_of
from kato_tasks.engine.wakeup_marks import WAKE_SECONDS
from kato_tasks.errors import StoreUnavailable
from kato_tasks.loading import load
from kato_tasks.telemetry.log_events import log_event

log = logging.getLogger(__name__)
DRAIN = "kato_tasks.drain"
DRAIN_OVERDUE = "kato_tasks.drain_overdue"
OPTIONS: Any = {"ignore_result": True, "expiration": WAKE_SECONDS}
"""The options of a wake-up, with `expiration` in seconds.

There is no `expires`, because it compares the sender's clock with the worker's, and a worker whose clock is ahead would
discard every wake-up. `expiration` uses RabbitMQ's own clock. On Redis the mark bounds how many wake-ups collect: a
shard that no worker serves gets one a minute."""


def get_ready() -> None:
    """Load the tasks and finish the app that they are on, in this thread.

    A process in which several threads will wake lanes calls this before it starts them: where one thread finishes the
    app while another one loads the tasks, Celery leaves some of them out.
    """
    load("kato_tasks.celery_tasks.tasks")
    home_app().finalize()


class CeleryWaker:
    """Implements the port ``Waker`` with the Celery app that our tasks are on."""

    def wake(self, shards: Iterable[int]) -> None:
        """Send a wake-up to each of these shards, whose marks are set. A broker that is away does not raise."""
        for shard in shards:
            try:
                home().send_task(DRAIN, (shard,), queue=queue_of(shard), **OPTIONS)
            except Exception as exc:
                # This is usually OperationalError, but kombu also lets other errors of a dead connection through.
                log_event(log, logging.WARNING, "wakeup.unsent", shard=shard, error=exc)
                return

    def wake_from_loop(self, shards: Iterable[int]) -> Awaitable[None]:
        """Send the wake-ups from the thread that publishes for this process's event loops."""
        return publisher().submit(partial(self.wake, shards))

    def try_broker(self, seconds: float) -> tuple[str, str]:
        """Connect to the tasks' broker once; see ``Waker.try_broker``."""
        shown = addresses()["broker_url"]
        try:
            with home_app().connection_for_write(connect_timeout=seconds) as connection:
                connection.ensure_connection(max_retries=1, interval_start=0, interval_step=0, timeout=seconds)
        except (KombuError, BrokerError, OSError) as exc:
            return shown, str(exc) or type(exc).__name__
        return shown, ""


fill_waker(CeleryWaker())


class _Alarm:
    """Sends wake-ups a moment from now, from one thread that ends with the last of them.

    It may lose a wake-up, when its process ends or a clock is wrong. The sweep then finds the lane a second later.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._due: dict[int, float] = {}
        self._rings = False

    def set(self, rt: Runtime, due_ms: Mapping[int, int]) -> None:
        with self._lock:
            for partition, due in due_ms.items():
                self._due[partition] = min(due / 1000 + _AFTER_SECONDS, self._due.get(partition, math.inf))
            if self._rings:
                return
            self._rings = True
        threading.Thread(target=self._ring, args=(rt,), name="kato-alarm", daemon=True).start()

    def _ring(self, rt: Runtime) -> None:
        while True:
            with self._lock:
                now = time.time()
                ready = [partition for partition, due in self._due.items() if due <= now]
                for partition in ready:
                    del self._due[partition]
                if not ready and not self._due:
                    self._rings = False
                    return
                pause = min(self._due.values(), default=now) - now
            if ready:
                try:
                    rt.wake(ready)
                except StoreUnavailable as exc:
                    log_event(log, logging.WARNING, "wakeup.unsent", error=exc)
            elif pause > 0:
                time.sleep(min(pause, _PAUSE_SECONDS))


_AFTER_SECONDS = 0.01
"""Seconds after a lane's due time at which it is woken, since a wake-up that comes too early finds nothing to do."""
_PAUSE_SECONDS = 0.05
"""The longest sleep in seconds, since another lane may be due sooner than the one that the thread sleeps for."""
_alarm = _Alarm()


def _after_fork() -> None:
    global _alarm
    _alarm = _Alarm()


os.register_at_fork(after_in_child=_after_fork)


def wake_soon(rt: Runtime, due_ms: Mapping[int, int]) -> None:
    """Wake each partition when it is due, in ms since 1970 by the store's clock.

    This is for due times that are nearer than the sweep's next second.
    """
    _alarm.set(rt, due_ms)


def send_overtaking_wakeup(rt: Runtime, shards: Iterable[int]) -> None:
    """Send a wake-up of these shards past their own queues, through the control queue, unless one is on its way.

    Use it for queues with a backlog: each of the tasks in it takes a lane of its own, and a wake-up behind them waits
    for all of them. A broker that is away does not raise.
    """
    shards = rt.marks.set_overtaking(shards)
    if not shards:
        return
    try:
        home().send_task(DRAIN_OVERDUE, (shards,), queue=CONTROL_QUEUE, **OPTIONS)
    except Exception as exc:
        # As in wake, any error counts as a broker that is away: the next round tries again.
        log_event(log, logging.WARNING, "wakeup.unsent", shard=shards, error=exc)


def waiting_messages(shard: int) -> int:
    """Return how many messages wait in a shard's queue, without those that a worker holds.

    Raises the connection's error when the broker is away.
    """
    with home().pool.acquire(block=True, timeout=5) as connection, connection.channel() as channel:
        return int(channel.queue_declare(queue_of(shard), passive=True).message_count)
