"""The Task class of the public tasks. This module has the worker's half; ``sending`` has the caller's half.

A task's body finds its event's result, or drains its lane, or leaves its request waiting in the lane. It never blocks
its slot and it never polls.
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
from kato_tasks.celery_tasks.task_log import GoesBack, LeftWaiting, Told, waits_where
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
    """A task whose event is applied in its session's lane."""

    abstract = True
    throws = (EventRefused, EventConflict, InvalidEvent, TooManyPredicts)
    """The errors with which an event may end. The worker's log has one line for each, without a traceback."""

    def perform(self, call: Mapping[str, Any]) -> Any:
        """Carry out the task's body, and return its event's result as plain JSON.

        ``call`` holds the task's arguments by name. Raises LeftWaiting (an Ignore) when the request was left to wait in
        its lane, Told (an Ignore) when the task has its end already, and the task's own error when its event has
        failed. A store that is away does not fail the task, and neither does a broker that cannot take its next step:
        GoesBack (a Reject) is raised, and the message goes back to its queue.
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
        # A message without a place was sent by name, or the task was called like a function: nothing has checked the
        # call yet.
        place = place or self.append_call_with_retry(rt, call, task_id, expires_ms(request.expires), door=True)
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
            if sought.progress is not None:
                meta = describe_waiting(str(call["session_id"]), sought.place, sought.progress)
                why = meta["waits_for"]
                show_waiting(self, task_id, meta)
            sought = self.seek(rt, call, sought.place, task_id=task_id, stored=request_to_keep(self, call))
        if sought.answer is None:
            if not room:
                rt.wake([partition_of(str(sought.place["lane"]))])
            where = waits_where(str(call["session_id"]), sought.place, self.event_type)
            raise LeftWaiting(f"{where}: {why}" if why else where)
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
        """Let the store forget the result that Celery has just stored in the result backend."""
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
        """Look for this call's answer at ``place``; the answer is None while its event is not applied.

        With ``lease=True`` the lane is drained if it is free. With a ``task_id`` and its ``stored`` request, a request
        without an answer is left to wait at its event. An event that the store has lost, or never had, is appended
        again, since its arguments are in the message. Raises EventConflict, InvalidEvent or StoreUnavailable, and
        EventRefused when the store contradicts itself.
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
                return Sought(None, place, progress=found.progress)
            again = self.append_call_with_retry(rt, call, event_id, expires_ms(self.request.expires))
            if kind == "p" and again.get("known"):
                return Sought(expired_predict_answer(), place, late=True)
            place = again
        raise EventRefused(f"the store knows {event_id!r} and has another event at its position {place['position']}")

    def own(self, rt: Runtime, call: Mapping[str, Any], place: Place, answer: str) -> str:
        """Return ``answer``, the result of the event with this id, if that event is this call's own.

        An event that was kept for later has not been compared yet with the event that has its id. If the two differ,
        EventConflict is returned as the answer.
        """
        if place["position"] or self.event_type == "predict":
            return answer
        try:
            carry_out(rt.store, append_one(rt.mailbox.protocol, self.entry(call, place["event_id"])))
        except EventConflict as exc:
            return error_answer(exc)
        return answer

    def look_again(self, rt: Runtime, call: Mapping[str, Any], task_id: str, stored: Mapping[str, Any]) -> Sought:
        """Find the answer, or the new place, of a request that has waited long for an event that is not at its place.

        Raises StoreUnavailable. Any other error of ours becomes the answer.
        """
        try:
            place = stored["request"].get("kato") or self.append_call_with_retry(rt, call, task_id)
            return self.seek(rt, call, place, task_id=task_id, stored=stored)
        except StoreUnavailable:
            raise
        except KatoTasksError as exc:
            return Sought(error_answer(exc), {})


def show_waiting(task: LaneTask, task_id: str, where: dict[str, Any]) -> None:
    """Tell the result backend and Flower that a task waits. A backend or broker that is away does not fail the task."""
    try:
        if not get_actual_ignore_result(task, task.request):
            task.backend.store_result(task_id, where, WAITING, request=task.request)
        # Flower's page of a task shows what its events call the result, and nothing of an event's other fields.
        task.send_event("task-waiting", result=f"{where['waits_for']} (since {where['since']})", **where)
    except Exception as exc:
        log_event(log, logging.WARNING, "task.waiting_unseen", id=task_id, error=exc)


def told_before(task: LaneTask, task_id: str) -> bool:
    """Return whether the result backend has this task's end already.

    Its links and chords were sent before that was written. A result backend that is away counts as no.
    """
    try:
        return task.backend.get_state(task_id) in READY_STATES
    except Exception as exc:
        log_event(log, logging.DEBUG, "task.state_unseen", id=task_id, error=exc)
        return False
