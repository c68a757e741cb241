"""A broker for publishers' tests: it takes messages, or fails as the test says."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from kato_tasks.errors import SourceUnavailable
from kato_tasks.ports.senders import MessageRefused, Outgoing


class FakeSender:
    """Keeps what is sent. Before each ``send`` it asks ``fault`` what is to go wrong, with the batch."""

    name = "fake place"

    def __init__(self) -> None:
        self.arrived: list[Outgoing] = []
        self.batches: list[list[str]] = []
        """the ids of each send, those that failed among them"""
        self.fault: Callable[[Sequence[Outgoing]], Exception | None] = lambda _batch: None
        self.closed = 0
        self.open = threading.Event()
        """cleared, every send waits"""
        self.open.set()

    def send(self, messages: Sequence[Outgoing]) -> None:
        assert self.open.wait(30)
        self.batches.append([one.message_id for one in messages])
        fault = self.fault(messages)
        if isinstance(fault, MessageRefused):
            self.arrived += messages[: fault.index]
        if fault is not None:
            raise fault
        self.arrived += messages

    def close(self) -> None:
        self.closed += 1

    def ids(self) -> list[str]:
        return [one.message_id for one in self.arrived]


class Outage:
    """A fault that lasts until the test ends it. Some messages of each batch arrive all the same."""

    def __init__(self, sender: FakeSender, share: float = 0.0) -> None:
        self._sender = sender
        self._share = share
        self.attempts = 0
        sender.fault = self

    def __call__(self, batch: Sequence[Outgoing]) -> Exception:
        self.attempts += 1
        self._sender.arrived += batch[: int(len(batch) * self._share)]
        return SourceUnavailable(f"the broker is away ({self.attempts})")

    def end(self) -> None:
        self._sender.fault = lambda _batch: None


def message(number: int, size: int = 10) -> Outgoing:
    return Outgoing("s", b"x" * size, f"id-{number}")


def ids(first: int, behind: int) -> list[str]:
    return [f"id-{i}" for i in range(first, behind)]
