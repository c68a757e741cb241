"""Publish a file of readings to RabbitMQ, as the guide's sensors do: plain messages for a queue that is not durable.

    python -m examples.iot_anomaly.producer --data ../shared/data/ambient_temperature.csv --url amqp://127.0.0.1

The same file published again is the same readings again: each has a timestamp, so that the listener knows them.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from examples.iot_anomaly.scoring import Reading, read_readings

QUEUE = "sensor-data"
SENSOR = "office"


def messages(readings: Iterable[Reading], sensor_id: str = SENSOR) -> Iterator[dict[str, Any]]:
    """Yield what the sensor sends for each reading."""
    for when, value in readings:
        yield {"sensor_id": sensor_id, "reading": value, "timestamp": when.isoformat()}


def publish(given: Iterable[dict[str, Any]], url: str, queue: str = QUEUE) -> int:
    """Send the messages in their order, wait until RabbitMQ has confirmed each, and return how many they are."""
    import pika

    # Celery writes the virtual host / as a second slash; pika means it by none.
    connection: Any = pika.BlockingConnection(pika.URLParameters(url.rstrip("/")))
    try:
        channel = connection.channel()
        channel.queue_declare(queue=queue)
        channel.confirm_delivery()
        sent = 0
        for message in given:
            channel.basic_publish(exchange="", routing_key=queue, body=json.dumps(message))
            sent += 1
        return sent
    finally:
        connection.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="a CSV file with the columns timestamp and value")
    parser.add_argument("--url", default="amqp://127.0.0.1", help="RabbitMQ's address (default %(default)s)")
    parser.add_argument("--queue", default=QUEUE)
    parser.add_argument("--sensor", default=SENSOR, help="the sensor's name (default %(default)s)")
    parser.add_argument("--first", type=int, help="publish only so many readings")
    given = parser.parse_args()
    readings = islice(read_readings(given.data), given.first)
    print(f"{publish(messages(readings, given.sensor), given.url, given.queue)} readings sent to {given.queue}")


if __name__ == "__main__":
    main()
