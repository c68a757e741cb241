"""What happens in a worker beside its tasks: checks at its start, the sweep, logging as it is set.

Imported by workers only (``imports`` in the Celery configuration), so that an application that sends tasks
carries none of it.
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

from kato_tasks import quiet_tasks, shards_served  # noqa: F401  they connect themselves to the worker's signals
from kato_tasks.bootstrap import opened_runtime, runtime
from kato_tasks.broker_guard import guard_redis_transport, guard_worker_events
from kato_tasks.config_watch import ConfigWatch
from kato_tasks.errors import ConfigurationError, StoreUnavailable
from kato_tasks.instrumentation import JsonFormatter, say
from kato_tasks.pool_guard import guard_pool_process, refuse_other_pools
from kato_tasks.settings import settings
from kato_tasks.sweeping import Sweeper

log = logging.getLogger(__name__)
_threads: list[Sweeper | ConfigWatch] = []
FINISH_SECONDS = 3.0
"""Beside KATO's time-out: how long a process that ends waits for what follows a call (a commit, a waiting task)."""


@worker_init.connect(weak=False)
def guard_the_broker(sender: Any, **_: Any) -> None:
    """See ``broker_guard``."""
    guard_redis_transport()
    guard_worker_events(sender.app)


@worker_init.connect(weak=False)
def refuse_a_pool_that_would_block(sender: Any = None, **_: Any) -> None:
    """End at once, with one sentence, under a pool that cannot work (see ``pool_guard``)."""
    _end_on_a_bad_configuration(lambda: refuse_other_pools(sender.pool_cls))


@worker_init.connect(weak=False)
def refuse_a_store_that_drops_keys(**_: Any) -> None:
    """End at once, with one sentence, on a store or a setting that cannot work; wait for one that is away."""
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
    try:
        problem = runtime().persistence_problem()
    except StoreUnavailable:
        return  # said already
    if problem is not None:
        say(log, logging.WARNING, "store.volatile", meaning=problem)


@worker_ready.connect(weak=False)
def start_sweeping(**_: Any) -> None:
    """Two threads in the worker's parent process: the sweep, and the question whether KATO takes the session config."""
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
    """``LOG_FORMAT=json``: one object per line."""
    if settings().log_format == "json":
        for handler in logger.handlers:
            handler.setFormatter(JsonFormatter())


@worker_process_init.connect(weak=False)
def begin_a_pool_process(**_: Any) -> None:
    """It ends in time (see ``pool_guard``); connections of its own are ``bootstrap``'s business at a fork."""
    guard_pool_process()


@worker_process_shutdown.connect(weak=False)
@worker_shutdown.connect(weak=False)
def finish_calls_in_flight(**_: Any) -> None:
    """A process that ends waits for the calls to KATO that outlasted their tasks, as it waits for its tasks.

    It begins nothing more for their lanes. What has not ended when KATO's time-out is over is left with its intent
    open, as by a worker that was killed.
    """
    rt = opened_runtime()
    if rt is None or not rt.drainer.in_background:
        return
    left = rt.drainer.close(rt.settings.kato_timeout_seconds + FINISH_SECONDS)
    if left:
        say(log, logging.WARNING, "background.left", lanes=left)
