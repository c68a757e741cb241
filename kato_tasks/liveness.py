"""Whether workers and beat do what they are there for, asked from outside: what a health check looks at.

Worker: the next messages of the lanes' queues are taken. One can stop consuming and still answer pings (seen after a
reset of a Redis broker). Only a Redis broker shows which message is next; of RabbitMQ, which feeds whoever is
subscribed, this asks whether each queue with messages has a consumer. While KATO is down all is well here: a wake-up is
taken then, and its lanes wait in the store.

Beat: the sweep, which it sends every 5 s, was sent lately, by whichever of several beats has the lock.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from urllib.parse import urlsplit

import redis
from kombu import Queue
from kombu.exceptions import OperationalError

from kato_tasks.celery_app import app

NextMessages = dict[str, bytes]
TIMEOUT_SECONDS = 3


def worker_problem(within: float) -> str | None:
    """What is wrong with the workers in one sentence, watched for up to ``within`` seconds; None when all is well."""
    queues = [queue for queue in app.conf.task_queues if queue.name.startswith("kato.lane.")]
    try:
        if urlsplit(app.conf.broker_url).scheme.startswith("amqp"):
            stuck = _without_consumer(queues)
        else:
            stuck = _untouched(queues, within)
    except (redis.RedisError, OSError, OperationalError) as exc:
        return f"cannot ask the broker: {exc}"
    return f"messages wait and nobody takes them: {', '.join(stuck)}" if stuck else None


def beat_problem(within: float) -> str | None:
    """What is wrong with beat in one sentence: it sent no sweep in the last ``within`` seconds; None when it did."""
    from redbeat import RedBeatSchedulerEntry

    key = f"{app.conf.redbeat_key_prefix}kato-sweep"
    try:
        with _client(app.conf.redbeat_redis_url) as store:
            meta = store.hget(key, "meta")
    except (redis.RedisError, OSError) as exc:
        return f"cannot ask the store: {exc}"
    sent = None if meta is None else RedBeatSchedulerEntry.decode_meta(meta)["last_run_at"]
    if sent is None:
        return "beat has sent nothing yet; start it with: celery -A kato_tasks beat"
    ago = (datetime.now(UTC) - sent.astimezone(UTC)).total_seconds()
    if ago > within:
        return f"beat sent its last task {ago:.0f} s ago; is it running, and does it reach the store?"
    return None


def _client(url: str) -> redis.Redis:
    return redis.Redis.from_url(url, socket_timeout=TIMEOUT_SECONDS, socket_connect_timeout=TIMEOUT_SECONDS)


def _untouched(queues: list[Queue], within: float) -> list[str]:
    """Return the queues with messages if none of their next messages went away within ``within`` seconds.

    One that goes is enough: with more queues than processes some wait while others are served.
    """
    with _client(app.conf.broker_url) as broker:

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


def _without_consumer(queues: list[Queue]) -> list[str]:
    """Return the queues that hold messages and have no consumer."""
    with app.connection_for_read() as connection, connection.channel() as channel:
        counts = {queue.name: queue(channel).queue_declare(passive=True) for queue in queues}
    return [name for name, count in counts.items() if count.message_count and not count.consumer_count]
