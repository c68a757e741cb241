"""Keeps our own periodic tasks out of the log, which would fill with two lines for each every few seconds.

Sweeps, keep-alives and wake-ups still log what they find and what goes wrong; at level DEBUG all lines are shown.
"""

from __future__ import annotations

import logging
from typing import Any

from celery.signals import worker_init

from kato_tasks.celery_tasks.patches.quiet_messages import QUIET_TASKS
from kato_tasks.celery_tasks.wakeups import DRAIN, DRAIN_OVERDUE

QUIET = QUIET_TASKS | {DRAIN, DRAIN_OVERDUE}
LOGGERS = ("celery.worker.strategy", "celery.app.trace")
"""The loggers of Celery's lines "received" and "succeeded"."""


def is_news(record: logging.LogRecord) -> bool:
    """Whether to show a line of Celery's: not if it only says that one of our own tasks is doing well."""
    if record.levelno != logging.INFO:
        return True
    return not (isinstance(record.args, dict) and record.args.get("name") in QUIET)


@worker_init.connect(weak=False)
def quiet_own_tasks(**_: Any) -> None:
    """Set the filter, unless the log level is DEBUG."""
    for name in LOGGERS:
        logger = logging.getLogger(name)
        if not logger.isEnabledFor(logging.DEBUG):
            logger.addFilter(is_news)
