"""Build the sources that listeners read. A broker's client is loaded only for that broker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from kato_tasks.ports.sources import MessageSource
from kato_tasks.settings import extras

HEARTBEAT_SECONDS = 10
"""RabbitMQ gives the messages of a reader to another one when it has heard nothing of it for twice as long."""


def kafka_source(
    bootstrap: str, topics: Sequence[str], group: str, instance: str, properties: Mapping[str, str]
) -> MessageSource:
    """Return topics of Kafka as a source. Raises ConfigurationError where the extra ``kafka`` is not installed."""
    extras.require("kato-tasks listen kafka", "kafka")
    from kato_tasks.adapters.kafka.source import KafkaSource

    return KafkaSource(bootstrap, topics, group=group, instance=instance, options=properties)


def rabbitmq_source(url: str, queue: str, exchange: str, bindings: Sequence[str], prefetch: int) -> MessageSource:
    """Return a queue of RabbitMQ as a source.

    One that is bound to an exchange is made where it is missing, with a single active consumer and a dead-letter
    exchange. Without an exchange it is its producers' own: they declare it, in their way.
    """
    from kato_tasks.adapters.rabbitmq.source import RabbitmqSource

    return RabbitmqSource(
        url,
        queue,
        exchange=exchange,
        bindings=bindings,
        single_active=bool(exchange),
        dead_letter_exchange=f"{exchange}.dead" if exchange else "",
        prefetch=prefetch,
        heartbeat=HEARTBEAT_SECONDS,
    )


def redis_source(url: str, stream: str, group: str, trim: Literal["never", "acknowledged"]) -> MessageSource:
    """Return a Redis stream as a source."""
    from kato_tasks.adapters.redis_streams.source import RedisStreamSource

    return RedisStreamSource(url, stream, group=group, trim=trim)


__all__ = ["kafka_source", "rabbitmq_source", "redis_source"]
