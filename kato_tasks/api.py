"""The library's plain calls: append in bulk, look at a session. No Celery message carries an event here."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import redis

from kato_tasks.adapters.redis.keys import BINDING_FIELDS, prefix, text_in
from kato_tasks.bootstrap import Runtime, runtime
from kato_tasks.domain.binding import Binding
from kato_tasks.domain.entries import Entry, Logged, entry_of
from kato_tasks.domain.events import Event, parse_event
from kato_tasks.domain.ids import lane_of, node_id_of, partition_of
from kato_tasks.domain.observations import Limits
from kato_tasks.domain.results import Appended, BindingStatus, SessionStatus
from kato_tasks.errors import InvalidEvent, StoreUnavailable, UnreadableRow
from kato_tasks.lane_task import warn_of_shared_names
from kato_tasks.waking import wake


def append_events(events: Iterable[Event | Mapping[str, Any]]) -> list[Appended]:
    """Append standard events in their order; returns what became of each, when the store has them all.

    An event without ``event_id`` gets a random one, so only events with their own ids may be sent again.
    Raises InvalidEvent or NodeConflict (the field is named, with the event's index) before anything is
    appended; StoreUnavailable when nothing is known to be accepted.
    """
    limits = runtime().settings.limits
    entries = [read_event(index, raw, limits) for index, raw in enumerate(events)]
    return append_entries(runtime(), entries) if entries else []


def read_event(index: int, raw: Event | Mapping[str, Any], limits: Limits) -> Entry:
    """The entry of one event among several. Raises InvalidEvent, which names its index and field."""
    try:
        event = parse_event(raw, limits)
        return entry_of(event, event_id=event.event_id or uuid.uuid4().hex, limits=limits)
    except InvalidEvent as exc:
        raise InvalidEvent(f"events[{index}].{exc.field}", exc.reason) from None


def append_entries(
    rt: Runtime, entries: Sequence[Entry], *, source: str = "", offsets: Sequence[int] = ()
) -> list[Appended]:
    """Append entries that are valid already, and wake their lanes. ``source``: see ``Mailbox.append``."""
    posted = rt.mailbox.append(entries, source=source, offsets=offsets)
    warn_of_shared_names(posted.shared_names)
    wake(rt, posted.wake)
    return [placed.appended for placed in posted.placed]


def session_status(session_id: str) -> SessionStatus | None:
    """A session as it stands now; None when it is not known."""
    rt = runtime()
    node = rt.node_of_session(session_id)
    if node is None:
        return None
    lane = lane_of(node)
    p = prefix(partition_of(lane))
    pipe = rt.redis.pipeline(transaction=False)
    pipe.hgetall(f"{p}s:{session_id}")
    pipe.zscore(f"{p}pend:{lane}", session_id)
    pipe.exists(f"{p}lease:{lane}")
    try:
        state, due, leased = pipe.execute()
    except redis.RedisError as exc:
        raise StoreUnavailable(f"Redis cannot show the session: {exc}") from exc
    head, cursor = int(state.get("head", 0)), int(state.get("cur", 0))
    binding, error = None, state.get("err") or None
    try:
        binding = Binding.load(text_in(state, BINDING_FIELDS))
    except UnreadableRow as exc:
        error = str(exc)
    wait = (float(due) - rt.now_ms()) / 1000 if due is not None else None
    return SessionStatus(
        session_id=session_id,
        node_id=node_id_of(session_id, node),
        lane=lane,
        head=head,
        cursor=cursor,
        state=_named(state, wait, due is not None, bool(leased)),
        binding=BindingStatus(
            kato_url=binding.url,
            kato_session_id=binding.kato_session,
            node=binding.node,
            time=binding.time - binding.base,
            stm_length=binding.stm_length,
            epoch=binding.epoch,
        )
        if binding
        else None,
        parked=_parked(state["pk"]) if "pk" in state else None,
        reordered_events=int(state.get("ro", 0)),
        attempts=int(state.get("att", 0)),
        last_error=error,
        due_in_seconds=wait if wait is not None and wait > 0 else None,
    )


def _parked(text: str) -> dict[str, Any]:
    """Why a session is parked, whatever version wrote it."""
    try:
        why = json.loads(text)
    except ValueError:
        why = None
    return why if isinstance(why, dict) else {"reason": text}


def _named(
    state: Mapping[str, str], wait: float | None, pending: bool, leased: bool
) -> Literal["idle", "pending", "running", "waiting", "parked"]:
    if "pk" in state:
        return "parked"
    if not pending:
        return "idle"
    if wait is not None and wait > 0:
        return "waiting"
    return "running" if leased else "pending"


def session_events(session_id: str, *, after: int = 0, limit: int = 1_000) -> list[dict[str, Any]]:
    """A session's history from the position after ``after``, as standard events with their positions."""
    rt = runtime()
    node = rt.node_of_session(session_id)
    if node is None:
        return []
    key = f"{prefix(partition_of(lane_of(node)))}log:{session_id}"
    try:
        rows = rt.redis.lrange(key, after, after + limit - 1)
    except redis.RedisError as exc:
        raise StoreUnavailable(f"Redis cannot show the session's events: {exc}") from exc
    node_id = node_id_of(session_id, node)
    return [Logged.parse(after + 1 + i, str(text)).event(session_id, node_id) for i, text in enumerate(rows)]
