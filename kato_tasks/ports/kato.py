"""Requests to KATO, and the transport that sends them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from kato_tasks.ports.effects import Effect


@dataclass(frozen=True, slots=True)
class KatoReply:
    """An answer, with the few of its headers that tell KATO's own from a gateway's (lower case where it matters)."""

    status: int
    body: bytes
    retry_after: float | None = None
    content_type: str = field(default="", compare=False)
    server: str = field(default="", compare=False)
    connection: str = field(default="", compare=False)
    location: str = field(default="", compare=False)


REPLY_BYTES = 256 * 1024 * 1024
"""The largest answer that is read: the STM of a thousand events at their limit."""


@dataclass(frozen=True, slots=True)
class KatoRequest(Effect[KatoReply]):
    """One HTTP request to KATO. Fails with KatoUnavailable (never sent) or OutcomeUnknown."""

    url: str
    method: str
    path: str
    route: str
    body: bytes | None = None
    still: Callable[[], bool] | None = field(default=None, compare=False)
    """asked right before the first byte is written: False ends it with LeaseLost, and nothing is sent"""
    timeout_seconds: float | None = None
    """how long the answer may take; None: as long as the transport allows for every call"""
    most_bytes: int = REPLY_BYTES
    """how large the answer may be; a larger one is an OutcomeUnknown"""

    def guarded(self, still: Callable[[], bool]) -> KatoRequest:
        """The same request, sent only while ``still`` says so (``replace`` costs four times as much)."""
        return KatoRequest(
            self.url,
            self.method,
            self.path,
            self.route,
            self.body,
            still,
            self.timeout_seconds,
            self.most_bytes,
        )


class KatoCalls(Protocol):
    """Calls under way, each with the caller's tag. It belongs to one thread, but for ``wake``."""

    def __len__(self) -> int: ...

    def begin(self, request: KatoRequest, tag: Any) -> None:
        """Send the request as soon as a connection to its instance is free."""
        ...

    def wait(self, timeout: float | None = None) -> Sequence[tuple[Any, KatoReply | None, Exception | None]]:
        """The calls that ended: at least one, if any is under way and neither ``timeout`` passed nor ``wake`` came.

        ``timeout`` is in seconds. An error is KatoUnavailable (never sent), OutcomeUnknown, LeaseLost (``still`` said
        no) or ConfigurationError (the instance's address or certificate cannot work; nothing was sent).
        """
        ...

    def adopt(self, other: Any) -> None:
        """Take over every call of another ``KatoCalls`` of the same transport; the other is closed by it."""
        ...

    def withdraw(self, url: str) -> Sequence[Any]:
        """Take back the calls to this instance that wait for a connection; returns their tags."""
        ...

    def wake(self) -> None:
        """Let a ``wait`` in another thread return; only for calls that were opened as ``wakeable``."""
        ...

    def close(self) -> None:
        """Abandon what is under way, and give every connection back."""
        ...


class KatoTransport(Protocol):
    """Sends requests to KATO."""

    def calls(self, *, wakeable: bool = False) -> KatoCalls:
        """A place for calls that overlap."""
        ...

    def send(self, request: KatoRequest) -> KatoReply:
        """Blocks until the answer is there; raises KatoUnavailable or OutcomeUnknown."""
        ...
