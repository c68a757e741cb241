"""The caller's half of a task: validate the call, append its event, then publish its message.

A task's message carries where its event is; the event itself is in the log before the message exists.
"""

from __future__ import annotations

import json
import logging
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

from celery._state import get_current_worker_task
from celery.canvas import Signature, maybe_signature
from celery.result import AsyncResult

from kato_tasks.api.scheduled import later_payload
from kato_tasks.bootstrap import Runtime, runtime
from kato_tasks.celery_tasks.answers import (
    Place,
)
from kato_tasks.celery_tasks.app.configuration import PUBLISH_POLICY
from kato_tasks.celery_tasks.app.home import home
from kato_tasks.celery_tasks.arguments import as_json, by_name, is_complete, refuse_wrong_names
from kato_tasks.celery_tasks.call_times import due_ms_of, expires_ms
from kato_tasks.celery_tasks.calling.addressing import address
from kato_tasks.celery_tasks.calling.async_calls import AsyncCalls
from kato_tasks.celery_tasks.calling.awaiting import without_subscription
from kato_tasks.celery_tasks.calling.on_commit import OnCommit
from kato_tasks.celery_tasks.calling.publishing import CANNOT_BE_SENT
from kato_tasks.celery_tasks.home_task import HomeTask
from kato_tasks.celery_tasks.placing import append_one, unplaced
from kato_tasks.domain.events import check_session_id, parse_event
from kato_tasks.domain.ids import check_event_id, lane_of, partition_of, queue_of, shard_of
from kato_tasks.domain.log_entry import Entry, entry_of, predict_entry
from kato_tasks.engine.append import AppendProtocol
from kato_tasks.engine.store_protocol import StoreProtocol, carry_out
from kato_tasks.engine.store_retry import STORE_PATIENCE_SECONDS, raise_errors
from kato_tasks.errors import (
    StoreUnavailable,
)
from kato_tasks.ports.log import KeepScheduled
from kato_tasks.ports.waiting_tasks import KeepUnpublished
from kato_tasks.telemetry.log_events import log_event

log = logging.getLogger(__name__)


