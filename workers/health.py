"""A worker's health check: whether waiting messages are taken.

    python -m workers.health [--within SECONDS]

A worker can answer pings and yet have stopped consuming, so this looks at the lane queues themselves. Exit status
0: nothing waits, or a waiting message was taken within the time. 1: messages wait and none was taken, or the
broker cannot be reached. Only a Redis broker shows which message is next; of RabbitMQ, which feeds whoever is
subscribed, this asks whether each queue with messages has a consumer.

While KATO is down this stays healthy: a wake-up is then taken, and its lanes wait in the store.
"""

import argparse
import sys
import time
from urllib.parse import urlsplit

import redis
from kombu import Queue

from kato_tasks.celery_app import app

NextMessages = dict[str, bytes]


def main(arguments: list[str] | None = None) -> str | None:
    """Return what is wrong in one sentence; None when the worker is healthy."""
    parser = argparse.ArgumentParser(prog="python -m workers.health", description="Are waiting messages taken?")
    parser.add_argument("--within", type=float, default=5.0, metavar="SECONDS", help="default 5")
    within = parser.parse_args(arguments).within
    queues = [queue for queue in app.conf.task_queues if queue.name.startswith("kato.lane.")]
    try:
        if urlsplit(app.conf.broker_url).scheme.startswith("amqp"):
            stuck = without_consumer(queues)
        else:
            stuck = untouched(queues, within)
    except (redis.RedisError, OSError) as exc:
        return f"cannot ask the broker: {exc}"
    return f"messages wait and nobody takes them: {', '.join(stuck)}" if stuck else None


def untouched(queues: list[Queue], within: float) -> list[str]:
    """Return the queues with messages if none of their next messages went away within `within` seconds.

    One that goes is enough: with more queues than processes some wait while others are served.
    """
    with redis.Redis.from_url(app.conf.broker_url, socket_timeout=3, socket_connect_timeout=3) as broker:

        def next_messages() -> NextMessages:
            pipe = broker.pipeline(transaction=False)
            for queue in queues:
                pipe.lindex(queue.name, -1)
            return {queue.name: head for queue, head in zip(queues, pipe.execute(), strict=True) if head}

        before = next_messages()
        deadline = time.monotonic() + within
        while before:
            now = next_messages()
            if any(now.get(name) != head for name, head in before.items()):
                return []
            if time.monotonic() >= deadline:
                break
            time.sleep(0.1)
    return list(before)


def without_consumer(queues: list[Queue]) -> list[str]:
    """Return the queues that hold messages and have no consumer."""
    with app.connection_for_read() as connection, connection.channel() as channel:
        counts = {queue.name: queue(channel).queue_declare(passive=True) for queue in queues}
    return [name for name, count in counts.items() if count.message_count and not count.consumer_count]


if __name__ == "__main__":
    sys.exit(main())
