"""The configuration of our own Celery app. Every option that is not obvious was measured (``docs/celery.md``)."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from kato_tasks.celery_tasks.app.queueing import EXCHANGE, queues
from kato_tasks.domain.ids import CONTROL_QUEUE
from kato_tasks.settings import Settings, extras

PUBLISH_POLICY = {"max_retries": 2, "interval_start": 0.1, "interval_step": 0.2}
"""How often publishing is tried again, with intervals in seconds.

It is tried for a short time only, because a message that cannot be published is kept and published later."""


def transport_options(config: Settings) -> dict[str, Any]:
    """Return the options of the broker's transport.

    With them it neither stops silently nor holds back a dead worker's messages.
    """
    if urlsplit(config.broker_url).scheme.startswith("amqp"):
        return {"confirm_publish": True}
    return {
        "visibility_timeout": config.visibility_timeout_seconds,
        "unacked_restore_interval": 5,
        "unacked_restore_throttle": 1,
        "priority_steps": [0],
        "queue_order_strategy": "round_robin",
        "socket_keepalive": True,
        "health_check_interval": 25,
        "socket_timeout": 30,
        "socket_connect_timeout": 5,
    }


def configuration(config: Settings) -> dict[str, Any]:
    """Return Celery's settings for our own app."""
    return {
        "broker_url": config.broker_url,
        "result_backend": config.result_backend,
        "imports": (
            "kato_tasks.celery_tasks.tasks",
            "kato_tasks.celery_tasks.worker.worker_signals",
            "kato_tasks.celery_tasks.worker.flower_pages",
        ),
        "task_queues": queues(config.shards),
        "task_default_queue": config.own_queue,
        "task_default_exchange": EXCHANGE.name,
        "task_default_exchange_type": "direct",
        "task_default_routing_key": config.own_queue,
        "task_create_missing_queues": False,
        "task_acks_late": True,
        "task_reject_on_worker_lost": True,
        "task_acks_on_failure": True,
        "task_acks_on_timeout": True,
        "task_send_sent_event": True,
        "task_publish_retry": True,
        "task_publish_retry_policy": PUBLISH_POLICY,
        "worker_prefetch_multiplier": 1,
        "worker_deduplicate_successful_tasks": False,
        "worker_send_task_events": True,
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        # Otherwise two pool threads read one AMQP connection after a broker restart, and hang (seen with -P threads).
        "worker_enable_prefetch_count_reduction": False,
        "result_extended": True,
        "result_expires": config.result_seconds,
        "result_chord_expires": config.result_seconds,
        "result_backend_always_retry": True,
        "result_backend_max_retries": 5,
        "task_serializer": "json",
        "result_serializer": "json",
        "accept_content": ["json"],
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        "broker_heartbeat": 30,
        "broker_transport_options": transport_options(config),
        "timezone": "UTC",
        "beat_schedule": beat_schedule(),
        "beat_scheduler": scheduler(),
        "beat_max_loop_interval": 2,
        "redbeat_redis_url": config.store_url,
        "redbeat_redis_options": {"socket_timeout": 30, "socket_connect_timeout": 5, "socket_keepalive": True},
        "redbeat_key_prefix": "kt:redbeat:",
        "redbeat_lock_timeout": 15,
    }


def scheduler() -> str:
    """Return the name of beat's scheduler, or of a function that reports, when beat starts, that it is missing."""
    here = extras.has_module("redbeat")
    return "redbeat.RedBeatScheduler" if here else "kato_tasks.celery_tasks.app.command_line:scheduler_is_missing"


def beat_schedule() -> dict[str, Any]:
    """Return what beat does beside the workers' own sweeps. A second beat waits for the first one's lock.

    ``expires`` compares beat's clock with the worker's, so it allows for an hour between them. It only bounds what
    collects on Redis while no worker runs (840 messages). ``expiration`` uses RabbitMQ's own clock. Times are in
    seconds.
    """
    options = {"queue": CONTROL_QUEUE, "expires": 3600, "expiration": 15, "ignore_result": True}
    return {
        "kato-sweep": {"task": "kato_tasks.sweep", "schedule": 5.0, "options": options},
        "kato-keep-alive": {"task": "kato_tasks.keep_alive", "schedule": 30.0, "options": options},
        "kato-prune-archive": {"task": "kato_tasks.prune_archive", "schedule": 3600.0, "options": options},
    }
