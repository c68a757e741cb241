"""Wake-ups: at most one outstanding per shard; losing, repeating or reordering them is harmless."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

from kato_tasks.bootstrap import WAKE_SECONDS, Runtime
from kato_tasks.celery_app import CONTROL_QUEUE, app
from kato_tasks.domain.ids import queue_of
from kato_tasks.instrumentation import say

log = logging.getLogger(__name__)
DRAIN = "kato_tasks.drain"
DRAIN_OVERDUE = "kato_tasks.drain_overdue"
OPTIONS: Any = {"ignore_result": True, "expiration": WAKE_SECONDS}
"""No `expires`: that is the sender's clock against the worker's, and one that is ahead would discard every wake-up.
`expiration` is RabbitMQ's own clock. On Redis the mark bounds them: one a minute for a shard that nobody serves."""


def wake(rt: Runtime, partitions: Iterable[int]) -> None:
    """Send a wake-up to each of the partitions' shards that has none outstanding.

    A broker that is away does not raise: the sweep finds what is due.
    """
    send_wakeups(rt.marks_set(partitions))


def send_wakeups(shards: Iterable[int]) -> None:
    """Send a wake-up to each of these shards, whose marks are set. A broker that is away does not raise."""
    for shard in shards:
        try:
            app.send_task(DRAIN, (shard,), queue=queue_of(shard), **OPTIONS)
        except Exception as exc:
            # OperationalError as a rule, but kombu also lets other errors of a dead connection through.
            say(log, logging.WARNING, "wakeup.unsent", shard=shard, error=exc)
            return


def overtake(rt: Runtime, shards: Iterable[int]) -> None:
    """Send a wake-up of these shards past their own queues, through the control queue, unless one is on its way.

    For queues with a backlog: each of its tasks takes a lane of its own, and a wake-up behind them waits for all.
    """
    shards = rt.overdue_marks_set(shards)
    if not shards:
        return
    try:
        app.send_task(DRAIN_OVERDUE, (shards,), queue=CONTROL_QUEUE, **OPTIONS)
    except Exception as exc:
        # As in wake: the next round tries again.
        say(log, logging.WARNING, "wakeup.unsent", shard=shards, error=exc)


def waiting_messages(shard: int) -> int:
    """How many messages wait in a shard's queue (not counting what a worker holds); raises when the broker is away."""
    with app.pool.acquire(block=True, timeout=5) as connection, connection.channel() as channel:
        return int(channel.queue_declare(queue_of(shard), passive=True).message_count)
