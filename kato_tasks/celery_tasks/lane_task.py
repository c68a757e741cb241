"""The Task class of the public tasks: validates at the caller, appends, then publishes.

A task's message carries where its event is; the event itself is in the log before the message exists. The
body finds its result, or drains its lane, or parks: it never blocks its slot, never polls.
"""

from __future__ import annotations

import json
import logging
import math
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Any, ClassVar

from celery._state import get_current_worker_task
from celery.app.task import get_actual_ignore_result
from celery.canvas import Signature, maybe_signature
from celery.result import AsyncResult
from celery.states import READY_STATES

from kato_tasks.api.append import warn_of_shared_names
from kato_tasks.api.scheduled import later_payload
from kato_tasks.bootstrap import Runtime, runtime
from kato_tasks.celery_tasks.answers import (
    Place,
    Sought,
    buried,
    delivered,
    expired_prediction,
    failed,
    is_error,
    long_applied,
    too_many_wait,
    waiting_meta,
    without_session,
)
from kato_tasks.celery_tasks.app.configuration import PUBLISH_POLICY
from kato_tasks.celery_tasks.app.home import home
from kato_tasks.celery_tasks.arguments import as_json, by_name, is_complete, refuse_wrong_names
from kato_tasks.celery_tasks.calling.addressing import address
from kato_tasks.celery_tasks.calling.async_calls import AsyncCalls
from kato_tasks.celery_tasks.calling.on_commit import OnCommit
from kato_tasks.celery_tasks.calling.publishing import CANNOT_BE_SENT
from kato_tasks.celery_tasks.home_task import HomeTask
from kato_tasks.celery_tasks.task_log import GoesBack, Told, Waits, waits_where
from kato_tasks.celery_tasks.waiting import PASSING, answer_known, finish, parked_text, request_of, slice_done
from kato_tasks.domain.events import check_session_id, parse_event
from kato_tasks.domain.ids import check_event_id, default_node, lane_of, partition_of, queue_of, shard_of
from kato_tasks.domain.known_names import shown
from kato_tasks.domain.log_entry import Entry, entry_of, predict_entry
from kato_tasks.engine.append import AppendProtocol
from kato_tasks.engine.asking import Asks, carried_out
from kato_tasks.engine.store_retry import STORE_PATIENCE_SECONDS, raise_errors
from kato_tasks.errors import (
    EventConflict,
    EventRefused,
    InvalidEvent,
    KatoTasksError,
    NotAppliedYet,
    StoreUnavailable,
    TooManyPredicts,
)
from kato_tasks.ports.log import KeepLater
from kato_tasks.ports.waiting_tasks import KeepMessage
from kato_tasks.telemetry.log_events import say

log = logging.getLogger(__name__)
WAITING = "WAITING"
_ROUNDS = 4
"""How often a task looks at most before it says that the store contradicts itself."""
DIRECT_SECONDS = 60.0
"""How long a call without a worker (eager mode, or the task called like a function) waits for its session's turn."""


