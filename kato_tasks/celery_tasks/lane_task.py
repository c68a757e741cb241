"""The Task class of the public tasks; here is the worker's half, and ``sending`` has the caller's.

The body finds its event's result, or drains its lane, or leaves its request waiting in the lane: it never blocks its
slot and never polls.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Mapping
from functools import partial
from typing import Any

from celery.app.task import get_actual_ignore_result
from celery.states import READY_STATES

from kato_tasks.bootstrap import Runtime, require_client, runtime
from kato_tasks.celery_tasks.answers import (
    Place,
    Sought,
    applied_answer,
    dead_letter_answer,
    describe_waiting,
    error_answer,
    expired_predict_answer,
    is_error,
    read_answer,
    sessionless_answer,
    too_many_waiting_answer,
)
from kato_tasks.celery_tasks.call_times import expires_ms
from kato_tasks.celery_tasks.placing import append_one
from kato_tasks.celery_tasks.sending import Sending
from kato_tasks.celery_tasks.task_log import GoesBack, Told, Waits, waits_where
from kato_tasks.celery_tasks.waiting import (
    PASSING,
    answer_being_delivered,
    dump_waiting_request,
    finish,
    finish_slice,
    request_to_keep,
)
from kato_tasks.domain.ids import partition_of
from kato_tasks.engine.store_protocol import carry_out
from kato_tasks.errors import (
    EventConflict,
    EventRefused,
    InvalidEvent,
    KatoTasksError,
    NotAppliedYet,
    StoreUnavailable,
    TooManyPredicts,
)
from kato_tasks.telemetry.log_events import log_event

log = logging.getLogger(__name__)
WAITING = "WAITING"
_ROUNDS = 4
"""How many times a task looks for its event before it reports that the store contradicts itself."""
DIRECT_SECONDS = 60.0
"""How many seconds a call without a worker (eager mode, or the task called like a function) waits for its turn."""


class LaneTask(Sending):
    """A task whose event goes through its session's lane."""

    abstract = True
    throws = (EventRefused, EventConflict, InvalidEvent, TooManyPredicts)
    """How an event may end: the worker's log has one line of it, without a traceback."""

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
            log_event(log, logging.WARNING, "task.requeued", id=self.request.id, error=exc)
            time.sleep(1.0)  # nothing of ours can move while the store is away; do not spin
            raise GoesBack(str(exc), requeue=True) from exc

    def _perform(self, call: Mapping[str, Any]) -> Any:
        request = self.request
        task_id = request.id or str(uuid.uuid4())
        direct = bool(request.called_directly or request.is_eager)
        known = answer_being_delivered(task_id)
        if known is not None:
            return read_answer(known)
        rt = runtime()
        if direct:
            require_client(rt.settings)
        place = None if direct else request.get("kato")
        # A message without a place was sent by name, or this is a call like a function's: nobody has looked at it yet.
        place = place or self.placed(rt, call, task_id, expires_ms(request.expires), door=True)
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
                meta = describe_waiting(str(call["session_id"]), sought.place, sought.waits)
                why = meta["waits_for"]
                show_waiting(self, task_id, meta)
            sought = self.seek(rt, call, sought.place, task_id=task_id, stored=request_to_keep(self, call))
        if sought.answer is None:
            if not room:
                rt.wake([partition_of(str(sought.place["lane"]))])
            where = waits_where(str(call["session_id"]), sought.place, self.event_type)
            raise Waits(f"{where}: {why}" if why else where)
        told = (str(sought.place["lane"]), str(call["session_id"]), str(sought.place["event_id"]))
        if direct:
            rt.drainer.note_delivered(*told)
            return read_answer(sought.answer)
        if sought.late and told_before(self, task_id):
            raise Told
        if (request.callbacks or request.chain) and not is_error(sought.answer):
            # Celery would fail this step if its next one cannot be sent for a moment.
            finish(task_id, request_to_keep(self, call), sought.answer)
            rt.drainer.note_delivered(*told)
            raise Told
        request.kato_told = told
        return read_answer(sought.answer)

    def after_return(self, status: str, *_: Any) -> None:
        """Celery has stored what the task returned or raised, so the store need not keep it."""
        told = getattr(self.request, "kato_told", None)
        if told is not None and status in READY_STATES:
            runtime().drainer.note_delivered(*told)

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
                return Sought(sessionless_answer(self.event_type, session, event_id), place)
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
                request=dump_waiting_request(stored, place) if stored is not None else "",
                lease=lease,
            )
            lease = False
            if found.work is not None:
                # A call without a worker waits for KATO itself: it has no slot to give back.
                direct = bool(self.request.called_directly or self.request.is_eager)
                later = None if direct else partial(finish_slice, rt)
                done, answer = rt.drainer.drain_claimed(found.work, token, session, event_id, later)
                finish_slice(rt, done)
                if answer is not None:
                    return Sought(self.own(rt, call, place, answer), place)
                continue
            if found.result is not None:
                return Sought(self.own(rt, call, place, found.result), place)
            if found.applied:
                return Sought(applied_answer(session, place, found.node), place, late=True)
            if found.dead is not None:
                return Sought(dead_letter_answer(found.dead), place, late=True)
            if found.full:
                return Sought(too_many_waiting_answer(event_id), place)
            if not found.unknown:
                return Sought(None, place, waits=found.waits)
            again = self.placed(rt, call, event_id, expires_ms(self.request.expires))
            if kind == "p" and again.get("known"):
                return Sought(expired_predict_answer(), place, late=True)
            place = again
        raise EventRefused(f"the store knows {event_id!r} and has another event at its position {place['position']}")

    def own(self, rt: Runtime, call: Mapping[str, Any], place: Place, answer: str) -> str:
        """The result of an event with this id, if it is this call's event.

        One that was kept for later has not been compared with what has its id.
        """
        if place["position"] or self.event_type == "predict":
            return answer
        try:
            carry_out(rt.store, append_one(rt.mailbox.protocol, self.entry(call, place["event_id"])))
        except EventConflict as exc:
            return error_answer(exc)
        return answer

    def look_again(self, rt: Runtime, call: Mapping[str, Any], task_id: str, stored: Mapping[str, Any]) -> Sought:
        """A request has waited for long and its event is not where it looks for it: its answer, or its new place."""
        try:
            place = stored["request"].get("kato") or self.placed(rt, call, task_id)
            return self.seek(rt, call, place, task_id=task_id, stored=stored)
        except StoreUnavailable:
            raise
        except KatoTasksError as exc:
            return Sought(error_answer(exc), {})


def show_waiting(task: LaneTask, task_id: str, where: dict[str, Any]) -> None:
    """Let the result backend and Flower know; a backend or broker that is away must not fail the task for it."""
    try:
        if not get_actual_ignore_result(task, task.request):
            task.backend.store_result(task_id, where, WAITING, request=task.request)
        # Flower's page of a task shows what its events call the result, and nothing of an event's other fields.
        task.send_event("task-waiting", result=f"{where['waits_for']} (since {where['since']})", **where)
    except Exception as exc:
        log_event(log, logging.WARNING, "task.waiting_unseen", id=task_id, error=exc)


def told_before(task: LaneTask, task_id: str) -> bool:
    """Whether the result backend has this task's end already; links and chords went out before that was written."""
    try:
        return task.backend.get_state(task_id) in READY_STATES
    except Exception as exc:
        log_event(log, logging.DEBUG, "task.state_unseen", id=task_id, error=exc)
        return False
