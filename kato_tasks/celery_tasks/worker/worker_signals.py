"""What a worker does beside its tasks: checks when it starts, the sweep, and logging according to the settings.

Only workers import this (by ``imports`` in the Celery configuration, a host's by ``hosting``), so that an application
that sends tasks does not load it. Celery's signals belong to the process: nothing here acts in a worker of an app that
is not the home of our tasks, nor in a host's worker that serves none of our queues (``-Q``, ``-X``).
"""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable
from typing import Any

from celery.signals import (
    after_setup_logger,
    after_setup_task_logger,
    worker_init,
    worker_process_init,
    worker_process_shutdown,
    worker_ready,
    worker_shutdown,
    worker_shutting_down,
)

import kato_tasks.celery_tasks.worker.sign_threads  # noqa: F401  it connects itself to Celery's signals
from kato_tasks.bootstrap import opened_runtime, require_client, runtime
from kato_tasks.celery_tasks.app import home, host_check
from kato_tasks.celery_tasks.app.command_line import end_without_extra
from kato_tasks.celery_tasks.app.queueing import CELERYS, OURS, serves_lanes
from kato_tasks.celery_tasks.patches.billiard_pool import guard_pool_process, refuse_other_pools
from kato_tasks.celery_tasks.patches.kombu_redis import guard_redis_transport, guard_worker_events
from kato_tasks.celery_tasks.sweeping import Sweeper
from kato_tasks.celery_tasks.task_log import put_lines_right
from kato_tasks.celery_tasks.worker import quiet_tasks, shards_served  # noqa: F401  these two do the same
from kato_tasks.celery_tasks.worker.config_watch import ConfigWatch
from kato_tasks.errors import ConfigurationError, StoreUnavailable
from kato_tasks.settings import settings
from kato_tasks.telemetry.log_events import JsonFormatter, VisibleFormatter, log_event

log = logging.getLogger(__name__)
_threads: list[Sweeper | ConfigWatch] = []
FINISH_SECONDS = 3.0
"""Seconds beyond KATO's time-out that an ending process waits for what follows a call (a commit, a waiting task)."""


_serving = False
"""Whether this process's worker takes our messages. A pool process inherits it from its parent."""


@worker_init.connect(weak=False)
def serve_or_stand_aside(sender: Any, **_: Any) -> None:
    """Find out whose worker this is. A host's worker that cannot serve our queues ends at once, with one sentence."""
    global _serving
    _serving = False
    app = sender.app
    if app is not home.home_app():
        return
    if home.installed():
        if not serves_lanes(app):
            return
        _end_on_a_bad_configuration(home.home)
        host_check.set_where_unset(app)
    _serving = True
    end_without_extra(lambda: require_client(settings()))


@worker_init.connect(weak=False)
def guard_the_broker(sender: Any, **_: Any) -> None:
    """Guard the worker against a lost connection to its broker (see ``patches.kombu_redis``)."""
    if not _serving:
        return
    guard_redis_transport()
    guard_worker_events(sender.app)


@worker_init.connect(weak=False)
def speak_of_waiting_tasks(**_: Any) -> None:
    """Log Celery's lines about our waiting tasks in our own words (see ``task_log``)."""
    if _serving:
        put_lines_right()


@worker_init.connect(weak=False)
def refuse_a_pool_that_would_block(sender: Any = None, **_: Any) -> None:
    """End the worker at once, with one sentence, if its pool cannot work (see ``patches.billiard_pool``)."""
    if not _serving:
        return
    _end_on_a_bad_configuration(lambda: refuse_other_pools(sender.pool_cls))


@worker_init.connect(weak=False)
def refuse_a_store_that_drops_keys(**_: Any) -> None:
    """End the worker at once, with one sentence, if a store or a setting cannot work; wait for a store that is away."""
    if not _serving:
        return
    try:
        _end_on_a_bad_configuration(runtime)
    except StoreUnavailable as exc:
        log_event(log, logging.WARNING, "store.unavailable", error=f"{exc}; waiting for it")


