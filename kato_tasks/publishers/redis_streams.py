"""Publishes events to a stream of Redis."""

from __future__ import annotations

from kato_tasks.bootstrap.senders import redis_stream_sender
from kato_tasks.publishers.buffer import Buffering
from kato_tasks.publishers.encoding import as_cloud_event, as_fields
from kato_tasks.publishers.publisher import Publisher


class RedisStreamPublisher(Publisher):
    """Publishes events to a stream of Redis, one entry for each, with the observation as JSON text in a field.

    ``redis_url`` is its address (``"redis://host:6379"``); None stands for the setting ``STREAMS_URL``. The stream
    keeps about ``max_length`` entries, the newest, whether or not anybody has read the others; by default it keeps
    all. With ``cloud_events`` each entry is a CloudEvent of ``source``, as JSON text in the field ``data``.

    At most ``batch_events`` are sent at once, after waiting up to ``linger_seconds`` for more; ``buffer_events`` may
    wait to be confirmed, and then ``publish`` waits for room for up to ``block_seconds``. Raises ConfigurationError
    for an address that cannot work.
    """

    def __init__(
        self,
        redis_url: str | None = None,
        stream: str = "kato:observations",
        *,
        max_length: int | None = None,
        cloud_events: bool = False,
        source: str = "/kato_tasks",
        batch_events: int = 500,
        linger_seconds: float = 0.005,
        buffer_events: int = 10_000,
        block_seconds: float = 60.0,
    ) -> None:
        super().__init__(
            redis_stream_sender(stream, redis_url, max_length),
            as_cloud_event(source) if cloud_events else as_fields,
            Buffering(batch_events, linger_seconds, buffer_events, block_seconds),
        )


__all__ = ["RedisStreamPublisher"]
