"""Archive what is applied, and erase what is kept for long enough, in tasks of the control queue.

At most one task for each shard archives at a time. Each task works for a short slice.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

from kato_tasks.api.archiving import archive_partitions
from kato_tasks.api.pruning import prune_archive
from kato_tasks.bootstrap import Runtime
from kato_tasks.celery_tasks.app.home import home
from kato_tasks.domain.ids import CONTROL_QUEUE
from kato_tasks.engine.wakeup_marks import ARCHIVING_SECONDS
from kato_tasks.errors import ArchiveUnavailable, ConfigurationError, StoreUnavailable
from kato_tasks.telemetry.log_events import log_event

log = logging.getLogger(__name__)
ARCHIVE = "kato_tasks.archive"
PRUNE = "kato_tasks.prune_archive"
OPTIONS: Any = {"ignore_result": True, "expiration": ARCHIVING_SECONDS, "queue": CONTROL_QUEUE}
SLICE_SECONDS = 5.0
"""After this time a task ends and sends another, so that a worker can stop soon."""


def send_archiving(rt: Runtime, shards: Iterable[int]) -> None:
    """Send a task for each of these shards that has none on its way. A broker that is away does not raise."""
    if not rt.settings.archive_url:
        return
    for shard in rt.marks.set_archiving(shards):
        _send(shard)


def _send(shard: int) -> None:
    try:
        home().send_task(ARCHIVE, (shard,), **OPTIONS)
    except Exception as exc:
        # As with wake-ups: any error counts as a broker that is away, and the mark expires.
        log_event(log, logging.WARNING, "wakeup.unsent", shard=shard, error=exc)


def archive_shard(rt: Runtime, shard: int) -> int:
    """Archive what a shard applied for one slice, and return how many events that were.

    A database or a store that is away raises nothing: the sweep sends another task.
    """
    try:
        archive = rt.archive
        if archive is None:
            return 0
        done = archive_partitions(rt, archive, rt.partitions_of(shard), SLICE_SECONDS)
        if done.more:
            _send(shard)
        else:
            rt.marks.clear_archiving(shard)
    except (ArchiveUnavailable, ConfigurationError, StoreUnavailable) as exc:
        log_event(log, logging.WARNING, "archive.postponed", shard=shard, error=exc)
        return 0
    return done.events


def prune(rt: Runtime) -> int:
    """Erase from the archive for one slice what its retention says, and return how many events that were.

    A database or a store that is away raises nothing: beat sends another task in an hour.
    """
    try:
        done = prune_archive(rt, SLICE_SECONDS)
    except (ArchiveUnavailable, ConfigurationError, StoreUnavailable) as exc:
        log_event(log, logging.WARNING, "archive.unpruned", error=exc)
        return 0
    if done.more:
        try:
            home().send_task(PRUNE, (), **OPTIONS)
        except Exception as exc:
            # As with wake-ups, any error counts as a broker that is away. Beat sends another task in an hour.
            log_event(log, logging.WARNING, "archive.unpruned", error=exc)
    return done.events
