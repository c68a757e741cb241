"""Provide ``kato-tasks listen``, which reads events from Kafka, RabbitMQ or a Redis stream."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from kato_tasks.cli.lazy import Group
from kato_tasks.cli.output import talk
from kato_tasks.cli.own_functions import own_function
from kato_tasks.cli.sections import Grouped, section
from kato_tasks.errors import ConfigurationError

if TYPE_CHECKING:
    from kato_tasks.listeners.options import Predict
    from kato_tasks.ports.sources import MessageSource


class _Policy(click.ParamType[Any]):
    """every, last, asked, or a number."""

    name = "POLICY"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the policy. Fails for anything else."""
        if value in ("every", "last", "asked"):
            return value
        if not str(value).isdecimal() or not 1 <= int(value) <= 1_000_000:
            self.fail(f"{value!r} is none of every, last, asked, or a number from 1", param, ctx)
        return int(value)


class _Sink(click.ParamType[str]):
    """kafka:TOPIC, rabbitmq:EXCHANGE or redis:STREAM."""

    name = "DESTINATION"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the destination. Fails for anything that is none."""
        from kato_tasks.bootstrap.senders import read_destination

        try:
            read_destination(str(value))
        except ConfigurationError as exc:
            self.fail(str(exc), param, ctx)
        if not str(value).isprintable() or len(str(value)) > 200:
            self.fail(f"{value!r} is longer than 200 characters, or holds some that cannot be printed", param, ctx)
        return str(value)


def _common(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that all three sources have."""
    messages = section(
        "What messages hold",
        click.option(
            "--decoder",
            metavar="MODULE:FUNCTION",
            help="Make events of messages with this function (default: the standard event in JSON, or CloudEvents).",
        ),
        click.option(
            "--learn-every",
            type=click.IntRange(0, 100_000),
            default=0,
            metavar="N",
            help="Append a learn after every N events of a session (default: none).",
        ),
    )
    predictions = section(
        "Where predictions go",
        click.option(
            "--predictions-to",
            type=_Sink(),
            help="Publish KATO's predictions to kafka:TOPIC, rabbitmq:EXCHANGE or redis:STREAM.",
        ),
        click.option(
            "--predict",
            type=_Policy(),
            default="every",
            show_default=True,
            help="Predict after every observation; after each position that a number divides; only after the session's "
            "last one while no other follows (last); or after those whose metadata has predict: true (asked).",
        ),
        click.option(
            "--encoder",
            metavar="MODULE:FUNCTION",
            help="Make the payload of a prediction with this function (default: the prediction event in JSON).",
        ),
    )
    limits = section(
        "Limits",
        click.option(
            "--batch",
            type=click.IntRange(1, 10_000),
            default=1_000,
            show_default=True,
            metavar="N",
            help="Append up to N messages together.",
        ),
        click.option(
            "--max-message-bytes",
            type=click.IntRange(min=1_000),
            default=1_048_576,
            show_default=True,
            metavar="N",
            help="Refuse longer messages.",
        ),
    )
    ending = section(
        "When it ends",
        click.option(
            "--until-idle",
            type=click.FloatRange(min=0.1),
            default=None,
            metavar="SECONDS",
            help="End once nothing came for so long (default: read until Ctrl-C or SIGTERM).",
        ),
    )
    return messages(predictions(limits(ending(function))))


@click.group("listen", cls=Group)
def listen() -> None:
    """Read events from a broker, and append them to the log. Each is acknowledged once the store has it.

    A message that is no valid event becomes a dead letter, and the listener goes on. Several listeners may run: of a
    queue or a stream one reads and the others stand by, and Kafka shares out a topic's partitions.
    """


@listen.command("kafka", cls=Grouped)
@section(
    "What is read",
    click.option(
        "--topic",
        "topics",
        multiple=True,
        default=("kato-observations",),
        show_default=True,
        metavar="NAME",
        help="Read this topic. May be repeated.",
    ),
    click.option("--group", default="kato-processors", show_default=True, metavar="NAME", help="In this group."),
    click.option(
        "--kafka-bootstrap", metavar="HOST:PORT", help="Of these brokers (default: KATO_TASKS_KAFKA_BOOTSTRAP)."
    ),
    click.option(
        "--instance",
        default="",
        metavar="NAME",
        help="Keep this listener's partitions over a restart (group.instance.id).",
    ),
    click.option(
        "--property",
        "properties",
        multiple=True,
        metavar="NAME=VALUE",
        help="Set a property of librdkafka, sasl.username for instance. May be repeated.",
    ),
)
@_common
def kafka(
    topics: tuple[str, ...],
    group: str,
    kafka_bootstrap: str | None,
    instance: str,
    properties: tuple[str, ...],
    **words: Any,
) -> None:
    """Read topics of Kafka, as a member of a consumer group."""
    from kato_tasks.bootstrap.sources import kafka_source
    from kato_tasks.settings import settings

    given = {}
    for one in properties:
        name, is_, value = one.partition("=")
        if not name or not is_:
            raise click.BadParameter(f"{one!r} has no value; write NAME=VALUE", param_hint="--property")
        given[name] = value
    _listen(kafka_source(kafka_bootstrap or settings().kafka_bootstrap, topics, group, instance, given), **words)