class LaneTask(OnCommit, AsyncCalls, HomeTask):
    """A task whose event goes through its session's lane. ``event_type`` says what it appends."""

    abstract = True
    event_type: ClassVar[str] = "observation"
    throws = (EventRefused, EventConflict, InvalidEvent, TooManyPredicts)
    """How an event may end: one line in the worker's log, without a traceback."""

    # ------------------------------------------------------------- the caller

    def signature(self, args: Any = None, *starargs: Any, **starkwargs: Any) -> Signature[Any]:
        """Like Celery's, and a call that is complete is validated here, at the caller."""
        kwargs = dict(starkwargs.pop("kwargs", None) or (starargs[0] if starargs else None) or {})
        arguments = tuple(as_json(a) for a in args or ())
        kwargs = {name: as_json(value) for name, value in kwargs.items()}
        if is_complete(self.run, arguments, kwargs):
            self.call(arguments, kwargs)
        else:
            refuse_wrong_names(self.run, self.own_name, arguments, kwargs, runtime_limits().unknown_keys)
        return super().signature(arguments, kwargs, *starargs[1:], **starkwargs)

    subtask = signature

    @property
    def own_name(self) -> str:
        """The task's name as callers write it."""
        return str(self.name).rpartition(".")[2]

    def call(
        self, args: Sequence[Any] | None, kwargs: Mapping[str, Any] | None, *, door: bool = True
    ) -> dict[str, Any]:
        """The call's arguments by name, validated, as plain JSON. Raises InvalidEvent or TypeError."""
        call = by_name(self.run, self.own_name, args, kwargs)
        self.entry(call, "check", door=door)
        return call

    def entry(self, call: Mapping[str, Any], event_id: str, until_ms: int = 0, *, door: bool = False) -> Entry:
        """What a call appends. ``until_ms``: when the task expires (0: never); a predict is not asked after it.

        ``door``: the call comes from outside and may have typing errors. What was accepted once is never refused for
        a key that is not known, whatever version accepted it.
        """
        limits = runtime_limits()
        if not door and limits.unknown_keys != "pass":
            limits = replace(limits, unknown_keys="pass")
        chosen = call.get("event_id") or event_id
        if self.event_type == "predict":
            session_id = check_session_id(call.get("session_id"))
            return predict_entry(session_id, check_event_id(chosen), until_ms)
        event = parse_event({**call, "event_type": self.event_type, "event_id": chosen}, limits)
        return entry_of(event, event_id=chosen, wanted=True, limits=limits)

    def apply_async(
        self,
        args: Any = None,
        kwargs: Any = None,
        task_id: str | None = None,
        producer: Any = None,
        link: Any = None,
        link_error: Any = None,
        shadow: str | None = None,
        **options: Any,
    ) -> AsyncResult[Any]:
        """Append the event, then publish its task. When this returns, the event is in the store.

        Raises InvalidEvent (the field is named), EventConflict or StoreUnavailable before anything is
        published; a broker that is away does not raise: the message is kept and published later.
        """
        # A canvas was checked where it was written, perhaps by an older version: its steps are not refused for a name.
        is_step = task_id is not None and ("root_id" in options or "parent_id" in options)
        call = self.call(args, kwargs, door=not (is_step and get_current_worker_task() is not None))
        self.send_from_home({**options, "link": link, "link_error": link_error})
        task_id = task_id or str(uuid.uuid4())
        if self.app.conf.task_always_eager:
            return super().apply_async((), call, task_id=task_id, link=link, link_error=link_error, **options)
        rt = runtime()
        due_ms, until = self.times(options)
        if due_ms is None:
            place = self.placed(rt, call, task_id, until)
        else:
            place = carried_out(rt.store, self.keeping_for_later(rt.mailbox.protocol, call, task_id, due_ms, until))
        options |= {"task_id": task_id, "producer": producer, "link": link, "link_error": link_error, "shadow": shadow}
        message = self.message(place, options, rt.settings.shards)
        try:
            return self.publish(call, message)
        except CANNOT_BE_SENT:
            raise
        except Exception as exc:
            raise_errors(rt.store.execute([self.kept(call, message, exc)]))
            return self.AsyncResult(task_id)

    def send_from_home(self, options: Mapping[str, Any]) -> None:
        """Settle the app that our tasks are on, and say where the steps that follow this one go.

        Raises ConfigurationError when that app's configuration cannot work.
        """
        home()
        address([options.get(name) for name in ("link", "link_error", "chain", "chord")])

    def times(self, options: dict[str, Any]) -> tuple[int | None, int]:
        """When a call is due (None: now), taken out of its options, and until when it is wanted (0: always), in ms."""
        due_ms = _due_ms(options.pop("countdown", None), options.pop("eta", None))
        return due_ms, _expires_ms(options.get("expires") or self.expires)

    def message(self, place: Place, options: Mapping[str, Any], shards: int) -> dict[str, Any]:
        """The options with which a call's task is published, once its event has its place."""
        message = {name: value for name, value in options.items() if name not in ("routing_key", "exchange")}
        message["headers"] = {**(message.get("headers") or {}), "kato": place}
        message["queue"] = queue_of(shard_of(partition_of(str(place["lane"])), shards))
        message.setdefault("retry_policy", PUBLISH_POLICY)
        return message | {name: _frozen(message[name], self.app) for name in ("link", "link_error")}

    def publish(self, call: Mapping[str, Any], message: Mapping[str, Any]) -> AsyncResult[Any]:
        """Publish a call's task. Raises one of ``CANNOT_BE_SENT``, or whatever a broker that is away makes of it.

        That is OperationalError as a rule, but kombu also lets other errors of a dead connection through.
        """
        return super().apply_async((), call, **message)

    def kept(self, call: Mapping[str, Any], message: Mapping[str, Any], why: Exception) -> KeepMessage:
        """How the store keeps a task that could not be published."""
        say(log, logging.WARNING, "task.kept", id=message["task_id"], error=why)
        kept = {"name": self.name, "kwargs": call} | {n: message[n] for n in ("task_id", "link", "link_error")}
        beside = ("task_id", "link", "link_error", "producer", "shadow")
        kept["kept_ms"] = int(time.time() * 1000)
        kept["options"] = {k: v for k, v in message.items() if k not in beside and _is_json(v)}
        return KeepMessage(str(message["headers"]["kato"]["lane"]), json.dumps(kept))

    def placed(
        self, rt: Runtime, call: Mapping[str, Any], event_id: str, until_ms: int = 0, *, door: bool = False
    ) -> Place:
        """See ``placing``.

        Inside a worker, where a step of a canvas is dispatched, a store that is away for a moment is waited for.
        """
        deadline = time.monotonic() + (STORE_PATIENCE_SECONDS if get_current_worker_task() is not None else 0.0)
        while True:
            try:
                return carried_out(rt.store, self.placing(rt.mailbox.protocol, call, event_id, until_ms, door=door))
            except StoreUnavailable:
                if time.monotonic() >= deadline:
                    raise
                time.sleep(0.1)

    def placing(
        self, protocol: AppendProtocol, call: Mapping[str, Any], event_id: str, until_ms: int = 0, *, door: bool = False
    ) -> Asks[Place]:
        """Append a call's event; its place. An observation makes its session, and nothing else does."""
        entry = self.entry(call, event_id, until_ms, door=door)
        if self.event_type == "observation" or (yield from protocol.knows(entry.session_id)):
            return (yield from append_one(protocol, entry))
        return {**nowhere(entry), "no_session": True}

    def keeping_for_later(
        self, protocol: AppendProtocol, call: Mapping[str, Any], task_id: str, due_ms: int, until_ms: int
    ) -> Asks[Place]:
        """Keep a call's event until it is due; its place."""
        entry = self.entry(call, task_id, until_ms)
        place = nowhere(entry)
        if self.event_type == "observation" or (yield from protocol.knows(entry.session_id)):
            place["lane"] = lane_of((yield from protocol.nodes([entry]))[0])
        raise_errors((yield [KeepLater(place["lane"], due_ms, later_payload(entry, task_id))]))
        return {**place, "due": due_ms}

    # ------------------------------------------------------------- the worker

    def perform(self, call: Mapping[str, Any]) -> Any:
        """The body: this event's result, or Waits (an Ignore) with the request parked in its lane.

        A store that is away does not fail the task, nor a broker that cannot take its next step: its message goes
        back to its queue.
        """
        try:
            return self._perform(call)
        except PASSING as exc:
            if self.request.called_directly or self.request.is_eager:
                raise
            say(log, logging.WARNING, "task.requeued", id=self.request.id, error=exc)
            time.sleep(1.0)  # nothing of ours can move while the store is away; do not spin
            raise GoesBack(str(exc), requeue=True) from exc

    def _perform(self, call: Mapping[str, Any]) -> Any:
        request = self.request
        task_id = request.id or str(uuid.uuid4())
        direct = bool(request.called_directly or request.is_eager)
        known = answer_known(task_id)
        if known is not None:
            return delivered(known)
        rt = runtime()
        place = None if direct else request.get("kato")
        # A message without a place was sent by name, or this is a call like a function's: nobody has looked at it yet.
        place = place or self.placed(rt, call, task_id, _expires_ms(request.expires), door=True)
        deadline = time.monotonic() + DIRECT_SECONDS
        while True:
            room = direct or rt.drainer.has_room
            sought = self.seek(rt, call, place, lease=room)
            if sought.answer is not None or not direct:
                break
            if time.monotonic() > deadline:
                raise NotAppliedYet(f"not applied within {DIRECT_SECONDS:g} s: see kato-tasks sessions show")
            place = sought.place
            time.sleep(0.02)
        if sought.answer is None:
            why = ""
            if sought.waits is not None:
                meta = waiting_meta(str(call["session_id"]), sought.place, sought.waits)
                why = meta["waits_for"]
                show_waiting(self, task_id, meta)
            sought = self.seek(rt, call, sought.place, task_id=task_id, stored=request_of(self, call))
        if sought.answer is None:
            if not room:
                rt.wake([partition_of(str(sought.place["lane"]))])
            where = waits_where(str(call["session_id"]), sought.place, self.event_type)
            raise Waits(f"{where}: {why}" if why else where)
        told = (str(sought.place["lane"]), str(call["session_id"]), str(sought.place["event_id"]))
        if direct:
            rt.drainer.delivered(*told)
            return delivered(sought.answer)
        if sought.late and told_before(self, task_id):
            raise Told
        if (request.callbacks or request.chain) and not is_error(sought.answer):
            # Celery would fail this step if its next one cannot be sent for a moment.
            finish(task_id, request_of(self, call), sought.answer)
            rt.drainer.delivered(*told)
            raise Told
        request.kato_told = told
        return delivered(sought.answer)

    def after_return(self, status: str, *_: Any) -> None:
        """Celery has stored what the task returned or raised, so the store need not keep it."""
        told = getattr(self.request, "kato_told", None)
        if told is not None and status in READY_STATES:
            runtime().drainer.delivered(*told)

    def seek(
        self,
        rt: Runtime,
        call: Mapping[str, Any],
        place: Place,
        *,
        lease: bool = False,
        task_id: str = "",
        stored: Mapping[str, Any] | None = None,
    ) -> Sought:
        """This call's answer; without one the request waits at its event, once there is a ``task_id`` to park.

        An event that the store has lost, or never had, is appended again: its arguments are in the message.
        Raises EventConflict, InvalidEvent or StoreUnavailable.
        """
        session = str(call["session_id"])
        for _ in range(_ROUNDS):
            event_id = str(place["event_id"])
            if place.get("no_session"):
                return Sought(without_session(self.event_type, session, event_id), place)
            position = int(place["position"] or 0)
            kind = "" if position else str(place.get("due") or ("p" if self.event_type == "predict" else ""))
            if kind == "p":
                place = {**place, "predict": True}
            found, token = rt.drainer.claim(
                lane=str(place["lane"]),
                session=session,
                event_id=event_id,
                position=position,
                kind=kind,
                task_id=task_id,
                request=parked_text(stored, place) if stored is not None else "",
                lease=lease,
            )
            lease = False
            if found.work is not None:
                # A call without a worker waits for KATO itself: it has no slot to give back.
                direct = bool(self.request.called_directly or self.request.is_eager)
                later = None if direct else partial(slice_done, rt)
                done, answer = rt.drainer.drain_claimed(found.work, token, session, event_id, later)
                slice_done(rt, done)
                if answer is not None:
                    return Sought(self.own(rt, call, place, answer), place)
                continue
            if found.result is not None:
                return Sought(self.own(rt, call, place, found.result), place)
            if found.applied:
                return Sought(long_applied(session, place, found.node), place, late=True)
            if found.dead is not None:
                return Sought(buried(found.dead), place, late=True)
            if found.full:
                return Sought(too_many_wait(event_id), place)
            if not found.unknown:
                return Sought(None, place, waits=found.waits)
            again = self.placed(rt, call, event_id, _expires_ms(self.request.expires))
            if kind == "p" and again.get("known"):
                return Sought(expired_prediction(), place, late=True)
            place = again
        raise EventRefused(f"the store knows {event_id!r} and has another event at its position {place['position']}")

    def own(self, rt: Runtime, call: Mapping[str, Any], place: Place, answer: str) -> str:
        """The result of an event with this id, if it is this call's event.

        One that was kept for later has not been compared with what has its id.
        """
        if place["position"] or self.event_type == "predict":
            return answer
        try:
            carried_out(rt.store, append_one(rt.mailbox.protocol, self.entry(call, place["event_id"])))
        except EventConflict as exc:
            return failed(exc)
        return answer

    def look_again(self, rt: Runtime, call: Mapping[str, Any], task_id: str, stored: Mapping[str, Any]) -> Sought:
        """A request has waited for long and its event is not where it looks for it: its answer, or its new place."""
        try:
            place = stored["request"].get("kato") or self.placed(rt, call, task_id)
            return self.seek(rt, call, place, task_id=task_id, stored=stored)
        except StoreUnavailable:
            raise
        except KatoTasksError as exc:
            return Sought(failed(exc), {})


