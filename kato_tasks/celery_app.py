"""The Celery app: ``celery -A kato_tasks worker|beat|flower`` with nothing but the settings; and the tasks' home.

Every option that is not obvious was measured on Celery 5.7 (``docs/celery.md``). The home is the app that this
process's tasks are on: our own one, or that of the application which ``kato_tasks.install`` was called with.
"""

from __future__ import annotations

import os
from importlib.util import find_spec
from typing import Any
from urllib.parse import urlsplit

from celery import Celery
from celery.signals import import_modules
from celery.utils.imports import symbol_by_name

from kato_tasks.awaiting import AwaitableResult
from kato_tasks.command_line import settings_of_the_process
from kato_tasks.host_check import refuse_what_cannot_work
from kato_tasks.queueing import CONTROL_QUEUE, EXCHANGE, REPLAY_QUEUE, OwnAMQP, queues
from kato_tasks.settings import Settings, hide_secrets, settings

PUBLISH_POLICY = {"max_retries": 2, "interval_start": 0.1, "interval_step": 0.2}
"""How a message is tried again: shortly, as one that cannot be published is kept and published later."""


def transport_options(config: Settings) -> dict[str, Any]:
    """What the broker's transport needs so that it neither stops silently nor holds back a dead worker's messages."""
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
    """Celery's settings."""
    return {
        "broker_url": config.broker_url,
        "result_backend": config.result_backend,
        "imports": ("kato_tasks.tasks", "kato_tasks.worker_signals", "kato_tasks.flower_pages"),
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
        # Two pool threads would read one AMQP connection after a broker restart, and hang (seen with -P threads).
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
        "beat_scheduler": "redbeat.RedBeatScheduler",
        "beat_max_loop_interval": 2,
        "redbeat_redis_url": config.store_url,
        "redbeat_redis_options": {"socket_timeout": 30, "socket_connect_timeout": 5, "socket_keepalive": True},
        "redbeat_key_prefix": "kt:redbeat:",
        "redbeat_lock_timeout": 15,
    }


def beat_schedule() -> dict[str, Any]:
    """What beat does beside the workers' own sweeps; a second beat waits for the first one's lock.

    ``expires`` is beat's clock against the worker's, so it allows for an hour between them: it only bounds what
    collects on Redis while nobody works (840 messages). ``expiration`` is RabbitMQ's own clock.
    """
    options = {"queue": CONTROL_QUEUE, "expires": 3600, "expiration": 15, "ignore_result": True}
    return {
        "kato-sweep": {"task": "kato_tasks.sweep", "schedule": 5.0, "options": options},
        "kato-keep-alive": {"task": "kato_tasks.keep_alive", "schedule": 30.0, "options": options},
    }


def task_class() -> str | None:
    """What an application's own tasks on our app derive from: in a Django project they have ``delay_on_commit``."""
    django = "DJANGO_SETTINGS_MODULE" in os.environ and find_spec("django") is not None
    return "celery.contrib.django.task:DjangoTask" if django else None


# Neither the current app nor, as Celery's fix-up for Django would make it, the default one of all threads: a host's
# @shared_task goes to the host's.
app = Celery("kato_tasks", amqp=OwnAMQP, task_cls=task_class(), set_as_current=False, fixups=[])
app.AsyncResult = app.subclass_with_self(AwaitableResult, name="AsyncResult")  # chains and chords end in one, too
app.conf.update(configuration(settings_of_the_process()))


def _run_for_us(**_: Any) -> None:
    """``celery -A kato_tasks worker|beat|flower|shell``: the process is ours, and Flower asks the current app."""
    app.set_current()
    app.set_default()
    if not app._fixups:  # noqa: SLF001  Celery has no public name for it
        app._fixups = [made for fixup in app.builtin_fixups if (made := symbol_by_name(fixup)(app))]  # noqa: SLF001
        for fixup in app._fixups:  # noqa: SLF001
            fixup.on_import_modules()


import_modules.connect(_run_for_us, sender=app, weak=False)

_home: Celery = app
_used = False


def home_app() -> Celery:
    """The app that our tasks are on in this process. Whoever sends through it asks ``home``."""
    return _home


def home() -> Celery:
    """The app that our tasks are on, to be used now: from here on it stays. Raises ConfigurationError."""
    global _used
    if not _used:
        if installed():
            refuse_what_cannot_work(_home)
        _used = True
    return _home


def installed() -> bool:
    """Whether our tasks are on an application's own app."""
    return _home is not app


def used() -> bool:
    """Whether something was sent through the tasks' home, or taken by it."""
    return _used


def move_home(host: Celery) -> None:
    """Make ``host`` the tasks' home. ``hosting.install`` does what belongs to it."""
    global _home, _used
    _home, _used = host, False


def addresses() -> dict[str, str]:
    """Where the tasks' broker and result backend are, without passwords, named as the settings are."""
    if not installed():
        config = settings()
        return {"broker_url": hide_secrets(config.broker_url), "result_backend": hide_secrets(config.result_backend)}
    broker = _home.conf.broker_write_url
    shown = hide_secrets(broker) if isinstance(broker, str) else _home.connection_for_write().as_uri()
    backend = _home.conf.result_backend
    return {"broker_url": shown, "result_backend": hide_secrets(backend) if isinstance(backend, str) else ""}


__all__ = [
    "CONTROL_QUEUE",
    "EXCHANGE",
    "PUBLISH_POLICY",
    "REPLAY_QUEUE",
    "addresses",
    "app",
    "beat_schedule",
    "configuration",
    "home",
    "home_app",
    "installed",
    "move_home",
    "queues",
    "transport_options",
    "used",
]
