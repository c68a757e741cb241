"""Look at sessions, park them by hand and let them go on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal

import redis

from kato_tasks.adapters.redis.keys import BINDING_FIELDS, prefix, text_in
from kato_tasks.bootstrap import Runtime, runtime
from kato_tasks.domain.events import check_session_id
from kato_tasks.domain.ids import lane_of, node_id_of, partition_of
from kato_tasks.domain.kato_session import Binding
from kato_tasks.domain.log_entry import Logged
from kato_tasks.domain.results import BindingStatus, SessionStatus
from kato_tasks.engine.store_retry import raise_errors
from kato_tasks.errors import StoreUnavailable, UnreadableRow
from kato_tasks.ports.log import LastEvent


def session_status(session_id: str) -> SessionStatus | None:
    """Return how a session stands now.

    Args:
        session_id: Your own name for the session.

    Returns:
        A ``SessionStatus``: its node, how many events it has (``head``), how many of them are applied (``cursor``),
        its ``state`` and its session at KATO (``binding``). None if it has had no event.

    Raises:
        InvalidEvent: ``session_id`` is no text that can name a session.
        StoreUnavailable: The store cannot be reached.
        ConfigurationError: A setting cannot work.
    """
    rt = runtime()
    node = rt.node_of_session(check_session_id(session_id))
    return None if node is None else session_statuses(rt, {session_id: node})[0]


def session_statuses(rt: Runtime, nodes: Mapping[str, str]) -> list[SessionStatus]:
    """Sessions as they stand now, by their nodes as KATO is told them; two round trips. Raises StoreUnavailable."""
    pipe = rt.redis.pipeline(transaction=False)
    pipe.time()
    for session, node in nodes.items():
        lane = lane_of(node)
        p = prefix(partition_of(lane))
        pipe.hgetall(f"{p}s:{session}")
        pipe.zscore(f"{p}pend:{lane}", session)
        pipe.exists(f"{p}lease:{lane}")
    try:
        (now_s, now_us), *rows = pipe.execute(raise_on_error=False)
    except redis.RedisError as exc:
        raise StoreUnavailable(f"Redis cannot show the session: {exc}") from exc
    last = raise_errors(rt.store.execute([LastEvent(lane_of(node), session) for session, node in nodes.items()]))
    now_ms = int(now_s) * 1000 + int(now_us) // 1000
    return [
        _status(session, node, *rows[3 * i : 3 * i + 3], last_ms=last[i], now_ms=now_ms)
        for i, (session, node) in enumerate(nodes.items())
    ]


def _status(
    session_id: str,
    node: str,
    state: Mapping[str, str] | Exception,
    due: float | Exception | None,
    leased: int | Exception,
    *,
    last_ms: int | None,
    now_ms: int,
) -> SessionStatus:
    if isinstance(state, Exception) or isinstance(due, Exception):
        # One broken session does not hide the others.
        reason = f"its rows in the store cannot be read ({state if isinstance(state, Exception) else due})"
        state, due = {"err": reason}, None
    head, cursor = _number(state.get("head")), _number(state.get("cur"))
    binding, error = None, state.get("err") or None
    try:
        binding = Binding.load(text_in(state, BINDING_FIELDS))
    except UnreadableRow as exc:
        error = str(exc)
    wait = (float(due) - now_ms) / 1000 if due is not None else None
    return SessionStatus(
        session_id=session_id,
        node_id=node_id_of(session_id, node),
        lane=lane_of(node),
        head=head,
        cursor=cursor,
        state=_named(state, wait, due is not None, leased == 1),
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
        reordered_events=_number(state.get("ro")),
        attempts=_number(state.get("att")),
        last_error=error,
        due_in_seconds=wait if wait is not None and wait > 0 else None,
        last_event_at=iso_time(last_ms) if last_ms is not None else None,
    )


def _number(text: str | None) -> int:
    return int(text) if text and text.isdigit() else 0


def iso_time(ms: int) -> str:
    """ISO 8601 in UTC, to the ms."""
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


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
    node = rt.node_of_session(check_session_id(session_id))
    if node is None:
        return []
    key = f"{prefix(partition_of(lane_of(node)))}log:{session_id}"
    try:
        rows = rt.redis.lrange(key, after, after + limit - 1)
    except redis.RedisError as exc:
        raise StoreUnavailable(f"Redis cannot show the session's events: {exc}") from exc
    node_id = node_id_of(session_id, node)
    return [Logged.parse(after + 1 + i, str(text)).event(session_id, node_id) for i, text in enumerate(rows)]
