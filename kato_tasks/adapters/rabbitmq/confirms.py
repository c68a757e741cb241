"""What RabbitMQ said of the messages that were published on one channel."""

from __future__ import annotations

from itertools import takewhile
from typing import Any

from amqp import spec
from amqp.exceptions import AMQPError, RecoverableConnectionError


class Confirms:
    """A channel in confirm mode: which of its messages are not confirmed yet, were returned, or were not kept.

    RabbitMQ numbers the messages of such a channel from 1 and confirms them in any order, many at once. So messages
    are published one behind the other, and only then their confirms are waited for: py-amqp's own ``confirm_publish``
    waits for a round trip at each message.
    """

    def __init__(self, channel: Any) -> None:
        self.returned: list[tuple[str, str]] = []
        """the routing key of each message that came back, and why; it was confirmed all the same"""
        self.refused = 0
        """how many messages RabbitMQ did not keep (``basic.nack``)"""
        self._waiting: dict[int, None] = {}
        self._last = 0
        self._channel = channel
        channel.events["basic_ack"].add(self._on_ack)
        channel.events["basic_nack"].add(self._on_nack)
        channel.events["basic_return"].add(self._on_return)
        channel.confirm_select()

    def publish(self, message: Any, exchange: str, routing_key: str) -> None:
        """Send one message, which RabbitMQ is to return where no queue gets it. Raises AMQPError and OSError."""
        self._last += 1
        self._waiting[self._last] = None
        # Not basic_publish: it looks for answers before each message, which takes as long as the message itself.
        self._channel.send_method(spec.Basic.Publish, "Bssbb", (0, exchange, routing_key, True, False), message)

    def wait(self, seconds: float) -> None:
        """Return when everything is confirmed. Raises OSError when for ``seconds`` nothing more was, and AMQPError."""
        while self._waiting:
            if self._channel.connection is None:
                raise RecoverableConnectionError("the channel was closed")
            self._channel.connection.drain_events(timeout=seconds)

    def forget(self) -> None:
        """Begin anew with what was returned and refused."""
        self.returned.clear()
        self.refused = 0

    def _on_ack(self, tag: int, multiple: bool) -> None:
        self._take_out(tag, multiple)

    def _on_nack(self, tag: int, multiple: bool) -> None:
        self.refused += self._take_out(tag, multiple)

    def _on_return(self, why: AMQPError, _exchange: str, routing_key: str, _message: Any) -> None:
        self.returned.append((routing_key, str(why.reply_text)))

    def _take_out(self, tag: int, multiple: bool) -> int:
        tags = list(takewhile(lambda one: one <= tag, self._waiting)) if multiple else [tag]
        return sum(self._waiting.pop(one, self) is None for one in tags)


__all__ = ["Confirms"]