def _end_on_a_bad_configuration(begin: Callable[[], object]) -> None:
    try:
        begin()
    except ConfigurationError as exc:
        raise SystemExit(f"kato_tasks: {exc}") from None


@worker_ready.connect(weak=False)
def warn_of_a_store_that_keeps_nothing(**_: Any) -> None:
    """Log one line if the store has no persistence, once the worker's log is set up."""
    if not _serving:
        return
    try:
        problem = runtime().figures.persistence_problem()
    except StoreUnavailable:
        return  # said already
    if problem is not None:
        log_event(log, logging.WARNING, "store.volatile", meaning=problem)


@worker_ready.connect(weak=False)
def advise_the_host(**_: Any) -> None:
    """Log a line for each setting of a host's app that our tasks need to be different; the host may change it."""
    if _serving and home.installed():
        for meaning in host_check.advice(home.home_app()):
            log_event(log, logging.WARNING, "host.setting", meaning=meaning)


@worker_ready.connect(weak=False)
def tell_of_own_tasks_that_nobody_takes(**_: Any) -> None:
    """Log one line if a worker of our own app knows an application's tasks and does not serve their queue."""
    if not _serving or home.installed():
        return
    queue, app = settings().own_queue, home.home_app()
    own = sorted(name for name in app.tasks if not name.startswith((OURS, CELERYS)))
    if own and queue not in app.amqp.queues.consume_from:
        meaning = f"this worker knows them and does not serve their queue; start one with -Q {queue}"
        log_event(log, logging.WARNING, "own_queue.unserved", queue=queue, tasks=",".join(own[:5]), meaning=meaning)


@worker_ready.connect(weak=False)
def start_sweeping(**_: Any) -> None:
    """Start the threads of the worker's parent process: the sweep, and the check of the session config."""
    if not _serving:
        return
    for thread in (Sweeper(), ConfigWatch()):
        _threads.append(thread)
        thread.start()


@worker_shutting_down.connect(weak=False)
def stop_sweeping(**_: Any) -> None:
    """Stop both threads; the workers that remain do the next round."""
    while _threads:
        _threads.pop().stop()


@after_setup_logger.connect(weak=False)
@after_setup_task_logger.connect(weak=False)
def log_as_set(logger: logging.Logger, **_: Any) -> None:
    """Log as ``LOG_FORMAT`` says: ``json`` writes one object per line, text has control characters written out.

    The log of a host's worker is left as it is.
    """
    if home.installed():
        return
    for handler in logger.handlers:
        if settings().log_format == "json":
            handler.setFormatter(JsonFormatter())
        elif handler.formatter is not None and not isinstance(handler.formatter, VisibleFormatter):
            handler.setFormatter(VisibleFormatter(handler.formatter))


@worker_process_init.connect(weak=False)
@worker_ready.connect(weak=False)
def keep_the_collector_from_what_was_loaded(**_: Any) -> None:
    """Spare Python's collector the modules and classes that were loaded, which live as long as the process.

    To look through them with each full collection took a seventh of a drain's time. A host's worker is left as it is.
    """
    if _serving and not home.installed():
        gc.freeze()


@worker_process_init.connect(weak=False)
def begin_a_pool_process(**_: Any) -> None:
    """Let a pool process end in time (see ``patches.billiard_pool``); ``bootstrap`` handles its connections."""
    if _serving:
        guard_pool_process()


@worker_process_shutdown.connect(weak=False)
@worker_shutdown.connect(weak=False)
def finish_calls_in_flight(**_: Any) -> None:
    """Wait, when a process ends, for the calls to KATO that outlasted their tasks, as for the tasks themselves.

    Nothing more is begun for their lanes. A call that has not ended when KATO's time-out is over is left with its
    intent open, just as a killed worker would leave it.
    """
    rt = opened_runtime()
    if not _serving or rt is None or not rt.drainer.in_background:
        return
    left = rt.drainer.close(rt.settings.kato_timeout_seconds + FINISH_SECONDS)
    if left:
        log_event(log, logging.WARNING, "background.left", lanes=left)
