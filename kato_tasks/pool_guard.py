"""A guard against pool processes that hold up a worker's stop for 30 s (billiard 4.3, Celery 5.7).

A pool process that ends waits, for up to 300 times 0.1 s, until its parent has counted the result of its last job.
A parent that stops forgets a job whose acceptance it has not read yet, and reads no more results once it knows of
no job: the process then waits its whole time for nothing, and ``celery worker`` with it. Seen in 1 of 13 stops
under load. A parent that still reads does so within milliseconds; a result that it never reads brings the message
again, which changes nothing here.
"""

from __future__ import annotations

LAST_RESULT_TRIES = 20
"""Of 0.1 s each."""


def guard_pool_process() -> None:
    """Bound how long this pool process waits, at its end, for its parent to read its last result."""
    from billiard import pool

    pool.GUARANTEE_MESSAGE_CONSUMPTION_RETRY_LIMIT = LAST_RESULT_TRIES


__all__ = ["guard_pool_process"]
