"""Publishes events to an exchange of RabbitMQ."""

from __future__ import annotations

from kato_tasks.bootstrap.senders import OBSERVATIONS, rabbitmq_sender
from kato_tasks.publishers.buffer import Buffering
from kato_tasks.publishers.encoding import as_cloud_event, as_json
from kato_tasks.publishers.publisher import Publisher


class RabbitMQPublisher(Publisher):
    """Publishes events to a topic exchange of RabbitMQ, as persistent messages that it confirms.

    ``rabbitmq_url`` is its address (``"amqp://host"``); None stands for the setting ``RABBITMQ_URL``. An exchange that
    does not exist is declared. In ``routing_key``, ``{key}`` stands for the session; one that is longer than AMQP's
    255 bytes is cut and told apart by a hash. An event that no queue gets is not confirmed, and is tried again.
    With ``cloud_events`` each event is a CloudEvent of ``source``, in structured mode.

    At most ``batch_events`` are sent at once, after waiting up to ``linger_seconds`` for more; ``buffer_events`` may
    wait to be confirmed, and then ``publish`` waits for room for up to ``block_seconds``. Raises ConfigurationError
    for an address that cannot work.
    """

    def __init__(
        self,
        rabbitmq_url: str | None = None,
        exchange: str = "kato-events",
        *,
        routing_key: str = OBSERVATIONS,
        cloud_events: bool = False,
        source: str = "/kato_tasks",
        batch_events: int = 500,
        linger_seconds: float = 0.005,
        buffer_events: int = 10_000,
        block_seconds: float = 60.0,
    ) -> None:
        super().__init__(
            rabbitmq_sender(exchange, rabbitmq_url, routing_key),
            as_cloud_event(source) if cloud_events else as_json,
            Buffering(batch_events, linger_seconds, buffer_events, block_seconds),
        )


__all__ = ["RabbitMQPublisher"]
