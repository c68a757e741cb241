"""Keeps the tasks that nobody sent out of the log: two lines for each, every few seconds, also with nothing to do.

Sweeps, keep-alives and wake-ups still log what they find and what goes wrong; at level DEBUG their own lines are there.
"""

from __future__ import annotations

import logging
from typing import Any

from celery.signals import worker_init

from kato_tasks.celery_tasks.patches.quiet_messages import QUIET_TASKS
from kato_tasks.celery_tasks.wakeups import DRAIN, DRAIN_OVERDUE

QUIET = QUIET_TASKS | {DRAIN, DRAIN_OVERDUE}
LOGGERS = ("celery.worker.strategy", "celery.app.trace")
"""Of Celery's: "received" and "succeeded"."""


def is_news(record: logging.LogRecord) -> bool:
    """Whether a line of Celery's is to be shown: not what says of one of our own tasks that all is well."""
    if record.levelno != logging.INFO:
        return True
    return not (isinstance(record.args, dict) and record.args.get("name") in QUIET)


@worker_init.connect(weak=False)
def quiet_own_tasks(**_: Any) -> None:
    """Set the filter, unless everything is to be seen."""
    for name in LOGGERS:
        logger = logging.getLogger(name)
        if not logger.isEnabledFor(logging.DEBUG):
            logger.addFilter(is_news)
