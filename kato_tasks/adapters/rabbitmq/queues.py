"""A listener's queue: used as it is if it is there, made otherwise, and bound to its exchange."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import amqp

from kato_tasks.errors import SourceUnavailable

QUEUE = "kato-observations"
EXCHANGE = "kato-events"
BINDINGS = ("observations.#",)
_DIFFERS = re.compile(
    r"inequivalent arg '([\w-]+)' .* current is (?:the value )?'(.*?)'(?: of type '(\w+)')?$", re.DOTALL
)
_TRIES = 12
"""How many properties of a queue are asked for at most, one after the other."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a queue is to be if it has to be made.

    It is plain and durable by default, because pika's ``queue_declare(queue, durable=True)`` fails on a queue with any
    argument. A missing queue that no exchange feeds is not made: those who publish to it declare it, as they like.
    """

    queue: str
    exchange: str
    bindings: tuple[str, ...]
    is_made: bool
    single_active: bool
    dead_letter_exchange: str

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments with which it is declared."""
        arguments: dict[str, Any] = {}
        if self.single_active:
            arguments["x-single-active-consumer"] = True
        if self.dead_letter_exchange:
            arguments["x-dead-letter-exchange"] = self.dead_letter_exchange
        return arguments


def wanted(
    queue: str,
    exchange: str | None,
    bindings: Sequence[str] | None,
    *,
    make: bool | None,
    single_active: bool,
    dead_letter_exchange: str,
) -> Wanted:
    """Return what is wanted; None stands for what is usual for this queue and this exchange."""
    if exchange is None:
        exchange = EXCHANGE if queue == QUEUE else ""
    return Wanted(
        queue=queue,
        exchange=exchange,
        bindings=tuple(BINDINGS if bindings is None else bindings) if exchange else (),
        is_made=bool(exchange) if make is None else make,
        single_active=single_active,
        dead_letter_exchange=dead_letter_exchange,
    )


def prepare(connection: amqp.Connection, want: Wanted) -> bool:
    """Make and bind what is missing; return whether the queue is known to have a single active consumer.

    Raises SourceUnavailable where the queue is not there and not to be made, and what py-amqp raises.
    """
    channel = connection.channel()
    try:
        is_there = _is_there(channel, want.queue)
        if not is_there and not want.is_made:
            raise SourceUnavailable(
                f"the queue {want.queue} is not there: declare it where you publish to it, or have the listener make it"
            )
        if want.exchange and not _has_exchange(channel, want.exchange):
            channel.exchange_declare(want.exchange, "topic", durable=True, auto_delete=False)
        if not is_there:
            channel.queue_declare(want.queue, durable=True, auto_delete=False, arguments=want.arguments)
            if want.dead_letter_exchange:
                _make_dead_letters(channel, want)
        for binding in want.bindings:
            channel.queue_bind(want.queue, want.exchange, binding)
        return _has_single_active(channel, want.queue) if is_there else want.single_active
    finally:
        if channel.is_open and connection.connected:
            channel.close()


def _make_dead_letters(channel: amqp.Channel, want: Wanted) -> None:
    """Make the dead-letter exchange, and a queue behind it: what an exchange gets without one is gone."""
    if not _has_exchange(channel, want.dead_letter_exchange):
        channel.exchange_declare(want.dead_letter_exchange, "topic", durable=True, auto_delete=False)
    dead = f"{want.queue}.dead"
    if not _is_there(channel, dead):
        channel.queue_declare(dead, durable=True, auto_delete=False)
    channel.queue_bind(dead, want.dead_letter_exchange, "#")


def _is_there(channel: amqp.Channel, queue: str) -> bool:
    try:
        channel.queue_declare(queue, passive=True)
    except amqp.NotFound:  # py-amqp opens the channel again, which this has closed
        return False
    return True


def _has_exchange(channel: amqp.Channel, exchange: str) -> bool:
    try:
        channel.exchange_declare(exchange, "topic", passive=True)
    except amqp.NotFound:
        return False
    return True


def _has_single_active(channel: amqp.Channel, queue: str) -> bool:
    """Find out what only a refusal tells: declared otherwise than it is, the broker names what differs, and how."""
    asked: dict[str, Any] = {"durable": True, "auto_delete": False}
    arguments: dict[str, Any] = {}
    for _ in range(_TRIES):
        try:
            channel.queue_declare(queue, **asked, arguments=arguments)
        except amqp.PreconditionFailed as exc:
            found = _DIFFERS.search(str(exc.reply_text))
            if found is None:
                return False
            name, value, kind = found.groups()
            if name == "x-single-active-consumer":
                return value == "true"
            if name in asked:
                asked[name] = value == "true"
            elif name == "auto-delete":
                asked["auto_delete"] = value == "true"
            else:
                arguments[name] = _of_type(value, kind or "longstr")
        except (amqp.AccessRefused, amqp.ResourceLocked):
            return False
        else:
            return False
    return False


def _of_type(value: str, kind: str) -> Any:
    if kind == "bool":
        return value == "true"
    return int(value) if re.fullmatch(r"-?\d+", value) and kind != "longstr" else value


__all__ = ["BINDINGS", "EXCHANGE", "QUEUE", "Wanted", "prepare", "wanted"]
