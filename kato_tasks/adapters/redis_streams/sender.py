"""Adds messages to a Redis stream."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)
from redis.retry import Retry

from kato_tasks.errors import ConfigurationError, SourceUnavailable
from kato_tasks.ports.senders import Outgoing

FIELDS_OF_OURS = ("key", "message_id", "data")
"""The fields of an entry that is made of a message without fields, beside one field for each of its headers."""

MOST_AT_ONCE = 1_000
"""Entries in one transaction: Redis answers nobody else meanwhile."""


class RedisStreamSender:
    """Adds each message as one entry (``XADD``). A ``ports.senders.Sender``.

    An entry has the message's own ``fields``. Where a message has none, its value is the field ``data``, its key the
    field ``key``, its id the field ``message_id``, and each header a field of the header's name; what is empty is left
    out.

    Entries are added in transactions, each as a whole or not at all, so that a Redis which runs full in the middle
    cannot let a later entry overtake one that it refused. ``max_length`` lets Redis drop the oldest entries
    beyond about that number, also those that nobody has read yet. ``timeout`` is in seconds, for each answer of Redis.
    """

    def __init__(self, url: str, stream: str, max_length: int | None = None, *, timeout: float = 10.0) -> None:
        self.name = f"redis {stream}"
        self._url = url
        self._stream = stream
        self._max_length = max_length
        self._timeout = timeout
        self._client: redis.Redis | None = None
        self._pid = 0

    def send(self, messages: Sequence[Outgoing]) -> None:
        """See ``ports.senders.Sender.send``. No message is refused for good."""
        if not messages:
            return
        client = self._connected()
        try:
            for at in range(0, len(messages), MOST_AT_ONCE):
                with client.pipeline(transaction=True) as pipe:
                    for message in messages[at : at + MOST_AT_ONCE]:
                        pipe.xadd(self._stream, fields_of(message), maxlen=self._max_length, approximate=True)
                    pipe.execute()
        except RedisError as exc:
            where = _address(client)
            self.close()
            # Not "from exc": its text may have a part of a message in it.
            raise SourceUnavailable(f"Redis at {where} {self._clause(exc)}") from None

    def close(self) -> None:
        """See ``ports.senders.Sender.close``."""
        client, self._client = self._client, None
        if client is not None and self._pid == os.getpid():
            with contextlib.suppress(Exception):
                client.close()

    def _connected(self) -> redis.Redis:
        if self._client is None or self._pid != os.getpid():
            try:
                self._client = redis.Redis.from_url(
                    self._url,
                    retry=Retry(NoBackoff(), 0),
                    socket_timeout=self._timeout,
                    socket_connect_timeout=min(self._timeout, 3.0),
                    socket_keepalive=True,
                )
            except ValueError as exc:
                raise ConfigurationError(
                    f"{self.name}: its address is not that of a Redis ({exc}); write redis://host:port/db"
                ) from None
            self._pid = os.getpid()
        return self._client

    def _clause(self, exc: RedisError) -> str:
        """Return what is the matter with Redis, and what to do about it."""
        # redis-py puts the beginning of the command before it, which has the message in it.
        said = str(exc).rpartition("of pipeline caused error: ")[2]
        if isinstance(exc, OutOfMemoryError):
            return "has no memory left: have its streams read and trimmed, or raise its maxmemory"
        if isinstance(exc, NoPermissionError):
            return f"does not let this user add to the stream {self._stream!r}: grant the user +xadd and the key"
        if isinstance(exc, AuthenticationError):
            return "refuses the user: correct the name and password in its address"
        if isinstance(exc, ReadOnlyError):
            return "is a replica, which takes no writes: name the primary"
        if isinstance(exc, ResponseError) and said.startswith("WRONGTYPE"):
            return f"has something else than a stream at the key {self._stream!r}: name another stream"
        if isinstance(exc, ResponseError):
            return f"did not add to the stream {self._stream!r}: {said}"
        return f"does not answer ({said.rstrip('.')}): start it, or correct its address"


def fields_of(message: Outgoing) -> dict[Any, Any]:
    """Return the fields of the message's entry."""
    if message.fields is not None:
        return dict(message.fields)
    ours = (message.key, message.message_id, message.value)
    return dict(message.headers) | {name: value for name, value in zip(FIELDS_OF_OURS, ours, strict=True) if value}


def _address(client: redis.Redis) -> str:
    """Return where the Redis is, without user and password."""
    to = client.connection_pool.connection_kwargs
    return str(to["path"]) if "path" in to else f"{to.get('host', 'localhost')}:{to.get('port', 6379)}"


__all__ = ["RedisStreamSender", "fields_of"]
