"""Turn what Redis answers into the values of ``ports``. Each decoder gets the operation and the raw answer."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from kato_tasks import ports
from kato_tasks.adapters.redis.keys import BINDING_FIELDS
from kato_tasks.domain.front_session import read_config
from kato_tasks.domain.kato_session import Binding, Intent
from kato_tasks.domain.log_entry import Logged
from kato_tasks.errors import LeaseLost, LogArchived, UnreadableRow
from kato_tasks.telemetry.log_events import log_event

log = logging.getLogger(__name__)

NOT_LENT = -2
NOT_HELD = -2
SWITCHED: dict[int, ports.Switched] = {1: "done", -1: "other", -2: "open"}


def plainly(kind: Callable[[Any], Any]) -> Callable[[Any, Any], Any]:
    """Return a decoder that makes the answer a ``kind``: a ``bool``, an ``int`` or a ``list``."""
    return lambda _op, raw: kind(raw)


def nothing(_op: Any, _raw: Any) -> None:
    """Return no value, because the operation was carried out and has no answer."""


def as_it_is(_op: Any, raw: Any) -> Any:
    """Return a text, or None."""
    return raw


# ------------------------------------------------------------------------------------------------- append


def appended(_op: ports.Append, raw: Any) -> ports.AppendedBatch:
    """Return what became of each entry. ``raw`` is the wake-up's flag, then a letter and a position for each entry."""
    statuses = tuple(ports.AppendStatus(s, int(p)) for s, p in zip(raw[1::2], raw[2::2], strict=True))
    return ports.AppendedBatch(bool(raw[0]), statuses)


def last_event(_op: ports.LastEvent, raw: Any) -> int | None:
    """Return when a session's last event was appended (ms), or None if that is not known, which ``raw`` says by -1."""
    return int(raw) if int(raw) >= 0 else None


def log_entries(op: ports.ReadLog, raw: Any) -> list[Logged]:
    """Return the entries of a log with their positions. Raises LogArchived where the first are only in the archive.

    ``raw`` is the position up to which the log was trimmed, and the entries. Raises UnreadableRow.
    """
    trimmed, texts = int(raw[0]), raw[1]
    first = max(op.first, trimmed + 1)
    entries = [Logged.parse(first + i, text) for i, text in enumerate(texts)]
    if trimmed >= op.first and op.last >= op.first:
        raise LogArchived(op.session, min(trimmed, op.last), entries)
    return entries


# ---------------------------------------------------------------------------------------------- archiving


def unarchived_lanes(_op: ports.ReadUnarchived, raw: Any) -> list[ports.UnarchivedLane]:
    """Return the commits of lanes that are not archived, with the events that they applied."""
    return [_unarchived_lane(lane, commits) for lane, commits in raw]


def _unarchived_lane(lane: str, commits: Sequence[Any]) -> ports.UnarchivedLane:
    missing: set[str] = set()
    events = tuple(unarchived_events(lane, commits, missing))
    return ports.UnarchivedLane(lane, commits[0][0], len(commits), events, frozenset(missing))


def unarchived_events(lane: str, commits: Sequence[Any], missing: set[str]) -> Iterator[ports.ArchivedEvent]:
    """Yield the events of commits as scripts return them, and name in ``missing`` sessions whose log lacks some."""
    for seq, first, last, ms, dead, session, node, entries in commits:
        if node and len(entries) != int(last) - int(first) + 1:
            missing.add(session)
            continue
        for i, entry in enumerate(entries):
            yield ports.ArchivedEvent(session, int(first) + i, node, lane, int(seq) + i, int(ms), entry, dead[i] == "1")


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
    gen: str,
    read: str,
    config: str,
) -> ports.Work:
    """Read what ``piece`` in _lib.lua returns. The parameters have its names and order, which a test compares."""
    bound: Binding | None = None
    opened: Intent | None = None
    logged: tuple[Logged, ...] = ()
    own: dict[str, Any] = {}
    unreadable = ""
    try:
        bound, opened = Binding.load(binding), Intent.load(intent)
        logged = tuple(Logged.parse(cur + 1 + i, text) for i, text in enumerate(entries))
        own = read_config(config)
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
        entries=logged,
        first_failed_ms=first_failed,
        learned_ms=learned,
        rebuilds=rebuilds,
        predict_until_ms=till,
        predict_tries=before,
        gave_up_in=gave_up,
        generation=gen,
        read="" if read.startswith(">") else read,
        sink=read[1:] if read.startswith(">") else "",
        config=own,
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
    """Return the first piece of work of each lane. A lane that cannot be read is logged and left out."""
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
    """Return False if the lender does not give up its KATO session, and otherwise True. Raises LeaseLost."""
    if raw == NOT_LENT:
        return False
    written(op, raw)
    return True


