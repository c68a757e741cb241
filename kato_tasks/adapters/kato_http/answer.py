"""Collects one response from the parser, however it is framed, and decodes its body."""

from __future__ import annotations

import math
import time
import zlib
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from typing import Any

from kato_tasks.errors import OutcomeUnknown
from kato_tasks.ports.kato import REPLY_BYTES, KatoReply

MAX_REPLY_BYTES = REPLY_BYTES


def too_large(most_bytes: int) -> OutcomeUnknown:
    """Return the error for an answer larger than this many bytes."""
    return OutcomeUnknown(f"KATO's answer is larger than {most_bytes >> 20} MB")


_KEPT_HEADERS = frozenset(
    [b"connection", b"content-encoding", b"content-length", b"content-type", b"location", b"retry-after", b"server"]
) | {b"transfer-encoding"}


class Answer:
    """Receives the parser's callbacks for one response. Interim responses (100, 103 …) before it are skipped."""

    __slots__ = (
        "_headers", "_interim", "_parts", "_size", "complete", "keep_alive", "most_bytes", "overrun", "parser",
        "status", "switched", "too_large",
    )  # fmt: skip

    def __init__(self, most_bytes: int = MAX_REPLY_BYTES) -> None:
        self.most_bytes = most_bytes
        self.parser: Any = None
        self.status = 0
        self.keep_alive = False
        self.complete = False
        self.overrun = False
        self.switched = False
        self.too_large = False
        self._headers: dict[bytes, bytes] = {}
        self._parts: list[bytes] = []
        self._size = 0
        self._interim = False

    def on_message_begin(self) -> None:
        """Note a response that begins after the one that was asked for."""
        if self.complete:
            # A second response: there is no telling what it answers, so the connection is not used again.
            self.overrun = True

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header that replies have a field for; repeated ones are joined by commas."""
        name = name.lower()
        if name in _KEPT_HEADERS and self.status < 200:  # none of them comes as a trailer
            before = self._headers.get(name)
            self._headers[name] = value if before is None else before + b", " + value

    def on_headers_complete(self) -> None:
        """Take the status, and forget the headers of an interim response."""
        if self.complete:
            return
        self.status = self.parser.get_status_code()
        self._interim = self.status < 200
        if self._interim:
            self._headers.clear()
            self.switched = self.status == 101

    def on_body(self, part: bytes) -> None:
        """Keep a part of the body, up to ``most_bytes`` in all."""
        if self.complete or self.too_large:
            return
        self._size += len(part)
        if self._size > self.most_bytes:
            self.too_large = True
            self._parts.clear()
            return
        self._parts.append(part)

    def on_message_complete(self) -> None:
        """Note that the response is complete, and whether its connection may be used again."""
        if self.complete or self._interim:
            return
        self.complete = True
        # The parser knows this only inside the callback. An HTTP/1.0 connection, which would have to ask for more,
        # carries one answer only.
        self.keep_alive = self.parser.should_keep_alive() and not (
            b"connection" in self._headers and self.parser.get_http_version() == "1.0"
        )

    def ended_with_the_connection(self) -> bool:
        """Return whether the end of the connection marks the end of this response's body, and then complete it."""
        if self.status < 200 or self.complete or self.too_large:
            return False
        if b"content-length" in self._headers or self._headers.get(b"transfer-encoding", b"").lower().endswith(
            b"chunked"
        ):
            return False
        self.complete = True
        return True

    def reply(self) -> KatoReply:
        """Return the response; raises OutcomeUnknown when its body cannot be decoded."""
        return reply(self.status, b"".join(self._parts), self._headers, self.most_bytes)


def reply(status: int, body: bytes, headers: Mapping[bytes, bytes], most_bytes: int = MAX_REPLY_BYTES) -> KatoReply:
    """Return the reply with this status, body and header fields (names in lower case).

    Raises OutcomeUnknown when the body cannot be decoded.
    """
    if not headers:
        return KatoReply(status, body)
    encoding = headers.get(b"content-encoding")
    if encoding is not None and body:
        body = decoded(body, encoding, most_bytes)
    given = headers.get
    after = given(b"retry-after")
    location = given(b"location", b"").decode("latin-1")
    if "@" in location:
        from kato_tasks.domain.instance import instance_name

        location = instance_name(location)
    return KatoReply(
        status,
        body,
        None if after is None else seconds_of(after.decode("latin-1")),
        given(b"content-type", b"").decode("latin-1"),
        given(b"server", b"").decode("latin-1"),
        given(b"connection", b"").decode("latin-1"),
        location,
    )


def decoded(body: bytes, encoding: bytes, most_bytes: int = MAX_REPLY_BYTES) -> bytes:
    """Return a body without its content encoding, because gateways are known to compress without being asked.

    Raises OutcomeUnknown for an unknown encoding, damaged data, or more than ``most_bytes``.
    """
    for name in reversed(encoding.lower().replace(b" ", b"").split(b",")):
        if name in (b"", b"identity"):
            continue
        if name not in (b"gzip", b"x-gzip", b"deflate"):
            raise OutcomeUnknown(f"KATO's answer is encoded as {name.decode('latin-1')}, which was not asked for")
        decoder = zlib.decompressobj(zlib.MAX_WBITS | 32)  # a gzip or a zlib header
        try:
            body = decoder.decompress(body, most_bytes + 1)
        except zlib.error as exc:
            raise OutcomeUnknown(f"KATO's answer cannot be decompressed ({exc})") from exc
        if len(body) > most_bytes:
            raise too_large(most_bytes)
        if not decoder.eof:
            raise OutcomeUnknown("KATO's answer is compressed and ends too early")
    return body


def seconds_of(retry_after: str, now: Callable[[], float] = time.time) -> float | None:
    """Return a Retry-After (seconds or a date) in seconds from now, or None if it cannot be read."""
    try:
        seconds = float(retry_after)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(retry_after).timestamp() - now()
        except (ValueError, OverflowError):
            return None
    return max(0.0, seconds) if math.isfinite(seconds) else None
