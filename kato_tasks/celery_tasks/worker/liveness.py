"""Finds out from outside whether workers and beat do their work, for health checks.

Worker: the next messages of the lanes' queues must be taken. A worker can stop consuming and still answer pings (this
was seen after a reset of a Redis broker). Only a Redis broker shows which message is next; RabbitMQ feeds every
subscriber, so there the check is whether each queue with messages has a consumer. A KATO that is down is no problem
here: wake-ups are taken then too, and their lanes wait in the store.

Beat: the sweep, which is sent every 5 s, must have been sent lately by the beat that holds the lock.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from urllib.parse import urlsplit

import redis
from kombu import Queue
from kombu.exceptions import OperationalError

from kato_tasks.bootstrap.looking import figures_of
from kato_tasks.celery_tasks.app.home import home_app, installed
from kato_tasks.celery_tasks.app.queueing import queues
from kato_tasks.errors import StoreUnavailable
from kato_tasks.settings import extras, settings

NextMessages = dict[str, bytes]
TIMEOUT_SECONDS = 3


def worker_problem(within: float) -> str | None:
    """Watch the queues for up to ``within`` seconds; returns what is wrong in one sentence, or None if all is well."""
    lanes = [queue for queue in queues(settings().shards) if queue.name.startswith("kato.lane.")]
    try:
        stuck = (
            _without_consumer(lanes)
            if urlsplit(_broker()).scheme.startswith("amqp")
            else _find_untouched(lanes, within)
        )
    except (redis.RedisError, OSError, OperationalError) as exc:
        return f"cannot ask the broker: {exc}"
    return f"messages wait and no worker takes them: {', '.join(stuck)}" if stuck else None


def beat_problem(within: float) -> str | None:
    """Return one sentence if beat sent no sweep in the last ``within`` seconds, or None if it did."""
    try:
        sent = _given_sign() if installed() else _sent_by_redbeat()
    except (StoreUnavailable, redis.RedisError, OSError) as exc:
        return f"cannot ask the store: {exc}"
    if sent is None:
        return "beat has sent nothing yet; start it with: celery -A kato_tasks beat"
    ago = (datetime.now(UTC) - sent).total_seconds()
    if ago > within:
        return f"beat sent its last task {ago:.0f} s ago; is it running, and does it reach the store?"
    return None


def _sent_by_redbeat() -> datetime | None:
    """Return when our own beat last sent the sweep. Beat writes this down even while the broker is away."""
    extras.require("kato-tasks health beat", "worker")
    from redbeat import RedBeatSchedulerEntry

    with _client(settings().store_url) as scheduler:
        meta = scheduler.hget(f"{home_app().conf.redbeat_key_prefix}kato-sweep", "meta")
    sent = None if meta is None else RedBeatSchedulerEntry.decode_meta(meta)["last_run_at"]
    return None if sent is None else sent.astimezone(UTC)


def _given_sign() -> datetime | None:
    """Return when a host's beat, which has its own scheduler, last published the sweep."""
    with figures_of(settings().store_url, TIMEOUT_SECONDS) as figures:
        last_ms = figures.last_sign_ms("beat")
    return None if last_ms is None else datetime.fromtimestamp(last_ms / 1000, UTC)


def _broker() -> str:
    return str(home_app().conf.broker_read_url)


def _client(url: str) -> redis.Redis:
    return redis.Redis.from_url(url, socket_timeout=TIMEOUT_SECONDS, socket_connect_timeout=TIMEOUT_SECONDS)


def _find_untouched(lanes: list[Queue], within: float) -> list[str]:
    """Return the queues with messages if none of their next messages went away within ``within`` seconds.

    One that goes away is enough: with more queues than processes, some wait while others are served.
    """
    with _client(_broker()) as broker:

        def next_messages() -> NextMessages:
            pipe = broker.pipeline(transaction=False)
            for queue in lanes:
                pipe.lindex(queue.name, -1)
            return {queue.name: head for queue, head in zip(lanes, pipe.execute(), strict=True) if head}

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


def _without_consumer(lanes: list[Queue]) -> list[str]:
    """Return the queues that hold messages and have no consumer."""
    with home_app().connection_for_read() as connection, connection.channel() as channel:
        counts = {queue.name: queue(channel).queue_declare(passive=True) for queue in lanes}
    return [name for name, count in counts.items() if count.message_count and not count.consumer_count]
