"""What happens in a worker beside its tasks: checks at its start, the sweep, logging as it is set.

Imported by workers only (``imports`` in the Celery configuration, ``hosting`` for a host's), so that an application
that sends tasks carries none of it. Celery's signals are the process's: nothing here acts in a worker of an app that is
not the home of our tasks, nor in a host's worker that serves none of our queues (``-Q``, ``-X``).
"""

from __future__ import annotations

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
from kato_tasks.telemetry.log_events import JsonFormatter, VisibleFormatter, say

log = logging.getLogger(__name__)
_threads: list[Sweeper | ConfigWatch] = []
FINISH_SECONDS = 3.0
"""Beside KATO's time-out: how long a process that ends waits for what follows a call (a commit, a waiting task)."""


_serving = False
"""Whether this process's worker takes messages of ours. A pool process has it from its parent."""


@worker_init.connect(weak=False)
def serve_or_stand_aside(sender: Any, **_: Any) -> None:
    """Find out whose worker this is. A host's that cannot serve our queues ends at once, with one sentence."""
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
    """See ``broker_guard``."""
    if not _serving:
        return
    guard_redis_transport()
    guard_worker_events(sender.app)


@worker_init.connect(weak=False)
def speak_of_waiting_tasks(**_: Any) -> None:
    """See ``task_log``."""
    if _serving:
        put_lines_right()


@worker_init.connect(weak=False)
def refuse_a_pool_that_would_block(sender: Any = None, **_: Any) -> None:
    """End at once, with one sentence, under a pool that cannot work (see ``pool_guard``)."""
    if not _serving:
        return
    _end_on_a_bad_configuration(lambda: refuse_other_pools(sender.pool_cls))


@worker_init.connect(weak=False)
def refuse_a_store_that_drops_keys(**_: Any) -> None:
    """End at once, with one sentence, on a store or a setting that cannot work; wait for one that is away."""
    if not _serving:
        return
    try:
        _end_on_a_bad_configuration(runtime)
    except StoreUnavailable as exc:
        say(log, logging.WARNING, "store.unavailable", error=f"{exc}; waiting for it")


def _end_on_a_bad_configuration(begin: Callable[[], object]) -> None:
    try:
        begin()
    except ConfigurationError as exc:
        raise SystemExit(f"kato_tasks: {exc}") from None


@worker_ready.connect(weak=False)
def warn_of_a_store_that_keeps_nothing(**_: Any) -> None:
    """One line for each worker, once its log is set up."""
    if not _serving:
        return
    try:
        problem = runtime().figures.persistence_problem()
    except StoreUnavailable:
        return  # said already
    if problem is not None:
        say(log, logging.WARNING, "store.volatile", meaning=problem)


@worker_ready.connect(weak=False)
def advise_the_host(**_: Any) -> None:
    """A line for each setting of a host's app that our tasks would have otherwise; it is the host's to change."""
    if _serving and home.installed():
        for meaning in host_check.advice(home.home_app()):
            say(log, logging.WARNING, "host.setting", meaning=meaning)


@worker_ready.connect(weak=False)
def tell_of_own_tasks_that_nobody_takes(**_: Any) -> None:
    """A worker of our own app that knows tasks of an application's and does not serve their queue."""
    if not _serving or home.installed():
        return
    queue, app = settings().own_queue, home.home_app()
    own = sorted(name for name in app.tasks if not name.startswith((OURS, CELERYS)))
    if own and queue not in app.amqp.queues.consume_from:
        meaning = f"this worker knows them and does not serve their queue; start one with -Q {queue}"
        say(log, logging.WARNING, "own_queue.unserved", queue=queue, tasks=",".join(own[:5]), meaning=meaning)


@worker_ready.connect(weak=False)
def start_sweeping(**_: Any) -> None:
    """Two threads in the worker's parent process: the sweep, and the question whether KATO takes the session config."""
    if not _serving:
        return
    for thread in (Sweeper(), ConfigWatch()):
        _threads.append(thread)
        thread.start()


@worker_shutting_down.connect(weak=False)
def stop_sweeping(**_: Any) -> None:
    """Whoever is left does the next round."""
    while _threads:
        _threads.pop().stop()


@after_setup_logger.connect(weak=False)
@after_setup_task_logger.connect(weak=False)
def log_as_set(logger: logging.Logger, **_: Any) -> None:
    """``LOG_FORMAT=json``: one object per line. As text, control characters of ids and errors are written out.

    A host's log is its own.
    """
    if home.installed():
        return
    for handler in logger.handlers:
        if settings().log_format == "json":
            handler.setFormatter(JsonFormatter())
        elif handler.formatter is not None and not isinstance(handler.formatter, VisibleFormatter):
            handler.setFormatter(VisibleFormatter(handler.formatter))


@worker_process_init.connect(weak=False)
def begin_a_pool_process(**_: Any) -> None:
    """It ends in time (see ``pool_guard``); connections of its own are ``bootstrap``'s business at a fork."""
    if _serving:
        guard_pool_process()


@worker_process_shutdown.connect(weak=False)
@worker_shutdown.connect(weak=False)
def finish_calls_in_flight(**_: Any) -> None:
    """A process that ends waits for the calls to KATO that outlasted their tasks, as it waits for its tasks.

    It begins nothing more for their lanes. What has not ended when KATO's time-out is over is left with its intent
    open, as by a worker that was killed.
    """
    rt = opened_runtime()
    if not _serving or rt is None or not rt.drainer.in_background:
        return
    left = rt.drainer.close(rt.settings.kato_timeout_seconds + FINISH_SECONDS)
    if left:
        say(log, logging.WARNING, "background.left", lanes=left)
