"""The tasks of replays: one for each part of the chord, its body, and the one that cleans up.

Each works for a short slice and then publishes itself again under its own id, so that a worker can stop soon, a
killed one's message is back soon, and live events have their turns in between.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NoReturn

from celery import chord
from celery.exceptions import Reject

from kato_tasks.api.replays.calls import fail_replay, note_wait, replay_status
from kato_tasks.api.replays.cleaning import clean_replay
from kato_tasks.api.replays.switching import finish_replay
from kato_tasks.api.replays.working import SliceDone, work_on_part
from kato_tasks.bootstrap import Runtime, runtime
from kato_tasks.bootstrap.replaying import fill_replay_starter
from kato_tasks.celery_tasks.app.home import home
from kato_tasks.celery_tasks.calling.awaiting import without_subscription
from kato_tasks.celery_tasks.task_log import GoesBack
from kato_tasks.celery_tasks.waiting import finish_slice
from kato_tasks.errors import ArchiveUnavailable, BrokerUnavailable, KatoError, KatoTasksError, StoreUnavailable
from kato_tasks.loading import load
from kato_tasks.telemetry.log_events import log_event

log = logging.getLogger(__name__)
PART = "kato_tasks.replay_part"
FINISH = "kato_tasks.replay_finish"
CLEAN = "kato_tasks.replay_clean"
AGAIN_SECONDS = 2.0
"""After this time a task that met a store, an archive or a KATO that was away goes on."""
Json = dict[str, Any]


class CeleryReplayStarter:
    """Implements the port ``ReplayStarter`` with the Celery app that our tasks are on."""

    def start(self, replay_id: str, parts: int) -> str:
        """Send a replay's chord; see ``ReplayStarter.start``."""
        return str(_sent(lambda: chord_of(replay_id, parts).apply_async()).id)

    def clean(self, replay_id: str, old_generations: bool) -> None:
        """Send the task that erases what a replay left; see ``ReplayStarter.clean``."""
        _sent(lambda: _named(CLEAN).apply_async(kwargs={"replay_id": replay_id, "nodes": old_generations}))


def chord_of(replay_id: str, parts: int) -> Any:
    """Return a replay's chord: a task for each part, and the one that verifies and switches.

    Their arguments have names, because Flower's table of tasks shows those.
    """
    header = [_named(PART).s(replay_id=replay_id, part=part) for part in range(parts)]
    return chord(header, _named(FINISH).s(replay_id=replay_id), app=home())


def replay_id_of(task_id: str) -> str:
    """Return the id of the replay that a task starts, so that its message may come twice."""
    return hashlib.sha1(task_id.encode(), usedforsecurity=False).hexdigest()[:12]


def _named(task: str) -> Any:
    """Return a task of ours, which may not be loaded yet in a process that only starts replays."""
    load("kato_tasks.celery_tasks.tasks")
    return home().tasks[task]


def _sent(send: Callable[[], Any]) -> Any:
    """Return what ``send`` returns. Whatever a broker or a result backend that is away raises is BrokerUnavailable."""
    try:
        # Otherwise this thread would keep a connection that waits for the parts' results, which nobody asks for.
        with without_subscription(home()):
            return send()
    except KatoTasksError:
        raise
    except Exception as exc:
        raise BrokerUnavailable(f"the broker does not take the tasks of replays ({exc})") from exc


fill_replay_starter(CeleryReplayStarter())


def run_part(task: Any, replay_id: str, part: int) -> Json:
    """Work on a part for one slice. Returns what the chord's body is given of it. Raises Retry while more is left."""
    _go_on(task, replay_id, lambda rt: work_on_part(rt, replay_id, part, rt.settings.replay_slice_seconds, _drain(rt)))
    return {"replay": replay_id, "part": part}


def run_finish(task: Any, replay_id: str) -> Json:
    """End a replay for one slice. Returns its status. Raises Retry while more is left."""
    _go_on(task, replay_id, lambda rt: finish_replay(rt, replay_id, rt.settings.replay_slice_seconds, _drain(rt)))
    try:
        status = replay_status(runtime(), replay_id)
        if status.mode != "as_of" and status.state == "done":
            CeleryReplayStarter().clean(replay_id, old_generations=False)
    except (StoreUnavailable, BrokerUnavailable) as exc:
        log_event(log, logging.WARNING, "replay.postponed", replay=replay_id, task=task.name, error=exc)
        _come_again(task, AGAIN_SECONDS)
    return {
        "id": status.id,
        "mode": status.mode,
        "state": status.state,
        "events_done": status.events_done,
        "events_total": status.events_total,
        "differences": list(status.differences),
        "sessions": dict(status.sessions),
    }


def run_clean(task: Any, replay_id: str, nodes: bool) -> None:
    """Clean up after a replay for one slice. Raises Retry while more is left."""
    _go_on(
        task,
        replay_id,
        lambda rt: SliceDone(clean_replay(rt, replay_id, rt.settings.replay_slice_seconds, nodes=nodes)),
    )


def _drain(rt: Runtime) -> Callable[[Sequence[int]], None]:
    """Return how a slice has copies applied: here and now, so that they need no other worker."""

    def drain(partitions: Sequence[int]) -> None:
        finish_slice(rt, rt.drainer.drain_partitions(partitions, later=partial(finish_slice, rt)))

    return drain


def _go_on(task: Any, replay_id: str, work: Callable[[Runtime], SliceDone]) -> None:
    """Work for one slice. What is away is asked again later; any other error ends the replay, and what served stays."""
    try:
        done = work(runtime())
        note_wait(runtime(), replay_id, "")
    except (StoreUnavailable, ArchiveUnavailable, KatoError) as exc:
        log_event(log, logging.WARNING, "replay.postponed", replay=replay_id, task=task.name, error=exc)
        done = SliceDone(done=False, wait_seconds=AGAIN_SECONDS)
        with contextlib.suppress(StoreUnavailable):
            note_wait(runtime(), replay_id, str(exc))
    except Exception as exc:
        log_event(log, logging.ERROR, "replay.failed", replay=replay_id, task=task.name, error=exc, exc_info=True)
        done = SliceDone(done=True)
        fail_replay(runtime(), replay_id, f"{type(exc).__name__}: {exc}")
    if not done.done:
        _come_again(task, done.wait_seconds)


def _come_again(task: Any, seconds: float) -> NoReturn:
    """Have the task go on after ``seconds``. Raises Retry, or GoesBack where the broker does not take that message.

    Celery would drop the task then, and its replay would stay where it is. This way the message that the worker has is
    not acknowledged, and comes again.
    """
    try:
        # How often is up to the task's max_retries, which is None: there is no limit.
        raise task.retry(countdown=seconds)
    except Reject as exc:
        log_event(log, logging.WARNING, "task.requeued", id=task.request.id, error=exc.reason)
        time.sleep(1.0)  # a broker that takes nothing may hand it out again at once
        raise GoesBack(str(exc.reason), requeue=True) from exc
