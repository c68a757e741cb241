"""How a delivery's frames become a message.

py-amqp reads a delivery in some 40 µs, and raises for a property or a header that it cannot decode: a single such
message would end every reader that gets it. Here it takes a quarter of that, and what cannot be decoded is left out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import sha256
from struct import Struct, unpack_from
from struct import error as struct_error
from typing import Any

from amqp.serialization import loads

from kato_tasks.ports.sources import Message

_TAG_AND_REDELIVERED = Struct(">QB")
_SIZE_AND_FLAGS = Struct(">QH")
_CONTENT_TYPE, _ENCODING, _HEADERS, _MODE, _PRIORITY = 0x8000, 0x4000, 0x2000, 0x1000, 0x0800
_CORRELATION, _REPLY_TO, _EXPIRATION, _MESSAGE_ID, _TIMESTAMP = 0x0400, 0x0200, 0x0100, 0x0080, 0x0040
MOST_MS = 10**11
"""A time in seconds is below this until the year 5138; producers that send milliseconds are above it."""


class Delivery:
    """One message while its frames come in; ``run`` is the connection's, which says whose delivery tag it is."""

    __slots__ = ("_header", "_parts", "_run", "key", "missing", "redelivered", "tag")

    def __init__(self, run: object, method: bytes) -> None:
        at = 5 + method[4]  # behind the class, the method and the consumer tag
        self.tag, bits = _TAG_AND_REDELIVERED.unpack_from(method, at)
        at += 9
        at += 1 + method[at]  # the exchange
        self.key = method[at + 1 : at + 1 + method[at]]
        self.redelivered = bool(bits & 1)
        self.missing = 0
        self._run = run
        self._header = b""
        self._parts: list[bytes] = []

    def take_header(self, header: bytes) -> None:
        """Note size and properties."""
        self._header = header
        self.missing = _SIZE_AND_FLAGS.unpack_from(header, 4)[0]

    def take_body(self, part: bytes) -> None:
        """Note a part of the body."""
        self._parts.append(part)
        self.missing -= len(part)

    def message(self, queue: str) -> Message:
        """Return what a listener gets of it, once nothing of it is missing."""
        message_id, headers, source_ms = _properties(self._header)
        return Message(
            value=self._parts[0] if len(self._parts) == 1 else b"".join(self._parts),
            place=f"rabbitmq {queue} delivery {self.tag}",
            key=self.key,
            headers=headers,
            event_id=_event_id(message_id) if message_id else "",
            redelivered=self.redelivered,
            source_ms=source_ms,
            receipt=(self._run, self.tag),
        )


Properties = tuple[bytes, tuple[tuple[str, bytes], ...], int]
_NONE: Properties = (b"", (), 0)


def _properties(buf: bytes) -> Properties:
    """Return message id, headers and time; none of them where the properties end too soon."""
    flags = _SIZE_AND_FLAGS.unpack_from(buf, 4)[1]
    try:
        return _present(buf, flags) if flags & ~(_MODE | _PRIORITY) else _NONE
    except (IndexError, struct_error):
        return _NONE


def _present(buf: bytes, flags: int) -> Properties:
    """Return the same of properties that are whole. Those that are present stand in the order of their bits."""
    message_id, headers, source_ms, at = b"", [], 0, 14
    if flags & _CONTENT_TYPE:
        headers.append(("content-type", buf[at + 1 : at + 1 + buf[at]]))
        at += 1 + buf[at]
    if flags & _ENCODING:
        headers.append(("content-encoding", buf[at + 1 : at + 1 + buf[at]]))
        at += 1 + buf[at]
    if flags & _HEADERS:
        headers += _pairs(buf, at)
        at += 4 + int(unpack_from(">I", buf, at)[0])
    at += bool(flags & _MODE) + bool(flags & _PRIORITY)
    for bit in (_CORRELATION, _REPLY_TO, _EXPIRATION):
        if flags & bit:
            at += 1 + buf[at]
    if flags & _MESSAGE_ID:
        message_id = buf[at + 1 : at + 1 + buf[at]]
        at += 1 + buf[at]
    if flags & _TIMESTAMP:
        source_ms = int(unpack_from(">Q", buf, at)[0])
        source_ms *= 1000 if source_ms < MOST_MS else 1
    return message_id, tuple(headers), source_ms


def _pairs(buf: bytes, at: int) -> list[tuple[str, bytes]]:
    try:
        (table,), _ = loads("F", buf, at)
        return [
            (name if isinstance(name, str) else name.decode("utf-8", "replace"), _bytes(value))
            for name, value in table.items()
        ]
    except Exception:  # py-amqp raises whatever its parts raise
        return []


def _bytes(value: Any) -> bytes:
    match value:
        case bytes():
            return value
        case str():
            return value.encode()
        case None:
            return b""
        case Mapping() | list() | bool():
            return json.dumps(value, default=str).encode()
        case _:
            return str(value).encode()


def _event_id(message_id: bytes) -> str:
    """Return the id of the event: the message's own, or its hash where that is no text that people can read."""
    text = message_id.decode("utf-8", "replace")
    return (
        f"rabbitmq:{text}"
        if text.isprintable() and "\ufffd" not in text
        else f"rabbitmq:{sha256(message_id).hexdigest()}"
    )


__all__ = ["Delivery"]