class Sending(OnCommit, AsyncCalls, HomeTask):
    """The part of a task that runs in the process that calls it. ``event_type`` says what the call appends."""

    abstract = True
    event_type: ClassVar[str] = "observation"

    def signature(self, args: Any = None, *starargs: Any, **starkwargs: Any) -> Signature[Any]:
        """Return the call as a step, as Celery does, and validate it here, at the caller, if it is complete.

        A call that is not complete yet has only its names checked. Raises InvalidEvent or TypeError.
        """
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
        """Return the task's name as callers write it."""
        return str(self.name).rpartition(".")[2]

    def call(
        self, args: Sequence[Any] | None, kwargs: Mapping[str, Any] | None, *, door: bool = True
    ) -> dict[str, Any]:
        """Return the call's arguments by name, validated, as plain JSON. Raises InvalidEvent or TypeError."""
        call = by_name(self.run, self.own_name, args, kwargs)
        self.entry(call, "check", door=door)
        return call

    def entry(self, call: Mapping[str, Any], event_id: str, until_ms: int = 0, *, door: bool = False) -> Entry:
        """Return the log entry that a call appends. Raises InvalidEvent.

        ``until_ms`` is when the task expires, in ms since 1970 (0: never); KATO is not asked for a predict after that.
        ``door`` says that the call comes from outside and may have typing errors. A call that was accepted once is
        never refused for an unknown key, whatever version accepted it.
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

        Raises InvalidEvent (which names the field), EventConflict or StoreUnavailable before anything is published.
        A broker that is away does not raise: the message is kept and published later.
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
            place = self.append_call_with_retry(rt, call, task_id, until)
        else:
            place = carry_out(rt.store, self.keep_call_for_later(rt.mailbox.protocol, call, task_id, due_ms, until))
        options |= {"task_id": task_id, "producer": producer, "link": link, "link_error": link_error, "shadow": shadow}
        message = self.message(place, options, rt.settings.shards)
        try:
            return self.publish(call, message)
        except CANNOT_BE_SENT:
            raise
        except Exception as exc:
            raise_errors(rt.store.execute([self.keep_unpublished(call, message, exc)]))
            return self.AsyncResult(task_id)

    def send_from_home(self, options: Mapping[str, Any]) -> None:
        """Settle which app our tasks are on, and set the queues of the steps that follow this one.

        Raises ConfigurationError when that app's configuration cannot work.
        """
        home()
        address([options.get(name) for name in ("link", "link_error", "chain", "chord")])

    def times(self, options: dict[str, Any]) -> tuple[int | None, int]:
        """Take a call's times out of its options, in ms since 1970.

        Return when it is due (None: now) and when it expires (0: never). Raises InvalidEvent, which names the field.
        """
        due_ms = due_ms_of(options.pop("countdown", None), options.pop("eta", None))
        return due_ms, expires_ms(options.get("expires") or self.expires)

    def message(self, place: Place, options: Mapping[str, Any], shards: int) -> dict[str, Any]:
        """Return the options with which a call's task is published, once its event has its place."""
        message = {name: value for name, value in options.items() if name not in ("routing_key", "exchange")}
        message["headers"] = {**(message.get("headers") or {}), "kato": place}
        message["queue"] = queue_of(shard_of(partition_of(str(place["lane"])), shards))
        message.setdefault("retry_policy", PUBLISH_POLICY)
        return message | {name: _frozen(message[name], self.app) for name in ("link", "link_error")}

    def publish(self, call: Mapping[str, Any], message: Mapping[str, Any]) -> AsyncResult[Any]:
        """Publish a call's task. Raises one of ``CANNOT_BE_SENT``, or the error of a broker that is away.

        The latter is usually OperationalError, but kombu also lets other errors of a dead connection through.
        """
        with without_subscription(self.app):
            return super().apply_async((), call, **message)

    def keep_unpublished(self, call: Mapping[str, Any], message: Mapping[str, Any], why: Exception) -> KeepUnpublished:
        """Return the request with which the store keeps a task that could not be published, and log ``why``."""
        log_event(log, logging.WARNING, "task.kept", id=message["task_id"], error=why)
        kept = {"name": self.name, "kwargs": call} | {n: message[n] for n in ("task_id", "link", "link_error")}
        beside = ("task_id", "link", "link_error", "producer", "shadow")
        kept["kept_ms"] = int(time.time() * 1000)
        kept["options"] = {k: v for k, v in message.items() if k not in beside and _is_json(v)}
        return KeepUnpublished(str(message["headers"]["kato"]["lane"]), json.dumps(kept))

    def append_call_with_retry(
        self, rt: Runtime, call: Mapping[str, Any], event_id: str, until_ms: int = 0, *, door: bool = False
    ) -> Place:
        """Append a call's event and return its place; see ``append_call``.

        Inside a worker, where a step of a canvas is dispatched, wait for a store that is away for a moment. Raises
        StoreUnavailable.
        """
        deadline = time.monotonic() + (STORE_PATIENCE_SECONDS if get_current_worker_task() is not None else 0.0)
        while True:
            try:
                return carry_out(rt.store, self.append_call(rt.mailbox.protocol, call, event_id, until_ms, door=door))
            except StoreUnavailable:
                if time.monotonic() >= deadline:
                    raise
                time.sleep(0.1)

    def append_call(
        self, protocol: AppendProtocol, call: Mapping[str, Any], event_id: str, until_ms: int = 0, *, door: bool = False
    ) -> StoreProtocol[Place]:
        """Append a call's event and return its place. Only an observation makes a session that does not exist."""
        entry = self.entry(call, event_id, until_ms, door=door)
        if self.event_type == "observation" or (yield from protocol.knows(entry.session_id)):
            return (yield from append_one(protocol, entry))
        return {**unplaced(entry), "no_session": True}

    def keep_call_for_later(
        self, protocol: AppendProtocol, call: Mapping[str, Any], task_id: str, due_ms: int, until_ms: int
    ) -> StoreProtocol[Place]:
        """Keep a call's event until it is due at ``due_ms`` (ms since 1970), and return its place."""
        entry = self.entry(call, task_id, until_ms)
        place = unplaced(entry)
        if self.event_type == "observation" or (yield from protocol.knows(entry.session_id)):
            place["lane"] = lane_of((yield from protocol.nodes([entry]))[0])
        raise_errors((yield [KeepScheduled(place["lane"], due_ms, later_payload(entry, task_id))]))
        return {**place, "due": due_ms}


def runtime_limits() -> Any:
    """Return the limits of events and observations that the process's settings name."""
    from kato_tasks.settings import settings

    return settings().limits


def _frozen(links: Any, app: Any) -> list[Any] | None:
    """Return the links with their ids fixed now, since a repeated dispatch must not make a second task of them."""
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
