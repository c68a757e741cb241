"""Sends many messages to RabbitMQ with few system calls."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import amqp
from amqp.transport import SSLTransport, TCPTransport

PIECE_BYTES = 65_536


class _Gathering:
    """Sends what is written while it gathers in large pieces.

    py-amqp writes each message by itself, and the system call for it, with a process of RabbitMQ that is woken by it,
    takes longer than the message.
    """

    _held: bytearray | None = None

    def write(self, data: bytes) -> None:
        """Write, or keep what is written until there is enough of it."""
        if self._held is None:
            super().write(data)  # type: ignore[misc]  # of a transport of py-amqp
            return
        self._held += data
        if len(self._held) >= PIECE_BYTES:
            self.pass_on()

    def pass_on(self) -> None:
        """Write what was kept."""
        if self._held:
            held, self._held = self._held, bytearray()
            super().write(held)  # type: ignore[misc]

    @contextmanager
    def gathering(self) -> Iterator[None]:
        """Keep what is written within, and pass it on at the end at the latest."""
        self._held = bytearray()
        try:
            yield
            self.pass_on()
        finally:
            self._held = None


class _Plain(_Gathering, TCPTransport):
    """A transport through TCP."""


class _Tls(_Gathering, SSLTransport):
    """A transport through TLS."""


class GatheringConnection(amqp.Connection):
    """A connection to RabbitMQ whose ``transport`` can gather."""

    def Transport(self, host: str, connect_timeout: float, ssl: Any = False, *timeouts: Any, **options: Any) -> Any:  # noqa: N802
        """Return the transport that py-amqp is to use; the name is its own."""
        read_timeout, write_timeout = timeouts
        return (_Tls if ssl else _Plain)(
            host,
            connect_timeout=connect_timeout,
            ssl=ssl,
            read_timeout=read_timeout,
            write_timeout=write_timeout,
            **options,
        )


__all__ = ["GatheringConnection"]
