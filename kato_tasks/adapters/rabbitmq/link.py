"""A connection to RabbitMQ that is read in large pieces, and that shows signs of life while nothing is read."""

from __future__ import annotations

import contextlib
import select
import socket
import time
from collections import deque
from collections.abc import Mapping
from struct import Struct
from typing import Any

import amqp

from kato_tasks.adapters.rabbitmq.address import Address
from kato_tasks.adapters.rabbitmq.deliveries import Delivery
from kato_tasks.adapters.rabbitmq.failing import ERRORS
from kato_tasks.ports.sources import Message

CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 15.0
"""How long the broker may take to answer, and to take what is sent to it."""
_PIECE = 256 * 1024
_FRAME = Struct(">BHI")
_DELIVER = b"\x00\x3c\x00\x3c"
_METHOD, _HEADER, _BODY, _END = 1, 2, 3, 0xCE


class Link(amqp.Connection):
    """One connection. Deliveries to ``reading`` are collected here; everything else goes py-amqp's way.

    Every method raises what ``failing.ERRORS`` lists.
    """

    def __init__(self, address: Address, *, heartbeat: int, tls: Mapping[str, Any] | None = None) -> None:
        super().__init__(
            host=address.node,
            userid=address.user,
            password=address.password,
            virtual_host=address.vhost,
            ssl={"server_hostname": address.host, **(tls or {})} if address.is_tls else False,
            connect_timeout=CONNECT_SECONDS,
            read_timeout=ANSWER_SECONDS,
            write_timeout=ANSWER_SECONDS,
            heartbeat=heartbeat,
            client_properties={"connection_name": f"kato-tasks on {socket.gethostname()}"},
            # py-amqp's own second is over whenever a busy broker reads nothing for so long.
            socket_settings={socket.TCP_USER_TIMEOUT: int(ANSWER_SECONDS * 1000)},
        )
        self.run = object()
        """stands for this connection in the receipts of its messages"""
        self._queue = ""
        self._reading: int | None = None
        self._ready: deque[Message] = deque()
        self._delivery: Delivery | None = None
        self._buffer = b""
        self._at = 0
        self._poller: select.poll | None = None
        self._next_sign = 0.0

    def read_from(self, queue: str, channel: amqp.Channel) -> None:
        """Collect what is delivered to this channel, which consumes this queue."""
        self._queue, self._reading = queue, channel.channel_id

    def receive(self, most: int, seconds: float) -> list[Message]:
        """Return the messages that are there, ``most`` at most; wait up to ``seconds`` for the first of them."""
        until = time.monotonic() + seconds
        ready = self._ready
        while len(ready) < most:
            if self._take_frame() is None and not self._wait(0.0 if ready else until - time.monotonic()):
                break
        return [ready.popleft() for _ in range(min(most, len(ready)))]

    def rest(self, seconds: float) -> None:
        """Keep the connection for so long. What comes meanwhile stays here: the broker's prefetch limits it."""
        until = time.monotonic() + seconds
        while self._take_frame() is not None or self._wait(until - time.monotonic()):
            pass

    @property
    def waiting(self) -> int:
        """How many messages were delivered and not received yet."""
        return len(self._ready)

    def give_up(self) -> None:
        """Close the connection, and take no more time for it than a broker that is there needs. Never raises."""
        with contextlib.suppress(*ERRORS, AttributeError, KeyError):
            self.close()
        with contextlib.suppress(*ERRORS, AttributeError):
            self.collect()

    # ------------------------------------------------------------------ reading

    def blocking_read(self, timeout: float | None = None) -> Any:
        """Take one frame; py-amqp calls this wherever it waits for an answer. True if it was the last of a method."""
        until = time.monotonic() + (ANSWER_SECONDS if timeout is None else timeout)
        while (is_whole := self._take_frame()) is None:
            if not self._wait(until - time.monotonic()):
                raise TimeoutError
        return is_whole

    def _wait(self, seconds: float) -> bool:
        """Fetch more of what the broker sends, within so many seconds; whether there was any."""
        until = time.monotonic() + seconds
        while True:
            sign = self._show_life()
            rest = max(0.0, until - time.monotonic())
            if self._is_readable(min(rest, sign)):
                piece = self.sock.recv(_PIECE)
                if not piece:
                    raise ConnectionResetError("it closed the connection")
                self._buffer = self._buffer[self._at :] + piece
                self._at = 0
                return True
            if rest <= sign:
                return False

    def _is_readable(self, seconds: float) -> bool:
        sock = self.sock
        if getattr(sock, "pending", int)():  # TLS has decrypted more than was asked for
            return True
        if self._poller is None:
            sock.settimeout(ANSWER_SECONDS)
            self._poller = select.poll()
            self._poller.register(sock, select.POLLIN)
        return bool(self._poller.poll(seconds * 1000))

    def _take_frame(self) -> bool | None:
        """Deal with the next frame of the buffer: whether it was the last one of a method; None if there is none."""
        buffer, at = self._buffer, self._at
        if len(buffer) - at < 8:
            return None
        kind, channel, size = _FRAME.unpack_from(buffer, at)
        end = at + 7 + size
        if len(buffer) <= end:
            return None
        if buffer[end] != _END:
            raise amqp.UnexpectedFrame(f"a frame ends with {buffer[end]:#04x}")
        payload = buffer[at + 7 : end]
        self._at = end + 1
        if channel == self._reading and (self._delivery is not None or payload.startswith(_DELIVER)):
            self.bytes_recv += 1
            return self._take_of_delivery(kind, payload)
        return bool(self.on_inbound_frame((kind, channel, payload)))

    def _take_of_delivery(self, kind: int, payload: bytes) -> bool:
        delivery = self._delivery
        if kind == _METHOD and delivery is None:
            self._delivery = Delivery(self.run, payload)
            return False
        if delivery is None or kind == _METHOD:
            raise amqp.UnexpectedFrame(f"a frame of kind {kind} in a delivery")
        if kind == _HEADER:
            delivery.take_header(payload)
        else:
            delivery.take_body(payload)
        if delivery.missing > 0:
            return False
        self._delivery = None
        self._ready.append(delivery.message(self._queue))
        return True

    # ------------------------------------------------------------------ signs of life

    def _show_life(self) -> float:
        """Send a heartbeat if it is time for one; return after how many seconds to come again.

        Raises ConnectionForced where the broker has shown no sign of life for two heartbeats.
        """
        if not self.heartbeat or not self.connected:
            return ANSWER_SECONDS
        every = self.heartbeat / 4
        now = time.monotonic()
        if now >= self._next_sign:
            self._next_sign = now + every
            self.heartbeat_tick()
        return float(self._next_sign - now)


__all__ = ["Link"]
