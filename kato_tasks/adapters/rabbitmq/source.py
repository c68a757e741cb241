"""A queue of RabbitMQ as a listener reads it."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any, cast

import amqp

from kato_tasks.adapters.rabbitmq.address import addresses_of, shown
from kato_tasks.adapters.rabbitmq.failing import ERRORS, amqp_errors, unavailable
from kato_tasks.adapters.rabbitmq.link import Link
from kato_tasks.adapters.rabbitmq.queues import QUEUE, prepare, wanted
from kato_tasks.errors import SourceUnavailable
from kato_tasks.ports.sources import Message
from kato_tasks.telemetry.log_events import log_event

log = logging.getLogger(__name__)

PREFETCH = 1_000
HEARTBEAT_SECONDS = 30
AGAIN_SECONDS = 1.0
"""How often a reader that stands by asks whether the queue is free."""


class RabbitmqSource:
    """Reads a queue, alone: as its exclusive consumer, or as one of which the broker keeps a single one active.

    ``url`` is the address of a node, or of several of one cluster with ``;`` between them. ``queue`` is used as it was
    declared. If it is not there, it is made, durable and without arguments, and bound to ``exchange``, a durable topic
    exchange, by ``bindings``. The exchange is ``kato-events`` for the usual queue and '' for any other: then nothing is
    bound, and the queue is left to those who publish to it. ``make`` says otherwise. ``single_active`` and
    ``dead_letter_exchange`` are arguments of a queue that is made here; pika's ``queue_declare(queue, durable=True)``
    fails on it then. ``tls`` are options of py-amqp for an amqps address, ``ca_certs`` above all.

    A message's ``key`` is its routing key; its headers are those of the message, and its content type and encoding.
    Raises ConfigurationError for a URL that is none.
    """

    def __init__(
        self,
        url: str,
        queue: str = QUEUE,
        *,
        exchange: str | None = None,
        bindings: Sequence[str] | None = None,
        make: bool | None = None,
        single_active: bool = False,
        dead_letter_exchange: str = "",
        prefetch: int = PREFETCH,
        heartbeat: int = HEARTBEAT_SECONDS,
        tls: Mapping[str, Any] | None = None,
    ) -> None:
        self.name = f"rabbitmq {queue}"
        self._addresses = addresses_of(url)
        self._where = shown(self._addresses)
        self._want = wanted(
            queue,
            exchange,
            bindings,
            make=make,
            single_active=single_active,
            dead_letter_exchange=dead_letter_exchange,
        )
        self._prefetch = prefetch
        self._heartbeat = heartbeat
        self._tls = tls
        self._has_single_active = single_active
        self._link: Link | None = None
        self._forget()

    def _forget(self) -> None:
        self._channel: Any = None
        self._is_reading = False
        self._ask_at = 0.0
        self._acknowledged = 0
        self._given = 0

    # ------------------------------------------------------------------ the port

    def open(self) -> None:
        """Connect, and make the queue and its bindings if they are missing. Raises SourceUnavailable."""
        self.close()
        self._link = link = self._connect()
        with amqp_errors(self._where):
            self._has_single_active = prepare(link, self._want)
            self._channel = link.channel()

    @property
    def reader_lease(self) -> str:
        """The name of the lease that its reader must hold; '' where the broker keeps one of its consumers active.

        A queue that others have made shows only after ``open`` whether the broker does. Where it does not, it refuses a
        second reader of a classic queue all the same, but not of a quorum queue.
        """
        return "" if self._has_single_active else f"rabbitmq/{self._where}/{self._want.queue}"

    def read(self, most: int, seconds: float) -> list[Message]:
        """Return the next messages; see ``MessageSource.read``. There are none while another one reads the queue."""
        link = self._opened()
        with amqp_errors(self._where):
            if not self._is_reading and not self._begin(link):
                link.rest(min(seconds, AGAIN_SECONDS))
                return []
            messages = link.receive(most, seconds)
        if messages:
            self._given = _tag(messages[-1])
        return messages

    def acknowledge(self, messages: Sequence[Message]) -> None:
        """Note that these messages need not come again.

        Where one of them has no id, so that it could not be known again, this returns only when the broker has it.
        """
        self._opened()
        mine = self.keep(messages)
        last = max(map(_tag, mine), default=0)
        if last <= self._acknowledged:
            return
        with amqp_errors(self._where):
            self._channel.basic_ack(last, multiple=True)
            self._acknowledged = last
            if not all(message.event_id for message in mine):
                # The queue answers this after it has dealt with what the same channel sent before.
                self._count()

    def keep(self, messages: Sequence[Message]) -> list[Message]:
        """Return those of the messages that came over this connection: the broker hands out all others again."""
        run = None if self._link is None else self._link.run
        return [message for message in messages if cast("tuple[object, int]", message.receipt)[0] is run]

    def idle(self, seconds: float) -> None:
        """Stay connected for so long without reading. What the broker sends in advance is kept for the next read."""
        link = self._opened()
        with amqp_errors(self._where):
            link.rest(seconds)

    def lag(self) -> int | None:
        """Return how many messages wait in the queue or are in this reader's hands."""
        link = self._opened()
        with amqp_errors(self._where):
            ready = self._count().message_count
        return int(ready) + link.waiting + self._given - self._acknowledged

    def close(self) -> None:
        """Disconnect; what was not acknowledged goes back to its place in the queue."""
        link, self._link = self._link, None
        self._forget()
        if link is not None:
            link.give_up()

    # ------------------------------------------------------------------ the connection

    def _connect(self) -> Link:
        error: Exception | None = None
        for address in self._addresses:
            link = Link(address, heartbeat=self._heartbeat, tls=self._tls)
            try:
                link.connect()
            except ERRORS as exc:
                link.give_up()
                error = exc
            else:
                return link
        raise unavailable(self._where, error or OSError("no address")) from error

    def _opened(self) -> Link:
        if self._link is None or self._channel is None:
            raise SourceUnavailable(f"{self.name} is not open: open it first")
        return self._link

    def _count(self) -> Any:
        return self._channel.queue_declare(self._want.queue, passive=True)

    def _begin(self, link: Link) -> bool:
        """Have the broker deliver; False while another reader has the queue."""
        if time.monotonic() < self._ask_at:
            return False
        link.read_from(self._want.queue, self._channel)
        self._channel.basic_qos(0, self._prefetch, False)
        if not self._consumes(is_alone=not self._has_single_active):
            counted = self._count()
            if counted.consumer_count:
                if not self._ask_at:
                    log_event(log, logging.INFO, "queue.busy", source=self.name, readers=counted.consumer_count)
                self._ask_at = time.monotonic() + AGAIN_SECONDS
                return False
            # Nobody reads it, and still nobody may be alone: the broker itself keeps one of several active.
            self._channel.basic_qos(0, self._prefetch, False)
            self._consumes(is_alone=False)
        self._is_reading = True
        return True

    def _consumes(self, *, is_alone: bool) -> bool:
        try:
            self._channel.basic_consume(self._want.queue, exclusive=is_alone)
        except amqp.AccessRefused as exc:
            if not is_alone or "exclusive use" not in str(exc.reply_text):
                raise
            return False
        return True


def _tag(message: Message) -> int:
    return cast("tuple[object, int]", message.receipt)[1]


__all__ = ["RabbitmqSource"]
