"""Guards a worker against what a lost connection to its broker can do to it (Celery 5.7).

On Redis, kombu puts unacknowledged messages back when a channel closes. If the channel closes because the connection is
gone, this needs a connection again, fails with AttributeError or a connection error, and ends the worker's main
process. An acknowledgement that was waiting for its turn when the channel closed does the same. Nothing is lost by
omitting both: the visibility timeout brings those messages back.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from kato_tasks.telemetry.log_events import log_event

log = logging.getLogger(__name__)


def guard_redis_transport() -> None:
    """Let this process's Redis channels in kombu survive the loss of their connection."""
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
                log_event(log, logging.WARNING, "broker.messages_left", messages=held, error=exc)
                self._delivered.clear()

        def ack(self, delivery_tag: Any) -> None:
            with self._as_a_lost_connection():
                super().ack(delivery_tag)

        def reject(self, delivery_tag: Any, requeue: bool = False) -> None:
            with self._as_a_lost_connection():
                super().reject(delivery_tag, requeue)

        @contextmanager
        def _as_a_lost_connection(self) -> Iterator[None]:
            """Turn kombu's AttributeError, which ends a worker, into ConnectionError, after which Celery goes on."""
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
    for its confirmation, and once in some thousands of events that never came (Celery 5.7 and amqp 5.4, ``-P threads``,
    in 2 of 8 runs under load): the thread then waits indefinitely under the dispatcher's lock, and so does the worker.
    A lost event costs Flower one line. Task messages use other connections and are still confirmed.
    """
    from celery.events.dispatcher import EventDispatcher

    class UnconfirmedEvents(EventDispatcher):
        def enable(self) -> None:
            super().enable()
            # A channel that was passed in belongs to the producer pool, which sends tasks on it.
            channel = None if self.channel is not None else self.producer.channel
            if channel is not None and hasattr(channel, "basic_publish_confirm"):
                channel.basic_publish = channel._basic_publish  # noqa: SLF001  amqp has no public name for it

    app.events.dispatcher_cls = UnconfirmedEvents
