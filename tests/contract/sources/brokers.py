"""Brokers as the suite of the sources uses them: to publish, to make readers of one queue, and to misbehave."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from kato_tasks.errors import SourceUnavailable
from kato_tasks.ports.sources import Message, MessageSource
from kato_tasks.testing.services import Service
from kato_tasks.testing.waiting import wait_until
from tests.contract.sources.reading import Recipe

Source = TypeVar("Source", bound=MessageSource)


class Opened(Protocol):
    """Opens a source, and closes it when the test is over."""

    def __call__(self, source: Source) -> Source: ...


class Broker(ABC):
    """A topic, a queue or a stream of one test's own, on a real server.

    Each adapter has one such class; ``conftest.py`` lists them, and every test of the suite runs on each.
    """

    name: str
    server: Service
    secret = ""
    """a word of its address that no error may name"""
    marks = False
    """whether its messages have marks and rising offsets"""
    redelivers = False
    """whether it says of a message that it may have been handed out before"""

    @abstractmethod
    def publish(self, key: str, *bodies: bytes) -> None:
        """Publish messages with one key in their order, and return when the broker has them."""

    @abstractmethod
    def recipe(self) -> Recipe:
        """Return how one more reader of what is published is made."""

    def source(self) -> MessageSource:
        """Return one more reader of what is published; it is not open yet."""
        source: MessageSource = self.recipe().make()
        return source

    @abstractmethod
    def settle(self, unacknowledged: int) -> None:
        """Return when the broker has what was acknowledged; only so many messages then wait."""


def read_all(source: MessageSource, count: int, seconds: float = 30.0) -> list[Message]:
    """Read until there are ``count`` messages, and see that no more come at once."""
    messages: list[Message] = []

    def enough() -> bool:
        messages.extend(source.read(1000, 0.2))
        return len(messages) >= count

    wait_until(enough, seconds, f"{source.name} has {count} messages", every=0)
    assert len(messages) == count, [message.value for message in messages]
    return messages


def values(messages: Sequence[Message]) -> list[bytes]:
    return [message.value for message in messages]


def troubled(call: Callable[[], object]) -> SourceUnavailable | None:
    """Return the error that says that the broker is away, if the call raises it."""
    try:
        call()
    except SourceUnavailable as exc:
        return exc
    return None