@listen.command("rabbitmq", cls=Grouped)
@section(
    "What is read",
    click.option("--queue", default="kato-observations", show_default=True, metavar="NAME", help="Read this queue."),
    click.option(
        "--exchange",
        default="kato-events",
        show_default=True,
        metavar="NAME",
        help="Bind it to this topic exchange. '' binds it to none, and waits for the producer that declares it.",
    ),
    click.option(
        "--binding",
        "bindings",
        multiple=True,
        default=("observations.#",),
        show_default=True,
        metavar="KEY",
        help="By this routing key. May be repeated.",
    ),
    click.option("--rabbitmq-url", metavar="URL", help="Of this RabbitMQ (default: KATO_TASKS_RABBITMQ_URL)."),
    click.option(
        "--prefetch",
        type=click.IntRange(1, 65_535),
        default=2_000,
        show_default=True,
        metavar="N",
        help="Let RabbitMQ hand out N messages ahead.",
    ),
)
@_common
def rabbitmq(
    queue: str, exchange: str, bindings: tuple[str, ...], rabbitmq_url: str | None, prefetch: int, **words: Any
) -> None:
    """Read a queue of RabbitMQ."""
    from kato_tasks.bootstrap.sources import rabbitmq_source
    from kato_tasks.settings import settings

    _listen(rabbitmq_source(rabbitmq_url or settings().rabbitmq_url, queue, exchange, bindings, prefetch), **words)


@listen.command("redis", cls=Grouped)
@section(
    "What is read",
    click.option("--stream", default="kato:observations", show_default=True, metavar="KEY", help="Read this stream."),
    click.option("--group", default="kato-processors", show_default=True, metavar="NAME", help="In this group."),
    click.option("--streams-url", metavar="URL", help="Of this Redis (default: KATO_TASKS_STREAMS_URL)."),
    click.option(
        "--trim",
        type=click.Choice(["never", "acknowledged"]),
        default="never",
        show_default=True,
        help="Delete entries that all groups have acknowledged, or keep them.",
    ),
)
@_common
def redis(stream: str, group: str, streams_url: str | None, trim: Any, **words: Any) -> None:
    """Read a Redis stream, in a consumer group."""
    from kato_tasks.bootstrap.sources import redis_source
    from kato_tasks.settings import settings

    _listen(redis_source(streams_url or settings().streams_url, stream, group, trim), **words)


def _listen(
    source: MessageSource,
    decoder: str | None,
    learn_every: int,
    predictions_to: str | None,
    predict: Predict,
    encoder: str | None,
    batch: int,
    max_message_bytes: int,
    until_idle: float | None,
) -> None:
    from kato_tasks.bootstrap import runtime
    from kato_tasks.listeners.options import ListenOptions
    from kato_tasks.listeners.running import listen as run
    from kato_tasks.listeners.running import until_signal
    from kato_tasks.settings import settings
    from kato_tasks.telemetry.log_events import log_to_stderr

    if predictions_to is None and (encoder or predict != "every"):
        raise click.UsageError("--predict and --encoder say something of --predictions-to, which is missing")
    options = ListenOptions(
        batch=batch,
        message_bytes=max_message_bytes,
        decoder=own_function(decoder) if decoder else None,
        decoder_name=decoder or "",
        learn_every=learn_every,
        sink=predictions_to or "",
        predict=predict,
        until_idle=until_idle or 0.0,
    )
    rt = runtime()
    log_to_stderr(settings().log_format)
    with until_signal() as stop:
        publisher = None
        if predictions_to is not None:
            publisher = _publisher(rt, predictions_to, encoder, stop)
        talk(f"listening to {source.name}; Ctrl-C or SIGTERM ends it")
        run(rt, source, options, stop, publisher)


def _publisher(rt: Any, destination: str, encoder: str | None, stop: Any) -> Any:
    from kato_tasks.bootstrap.senders import sender_to
    from kato_tasks.listeners.running import SinkPublisher
    from kato_tasks.sinks.publishing import PredictionPublisher

    made = PredictionPublisher(
        rt,
        destination,
        sender_to(destination, routing_key="predictions.{key}"),
        encoder=own_function(encoder) if encoder else None,
        encoder_name=encoder or "",
        stop=stop,
    )
    return SinkPublisher(made.run, lambda: (made.sent, made.unsent))