def given_back(_op: ports.GiveLaneBack, raw: int) -> int | None:
    """Return when the lane is due (ms; -1: it has nothing to do), or None if the caller did not hold it."""
    return None if raw == NOT_HELD else int(raw)


def switched(_op: ports.SwitchGeneration, raw: int) -> ports.Switched:
    """Return what became of a switch. Raises LeaseLost."""
    if raw == 0:
        raise LeaseLost("the lane's lease passed to another worker")
    return SWITCHED[raw]


def generation(_op: ports.GenerationOf, raw: str | None) -> str:
    """Return a lane's generation, which is '' as long as none was switched to."""
    return raw or ""


def next_work(op: ports.Commit | ports.Defer | ports.Park, raw: Any) -> ports.NextWork:
    """Return the lane's next piece of work, and the waiting tasks that a commit completed. Raises LeaseLost."""
    written(op, raw[0])
    waiters = raw[3] if len(raw) > 3 else ()
    return ports.NextWork(
        due_ms=int(raw[1]),
        work=work_of(raw[2]),
        completed=tuple(ports.WaitingTask(op.session, w[0], w[1], _pairs(w[2])) for w in waiters),
    )


def binding_and_intent(_op: ports.ReadSession, raw: Sequence[str | None]) -> tuple[Binding | None, Intent | None]:
    """Return a session's binding and its open intent, each of which Redis keeps in parts. Raises UnreadableRow."""
    texts = [text or "" for text in raw]
    split = len(BINDING_FIELDS)
    return Binding.load("".join(texts[:split])), Intent.load("".join(texts[split:]))


def front_state(_op: ports.FindFrontSession, raw: Any) -> ports.FrontState | None:
    """Return a session as the KATO-shaped routes see it, or None."""
    if not raw:
        return None
    row, head, cursor, stm_start, idle = raw
    return ports.FrontState(row, int(head), int(cursor), int(stm_start), idle=bool(idle))


def symbols(_op: ports.ReadSymbols, raw: Any) -> dict[int, list[str] | None]:
    """Return the symbols by position. ``raw`` is a dict, or a flat list of positions and their symbols."""
    rows = raw if isinstance(raw, dict) else _pairs(raw)
    return {int(position): json.loads(text) for position, text in rows.items()}


def learned(_op: ports.LearnedLately, raw: str | None) -> tuple[int, int] | None:
    """Return a pattern's frequency and when it was learned (ms), or None if that was not lately."""
    if raw is None:
        return None
    frequency, when = raw.split(" ")
    return int(frequency), int(when)


def certain(_op: ports.CertainFrequency, raw: str | None) -> tuple[int, int, str] | None:
    """Return a pattern's frequency, when it was learned (ms) and the store's run then; None if this is unknown."""
    if raw is None:
        return None
    frequency, when, run = raw.split(" ", 2)
    return int(frequency), int(when), run


# ------------------------------------------------------------------------------------------ waiting tasks


def found(_op: ports.TakeOrWait, raw: Any) -> ports.Found:
    """Return what a task found. The first item of ``raw`` names the case; a task that waits now found nothing."""
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
        return ports.Found(progress=ports.SessionProgress(cursor, error, bool(parked), now_ms, due_ms))
    return ports.Found(unknown=raw[0] == "unknown", full=raw[0] == "full")


def orphaned_tasks(_op: ports.OrphanedTasks, raw: Any) -> list[ports.WaitingTask]:
    """Return the waiting tasks that nothing completed, with their requests by task id."""
    return [ports.WaitingTask(row[0], row[1], row[2], _pairs(row[3])) for row in raw]


# ---------------------------------------------------------------------------------------------- listening


def pairs(_op: Any, raw: Any) -> dict[str, str]:
    """Return a hash. ``raw`` is a dict, or a flat list of fields and their values."""
    return dict(raw) if isinstance(raw, dict) else _pairs(raw)


def outgoing_predictions(_op: ports.ReadPredictions, raw: Sequence[str]) -> list[ports.OutgoingPrediction]:
    """Return predictions on their way to a sink, as ``commit.lua`` wrote them."""
    return [ports.OutgoingPrediction(*json.loads(text)) for text in raw]


def _pairs(flat: Sequence[str]) -> dict[str, str]:
    return dict(zip(flat[::2], flat[1::2], strict=True))
