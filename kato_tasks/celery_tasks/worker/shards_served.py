"""Logs when a worker starts that serves only some queues, because another worker must serve the others."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable
from typing import Any

from celery.signals import worker_ready

from kato_tasks.celery_tasks.app.queueing import serves_lanes
from kato_tasks.domain.ids import CONTROL_QUEUE, queue_of
from kato_tasks.settings import settings
from kato_tasks.telemetry.log_events import log_event

log = logging.getLogger(__name__)


def unserved(consumed: Collection[str], shards: int) -> list[str]:
    """Return our queues that are not among ``consumed``, with a run of shards as one entry (``kato.lane.02..05``)."""
    missing = [shard for shard in range(shards) if queue_of(shard) not in consumed]
    return [*_runs(missing), *([] if CONTROL_QUEUE in consumed else [CONTROL_QUEUE])]


def _runs(shards: Iterable[int]) -> list[str]:
    runs: list[list[int]] = []
    for shard in shards:
        if runs and shard == runs[-1][-1] + 1:
            runs[-1].append(shard)
        else:
            runs.append([shard])
    return [queue_of(run[0]) if len(run) == 1 else f"{queue_of(run[0])}..{run[-1]:02}" for run in runs]


@worker_ready.connect(weak=False)
def say_which_shards_are_served(sender: Any, **_: Any) -> None:
    """Log one line if ``-Q`` or ``-X`` leaves queues out; log nothing for a worker that serves none of our queues."""
    if not serves_lanes(sender.app):
        return
    consumed = sender.app.amqp.queues.consume_from
    others = unserved(consumed, settings().shards)
    if others:
        log_event(
            log,
            logging.WARNING,
            "worker.serves",
            queues=",".join(sorted(consumed)),
            not_served=",".join(others),
            meaning="another worker must serve these, or their events wait",
        )
