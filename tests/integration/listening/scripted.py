"""A source in memory, which a test fills, interrupts and takes partitions from; and a listener that reads it."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from kato_tasks.bootstrap import runtime
from kato_tasks.errors import SourceUnavailable
from kato_tasks.listeners.listening import Listener
from kato_tasks.listeners.options import ListenOptions
from kato_tasks.ports.sources import Message
from kato_tasks.testing.waiting import wait_until


def message(offset: int, value: Any, *, mark: str = "kafka/t/0", **more: Any) -> Message:
    """The message at this offset; its body is JSON, or bytes as they are."""
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    event_id = f"kafka:t/0/{offset}" if mark else ""
    given: dict[str, Any] = {"mark": mark, "event_id": event_id, "offset": offset if mark else 0, **more}
    return Message(value=body, place=f"t/0 offset {offset}", receipt=offset, **given)


def observation(session: str, number: int, **more: Any) -> dict[str, Any]:
    return {"session_id": session, "observation": {"strings": [str(number)]}, **more}


class ScriptedSource:
    """Hands out what `feed` gave, from the first message that is not acknowledged on, each time it is opened."""

    def __init__(self, name: str = "kafka t", *, lease: str = "") -> None:
        self.name = name
        self.messages: list[Message] = []
        self.acknowledged: list[Message] = []
        self.opened = self.closed = self.idled = 0
        self.away = 0
        """how many reads fail from now on"""
        self.lost: set[int] = set()
        """offsets whose partition a rebalance gave away"""
        self._lease = lease
        self._at = 0
        self._fed = threading.Condition()

    def feed(self, *messages: Message) -> None:
        with self._fed:
            self.messages += messages
            self._fed.notify_all()

    @property
    def reader_lease(self) -> str:
        return self._lease

    def open(self) -> None:
        self.opened += 1
        self._at = len(self.acknowledged)

    def read(self, most: int, seconds: float) -> list[Message]:
        if self.away:
            self.away -= 1
            raise SourceUnavailable("the broker is away")
        with self._fed:
            if self._at >= len(self.messages):
                self._fed.wait(min(seconds, 0.05))
            found = self.messages[self._at : self._at + most]
            self._at += len(found)
            return found

    def acknowledge(self, messages: Sequence[Message]) -> None:
        self.acknowledged += messages

    def keep(self, messages: Sequence[Message]) -> list[Message]:
        return [one for one in messages if one.offset not in self.lost]

    def idle(self, seconds: float) -> None:
        self.idled += 1
        threading.Event().wait(min(seconds, 0.02))

    def lag(self) -> int | None:
        return len(self.messages) - len(self.acknowledged)

    def close(self) -> None:
        self.closed += 1


@contextlib.contextmanager
def listening(
    source: ScriptedSource, options: ListenOptions | None = None, on_step: Callable[[], None] = lambda: None
) -> Iterator[Listener]:
    """A listener that reads the source until the end of the block."""
    stop = threading.Event()
    listener = Listener(runtime(), source, options or ListenOptions(), stop=stop, on_step=on_step)
    thread = threading.Thread(target=listener.run)
    thread.start()
    try:
        yield listener
    finally:
        stop.set()
        thread.join(20)
        assert not thread.is_alive()


def all_acknowledged(source: ScriptedSource, within: float = 10) -> None:
    wait_until(
        lambda: len(source.acknowledged) >= len(source.messages), within, "everything is acknowledged", every=0.005
    )
