"""Make senders: for what a publisher or a sink sends to, at the addresses that it or the settings name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kato_tasks.errors import ConfigurationError
from kato_tasks.settings import Settings, extras, settings
from kato_tasks.settings.checks import check_kafka, check_rabbitmq, check_store

if TYPE_CHECKING:
    from collections.abc import Callable

    from kato_tasks.ports.senders import Sender

OBSERVATIONS = "observations.{key}"
"""The routing key of events in RabbitMQ; ``{key}`` stands for the session."""
EXAMPLES = "kafka:TOPIC, rabbitmq:EXCHANGE, rabbitmq:EXCHANGE/ROUTING.KEY or redis:STREAM"


@dataclass(frozen=True, slots=True)
class Destination:
    """What is sent to: the kind of its broker, its name there, and in RabbitMQ the routing key ('' where not said)."""

    kind: str
    name: str
    routing_key: str = ""


def read_destination(text: str) -> Destination:
    """Return the destination that a text names. Raises ConfigurationError for any other text.

    ``kafka:TOPIC``, ``redis:STREAM`` (a stream's name may have colons), and ``rabbitmq:EXCHANGE``, or
    ``rabbitmq:EXCHANGE/ROUTING.KEY``, in whose routing key ``{key}`` stands for the message's key. ``rabbitmq:/QUEUE``
    names a queue: it is the default exchange with the queue's name as the routing key.
    """
    kind, colon, name = text.partition(":")
    routing_key = ""
    if kind == "rabbitmq":
        name, slash, routing_key = name.partition("/")
        fits = bool(routing_key) if slash else bool(name)
    else:
        fits = bool(name) and kind in ("kafka", "redis")
    if not colon or not fits:
        raise ConfigurationError(f"{text!r} names nothing that can be sent to; write {EXAMPLES}")
    return Destination(kind, name, routing_key)


def sender_to(destination: str, *, routing_key: str = OBSERVATIONS, config: Settings | None = None) -> Sender:
    """Return a sender to what ``destination`` names, at the address of the settings. It connects when it is used.

    ``routing_key`` is for an exchange of RabbitMQ whose destination names none. Raises ConfigurationError for a text
    that names nothing, and where the extra ``kafka`` is missing.
    """
    to = read_destination(destination)
    used = config or settings()
    if to.kind == "kafka":
        return kafka_sender(to.name, used.kafka_bootstrap)
    if to.kind == "rabbitmq":
        return rabbitmq_sender(to.name, used.rabbitmq_url, to.routing_key or routing_key)
    return redis_stream_sender(to.name, used.streams_url)


def kafka_sender(
    topic: str,
    bootstrap: str | Sequence[str] | None = None,
    properties: Mapping[str, Any] | None = None,
    *,
    what: str = "sending to Kafka",
) -> Sender:
    """Return a sender to a topic. ``bootstrap`` names brokers; None stands for the setting KAFKA_BOOTSTRAP.

    ``properties`` are further ones of librdkafka, and ``what`` is the subject of the sentence where the extra ``kafka``
    is missing. Raises ConfigurationError for that, for an address and for a property that cannot work.
    """
    extras.require(what, "kafka")
    if bootstrap is None:
        bootstrap = settings().kafka_bootstrap
    brokers = bootstrap if isinstance(bootstrap, str) else ",".join(bootstrap)
    _check(check_kafka, "the address of Kafka", brokers)
    from kato_tasks.adapters.kafka.sender import KafkaSender

    return KafkaSender(brokers, _named("topic", topic), properties)


def rabbitmq_sender(exchange: str, url: str | None = None, routing_key: str = OBSERVATIONS) -> Sender:
    """Return a sender to an exchange. ``url`` None stands for the setting RABBITMQ_URL. Raises ConfigurationError."""
    address = _check(check_rabbitmq, "the address of RabbitMQ", settings().rabbitmq_url if url is None else url)
    from kato_tasks.adapters.rabbitmq.sender import RabbitmqSender

    return RabbitmqSender(address, exchange, _named("routing key", routing_key))


def redis_stream_sender(stream: str, url: str | None = None, max_length: int | None = None) -> Sender:
    """Return a sender to a stream, of which Redis keeps about ``max_length`` entries (None: all of them).

    ``url`` None stands for the setting STREAMS_URL. Raises ConfigurationError.
    """
    address = _check(check_store, "the address of Redis", settings().streams_url if url is None else url)
    if max_length is not None and max_length < 1:
        raise ConfigurationError(f"a stream keeps at least 1 entry, not {max_length}; leave max_length out to keep all")
    from kato_tasks.adapters.redis_streams.sender import RedisStreamSender

    return RedisStreamSender(address, _named("stream", stream), max_length)


def _check(check: Callable[[str], str], what: str, address: str) -> str:
    try:
        return check(address)
    except ValueError as exc:
        raise ConfigurationError(f"{what} {exc}") from None


def _named(what: str, name: str) -> str:
    if not name:
        raise ConfigurationError(f"the name of the {what} is empty; give one")
    return name


__all__ = [
    "OBSERVATIONS",
    "Destination",
    "kafka_sender",
    "rabbitmq_sender",
    "read_destination",
    "redis_stream_sender",
    "sender_to",
]
