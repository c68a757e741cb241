"""What Redis answers, as the values of ``ports``. Each decoder is given the operation and the raw answer."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from typing import Any

from kato_tasks import ports
from kato_tasks.adapters.redis.keys import BINDING_FIELDS
from kato_tasks.domain.kato_session import Binding, Intent
from kato_tasks.domain.log_entry import Logged
from kato_tasks.errors import LeaseLost, UnreadableRow
from kato_tasks.telemetry.log_events import log_event

log = logging.getLogger(__name__)

NOT_LENT = -2


def plainly(kind: Callable[[Any], Any]) -> Callable[[Any, Any], Any]:
    """Return the answer as it is, as a `bool`, an `int` or a `list`."""
    return lambda _op, raw: kind(raw)


def nothing(_op: Any, _raw: Any) -> None:
    """Return no value, because the operation was carried out and has no answer."""


def as_it_is(_op: Any, raw: Any) -> Any:
    """Return a text, or None."""
    return raw


# ------------------------------------------------------------------------------------------------- append


def appended(_op: ports.Append, raw: Any) -> ports.AppendedBatch:
    statuses = tuple(ports.AppendStatus(s, int(p)) for s, p in zip(raw[1::2], raw[2::2], strict=True))
    return ports.AppendedBatch(bool(raw[0]), statuses)


def last_event(_op: ports.LastEvent, raw: Any) -> int | None:
    return int(raw) if int(raw) >= 0 else None


def log_entries(op: ports.ReadLog, raw: Any) -> list[Logged]:
    return [Logged.parse(op.first + i, text) for i, text in enumerate(raw)]


# -------------------------------------------------------------------------------------------------- lanes


def work_of(raw: Any) -> ports.Work | None:
    """Return a piece of work. A piece that cannot be read says so, and stops only its own session."""
    if not raw:
        return None
    return unreadable_work(*raw) if len(raw) == 4 else readable_work(*raw)


def readable_work(
    lane: str,
    session: str,
    node: str,
    head: int,
    cur: int,
    mark: int,
    binding: str,
    intent: str,
    attempts: int,
    unsent: int,
    creating: str,
    asked: str,
    now: int,
    entries: list[str],
    first_failed: int,
    learned: int,
    rebuilds: int,
    till: int,
    before: int,
    gave_up: str,
) -> ports.Work:
    """Read what ``piece`` in _lib.lua returns. The parameters have its names and order, which a test compares."""
    bound: Binding | None = None
    opened: Intent | None = None
    read: tuple[Logged, ...] = ()
    unreadable = ""
    try:
        bound, opened = Binding.load(binding), Intent.load(intent)
        read = tuple(Logged.parse(cur + 1 + i, text) for i, text in enumerate(entries))
    except UnreadableRow as exc:
        unreadable = str(exc)
    return ports.Work(
        lane=lane,
        session=session,
        node=node,
        head=head,
        cursor=cur,
        stm_start=mark,
        binding=bound,
        intent=opened,
        attempts=attempts,
        unsent_in_a_row=unsent,
        create_lost=bool(creating),
        predict_id=asked,
        now_ms=now,
        entries=read,
        first_failed_ms=first_failed,
        learned_ms=learned,
        rebuilds=rebuilds,
        predict_until_ms=till,
        predict_tries=before,
        gave_up_in=gave_up,
        unreadable=unreadable,
    )


def unreadable_work(lane: str, session: str, now: int, why: str) -> ports.Work:
    """Read what ``next_work`` in _lib.lua returns for a session whose rows it cannot read."""
    return ports.Work(
        lane=lane,
        session=session,
        node="",
        head=0,
        cursor=0,
        stm_start=0,
        binding=None,
        intent=None,
        attempts=0,
        unsent_in_a_row=0,
        create_lost=False,
        predict_id="",
        now_ms=now,
        entries=(),
        unreadable=why,
    )


def leased(_op: ports.AcquireLanes, raw: Any) -> list[ports.Work]:
    return [work for work in map(_leased_lane, raw) if work is not None]


def _leased_lane(raw: Any) -> ports.Work | None:
    if isinstance(raw, str):
        log_event(log, logging.ERROR, "lane.unreadable", lane=raw)
        return None
    return work_of(raw)


def written(_op: Any, raw: int) -> None:
    """Return the answer of an operation that writes under a lease. Raises LeaseLost."""
    if raw == 0:
        raise LeaseLost("the lane's lease passed to another worker")
    if raw < 0:
        raise LeaseLost("the session's cursor or intent was moved by another worker")


def intent_written(op: ports.WriteIntent, raw: int) -> bool:
    if raw == NOT_LENT:
        return False
    written(op, raw)
    return True


def proceeded(op: ports.Commit | ports.Defer | ports.Park, raw: Any) -> ports.NextWork:
    written(op, raw[0])
    waiters = raw[3] if len(raw) > 3 else ()
    return ports.NextWork(
        due_ms=int(raw[1]),
        work=work_of(raw[2]),
        completed=tuple(ports.WaitingTask(op.session, w[0], w[1], _pairs(w[2])) for w in waiters),
    )


def binding_and_intent(_op: ports.ReadSession, raw: Sequence[str | None]) -> tuple[Binding | None, Intent | None]:
    texts = [text or "" for text in raw]
    split = len(BINDING_FIELDS)
    return Binding.load("".join(texts[:split])), Intent.load("".join(texts[split:]))


def symbols(_op: ports.ReadSymbols, raw: Any) -> dict[int, list[str] | None]:
    rows = raw if isinstance(raw, dict) else _pairs(raw)
    return {int(position): json.loads(text) for position, text in rows.items()}


def learned(_op: ports.LearnedLately, raw: str | None) -> tuple[int, int] | None:
    if raw is None:
        return None
    frequency, when = raw.split(" ")
    return int(frequency), int(when)


def certain(_op: ports.CertainFrequency, raw: str | None) -> tuple[int, int, str] | None:
    if raw is None:
        return None
    frequency, when, run = raw.split(" ", 2)
    return int(frequency), int(when), run


# ------------------------------------------------------------------------------------------ waiting tasks


def claimed(_op: ports.TakeOrWait, raw: Any) -> ports.Found:
    if raw[0] == "result":
        return ports.Found(result=raw[1])
    if raw[0] == "work":
        return ports.Found(work=work_of(raw[1]))
    if raw[0] == "applied":
        return ports.Found(applied=True, node=raw[1])
    if raw[0] == "dead":
        return ports.Found(dead=raw[1])
    if raw[0] == "busy":
        _, cursor, error, parked, now_ms, due_ms = raw
        return ports.Found(waits=ports.Waits(cursor, error, bool(parked), now_ms, due_ms))
    return ports.Found(unknown=raw[0] == "unknown", full=raw[0] == "full")


def owed(_op: ports.OrphanedTasks, raw: Any) -> list[ports.WaitingTask]:
    return [ports.WaitingTask(row[0], row[1], row[2], _pairs(row[3])) for row in raw]


def _pairs(flat: Sequence[str]) -> dict[str, str]:
    return dict(zip(flat[::2], flat[1::2], strict=True))
