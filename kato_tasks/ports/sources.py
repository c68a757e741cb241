"""What a listener asks of a broker: messages in their order, and that those up to one need not be sent again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from pydantic_core import from_json

from kato_tasks.errors import InvalidEvent


@dataclass(slots=True, eq=False)
class Message:
    """One message as its broker handed it out. It is never changed.

    (It is not frozen only because one is made for each event, and that would take three times as long.)

    ``value`` is its body. A Redis stream has fields instead: then ``fields`` holds them, and ``value`` is empty.
    ``place`` says for people where it stands (``kafka kato-observations/3 offset 117``).

    ``mark`` names the run of rising ``offset`` that the message belongs to, for the high-water mark below which
    nothing is appended again; '' where the source has none. ``event_id`` is the id that its source gives an event
    without one of its own; '' where the source knows nothing that stays the same when it is handed out again.
    ``redelivered`` says that the broker may have handed it out before. ``source_ms`` is when it was published, in ms
    since 1970, 0 where that is not known.
    """

    value: bytes
    place: str
    key: bytes | None = None
    headers: tuple[tuple[str, bytes], ...] = ()
    fields: tuple[tuple[bytes, bytes], ...] | None = None
    mark: str = ""
    offset: int = 0
    event_id: str = ""
    redelivered: bool = False
    source_ms: int = 0
    receipt: object = None
    """what the source itself needs to acknowledge it"""

    def json(self) -> Any:
        """Return its body as plain JSON; of a Redis stream's entry an object of its fields, which are text.

        Raises InvalidEvent where the body is no JSON.
        """
        if self.fields is not None:
            return {name.decode("utf-8", "replace"): self._text(value) for name, value in self.fields}
        try:
            return from_json(self.value, allow_inf_nan=False)
        except ValueError as exc:
            raise InvalidEvent("message", f"is no JSON ({exc})") from None

    @staticmethod
    def _text(value: bytes) -> str:
        try:
            return value.decode()
        except UnicodeDecodeError as exc:
            raise InvalidEvent("message", f"has a field that is no UTF-8 ({exc})") from None

    def header(self, name: str) -> str:
        """Return what a header says, '' where it is missing. Names are compared without regard to case."""
        wanted = name.lower()
        return next((value.decode("latin-1") for key, value in self.headers if key.lower() == wanted), "")

    @property
    def size(self) -> int:
        """How many bytes its body takes."""
        return len(self.value) if self.fields is None else sum(len(k) + len(v) for k, v in self.fields)


class MessageSource(Protocol):
    """A topic, a queue or a stream, as one listener reads it. Used by one thread.

    Every method raises SourceUnavailable where the broker cannot be reached; the listener then closes the source,
    waits, and opens it again. What was read and not acknowledged comes again after that, in its order.
    """

    name: str
    """what people call it: ``kafka kato-observations``, ``rabbitmq kato-observations``, ``redis kato:observations``"""

    def open(self) -> None:
        """Connect, and make what is missing (topic, queue and bindings, consumer group). May be called after close."""
        ...

    @property
    def reader_lease(self) -> str:
        """The name of the lease that its reader must hold; '' where the broker itself sees to one reader at a time.

        It is known before ``open`` was called where the lease must be held to open it, and asked after that.
        """
        ...

    def read(self, most: int, seconds: float) -> list[Message]:
        """Return the next messages, ``most`` at most, and wait up to ``seconds`` for the first of them."""
        ...

    def acknowledge(self, messages: Sequence[Message]) -> None:
        """Note that these messages are in the log: of each partition the first ones that are not acknowledged yet.

        When this returns, the broker has it, or will have it as soon as the source is asked for more or closed.
        """
        ...

    def keep(self, messages: Sequence[Message]) -> list[Message]:
        """Return those of the messages that are still this reader's: a rebalance may have given partitions away."""
        ...

    def idle(self, seconds: float) -> None:
        """Stay connected for so long without reading a message, because there is no room for more."""
        ...

    def lag(self) -> int | None:
        """Return how many messages wait that no reader has acknowledged; None where the broker does not tell."""
        ...

    def close(self) -> None:
        """Give partitions, queue or lease back and disconnect. Never raises."""
        ...
