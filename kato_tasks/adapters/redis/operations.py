"""Each store operation as a script call: what goes in as ARGV, what comes back as values."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from kato_tasks import ports
from kato_tasks.adapters.redis.keys import ACKNOWLEDGED, BINDING_FIELDS, INTENT_FIELDS, SIGNS, mark, prefix
from kato_tasks.domain.ids import partition_of
from kato_tasks.domain.kato_session import Binding, Intent
from kato_tasks.domain.log_entry import Logged
from kato_tasks.errors import LeaseLost, UnreadableRow
from kato_tasks.telemetry.log_events import say

log = logging.getLogger(__name__)

DEDUPE_WINDOW_MS = 7 * 24 * 3600 * 1000
Arg = str | int
NOT_LENT = -2


@dataclass(frozen=True, slots=True)
class ScriptCall:
    """``script`` None: a plain command in ``args``."""

    script: str | None
    key: str
    args: Sequence[Arg]
    decode: Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class Retention:
    """How long ids of events, marks of sources and results are kept (ms), and how many predicts of a session wait.

    ``result_ms`` and ``prediction_ms``: until somebody is told; ``told_ms``: afterwards, up to ``told_bytes`` each.
    """

    dedupe_ms: int = DEDUPE_WINDOW_MS
    source_mark_ms: int = 30 * 24 * 3600 * 1000
    result_ms: int = 24 * 3600 * 1000
    prediction_ms: int = 15 * 60 * 1000
    told_ms: int = 90 * 1000
    told_bytes: int = 1_000
    predicts: int = 100


@lru_cache(maxsize=65_536)
def lane_prefix(lane: str) -> str:
    return prefix(partition_of(lane))


def _work(raw: Any) -> ports.Work | None:
    """A piece of work; one that cannot be read says so, and only its own session is stopped by it."""
    if not raw:
        return None
    lane, session, node, head, cursor, mark, binding, intent, attempts, unsent, creating, asked, now = raw[:13]
    entries, keep_alive, first_failed, learned, rebuilds, until, before, gave_up = raw[13:21]
    # The script's own account of a row that it could not read follows at the end.
    unreadable = str(raw[21]) if len(raw) > 21 else ""
    bound: Binding | None = None
    opened: Intent | None = None
    read: tuple[Logged, ...] = ()
    try:
        bound, opened = Binding.load(binding), Intent.load(intent)
        read = tuple(Logged.parse(cursor + 1 + i, text) for i, text in enumerate(entries))
    except UnreadableRow as exc:
        unreadable = str(exc)
    return ports.Work(
        lane=lane,
        session=session,
        node=node,
        head=head,
        cursor=cursor,
        mark=mark,
        binding=bound,
        intent=opened,
        attempts=attempts,
        unsent=unsent,
        create_lost=bool(creating),
        asked=asked,
        now_ms=now,
        entries=read,
        keep_alive=bool(keep_alive),
        first_failed_ms=first_failed,
        learned_ms=learned,
        rebuilds=rebuilds,
        asked_until_ms=until,
        asked_before=before,
        gave_up_in=gave_up,
        unreadable=unreadable,
    )


def _pairs(flat: Sequence[str]) -> dict[str, str]:
    return dict(zip(flat[::2], flat[1::2], strict=True))


def _held(held: ports.Held) -> list[Arg]:
    return [held.lane, held.token, held.lease_ms]


def _written(raw: int) -> None:
    if raw == 0:
        raise LeaseLost("the lane's lease passed to another worker")
    if raw < 0:
        raise LeaseLost("the session's cursor or intent was moved by another worker")


def _proceeded(session: str) -> Callable[[Any], ports.Proceeded]:
    def decode(raw: Any) -> ports.Proceeded:
        _written(raw[0])
        waiters = raw[3] if len(raw) > 3 else ()
        return ports.Proceeded(
            due_ms=int(raw[1]),
            work=_work(raw[2]),
            completed=tuple(ports.Parked(session, w[0], w[1], _pairs(w[2])) for w in waiters),
        )

    return decode


def _mode(go_on: bool) -> str:
    return "next" if go_on else "release"


def _append(op: ports.Append, keep: Retention) -> ScriptCall:
    args: list[Arg] = [keep.dedupe_ms, op.source, keep.source_mark_ms, op.partition, keep.predicts]
    for lane, node, entry, offset in op.entries:
        args += [lane, entry.session_id, node, entry.event_id, entry.digest, entry.kind, entry.text, offset]

    def decode(raw: Any) -> ports.AppendedBatch:
        statuses = tuple(ports.AppendStatus(s, int(p)) for s, p in zip(raw[1::2], raw[2::2], strict=True))
        return ports.AppendedBatch(bool(raw[0]), statuses)

    return ScriptCall("append", prefix(op.partition), args, decode)


def _bind_nodes(op: ports.BindNodes, keep: Retention) -> ScriptCall:
    return ScriptCall("bind_nodes", prefix(op.partition), [text for row in op.sessions for text in row], list)


def _lease(op: ports.Lease, keep: Retention) -> ScriptCall:
    return ScriptCall(
        "lease",
        prefix(op.partition),
        [op.token, op.lease_ms, op.lanes, op.batch.events, op.batch.bytes],
        lambda raw: [work for work in map(_leased, raw) if work is not None],
    )


def _leased(raw: Any) -> ports.Work | None:
    if isinstance(raw, str):
        say(log, logging.ERROR, "lane.unreadable", lane=raw)
        return None
    return _work(raw)


def _claim(op: ports.Claim, keep: Retention) -> ScriptCall:
    def decode(raw: Any) -> ports.Claimed:
        if raw[0] == "result":
            return ports.Claimed(result=raw[1])
        if raw[0] == "work":
            return ports.Claimed(work=_work(raw[1]))
        if raw[0] == "applied":
            return ports.Claimed(applied=True, node=raw[1])
        if raw[0] == "dead":
            return ports.Claimed(dead=raw[1])
        if raw[0] == "busy":
            _, cursor, error, parked, now_ms, due_ms = raw
            return ports.Claimed(waits=ports.Waits(cursor, error, bool(parked), now_ms, due_ms))
        return ports.Claimed(unknown=raw[0] == "unknown", full=raw[0] == "full")

    return ScriptCall(
        "claim",
        lane_prefix(op.lane),
        [
            op.lane,
            op.session,
            op.event_id,
            op.position,
            op.task_id,
            op.request,
            op.token,
            op.lease_ms,
            op.batch.events,
            op.batch.bytes,
            op.kind,
            op.parked_at_most,
        ],
        decode,
    )


def _intent_written(raw: int) -> bool:
    if raw == NOT_LENT:
        return False
    _written(raw)
    return True


def _intent(op: ports.WriteIntent, keep: Retention) -> ScriptCall:
    return ScriptCall(
        "intent",
        lane_prefix(op.held.lane),
        [
            *_held(op.held),
            op.session,
            op.intent.call,
            op.cursor,
            op.intent.dump(),
            op.binding.dump() if op.binding else "",
            op.follows,
            op.intent.pattern,
            *((op.lender, op.lent, op.binding.run) if op.lender and op.binding else ()),
        ],
        _intent_written,
    )


def _bind(op: ports.Bind, keep: Retention) -> ScriptCall:
    return ScriptCall(
        "bind",
        lane_prefix(op.held.lane),
        [
            *_held(op.held),
            op.session,
            op.cursor,
            op.binding.dump() if op.binding else "",
            op.settles,
            op.leftovers,
            op.halve,
            int(op.ltm_lost),
            op.reordered,
            *(text for row in op.symbols for text in row),
        ],
        _written,
    )


def _commit(op: ports.Commit, keep: Retention) -> ScriptCall:
    binding = "-" if op.keep_binding else op.binding.dump() if op.binding else ""
    name, frequency = op.learned or ("", 0)
    args: list[Arg] = [
        *_held(op.held),
        op.session,
        op.call,
        op.cursor,
        op.to,
        binding,
        "-" if op.mark is None else op.mark,
        _mode(op.go_on),
        op.held.batch.events,
        op.held.batch.bytes,
        min(keep.result_ms, keep.prediction_ms) if op.answers else keep.result_ms,
        len(op.results),
        len(op.symbols),
        len(op.dead),
        op.answers,
        name,
        frequency,
        op.park,
        int(op.mark is not None and op.learned is not None),
        int(op.borrowed),
        op.certain,
    ]
    for rows in (op.results, op.symbols, op.dead):
        for row in rows:
            args += row
    return ScriptCall("commit", lane_prefix(op.held.lane), args, _proceeded(op.session))


def _defer(op: ports.Defer, keep: Retention) -> ScriptCall:
    batch = op.held.batch
    args = [
        *_held(op.held),
        op.session,
        op.wait_ms,
        op.attempts,
        op.error,
        op.withdraw,
        _mode(op.go_on),
        batch.events,
        batch.bytes,
        op.halve,
        op.unsent,
        op.rebuilds,
    ]
    return ScriptCall("defer", lane_prefix(op.held.lane), args, _proceeded(op.session))


def _park(op: ports.Park, keep: Retention) -> ScriptCall:
    batch = op.held.batch
    args = [*_held(op.held), op.session, op.why, _mode(op.go_on), batch.events, batch.bytes]
    return ScriptCall("park", lane_prefix(op.held.lane), args, _proceeded(op.session))


def _owed(raw: Any) -> list[ports.Parked]:
    return [ports.Parked(row[0], row[1], row[2], _pairs(row[3])) for row in raw]


def _learned(raw: str | None) -> tuple[int, int] | None:
    if raw is None:
        return None
    frequency, when = raw.split(" ")
    return int(frequency), int(when)


def _certain(raw: str | None) -> tuple[int, int, str] | None:
    if raw is None:
        return None
    frequency, when, run = raw.split(" ", 2)
    return int(frequency), int(when), run


def _binding_and_intent(raw: Sequence[str | None]) -> tuple[Binding | None, Intent | None]:
    texts = [text or "" for text in raw]
    split = len(BINDING_FIELDS)
    return Binding.load("".join(texts[:split])), Intent.load("".join(texts[split:]))


def _plain(command: str, *args: Arg, decode: Callable[[Any], Any]) -> ScriptCall:
    return ScriptCall(None, command, args, decode)


def _write(command: str, key: str, *args: Arg) -> ScriptCall:
    """A plain write that a full store must not refuse, for drains depend on it."""
    return ScriptCall("write", key, [command, *args], _nothing)


def _read_log(op: ports.ReadLog, keep: Retention) -> ScriptCall:
    def decode(raw: Any) -> list[Logged]:
        return [Logged.parse(op.first + i, text) for i, text in enumerate(raw)]

    return _plain("LRANGE", f"{lane_prefix(op.lane)}log:{op.session}", op.first - 1, op.last - 1, decode=decode)


def _nothing(_raw: Any) -> None:
    return None


def _symbols(raw: Any) -> dict[int, list[str] | None]:
    rows = raw if isinstance(raw, dict) else _pairs(raw)
    return {int(position): json.loads(text) for position, text in rows.items()}


_ENCODERS: dict[type, Callable[[Any, Retention], ScriptCall]] = {
    ports.Append: _append,
    ports.BindNodes: _bind_nodes,
    ports.Lease: _lease,
    ports.Claim: _claim,
    ports.WriteIntent: _intent,
    ports.Bind: _bind,
    ports.Commit: _commit,
    ports.Defer: _defer,
    ports.Park: _park,
    ports.ReadLog: _read_log,
    ports.Renew: lambda op, keep: ScriptCall("renew", lane_prefix(op.held.lane), _held(op.held), bool),
    ports.Release: lambda op, keep: ScriptCall("release", prefix(op.partition), [op.token, *op.lanes], list),
    ports.Unpark: lambda op, keep: ScriptCall(
        "unpark",
        lane_prefix(op.lane),
        [op.event_id, op.session, op.task_id, min(keep.result_ms, keep.told_ms), keep.told_bytes],
        _nothing,
    ),
    ports.Delivered: lambda op, keep: ScriptCall(
        "delivered",
        lane_prefix(op.lane),
        [op.event_id, op.session, min(keep.result_ms, keep.told_ms), keep.told_bytes],
        _nothing,
    ),
    ports.Owed: lambda op, keep: ScriptCall("owed", prefix(op.partition), [op.age_ms, op.limit, op.look_ms], _owed),
    ports.LookSoon: lambda op, keep: _plain(
        "ZADD", f"{lane_prefix(op.lane)}waiting", "XX", 0, f"{op.event_id}\n{op.session}", decode=_nothing
    ),
    ports.NodeOf: lambda op, keep: _plain(
        "HGET", f"{prefix(partition_of(op.session))}nodes", op.session, decode=lambda raw: raw
    ),
    ports.ClockBack: lambda op, keep: ScriptCall("clock_back", prefix(op.partition), [op.ahead_ms, op.lease_ms], int),
    ports.KeepAlive: lambda op, keep: ScriptCall(
        "touch", prefix(op.partition), [op.soon_ms, op.used_ms, op.limit], int
    ),
    ports.Mark: lambda op, keep: ScriptCall("mark", mark(op.of, op.shard), [op.ms], bool),
    ports.ClearMark: lambda op, keep: _plain("DEL", mark(op.of, op.shard), decode=_nothing),
    ports.Sign: lambda op, keep: ScriptCall("sign", SIGNS[op.of], [op.id, op.about, op.keep_ms, op.most], int),
    ports.AcknowledgeLost: lambda op, keep: ScriptCall("acknowledge", prefix(op.partition), [op.how, *op.lanes], int),
    ports.KeepAcknowledgement: lambda op, keep: _write("HSET", ACKNOWLEDGED, op.id, op.how),
    ports.MarkNode: lambda op, keep: _write("HSET", f"{lane_prefix(op.lane)}lane:{op.lane}", "rebuild_wanted", "1"),
    ports.KeepDeadLetter: lambda op, keep: _write("HSETNX", f"{lane_prefix(op.lane)}dead", op.id, op.letter),
    ports.DropDeadLetter: lambda op, keep: _plain("HDEL", f"{lane_prefix(op.lane)}dead", op.id, decode=_nothing),
    ports.Resume: lambda op, keep: ScriptCall("resume", lane_prefix(op.lane), [op.lane, op.session], bool),
    ports.SetAside: lambda op, keep: ScriptCall("set_aside", lane_prefix(op.lane), [op.lane, op.session, op.why], bool),
    ports.LastEvent: lambda op, keep: ScriptCall(
        "last_event", lane_prefix(op.lane), [op.session], lambda raw: int(raw) if int(raw) >= 0 else None
    ),
    ports.KeepLater: lambda op, keep: ScriptCall("keep_later", lane_prefix(op.lane), [op.due_ms, op.payload], _nothing),
    ports.DueLater: lambda op, keep: _plain(
        "ZRANGEBYSCORE", f"{prefix(op.partition)}later", "-inf", op.now_ms, "LIMIT", 0, op.limit, decode=list
    ),
    ports.DropLater: lambda op, keep: ScriptCall("drop_later", prefix(op.partition), [op.payload], _nothing),
    ports.KeepMessage: lambda op, keep: _write("RPUSH", f"{lane_prefix(op.lane)}outbox", op.message),
    ports.KeptMessages: lambda op, keep: _plain(
        "LRANGE", f"{prefix(op.partition)}outbox", 0, op.limit - 1, decode=list
    ),
    ports.DropMessage: lambda op, keep: _plain("LREM", f"{prefix(op.partition)}outbox", 1, op.message, decode=_nothing),
    ports.ReadSession: lambda op, keep: _plain(
        "HMGET",
        f"{lane_prefix(op.lane)}s:{op.session}",
        *BINDING_FIELDS,
        *INTENT_FIELDS,
        decode=_binding_and_intent,
    ),
    ports.ReadSymbols: lambda op, keep: _plain("HGETALL", f"{lane_prefix(op.lane)}vec:{op.session}", decode=_symbols),
    ports.LearnedLately: lambda op, keep: _plain(
        "HGET", f"{lane_prefix(op.lane)}learned:{op.lane}", op.pattern, decode=_learned
    ),
    ports.CertainFrequency: lambda op, keep: ScriptCall(
        "certain", lane_prefix(op.lane), [op.lane, op.pattern], _certain
    ),
    ports.UnsettledLearn: lambda op, keep: _plain(
        "HGET", f"{lane_prefix(op.lane)}unsettled:{op.lane}", op.pattern, decode=lambda raw: raw
    ),
    ports.IsParked: lambda op, keep: _plain("HEXISTS", f"{lane_prefix(op.lane)}s:{op.session}", "pk", decode=bool),
    ports.KnownPattern: lambda op, keep: _plain(
        "HGET", f"{lane_prefix(op.lane)}lane:{op.lane}", "known", decode=lambda raw: raw
    ),
    ports.Count: lambda op, keep: _write("HINCRBY", f"{lane_prefix(op.lane)}stats", op.name, op.by),
}


def encode(op: ports.Effect[Any], keep: Retention) -> ScriptCall:
    """The script call (or plain command) of a store operation."""
    return _ENCODERS[type(op)](op, keep)
