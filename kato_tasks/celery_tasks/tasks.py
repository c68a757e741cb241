"""The public tasks, and the two that keep lanes moving. Results are plain JSON of ``domain.results``."""

from __future__ import annotations

import logging
from functools import partial
from typing import Any

from celery import Celery, _state

from kato_tasks.bootstrap import runtime
from kato_tasks.celery_tasks import postponed, sweeping
from kato_tasks.celery_tasks.app.home import home_app
from kato_tasks.celery_tasks.app.own_app import app
from kato_tasks.celery_tasks.app.queueing import OURS
from kato_tasks.celery_tasks.home_task import HomeTask
from kato_tasks.celery_tasks.lane_task import LaneTask
from kato_tasks.celery_tasks.waiting import slice_done
from kato_tasks.celery_tasks.wakeups import DRAIN, DRAIN_OVERDUE
from kato_tasks.domain.predictions import in_one_form
from kato_tasks.errors import StoreUnavailable
from kato_tasks.telemetry.log_events import say

log = logging.getLogger(__name__)
Json = dict[str, Any]
# Celery would make copies of shared tasks for every app of the process.
_task = partial(app.task, shared=False)


def _observe(
    self: LaneTask,
    session_id: str,
    observation: Json,
    *,
    node_id: str | None = None,
    event_id: str | None = None,
    timestamp: str | None = None,
    metadata: Json | None = None,
) -> Json:
    """Observe ``observation`` (strings, vectors, emotives, metadata) in a session; ``domain.results.Observed``."""
    call = {"session_id": session_id, "observation": observation, "node_id": node_id}
    call |= {"event_id": event_id, "timestamp": timestamp, "metadata": metadata}
    return self.perform({name: value for name, value in call.items() if value is not None})  # type: ignore[no-any-return]


process_observation_async = _task(base=LaneTask, bind=True, name="kato_tasks.process_observation_async")(_observe)
observe = process_observation_async
# Messages sent by the short name find the same work under it.
_task(base=LaneTask, bind=True, name="kato_tasks.observe")(_observe)


class _Predict(LaneTask):
    abstract = True
    event_type = "predict"


class _Learn(LaneTask):
    abstract = True
    event_type = "learn"


class _ClearStm(LaneTask):
    abstract = True
    event_type = "clear_stm"


@_task(base=_Predict, bind=True, name="kato_tasks.predict")
def predict(self: LaneTask, session_id: str, *, raw: bool = False) -> Json:
    """KATO's predictions as of every event of the session accepted before; ``domain.results.Predicted``.

    ``raw``: with the predictions and future potentials as KATO itself answered them, in either of its forms.
    """
    answer: Json = self.perform({"session_id": session_id})
    return answer if raw else in_one_form(answer)


@_task(base=_Learn, bind=True, name="kato_tasks.learn")
def learn(self: LaneTask, session_id: str, *, event_id: str | None = None) -> Json:
    """Turn the session's STM into a pattern of its node; ``domain.results.Learned``."""
    call = {"session_id": session_id, "event_id": event_id}
    return self.perform({name: value for name, value in call.items() if value is not None})  # type: ignore[no-any-return]


@_task(base=_ClearStm, bind=True, name="kato_tasks.clear_stm")
def clear_stm(self: LaneTask, session_id: str, *, event_id: str | None = None) -> Json:
    """Empty the session's STM; ``domain.results.Applied``."""
    call = {"session_id": session_id, "event_id": event_id}
    return self.perform({name: value for name, value in call.items() if value is not None})  # type: ignore[no-any-return]


@_task(base=HomeTask, name=DRAIN, ignore_result=True)
def drain(shard: int) -> int:
    """A wake-up: drain what is ready in a shard for one slice; returns the number of lanes."""
    return _drained([shard], clear_marks=True)


@_task(base=HomeTask, name=DRAIN_OVERDUE, ignore_result=True)
def drain_overdue(shards: list[int]) -> int:
    """A wake-up that overtook the shards' own queues, where others may still wait; returns the number of lanes."""
    return _drained(shards, clear_marks=False)


def _drained(shards: list[int], *, clear_marks: bool) -> int:
    try:
        rt = runtime()
        for shard in shards if clear_marks else ():
            rt.mark_cleared(shard)
        partitions = [partition for shard in shards for partition in rt.partitions_of(shard)]
        postponed.promote(rt, partitions)
        done = rt.drainer.drain_partitions(partitions, later=partial(slice_done, rt))
        slice_done(rt, done)
        sweeping.complete_owed(rt, partitions)
        if done.over:
            rt.wake(partitions)
    except StoreUnavailable as exc:
        # Losing a wake-up is harmless: the sweep sends another once the store is back.
        say(log, logging.WARNING, "drain.postponed", shards=shards, error=exc)
        return 0
    return done.lanes


@_task(base=HomeTask, name="kato_tasks.sweep", ignore_result=True, send_events=False)
def sweep() -> int:
    """A round of the sweep, from beat: lost wake-ups, kept messages, what dead workers left; partitions with any."""
    return sweeping.sweep(runtime())


@_task(base=HomeTask, name="kato_tasks.keep_alive", ignore_result=True, send_events=False)
def keep_alive() -> int:
    """Have the lanes write to the KATO sessions that would expire soon though they are in use; how many."""
    return sweeping.keep_alive(runtime())


PUBLIC = ("process_observation_async", "observe", "predict", "learn", "clear_stm")


def all_tasks() -> list[HomeTask]:
    """All of ours, on whichever app they are."""
    return [task for name, task in app.tasks.items() if name.startswith(OURS)]


def _known_to(other: Celery) -> None:
    """An app of the host's knows our public tasks, on their own app: its workers send them from there as next steps."""
    if other is not app and other is not home_app():
        for name in PUBLIC:
            other._tasks.setdefault(OURS + name, app.tasks[OURS + name])  # noqa: SLF001  app.tasks would finalize it


_state.connect_on_app_finalize(_known_to)
for _other in list(_state._get_active_apps()):  # noqa: SLF001  Celery has no public name for it
    if _other.finalized:
        _known_to(_other)
