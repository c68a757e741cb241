"""Publishes messages to an exchange of RabbitMQ."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Sequence
from typing import Any

import amqp
from amqp.exceptions import NotFound, PreconditionFailed

from kato_tasks.adapters.rabbitmq.confirms import Confirms
from kato_tasks.adapters.rabbitmq.connecting import BLOCKED, ERRORS, address_of, clause, connect, disconnect, drop
from kato_tasks.errors import SourceUnavailable
from kato_tasks.ports.senders import CONTENT_TYPE, MessageRefused, Outgoing

MAX_SHORT_BYTES = 255
"""How long AMQP lets a routing key and a message_id be, in UTF-8."""
_TOO_LARGE = re.compile(r"message size (\d+) (?:is )?larger than")


class RabbitmqSender:
    """Publishes each message to an exchange, persistent, and waits until RabbitMQ has confirmed all of a ``send``.

    It is a ``ports.senders.Sender``. The exchange is used as it was declared; one that does not exist is declared, a
    durable topic exchange. ``''`` is RabbitMQ's default exchange, for which the routing key is a queue's name.

    ``{key}`` in ``routing_key`` stands for the message's key. A routing key or a message_id that is longer than AMQP's
    255 bytes ends in 12 hex digits of its SHA-1 instead of what is too much, so that one key always gives the same one.

    A message that no queue gets comes back, and is an error. ``seconds`` is how long RabbitMQ may take for an answer.
    """

    def __init__(
        self, url: str, exchange: str, routing_key: str = "observations.{key}", *, seconds: float = 10.0
    ) -> None:
        self.name = f"rabbitmq {exchange or routing_key}"
        self._url = url
        self._exchange = exchange
        self._routing_key = routing_key
        self._seconds = seconds
        self._connection: Any = None
        self._confirms: Confirms | None = None
        self._pid = 0
        self._blocked = False
        self._alone = 0
        """how many of the next messages are sent alone, each after the one before it was confirmed"""

    def send(self, messages: Sequence[Outgoing]) -> None:
        """See ``ports.senders.Sender.send``.

        The first message of a connection goes alone: where no queue is bound, and one is bound a moment later, those
        behind a message that came back would overtake it. After such an error every message of the next ``send`` goes
        alone, for the same reason.
        """
        self._leave_to_parent()
        try:
            done = 0
            while done < len(messages):
                confirms = self._channel()
                step = 1 if self._alone else len(messages)
                self._publish(confirms, messages[done : done + step], len(messages))
                self._alone = max(0, self._alone - 1)
                done += step
        except ERRORS as exc:
            drop(self._connection)
            self._connection = self._confirms = None
            if isinstance(exc, PreconditionFailed) and (size := _TOO_LARGE.search(str(exc))):
                self._refuse(messages, int(size[1]), exc)
            told = BLOCKED if self._blocked and not isinstance(exc, amqp.AMQPError) else clause(exc)
            raise SourceUnavailable(f"RabbitMQ at {address_of(self._url)} {told}") from exc

    def close(self) -> None:
        """See ``ports.senders.Sender.close``."""
        self._leave_to_parent()
        connection, self._connection, self._confirms = self._connection, None, None
        if connection is not None:
            disconnect(connection)

    def _publish(self, confirms: Confirms, messages: Sequence[Outgoing], most_alone: int) -> None:
        confirms.forget()
        with self._connection.transport.gathering():
            for message in messages:
                confirms.publish(_amqp_message(message), self._exchange, routing_key_of(self._routing_key, message.key))
        confirms.wait(self._seconds)
        at = f"RabbitMQ at {address_of(self._url)}"
        if confirms.returned:
            self._alone = most_alone
            key, why = confirms.returned[0]
            came_back = f"{len(confirms.returned)} of {len(messages)} messages came back from {at} ({why})"
            if not self._exchange:
                raise SourceUnavailable(f"{came_back}: there is no queue {key!r}; declare it, or start its reader")
            raise SourceUnavailable(
                f"{came_back}: no queue is bound to the exchange {self._exchange!r} for the routing key {key!r}; "
                "start a listener, or bind a queue"
            )
        if confirms.refused:
            self._alone = most_alone
            raise SourceUnavailable(
                f"{at} did not keep {confirms.refused} of {len(messages)} messages: a queue behind the exchange "
                f"{self._exchange!r} is full or failed; have it read, or raise its limits"
            )

    def _refuse(self, messages: Sequence[Outgoing], size: int, exc: Exception) -> None:
        """Raise MessageRefused for the first message of that size, once those before it are confirmed."""
        index = next((i for i, message in enumerate(messages) if len(message.value) == size), None)
        if index is None:
            return
        self.send(messages[:index])
        raise MessageRefused(
            index,
            f"takes {size} bytes, which is more than RabbitMQ at {address_of(self._url)} takes in a message: make it "
            "smaller, or raise max_message_size there",
        ) from exc

    def _channel(self) -> Confirms:
        """Return the open channel, or a new one on a new connection with the exchange in place."""
        if self._confirms is not None and not self._alive():
            drop(self._connection)
            self._confirms = None
        if self._confirms is None:
            self._blocked = False
            self._pid = os.getpid()
            self._connection = connect(self._url, self._seconds, self._on_blocked, self._on_unblocked)
            if self._exchange:
                self._declare()
            self._confirms = Confirms(self._connection.channel())
            self._alone = max(self._alone, 1)
        return self._confirms

    def _alive(self) -> bool:
        """Whether the connection stands, as far as this side has been told while nothing was sent."""
        try:
            while self._connection.connected:
                self._connection.drain_events(timeout=0)
        except TimeoutError:
            return True
        except ERRORS:
            return False
        return False

    def _declare(self) -> None:
        try:
            self._connection.channel().exchange_declare(self._exchange, "topic", passive=True)
        except NotFound:
            self._connection.channel().exchange_declare(self._exchange, "topic", durable=True, auto_delete=False)

    def _leave_to_parent(self) -> None:
        if self._connection is not None and self._pid != os.getpid():
            # Dropped, not closed: its socket is the parent's, too, and closing says goodbye on it.
            self._connection = self._confirms = None

    def _on_blocked(self, _reason: str) -> None:
        self._blocked = True

    def _on_unblocked(self) -> None:
        self._blocked = False


def routing_key_of(template: str, key: str) -> str:
    """Return the routing key of a message: the template with its key, in the bytes that AMQP has room for."""
    return fitted(template.replace("{key}", key))


def fitted(text: str) -> str:
    """Return the text, if AMQP has room for it; else its beginning and 12 hex digits that tell it from others."""
    encoded = text.encode()
    if len(encoded) <= MAX_SHORT_BYTES:
        return text
    digits = hashlib.sha1(encoded, usedforsecurity=False).hexdigest()[:12]
    return f"{encoded[: MAX_SHORT_BYTES - 13].decode(errors='ignore')}~{digits}"


def _amqp_message(message: Outgoing) -> Any:
    headers = {name: value for name, value in message.headers.items() if name != CONTENT_TYPE}
    properties: dict[str, Any] = {
        "content_type": message.headers.get(CONTENT_TYPE, "application/json"),
        "delivery_mode": 2,  # persistent
    }
    if headers:
        properties["application_headers"] = headers
    if message.message_id:
        properties["message_id"] = fitted(message.message_id)
    return amqp.Message(message.value, **properties)


__all__ = ["RabbitmqSender", "routing_key_of"]
