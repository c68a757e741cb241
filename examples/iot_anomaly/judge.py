"""Read the sink's prediction events from a Redis stream or from RabbitMQ, and say which readings are an anomaly.

    python -m examples.iot_anomaly.judge --redis redis://127.0.0.1:6379/0 --detections found.jsonl
    python -m examples.iot_anomaly.judge --rabbitmq amqp://127.0.0.1 --detections found.jsonl

It keeps what it needs in memory. Started again it reads a stream from its beginning, and comes to the same verdicts; a
queue hands out only what was not read before, and the judge warms up anew.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any, cast

from examples.iot_anomaly.judging import Judge

STREAM = "sensor-predictions"
"""The name of the stream, and of the exchange and the queue where it is RabbitMQ."""
QUIET_SECONDS = 1.0
"""How long the judge waits for the next message before it asks whether it is to go on."""


def write(events: Iterable[Mapping[str, Any]], judge: Judge, detections: IO[str]) -> int:
    """Judge prediction events, write each verdict as a line, print the beginning of each alarm, and count verdicts."""
    judged = 0
    alarmed: set[str] = set()
    for event in events:
        verdict = judge.judge(event)
        if verdict is None:
            continue
        judged += 1
        detections.write(json.dumps(asdict(verdict)) + "\n")
        detections.flush()
        if verdict.is_unexpected is None:
            continue  # Nothing is said of a window's first reading, so it ends no alarm.
        if not verdict.is_anomaly:
            alarmed.discard(verdict.sensor_id)
        elif verdict.sensor_id not in alarmed:
            alarmed.add(verdict.sensor_id)
            share = f"{verdict.score:.0%} of the last readings were not expected"
            print(f"ANOMALY DETECTED: {verdict.sensor_id} - {verdict.category} at {verdict.timestamp}; {share}")
    return judged


def event_of(fields: Mapping[bytes, bytes]) -> dict[str, Any]:
    """Return the prediction event of a stream's entry, in which whatever is no plain text is JSON text."""
    event: dict[str, Any] = {name.decode(): value.decode() for name, value in fields.items()}
    for name in ("predictions", "original_event"):
        event[name] = json.loads(event[name])
    return event


def from_redis(url: str, stream: str, most: int | None) -> Iterator[dict[str, Any]]:
    """Yield the events of a stream from its oldest entry on: for ever, or ``most`` of them."""
    from redis import Redis

    client = Redis.from_url(url)
    last, read = "0", 0
    with client:
        while most is None or read < most:
            block = int(QUIET_SECONDS * 1000)
            # redis-py's own types speak of awaitables and of both of Redis's protocols.
            answer = cast(
                "list[tuple[bytes, list[tuple[bytes, dict[bytes, bytes]]]]]", client.xread({stream: last}, 100, block)
            )
            for entry_id, fields in answer[0][1] if answer else ():
                last = entry_id.decode()
                read += 1
                yield event_of(fields)


def from_rabbitmq(url: str, exchange: str, most: int | None) -> Iterator[dict[str, Any]]:
    """Yield the events that a topic exchange gets from now on: for ever, or ``most`` of them.

    An event is acknowledged when the next one is asked for, so that a judge that dies gets it again.
    """
    import pika

    # Celery writes the virtual host / as a second slash; pika means it by none.
    connection: Any = pika.BlockingConnection(pika.URLParameters(url.rstrip("/")))
    try:
        channel = connection.channel()
        channel.exchange_declare(exchange=exchange, exchange_type="topic", durable=True)
        channel.queue_declare(queue=exchange, durable=True)
        channel.queue_bind(queue=exchange, exchange=exchange, routing_key="#")
        channel.basic_qos(prefetch_count=100)
        read = 0
        for method, _, body in channel.consume(exchange, inactivity_timeout=QUIET_SECONDS):
            if method is None:
                continue
            yield json.loads(body)
            channel.basic_ack(method.delivery_tag)
            read += 1
            if most is not None and read >= most:
                break
    finally:
        connection.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    broker = parser.add_mutually_exclusive_group(required=True)
    broker.add_argument("--redis", metavar="URL", help="read the Redis stream")
    broker.add_argument("--rabbitmq", metavar="URL", help="read the RabbitMQ exchange, by a queue of the same name")
    parser.add_argument("--name", default=STREAM, help="of the stream or exchange (default %(default)s)")
    parser.add_argument("--detections", type=Path, required=True, help="the file of verdicts, a JSON object a line")
    parser.add_argument("--first", type=int, help="stop after so many prediction events")
    given = parser.parse_args()
    if given.redis:
        events = from_redis(given.redis, given.name, given.first)
    else:
        events = from_rabbitmq(given.rabbitmq, given.name, given.first)
    with given.detections.open("w") as file, suppress(KeyboardInterrupt):
        print(f"{write(events, Judge(), file)} readings judged", file=sys.stderr)


if __name__ == "__main__":
    main()
