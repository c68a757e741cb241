"""What every worker does beside its tasks: look for lost wake-ups, and for what dead workers left.

One worker at a time does a round (the store elects it), each round is bounded, and all of it is idempotent.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterable, Sequence

from kato_tasks.bootstrap import Runtime, runtime
from kato_tasks.celery_tasks.postponed import publish_kept_messages
from kato_tasks.celery_tasks.waiting import PASSING, complete
from kato_tasks.celery_tasks.wakeups import send_overtaking_wakeup, waiting_messages
from kato_tasks.domain.ids import PARTITIONS, shard_of
from kato_tasks.errors import KatoTasksError, StoreUnavailable
from kato_tasks.ports.lanes import ClockBack, KeepAlive
from kato_tasks.ports.waiting_tasks import OrphanedTasks
from kato_tasks.telemetry.log_events import log_event

log = logging.getLogger(__name__)
OWED_AFTER_MS = 3_000
LOOK_MS = 10_000
"""How often a request that waits is looked at, whether its event is still where it looks for it."""
OVERDUE_MS = 1_000
"""A lane that is due for so long has lost its wake-up, or it waits behind others: its queue tells."""


def complete_orphaned_tasks(rt: Runtime, partitions: Sequence[int]) -> int:
    """Complete parked tasks whose holder died after its commit, and those that would wait for ever; how many events."""
    done = 0
    for partition, found in zip(
        partitions, rt.store.execute([OrphanedTasks(p, OWED_AFTER_MS, 50, LOOK_MS) for p in partitions]), strict=True
    ):
        if isinstance(found, StoreUnavailable):
            raise found
        if isinstance(found, Exception):
            log_event(log, logging.ERROR, "partition.unread", partition=partition, error=found)
            continue
        for parked in found:
            complete(rt, [(rt.sessions.lane_of(parked.session), parked)])
            done += 1
    return done


def keep_alive(rt: Runtime) -> int:
    """Have lanes write to KATO sessions that would expire within a quarter of their TTL though they are in use."""
    soon = max(60_000, rt.settings.kato_session_ttl_seconds * 250)
    used = int(rt.settings.keep_alive_hours * 3_600_000)
    answers = rt.store.execute([KeepAlive(p, soon, used, 200) for p in range(PARTITIONS)])
    found = {p: count for p, count in enumerate(answers) if not isinstance(count, Exception)}
    for error in {str(answer) for answer in answers if isinstance(answer, Exception)}:
        log_event(log, logging.ERROR, "sweep.failed", error=error)
    rt.wake([p for p, count in found.items() if count])
    return sum(found.values())


def resend_overdue_wakeups(rt: Runtime, overdue: Iterable[int]) -> None:
    """For shards whose lanes are overdue: forget a wake-up that is in no queue any more, overtake one that waits."""
    waiting = []
    for shard in overdue:
        try:
            if waiting_messages(shard) == 0:
                rt.marks.clear(shard)
            else:
                waiting.append(shard)
        except StoreUnavailable:
            raise
        except Exception as exc:
            # The queue does not exist yet, or the broker is away: then nothing can be sent either.
            log_event(log, logging.DEBUG, "sweep.queue_unseen", shard=shard, error=exc)
            rt.marks.clear(shard)
    send_overtaking_wakeup(rt, waiting)


def furthest_ms(rt: Runtime) -> int:
    """How far ahead a due time of a lane can lie: twice the longest backoff (what KATO asked for comes on top)."""
    longest = max(rt.settings.backoff_cap_seconds, rt.settings.breaker_interval_seconds * 2.5)
    return int((2 * longest + rt.settings.lease_seconds + rt.settings.kato_settle_seconds + 60) * 1000)


def bring_back(rt: Runtime, partitions: Sequence[int], ahead_ms: int) -> list[int]:
    """Lanes that are due further ahead than any is ever set to be: the store's clock went back. They are due now."""
    lease_ms = int(rt.settings.lease_seconds * 1000)
    for answer in rt.store.execute([ClockBack(p, ahead_ms, lease_ms) for p in partitions]):
        if isinstance(answer, Exception):
            log_event(log, logging.ERROR, "sweep.failed", error=answer)
        else:
            log_event(log, logging.WARNING, "clock.went_back", lanes=answer)
    return list(partitions)


def sweep(rt: Runtime) -> int:
    """One round over all partitions; returns how many of them had something due."""
    ahead = furthest_ms(rt)
    rows = rt.figures.sweep(overdue_ms=OVERDUE_MS, owed_ms=OWED_AFTER_MS, unseen_ms=LOOK_MS, ahead_ms=ahead)
    due = [row.partition for row in rows if row.lanes_due or row.owed or row.scheduled_due or row.waiting_unseen]
    due += bring_back(rt, [row.partition for row in rows if row.lanes_too_far_ahead], ahead)
    resend_overdue_wakeups(rt, {shard_of(row.partition, rt.settings.shards) for row in rows if row.lanes_overdue})
    rt.wake(due)
    if unpublished := [row.partition for row in rows if row.unpublished]:
        publish_kept_messages(rt, unpublished)
    return len(due)


_round = threading.Lock()
"""Held during a round: a pool process that is forked in the middle of one would inherit whatever locks it holds."""


def _before_fork() -> None:
    _round.acquire()


def _after_fork_in_parent() -> None:
    _round.release()


def _after_fork_in_child() -> None:
    global _round
    _round = threading.Lock()


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)


class Sweeper:
    """Runs rounds in a thread of the worker's parent process; at each interval one worker of all has the turn."""

    def __init__(self) -> None:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="kato-sweeper", daemon=True)

    def start(self) -> None:
        """Begin to sweep, in a thread of this process."""
        self._thread.start()

    def stop(self) -> None:
        """No further round; the running one ends by itself (this is called from a signal handler: no waiting)."""
        self._stop.set()

    def _run(self) -> None:
        interval = 1.0
        while not self._stop.wait(interval):
            try:
                with _round:
                    rt = runtime()
                    interval = rt.settings.sweep_seconds
                    if rt.marks.take_sweep(interval * 0.9):
                        sweep(rt)
            except (KatoTasksError, *PASSING) as exc:
                log_event(log, logging.WARNING, "sweep.failed", error=exc)
            except Exception:
                log_event(log, logging.ERROR, "sweep.failed", exc_info=True)


__all__ = ["Sweeper", "complete_orphaned_tasks", "keep_alive", "sweep"]