def show_waiting(task: LaneTask, task_id: str, where: dict[str, Any]) -> None:
    """Let the result backend and Flower know; a backend or broker that is away must not fail the task for it."""
    try:
        if not get_actual_ignore_result(task, task.request):
            task.backend.store_result(task_id, where, WAITING, request=task.request)
        # Flower's page of a task shows what its events call the result, and nothing of an event's other fields.
        task.send_event("task-waiting", result=f"{where['waits_for']} (since {where['since']})", **where)
    except Exception as exc:
        say(log, logging.WARNING, "task.waiting_unseen", id=task_id, error=exc)


def told_before(task: LaneTask, task_id: str) -> bool:
    """Whether the result backend has this task's end already; links and chords went out before that was written."""
    try:
        return task.backend.get_state(task_id) in READY_STATES
    except Exception as exc:
        say(log, logging.DEBUG, "task.state_unseen", id=task_id, error=exc)
        return False


def nowhere(entry: Entry) -> Place:
    """The place of what is not appended (yet): in the lane that its session would have by itself."""
    node = entry.node_id or default_node(entry.session_id)
    return {"lane": lane_of(node), "position": 0, "event_id": entry.event_id}


def append_one(protocol: AppendProtocol, entry: Entry) -> Asks[Place]:
    """Append one event; returns its place. Raises EventConflict.

    No wake-up is sent beside the task's own message, which drains the lane on arrival: it would double what a
    ``.delay()`` costs. The message is not the lane's only chance, since the lane stands in the ready set and
    every worker's sweep looks there. A predict has a place in its session's order and no position of its own (0).
    """
    posted = yield from protocol.append([entry])
    (placed,) = posted.placed
    if placed.conflict:
        raise EventConflict(placed.appended.error or "")
    if placed.too_many:
        raise TooManyPredicts(placed.appended.error or "")
    warn_of_shared_names(posted.shared_names)
    place: Place = {"lane": placed.lane, "position": placed.appended.position, "event_id": entry.event_id}
    if entry.kind == "p":
        return {**place, "position": 0, "known": placed.appended.duplicate}
    return place


