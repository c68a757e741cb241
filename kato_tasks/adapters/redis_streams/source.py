"""A Redis stream as a consumer group reads it."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import socket
import time
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError
from redis.retry import Retry

from kato_tasks.adapters.redis_streams.address import shown_address
from kato_tasks.errors import ConfigurationError, SourceUnavailable
from kato_tasks.ports.sources import Message

Trim = Literal["never", "acknowledged"]
CLAIMED_AT_ONCE = 1_000
TRIM_SECONDS = 10.0
FORGOTTEN_MS = 3_600_000
"""A consumer of ours that holds nothing and was idle for so long is deleted from the group."""
MOST_SEQUENCE = 1 << 11
MOST_MS = 1 << 42
"""An id of a stream is two numbers, ms and sequence. Within these bounds one number that Lua can hold stands for it."""
TIMEOUT_SECONDS = 10.0


class RedisStreamSource:
    """Reads a stream in a consumer group. See ``MessageSource``.

    One reader at a time has the group, by a lease, because Redis keeps no order among several. So when it opens, it
    claims whatever any reader before left unacknowledged, and hands that out first: in its order.

    ``trim`` "acknowledged" deletes entries that every group of the stream has acknowledged. The stream gets a name of
    its own, once, in the key ``<stream>:kato-tasks``: by that the ids of another server's stream with the same key, or
    of the same server after it was emptied, are told from these.
    """

    def __init__(self, url: str, stream: str, *, group: str = "kato-processors", trim: Trim = "never") -> None:
        self.name = f"redis {stream}"
        self._url = url
        self._stream = stream
        self._group = group
        self._trim = trim
        self._consumer = f"kato-tasks-{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
        self._client: redis.Redis | None = None
        self._left: Iterator[Message] = iter(())
        self._identity = ""
        self._trimmed_at = 0.0

    @property
    def reader_lease(self) -> str:
        """See ``MessageSource.reader_lease``."""
        return f"redis {shown_address(self._url)} {self._stream} {self._group}"

    def open(self) -> None:
        """See ``MessageSource.open``. The group begins at the stream's first entry."""
        with self._errors():
            client = self._connect()
            try:
                client.xgroup_create(self._stream, self._group, id="0", mkstream=True)
            except ResponseError as exc:
                if "BUSYGROUP" not in str(exc):
                    raise
            key = f"{self._stream}:kato-tasks"
            client.set(key, secrets.token_hex(6), nx=True)
            self._identity = str(client.get(key).decode())  # type: ignore[union-attr]
            self._delete_forgotten(client)
        self._left = self._claim()

    def _connect(self) -> redis.Redis:
        if self._client is None:
            try:
                self._client = redis.Redis.from_url(
                    self._url,
                    retry=Retry(NoBackoff(), 0),
                    socket_timeout=TIMEOUT_SECONDS,
                    socket_connect_timeout=3.0,
                    socket_keepalive=True,
                )
            except ValueError as exc:
                why = f"STREAMS_URL is not the address of a Redis ({exc}); write redis://host:port/db"
                raise ConfigurationError(why) from None
        return self._client

    def _claim(self) -> Iterator[Message]:
        """Yield what is unacknowledged in the group, whoever had it, from the oldest on."""
        start: Any = "0-0"
        while True:
            with self._errors():
                start, entries, *_ = self._connect().xautoclaim(
                    self._stream, self._group, self._consumer, min_idle_time=0, start_id=start, count=CLAIMED_AT_ONCE
                )
            for entry_id, fields in entries:
                if fields is not None:  # Redis 6.2 hands out deleted entries, too
                    yield self._message(entry_id, fields, redelivered=True)
            if start in (b"0-0", "0-0"):
                return

    def _message(self, entry_id: bytes, fields: dict[bytes, bytes], *, redelivered: bool = False) -> Message:
        text = entry_id.decode()
        ms, _, sequence = text.partition("-")
        offset = _offset(int(ms), int(sequence))
        return Message(
            value=b"",
            place=f"redis {self._stream} {text}",
            fields=tuple(fields.items()),
            mark=f"redis/{self._identity}/{self._stream}" if offset is not None else "",
            offset=offset or 0,
            event_id=f"redis:{self._identity}:{text}",
            redelivered=redelivered,
            source_ms=int(ms) if int(ms) < MOST_MS else 0,
            receipt=entry_id,
        )

    def read(self, most: int, seconds: float) -> list[Message]:
        """See ``MessageSource.read``."""
        client = self._opened()
        left = [message for _, message in zip(range(most), self._left, strict=False)]
        if left:
            return left
        with self._errors():
            found: Any = client.xreadgroup(
                self._group, self._consumer, {self._stream: ">"}, count=most, block=max(1, int(seconds * 1000))
            )
        entries = found[0][1] if found else ()
        return [self._message(entry_id, fields) for entry_id, fields in entries]

    def acknowledge(self, messages: Sequence[Message]) -> None:
        """See ``MessageSource.acknowledge``."""
        client = self._opened()
        ids: list[Any] = [message.receipt for message in messages]
        if not ids:
            return
        with self._errors():
            client.xack(self._stream, self._group, *ids)
            if self._trim == "acknowledged" and time.monotonic() - self._trimmed_at > TRIM_SECONDS:
                self._trimmed_at = time.monotonic()
                self._delete_acknowledged(client)

    def _delete_acknowledged(self, client: redis.Redis) -> None:
        """Delete the entries before the first one that some group has not acknowledged yet."""
        first: list[tuple[int, int]] = []
        groups: Any = client.xinfo_groups(self._stream)
        for group in groups:
            pending: Any = client.xpending(self._stream, group["name"])
            if pending["pending"]:
                first.append(_numbers(pending["min"]))
            else:
                ms, sequence = _numbers(group["last-delivered-id"])
                first.append((ms, sequence + 1))
        if first:
            ms, sequence = min(first)
            client.xtrim(self._stream, minid=f"{ms}-{sequence}", approximate=True)

    def _delete_forgotten(self, client: redis.Redis) -> None:
        consumers: Any = client.xinfo_consumers(self._stream, self._group)
        for one in consumers:
            ours = one["name"].startswith(b"kato-tasks-")
            if ours and not one["pending"] and one["idle"] > FORGOTTEN_MS:
                client.xgroup_delconsumer(self._stream, self._group, one["name"])

    def keep(self, messages: Sequence[Message]) -> list[Message]:
        """See ``MessageSource.keep``. Who has the lease has all of them."""
        return list(messages)

    def idle(self, seconds: float) -> None:
        """See ``MessageSource.idle``. A consumer of a group need not say that it lives, but notices that Redis does."""
        client = self._opened()
        time.sleep(seconds)
        with self._errors():
            client.ping()

    def lag(self) -> int | None:
        """See ``MessageSource.lag``. Redis tells it from version 7 on, unless entries were deleted from the middle."""
        client = self._opened()
        with self._errors():
            groups: Any = client.xinfo_groups(self._stream)
        for group in groups:
            if group["name"].decode() == self._group:
                waiting = group.get("lag")
                return None if waiting is None else int(waiting) + int(group["pending"])
        return None

    def close(self) -> None:
        """See ``MessageSource.close``."""
        client, self._client = self._client, None
        self._left = iter(())
        if client is not None:
            with contextlib.suppress(RedisError, OSError):
                client.close()

    def _opened(self) -> redis.Redis:
        if self._client is None:
            raise SourceUnavailable(f"{self.name} is not open: open it first")
        return self._client

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (RedisError, OSError) as exc:
            where = shown_address(self._url)
            if isinstance(exc, ResponseError):
                raise SourceUnavailable(f"the Redis of stream {self._stream!r} at {where} refuses: {exc}") from None
            raise SourceUnavailable(
                f"the Redis of stream {self._stream!r} at {where} does not answer: start it, or correct STREAMS_URL"
            ) from None


def _offset(ms: int, sequence: int) -> int | None:
    """Return the number that stands for an id; None if there is none that Lua can hold."""
    return ms * MOST_SEQUENCE + sequence if ms < MOST_MS and sequence < MOST_SEQUENCE else None


def _numbers(entry_id: Any) -> tuple[int, int]:
    found = re.match(r"(\d+)-(\d+)", entry_id.decode() if isinstance(entry_id, bytes) else str(entry_id))
    return (int(found[1]), int(found[2])) if found else (0, 0)
