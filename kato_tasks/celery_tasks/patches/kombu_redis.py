"""Guards against what a broker's connection can do to a worker (Celery 5.7).

Redis: kombu puts unacknowledged messages back when a channel closes. If the channel closes because the connection is
gone, that needs a connection again, fails with AttributeError or a connection error, and ends the worker's main
process. So does an acknowledgement that was waiting for its turn when the channel closed. Nothing is lost by leaving
either: the visibility timeout brings those messages back.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from kato_tasks.telemetry.log_events import say

log = logging.getLogger(__name__)


def guard_redis_transport() -> None:
    """Make kombu's Redis channels of this process survive the loss of their connection."""
    from kombu.transport import redis as transport
    from redis.exceptions import RedisError

    if getattr(transport.Channel.QoS, "kato_guarded", False):
        return

    class GuardedQoS(transport.Channel.QoS):  # type: ignore[misc, valid-type]
        kato_guarded = True

        def restore_unacked(self, client: Any = None) -> None:
            held = len(self._delivered)
            try:
                super().restore_unacked(client)
            except (AttributeError, OSError, RedisError) as exc:
                say(log, logging.WARNING, "broker.messages_left", messages=held, error=exc)
                self._delivered.clear()

        def ack(self, delivery_tag: Any) -> None:
            with self._as_a_lost_connection():
                super().ack(delivery_tag)

        def reject(self, delivery_tag: Any, requeue: bool = False) -> None:
            with self._as_a_lost_connection():
                super().reject(delivery_tag, requeue)

        @contextmanager
        def _as_a_lost_connection(self) -> Iterator[None]:
            """Celery goes on after a ConnectionError, and ends the worker at kombu's AttributeError."""
            try:
                yield
            except AttributeError as exc:
                if self.channel.connection is not None:
                    raise
                raise ConnectionError("the connection to the broker is gone; it delivers the message again") from exc

    transport.Channel.QoS = GuardedQoS


def guard_worker_events(app: Any) -> None:
    """Send the worker's own monitoring events without waiting for RabbitMQ's confirmation of each.

    All pool threads of a worker send their events on one connection, one at a time. With ``confirm_publish`` each waits
    for its confirmation, and once in some thousands that never came (Celery 5.7 and amqp 5.4, ``-P threads``, in 2 of
    8 runs under load): the thread waits for ever under the dispatcher's lock, and with it the worker. An event that
    is lost costs Flower a line; the messages of tasks go by other connections, and are confirmed as ever.
    """
    from celery.events.dispatcher import EventDispatcher

    class UnconfirmedEvents(EventDispatcher):
        def enable(self) -> None:
            super().enable()
            # A channel that was handed in is the producer pool's, which sends tasks on it.
            channel = None if self.channel is not None else self.producer.channel
            if channel is not None and hasattr(channel, "basic_publish_confirm"):
                channel.basic_publish = channel._basic_publish  # noqa: SLF001  amqp has no public name for it

    app.events.dispatcher_cls = UnconfirmedEvents
