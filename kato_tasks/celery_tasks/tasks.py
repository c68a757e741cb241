"""The public tasks, and the tasks that keep lanes moving. Results are the plain JSON of ``domain.results``."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial
from typing import Any, Concatenate, ParamSpec, TypeVar, cast

from celery import Celery, _state

from kato_tasks.api.replays.calls import prepare_replay
from kato_tasks.bootstrap import runtime
from kato_tasks.celery_tasks import archiving, postponed, replaying, sweeping
from kato_tasks.celery_tasks.app.home import home_app
from kato_tasks.celery_tasks.app.own_app import app
from kato_tasks.celery_tasks.app.queueing import OURS
from kato_tasks.celery_tasks.archiving import ARCHIVE, PRUNE
from kato_tasks.celery_tasks.home_task import HomeTask
from kato_tasks.celery_tasks.lane_task import LaneTask
from kato_tasks.celery_tasks.typed_task import PredictTask, TypedTask
from kato_tasks.celery_tasks.waiting import finish_slice
from kato_tasks.celery_tasks.wakeups import DRAIN, DRAIN_OVERDUE
from kato_tasks.domain.events import check_session_id
from kato_tasks.domain.ids import check_event_id
from kato_tasks.domain.log_entry import Entry, predict_entry
from kato_tasks.domain.observations import Observation
from kato_tasks.domain.predictions import in_one_form
from kato_tasks.domain.replays import ReplayMode, ReplayRequest, time_ms
from kato_tasks.domain.results_json import AppliedJson, LearnedJson, ObservedJson
from kato_tasks.errors import ConfigurationError, StoreUnavailable
from kato_tasks.telemetry.log_events import log_event

log = logging.getLogger(__name__)
Json = dict[str, Any]
# Celery would make copies of shared tasks for every app of the process.
_task = partial(app.task, shared=False)
P = ParamSpec("P")
R = TypeVar("R")


def _public(name: str, base: type[LaneTask]) -> Callable[[Callable[Concatenate[LaneTask, P], R]], TypedTask[P, R]]:
    """Return a decorator that makes a task of a function whose first parameter is the task itself.

    Callers of the task give the parameters that come after the first.
    """

    def made(run: Callable[Concatenate[LaneTask, P], R]) -> TypedTask[P, R]:
        return cast("TypedTask[P, R]", _task(base=base, bind=True, name=name)(run))

    return made


def _observe(
    self: LaneTask,
    session_id: str,
    observation: Observation | Mapping[str, Any],
    *,
    node_id: str | None = None,
    event_id: str | None = None,
    timestamp: datetime | str | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> ObservedJson:
    """Append one observation to a session and return what KATO answered once it was applied, in its turn.

    Args:
        session_id: Your own name for the session, of 1 to 512 characters. Its first observation makes the session.
        observation: What was observed: ``strings``, ``vectors``, ``emotives`` and ``metadata``, as a mapping or as a
            ``kato_tasks.Observation``. A key that is not known is refused.
        node_id: The node whose patterns the session shares. It is settled by the session's first event, for life;
            by default each session has a node of its own.
        event_id: The observation's id. The same id in the same session within 7 days (``DEDUPE_DAYS``) is the same
            event: it is applied once, and each call gets its result. By default it is the task's id, so that only a
            redelivered or retried task is recognized, and no second ``delay``.
        timestamp: When it happened: a ``datetime`` or text in ISO 8601. Without an offset it is read as UTC. By
            default it is the time of the append. It is kept with the event; the order is that of the appends.
        metadata: Plain JSON that is kept with the event and never sent to KATO.

    Returns:
        ``ObservedJson``, the plain JSON of ``domain.results.Observed``.

    Raises, at the caller and before anything is accepted:
        TypeError: An argument is missing, unknown or one too many.
        InvalidEvent: A field is wrong; ``field`` names it.
        NodeConflict: The session belongs to another node.
        EventConflict: This ``event_id`` is known in the session with another body.
        StoreUnavailable: The store cannot be reached. ``StoreFull``: it has no room. The call may be repeated.
        ConfigurationError: A setting cannot work.

    Raises, from ``get`` and ``aget`` of its result:
        EventRefused: KATO definitely refused the observation, which is now a dead letter.
        EventConflict: As above, of a call that was kept for later by ``countdown`` or ``eta``.
        NotAppliedYet: 100 tasks wait for this event already. It stays in the log and is applied in its turn.
        celery.exceptions.TimeoutError: It was not applied in time. It stays in the log and is applied in its turn.
    """
    call: Json = {"session_id": session_id, "observation": observation, "node_id": node_id}
    call |= {"event_id": event_id, "timestamp": timestamp, "metadata": metadata}
    return self.perform({name: value for name, value in call.items() if value is not None})  # type: ignore[no-any-return]


process_observation_async = _public("kato_tasks.process_observation_async", LaneTask)(_observe)
observe = process_observation_async
# A message that was sent with the short name runs the same function.
_public("kato_tasks.observe", LaneTask)(_observe)


class _Predict(LaneTask):
    abstract = True
    event_type = "predict"


class _Learn(LaneTask):
    abstract = True
    event_type = "learn"


class _ClearStm(LaneTask):
    abstract = True
    event_type = "clear_stm"


def _predicting(run: Callable[..., Json]) -> PredictTask:
    return cast("PredictTask", _public("kato_tasks.predict", _Predict)(run))


@_predicting
def predict(self: LaneTask, session_id: str, *, raw: bool = False) -> Json:
    """Return KATO's predictions as of every event of the session that was accepted before the call, best first.

    Nothing is appended. A session that has no events yet has no predictions.

    Args:
        session_id: The session that is asked about.
        raw: Return the predictions and future potentials as KATO itself answered them. KATO has one form for a
            short-term memory of one symbol and another for longer ones; without ``raw`` there is always one form.

    Returns:
        ``PredictedJson``, the plain JSON of ``domain.results.Predicted``; with ``raw`` a ``RawPredictedJson``.

    Raises, at the caller:
        TypeError: An argument is missing, unknown or one too many.
        InvalidEvent: ``session_id`` is no text that can name a session.
        StoreUnavailable: The store cannot be reached, or has no room. Ask again later.
        TooManyPredicts: 100 predicts (``MAX_WAITING_PREDICTS``) of this session wait already. Ask again later.
        ConfigurationError: A setting cannot work.

    Raises, from ``get`` and ``aget`` of its result:
        EventRefused: KATO failed the predict for longer than 5 s (``PREDICT_PATIENCE_SECONDS``) or refused it, or its
            answer has expired. Ask again.
        TooManyPredicts: As above, of a call that was kept for later by ``countdown`` or ``eta``.
        celery.exceptions.TimeoutError: It was not answered in time.
    """
    # A request that waits is finished with these arguments, so they must say what its caller wants.
    answer: Json = self.perform({"session_id": session_id, **({"raw": True} if raw else {})})
    return answer if raw else in_one_form(answer)


class _Read(_Predict):
    abstract = True

    def entry(self, call: Mapping[str, Any], event_id: str, until_ms: int = 0, *, door: bool = False) -> Entry:  # noqa: ARG002
        session_id = check_session_id(call.get("session_id"))
        return predict_entry(session_id, check_event_id(event_id), until_ms, str(call["what"]))


@_public("kato_tasks.read_session", _Read)
def read_session(self: LaneTask, session_id: str, what: str) -> Json:
    """Read what KATO shows of a session, in the session's turn: the HTTP server sends this for clients of KATO's API.

    ``what`` is one of ``engine.drain.showing.READS``. Returns ``stm``, ``time`` and KATO's ``data``.
    """
    return self.perform({"session_id": session_id, "what": what})  # type: ignore[no-any-return]


@_public("kato_tasks.learn", _Learn)
def learn(self: LaneTask, session_id: str, *, event_id: str | None = None) -> LearnedJson:
    """Append a learn: KATO turns the session's short-term memory into a pattern of its node and empties it.

    Args:
        session_id: The session, which must have events.
        event_id: The learn's id. The same id in the same session within 7 days (``DEDUPE_DAYS``) is the same learn.
            By default it is the task's id.

    Returns:
        ``LearnedJson``, the plain JSON of ``domain.results.Learned``. ``status`` is ``learned``, or ``too_short`` for
        a memory of one symbol, of which KATO makes no pattern.

    Raises, at the caller and before anything is accepted:
        TypeError: An argument is missing, unknown or one too many.
        InvalidEvent: A field is wrong; ``field`` names it.
        EventConflict: This ``event_id`` is known in the session with another body.
        StoreUnavailable: The store cannot be reached. ``StoreFull``: it has no room. The call may be repeated.
        ConfigurationError: A setting cannot work.

    Raises, from ``get`` and ``aget`` of its result:
        EventRefused: There is nothing to learn, or KATO refused it; the learn is now a dead letter, unless the
            session has no events at all.
        EventConflict: As above, of a call that was kept for later by ``countdown`` or ``eta``.
        NotAppliedYet: 100 tasks wait for this event already. It stays in the log and is applied in its turn.
        celery.exceptions.TimeoutError: It was not applied in time. It stays in the log and is applied in its turn.
    """
    call = {"session_id": session_id, "event_id": event_id}
    return self.perform({name: value for name, value in call.items() if value is not None})  # type: ignore[no-any-return]


@_public("kato_tasks.clear_stm", _ClearStm)
def clear_stm(self: LaneTask, session_id: str, *, event_id: str | None = None) -> AppliedJson:
    """Append an event that empties the session's short-term memory; nothing is learned of what it held.

    Args:
        session_id: The session. One that has no events yet has nothing to clear, and stays without any.
        event_id: The event's id. The same id in the same session within 7 days (``DEDUPE_DAYS``) is the same event.
            By default it is the task's id.

    Returns:
        ``AppliedJson``, the plain JSON of ``domain.results.Applied``. ``status`` is ``cleared``.

    Raises, at the caller and before anything is accepted:
        TypeError: An argument is missing, unknown or one too many.
        InvalidEvent: A field is wrong; ``field`` names it.
        EventConflict: This ``event_id`` is known in the session with another body.
        StoreUnavailable: The store cannot be reached. ``StoreFull``: it has no room. The call may be repeated.
        ConfigurationError: A setting cannot work.

    Raises, from ``get`` and ``aget`` of its result:
        EventRefused: KATO definitely refused it; it is now a dead letter.
        EventConflict: As above, of a call that was kept for later by ``countdown`` or ``eta``.
        NotAppliedYet: 100 tasks wait for this event already. It stays in the log and is applied in its turn.
        celery.exceptions.TimeoutError: It was not applied in time. It stays in the log and is applied in its turn.
    """
    call = {"session_id": session_id, "event_id": event_id}
    return self.perform({name: value for name, value in call.items() if value is not None})  # type: ignore[no-any-return]


@_task(base=HomeTask, name=DRAIN, ignore_result=True)
def drain(shard: int) -> int:
    """Answer a wake-up: drain what is ready in a shard for one slice, and return the number of lanes."""
    return _drain_shards([shard], clear_marks=True)


@_task(base=HomeTask, name=DRAIN_OVERDUE, ignore_result=True)
def drain_overdue(shards: list[int]) -> int:
    """Answer a wake-up that overtook the shards' own queues: drain what is ready, and return the number of lanes.

    Other wake-ups may still wait in those queues, so their marks stay.
    """
    return _drain_shards(shards, clear_marks=False)


def _drain_shards(shards: list[int], *, clear_marks: bool) -> int:
    try:
        rt = runtime()
        for shard in shards if clear_marks else ():
            rt.marks.clear(shard)
        partitions = [partition for shard in shards for partition in rt.partitions_of(shard)]
        postponed.append_due(rt, partitions)
        done = rt.drainer.drain_partitions(partitions, later=partial(finish_slice, rt))
        finish_slice(rt, done)
        sweeping.complete_orphaned_tasks(rt, partitions)
        if done.over:
            rt.wake(partitions)
    except StoreUnavailable as exc:
        # Losing a wake-up is harmless: the sweep sends another once the store is back.
        log_event(log, logging.WARNING, "drain.postponed", shards=shards, error=exc)
        return 0
    return done.lanes


@_task(base=HomeTask, name=ARCHIVE, ignore_result=True, send_events=False)
def archive(shard: int) -> int:
    """Move what a shard has applied to the archive for one slice, and return the number of events."""
    return archiving.archive_shard(runtime(), shard)


@_task(base=HomeTask, name=PRUNE, ignore_result=True, send_events=False)
def prune_archive() -> int:
    """Erase from the archive what its retention says, for one slice, and return the number of events."""
    return archiving.prune(runtime())


@_task(base=HomeTask, bind=True, name="kato_tasks.replay")
def replay(
    self: HomeTask,
    mode: str,
    *,
    session_id: str | None = None,
    node_id: str | None = None,
    flagged: bool = False,
    position: int | None = None,
    time: str | None = None,
) -> Json:
    """Start a replay, and end with it: its result is the replay's status once it is done, failed or cancelled.

    Args:
        mode: ``stm``, ``rebuild`` or ``as_of``; see ``kato_tasks.start_replay``, which has the same parameters.
        session_id: The session that modes ``stm`` and ``as_of`` are about.
        node_id: The node that mode ``rebuild`` is about; by default all nodes.
        flagged: With mode ``rebuild``, only the nodes whose patterns are in doubt or lost.
        position: With mode ``as_of``, the last event of the session that is replayed.
        time: With mode ``as_of``, text in ISO 8601: events with a later timestamp are left out.

    Returns:
        The status as plain JSON: ``id``, ``mode``, ``state``, ``events_done``, ``events_total``, ``differences`` and
        ``sessions``, which names the session to ask after mode ``as_of``.

    Raises, from ``get`` and ``aget`` of its result:
        InvalidEvent: What was asked for does not exist or does not go together; ``field`` names it.
        ReplayBusy: Another replay of one of these nodes has not ended.
        StoreUnavailable, ArchiveUnavailable: A server cannot be reached.
        ConfigurationError: A setting cannot work.
    """
    until = time_ms("time", time) if time else None
    request = ReplayRequest(cast("ReplayMode", mode), session_id, node_id, flagged, position, until)
    record = prepare_replay(runtime(), request, replaying.replay_id_of(str(self.request.id)))
    return cast("Json", self.replace(replaying.chord_of(record.id, record.parts)))


@_task(base=HomeTask, bind=True, name=replaying.PART, max_retries=None)
def replay_part(self: HomeTask, replay_id: str, part: int) -> Json:
    """Work on one part of a replay, in slices; see ``replaying.run_part``."""
    return replaying.run_part(self, replay_id, part)


@_task(base=HomeTask, bind=True, name=replaying.FINISH, max_retries=None)
def replay_finish(self: HomeTask, parts: list[Json], replay_id: str) -> Json:  # noqa: ARG001  a chord's body gets them
    """Verify a replay and switch to its generation once all parts are done, in slices; return its status."""
    return replaying.run_finish(self, replay_id)


@_task(base=HomeTask, bind=True, name=replaying.CLEAN, ignore_result=True, max_retries=None)
def replay_clean(self: HomeTask, replay_id: str, nodes: bool) -> None:
    """Erase what a replay left, in slices."""
    replaying.run_clean(self, replay_id, nodes)


@_task(base=HomeTask, name="kato_tasks.sweep", ignore_result=True, send_events=False)
def sweep() -> int:
    """Do one round of the sweep, as beat asks, and return how many partitions had something due.

    A round looks for lost wake-ups, kept messages and what dead workers left.
    """
    return sweeping.sweep(runtime())


@_task(base=HomeTask, name="kato_tasks.keep_alive", ignore_result=True, send_events=False)
def keep_alive() -> int:
    """Have lanes write to the KATO sessions that would expire soon though they are in use, and return how many."""
    return sweeping.keep_alive(runtime())


PUBLIC = ("process_observation_async", "observe", "predict", "learn", "clear_stm", "replay")


def all_tasks() -> list[HomeTask]:
    """Return all of our tasks, whichever app they are on."""
    return [task for name, task in app.tasks.items() if name.startswith(OURS)]


def _known_to(other: Celery) -> None:
    """Make our public tasks known to a host's app while they stay on their own, so that its workers can send them.

    Those workers send them as next steps of the host's tasks.
    """
    if other is not app and other is not home_app():
        try:
            app.finalize()
        except ConfigurationError:
            return  # our bad settings must not break the host's app; a caller of our tasks gets the error
        for name in PUBLIC:
            other._tasks.setdefault(OURS + name, app.tasks[OURS + name])  # noqa: SLF001  app.tasks would finalize it


_state.connect_on_app_finalize(_known_to)
for _other in list(_state._get_active_apps()):  # noqa: SLF001  Celery has no public name for it
    if _other.finalized:
        _known_to(_other)