def runtime_limits() -> Any:
    from kato_tasks.settings import settings

    return settings().limits


def _expires_ms(expires: Any) -> int:
    """A task's ``expires`` (seconds from now, or a time) in ms; 0: never."""
    if expires is None:
        return 0
    if isinstance(expires, int | float) and math.isfinite(expires):
        return int((time.time() + expires) * 1000)
    return _due_ms(None, expires, "expires") or 0


def _due_ms(countdown: Any, eta: Any, name: str = "eta") -> int | None:
    if countdown is not None:
        if isinstance(countdown, bool) or not isinstance(countdown, int | float) or not math.isfinite(countdown):
            raise InvalidEvent("countdown", f"must be a number of seconds, not {shown(countdown)}")
        return int((time.time() + float(countdown)) * 1000) if countdown > 0 else None
    if eta is None:
        return None
    try:
        when = datetime.fromisoformat(eta) if isinstance(eta, str) else eta
    except ValueError:
        when = None
    if not isinstance(when, datetime):
        raise InvalidEvent(name, f"must be a datetime or ISO 8601 text, not {shown(eta)}")
    if when.tzinfo is None:
        when = when.replace(tzinfo=UTC)
    return int(when.timestamp() * 1000)


def _frozen(links: Any, app: Any) -> list[Any] | None:
    """Links with their ids fixed now: a repeated dispatch must not make a second task of them."""
    if links is None:
        return None
    frozen = []
    for link in links if isinstance(links, list | tuple) else [links]:
        signature = (link if isinstance(link, Signature) else maybe_signature(link, app=app)).clone()
        signature.freeze()
        frozen.append(signature)
    return frozen


def _is_json(value: Any) -> bool:
    try:
        json.dumps(value)
    except (TypeError, ValueError):
        return False
    return True
