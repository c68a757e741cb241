"""Publishes events to a Kafka topic."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kato_tasks.bootstrap.senders import kafka_sender
from kato_tasks.publishers.buffer import Buffering
from kato_tasks.publishers.encoding import as_cloud_event, as_json
from kato_tasks.publishers.publisher import Publisher


class KafkaPublisher(Publisher):
    """Publishes events to a topic of Kafka, keyed by session. Needs the extra ``kafka``.

    ``bootstrap_servers`` names brokers (``"host:9092"``, or a list of them); None stands for the setting
    ``KAFKA_BOOTSTRAP``. ``config`` has more properties of librdkafka, such as those of TLS and SASL. With
    ``cloud_events`` each event is a CloudEvent of ``source``, in structured mode.

    At most ``batch_events`` are sent at once, after waiting up to ``linger_seconds`` for more; ``buffer_events`` may
    wait to be confirmed, and then ``publish`` waits for room for up to ``block_seconds``. Raises ConfigurationError
    for an address or a property that cannot work, and where confluent-kafka is not installed.
    """

    def __init__(
        self,
        bootstrap_servers: str | Sequence[str] | None = None,
        topic: str = "kato-observations",
        *,
        config: Mapping[str, Any] | None = None,
        cloud_events: bool = False,
        source: str = "/kato_tasks",
        batch_events: int = 500,
        linger_seconds: float = 0.005,
        buffer_events: int = 10_000,
        block_seconds: float = 60.0,
    ) -> None:
        super().__init__(
            kafka_sender(topic, bootstrap_servers, config, what="KafkaPublisher"),
            as_cloud_event(source) if cloud_events else as_json,
            Buffering(batch_events, linger_seconds, buffer_events, block_seconds),
        )


__all__ = ["KafkaPublisher"]
