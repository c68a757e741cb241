"""What publishers and sinks ask of a broker: to take messages, and to say that it has them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from kato_tasks.errors import InvalidEvent

CONTENT_TYPE = "content-type"
"""The header that says what a message's value is. Without it, the value is plain JSON."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One message that is to be sent.

    ``key`` keeps order: messages with one key arrive in the order in which they were sent (Kafka's key; in RabbitMQ the
    routing key is made of it). ``value`` is the body in JSON. ``message_id`` stays the same when it is sent again.
    ``fields`` are what a Redis stream's entry has instead of ``value``. All text is valid Unicode.
    """

    key: str
    value: bytes
    message_id: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    fields: Mapping[str, str] | None = None


class MessageRefused(InvalidEvent):
    """The broker refuses one message for good, for its size, say.

    ``index`` is its place among the messages that ``send`` was given. Those before it are confirmed. Those behind it
    are to be sent again without it; they may have arrived already only where their order with the refused one does not
    matter, which is where their keys differ.
    """

    def __init__(self, index: int, reason: str) -> None:
        super().__init__("event", reason)
        self.args = (index, reason)
        self.index = index


class Sender(Protocol):
    """A topic, an exchange or a stream, as messages are sent to it. Used by one thread at a time.

    A process that was forked connects by itself: its parent's connection is neither used nor closed.
    """

    name: str
    """what people call it: ``kafka user-predictions``"""

    def send(self, messages: Sequence[Outgoing]) -> None:
        """Send the messages in their order. When this returns, the broker has confirmed all of them.

        Connects when it is first called, and again after a failure. Raises SourceUnavailable where the broker cannot
        be reached or did not confirm in time: any of the messages may have arrived, and all may be sent again; and
        MessageRefused, which is an InvalidEvent, where the broker refuses a message for good.
        """
        ...

    def close(self) -> None:
        """Disconnect. Never raises. The next ``send`` connects again."""
        ...


__all__ = ["CONTENT_TYPE", "MessageRefused", "Outgoing", "Sender"]
