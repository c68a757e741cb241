"""Guards a worker against pools that cannot work here, and against pool processes that delay its stop.

A pool process that ends waits, for up to 300 times 0.1 s (billiard 4.3, Celery 5.7), until its parent has counted the
result of its last job. A parent that stops forgets a job whose acceptance it has not read yet, and reads no more
results once it knows of no job. The process then waits its whole time for nothing, and ``celery worker`` waits with it:
this was seen in 1 of 13 stops under load. A parent that still reads does so within milliseconds. If it never reads the
result, the message is delivered again, which changes nothing here.
"""

from __future__ import annotations

from typing import Any

from kato_tasks.errors import ConfigurationError

LAST_RESULT_TRIES = 20
"""How many times 0.1 s a pool process waits."""
SERVED = {
    "prefork": "celery.concurrency.prefork:TaskPool",
    "threads": "celery.concurrency.thread:TaskPool",
    "solo": "celery.concurrency.solo:TaskPool",
}
"""The pools that are tested, by the names that ``--pool`` takes."""


def refuse_other_pools(pool: Any) -> None:
    """Raise ConfigurationError for a pool (a class, or a name that Celery knows) whose workers a drain would block.

    A drain waits for its own sockets with ``selectors`` in the thread that it runs in. Under gevent or eventlet that
    thread runs the hub, so every greenlet of the worker would wait for KATO too.
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
    """Limit how long this pool process waits, when it ends, for its parent to read its last result."""
    from billiard import pool

    pool.GUARANTEE_MESSAGE_CONSUMPTION_RETRY_LIMIT = LAST_RESULT_TRIES


__all__ = ["guard_pool_process", "refuse_other_pools"]
