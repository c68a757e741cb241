"""Guards of a worker's pool: one against pools that cannot work here, one against processes that hold up a stop.

A pool process that ends waits, for up to 300 times 0.1 s (billiard 4.3, Celery 5.7), until its parent has counted the
result of its last job. A parent that stops forgets a job whose acceptance it has not read yet, and reads no more
results once it knows of no job: the process then waits its whole time for nothing, and ``celery worker`` with it.
Seen in 1 of 13 stops under load. A parent that still reads does so within milliseconds; a result that it never reads
brings the message again, which changes nothing here.
"""

from __future__ import annotations

from typing import Any

from kato_tasks.errors import ConfigurationError

LAST_RESULT_TRIES = 20
"""Of 0.1 s each."""
SERVED = {
    "prefork": "celery.concurrency.prefork:TaskPool",
    "threads": "celery.concurrency.thread:TaskPool",
    "solo": "celery.concurrency.solo:TaskPool",
}
"""The pools that are tested, by the names that ``--pool`` takes."""


def refuse_other_pools(pool: Any) -> None:
    """Raise ConfigurationError for a pool (a class, or a name that Celery knows) that drains would block.

    A drain waits for its own sockets with ``selectors`` in the thread that it runs in. Under gevent or eventlet that
    thread is the hub: every greenlet of the worker would wait for KATO with it.
    """
    from celery.concurrency import get_implementation

    chosen = get_implementation(pool)
    if not any(issubclass(chosen, get_implementation(served)) for served in SERVED.values()):
        name = f"{chosen.__module__}.{chosen.__qualname__}".removeprefix("celery.concurrency.").removesuffix(
            ".TaskPool"
        )
        *names, last = SERVED
        raise ConfigurationError(
            f"the pool {name} is not supported, because a drain would block its event loop; "
            f"start the worker with --pool {', '.join(names)} or {last}"
        )


def guard_pool_process() -> None:
    """Bound how long this pool process waits, at its end, for its parent to read its last result."""
    from billiard import pool

    pool.GUARANTEE_MESSAGE_CONSUMPTION_RETRY_LIMIT = LAST_RESULT_TRIES


__all__ = ["guard_pool_process", "refuse_other_pools"]
