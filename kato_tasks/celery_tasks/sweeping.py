"""Sweep: look for lost wake-ups and for what dead workers left. Every worker does this beside its tasks.

One worker at a time does a round (the store elects it), each round is bounded, and all of its steps are idempotent.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterable, Sequence

from kato_tasks.bootstrap import Runtime, runtime
from kato_tasks.celery_tasks.archiving import send_archiving
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
"""How often, in ms, a waiting request is checked: its event may no longer be where the request looks for it."""
OVERDUE_MS = 1_000
"""After this many ms a due lane is overdue. Its wake-up is either lost (its queue is empty) or stuck behind a backlog
(its queue is not empty)."""


def complete_orphaned_tasks(rt: Runtime, partitions: Sequence[int]) -> int:
    """Complete the waiting tasks that no worker is going to complete, and return for how many events.

    Those are tasks whose lane's holder died after its commit, and tasks that would never end because their event is no
    longer where they look for it. Raises StoreUnavailable.
    """
    done = 0
    for partition, found in zip(
        partitions, rt.store.execute([OrphanedTasks(p, OWED_AFTER_MS, 50, LOOK_MS) for p in partitions]), strict=True
    ):
        if isinstance(found, StoreUnavailable):
            raise found
        if isinstance(found, Exception):
            log_event(log, logging.ERROR, "partition.unread", partition=partition, error=found)
            continue
        for tasks in found:
            complete(rt, [(rt.sessions.lane_of(tasks.session), tasks)])
            done += 1
    return done


def keep_alive(rt: Runtime) -> int:
    """Have lanes write to the KATO sessions that would expire within a quarter of their TTL though they are in use.

    Return the number of those sessions.
    """
    soon = max(60_000, rt.settings.kato_session_ttl_seconds * 250)
    used = int(rt.settings.keep_alive_hours * 3_600_000)
    answers = rt.store.execute([KeepAlive(p, soon, used, 200) for p in range(PARTITIONS)])
    found = {p: count for p, count in enumerate(answers) if not isinstance(count, Exception)}
    for error in {str(answer) for answer in answers if isinstance(answer, Exception)}:
        log_event(log, logging.ERROR, "sweep.failed", error=error)
    rt.wake([p for p, count in found.items() if count])
    return sum(found.values())


def resend_overdue_wakeups(rt: Runtime, overdue: Iterable[int]) -> None:
    """See that the shards get a wake-up in which something is overdue. Raises StoreUnavailable.

    A wake-up that is no longer in its queue is forgotten, so that another can be sent. One that waits behind a backlog
    is overtaken by another, through the control queue.
    """
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
            # The queue does not exist yet, or the broker is away, in which case nothing can be sent either.
            log_event(log, logging.DEBUG, "sweep.queue_unseen", shard=shard, error=exc)
            rt.marks.clear(shard)
    send_overtaking_wakeup(rt, waiting)


def furthest_ms(rt: Runtime) -> int:
    """Return how far ahead, in ms, a lane's due time can lie: twice the longest backoff, and some time on top.

    A wait that KATO asked for comes on top of that.
    """
    longest = max(rt.settings.backoff_cap_seconds, rt.settings.breaker_interval_seconds * 2.5)
    return int((2 * longest + rt.settings.lease_seconds + rt.settings.kato_settle_seconds + 60) * 1000)


def bring_back(rt: Runtime, partitions: Sequence[int], ahead_ms: int) -> list[int]:
    """Make lanes due now that are due further ahead than ``ahead_ms``, and return the partitions.

    No lane is ever set to be due later than that, so the store's clock must have gone back.
    """
    lease_ms = int(rt.settings.lease_seconds * 1000)
    for answer in rt.store.execute([ClockBack(p, ahead_ms, lease_ms) for p in partitions]):
        if isinstance(answer, Exception):
            log_event(log, logging.ERROR, "sweep.failed", error=answer)
        else:
            log_event(log, logging.WARNING, "clock.went_back", lanes=answer)
    return list(partitions)


def sweep(rt: Runtime) -> int:
    """Do one round over all partitions, and return how many of them had something due."""
    ahead = furthest_ms(rt)
    rows = rt.figures.sweep(overdue_ms=OVERDUE_MS, owed_ms=OWED_AFTER_MS, unseen_ms=LOOK_MS, ahead_ms=ahead)
    late = [row.partition for row in rows if row.lanes_overdue or row.owed or row.scheduled_due or row.waiting_unseen]
    due = [*late, *(row.partition for row in rows if row.lanes_due)]
    due += bring_back(rt, [row.partition for row in rows if row.lanes_too_far_ahead], ahead)
    # A worker that was killed may have taken the wake-up along, and its mark would stand for a minute.
    resend_overdue_wakeups(rt, {shard_of(partition, rt.settings.shards) for partition in late})
    rt.wake(due)
    if unpublished := [row.partition for row in rows if row.unpublished]:
        publish_kept_messages(rt, unpublished)
    send_archiving(rt, {shard_of(row.partition, rt.settings.shards) for row in rows if row.lanes_unarchived})
    return len(set(due))


_round = threading.Lock()
"""This lock is held during a round, and during a fork. A pool process that is forked in the middle of a round would
inherit the locks that the round holds."""


def _before_fork() -> None:
    _round.acquire()


def _after_fork_in_parent() -> None:
    _round.release()


def _after_fork_in_child() -> None:
    global _round
    _round = threading.Lock()


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)


class Sweeper:
    """Runs rounds in a thread of the worker's parent process. At each interval one of all workers does the round."""

    def __init__(self) -> None:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="kato-sweeper", daemon=True)

    def start(self) -> None:
        """Begin to sweep, in a thread of this process."""
        self._thread.start()

    def stop(self) -> None:
        """Begin no further round. A running round ends by itself; this does not wait for it.

        A signal handler calls this, and it must not wait.
        """
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
