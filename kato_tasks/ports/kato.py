"""Describe requests to KATO, and the transport that sends them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from kato_tasks.ports.effects import Effect


@dataclass(frozen=True, slots=True)
class KatoReply:
    """An answer to a request.

    It has those few headers that distinguish KATO's own answers from a gateway's, in lower case where that matters.
    """

    status: int
    body: bytes
    retry_after: float | None = None
    content_type: str = field(default="", compare=False)
    server: str = field(default="", compare=False)
    connection: str = field(default="", compare=False)
    location: str = field(default="", compare=False)


REPLY_BYTES = 256 * 1024 * 1024
"""The size of the largest answer that is read. It has room for the STM of a thousand events at their limit."""


@dataclass(frozen=True, slots=True)
class KatoRequest(Effect[KatoReply]):
    """One HTTP request to KATO. It fails with KatoUnavailable (it was never sent) or OutcomeUnknown."""

    url: str
    method: str
    path: str
    route: str
    body: bytes | None = None
    may_send: Callable[[], bool] | None = field(default=None, compare=False)
    """called right before the first byte is written; if it returns False, the request ends with LeaseLost, unsent"""
    timeout_seconds: float | None = None
    """how long the answer may take; None stands for the time that the transport allows for every call"""
    most_bytes: int = REPLY_BYTES
    """how many bytes the answer may have; a larger one counts as OutcomeUnknown"""

    def sent_only_if(self, may_send: Callable[[], bool]) -> KatoRequest:
        """Return the same request, to be sent only if ``may_send`` returns True then.

        ``dataclasses.replace`` would take four times as long.
        """
        return KatoRequest(
            self.url,
            self.method,
            self.path,
            self.route,
            self.body,
            may_send,
            self.timeout_seconds,
            self.most_bytes,
        )


class KatoCalls(Protocol):
    """Holds the calls that are under way, each with the caller's tag. Other threads may call only ``wake``."""

    def __len__(self) -> int: ...

    def begin(self, request: KatoRequest, tag: Any) -> None:
        """Send the request as soon as a connection to its instance is free."""
        ...

    def wait(self, timeout: float | None = None) -> Sequence[tuple[Any, KatoReply | None, Exception | None]]:
        """Wait until calls end, and return these: the tag of each, with its reply or its error.

        At least one call is returned, unless no call is under way, ``timeout`` (in seconds) passes, or ``wake`` is
        called. An error is KatoUnavailable (the request was never sent), OutcomeUnknown, LeaseLost (``may_send``
        returned False), or ConfigurationError (the instance's address or certificate cannot work, and nothing was
        sent).
        """
        ...

    def adopt(self, other: Any) -> None:
        """Take over every call of another ``KatoCalls`` of the same transport, and close that one."""
        ...

    def withdraw(self, url: str) -> Sequence[Any]:
        """Take back the calls to this instance that wait for a connection, and return their tags."""
        ...

    def wake(self) -> None:
        """Let a ``wait`` in another thread return. This works only for calls that were opened as ``wakeable``."""
        ...

    def close(self) -> None:
        """Abandon the calls that are under way, and give every connection back."""
        ...


class KatoTransport(Protocol):
    """Sends requests to KATO."""

    def calls(self, *, wakeable: bool = False) -> KatoCalls:
        """Open a place for calls that overlap. ``wakeable`` says that another thread may call its ``wake``."""
        ...

    def send(self, request: KatoRequest) -> KatoReply:
        """Send a request, wait for its answer and return it. Raises KatoUnavailable or OutcomeUnknown."""
        ...
