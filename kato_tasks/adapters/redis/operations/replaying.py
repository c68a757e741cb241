"""Operations of replays: a lane's history, and the shadow lane into which it is copied."""

from __future__ import annotations

from typing import Any

from kato_tasks.adapters.redis.decoding import nothing, plainly, unarchived_events
from kato_tasks.adapters.redis.encoding import each
from kato_tasks.adapters.redis.operations.building import Encode, call_of, command_of, lane_prefix, of_lane
from kato_tasks.adapters.redis.retention import Retention
from kato_tasks.errors import UnreadableRow
from kato_tasks.ports.replays import (
    DropShadow,
    LanePage,
    OpenShadow,
    ReadLane,
    ReadLaneState,
    ShadowSessions,
    UnbindSession,
)


def _page(op: ReadLane, raw: Any) -> LanePage:
    first, applied, commits = raw
    missing: set[str] = set()
    events = tuple(unarchived_events(op.lane, commits, missing))
    if missing:
        raise UnreadableRow(f"the log of session {min(missing)!r} lacks events that were applied and not archived")
    reached = int(applied)
    if commits:
        seq, begin, end, *_ = commits[-1]
        reached = int(seq) + int(end) - int(begin)
    return LanePage(int(first), int(applied), events, reached)


def _state(_op: ReadLaneState, raw: Any) -> tuple[int, str]:
    return int(raw[0] or 0), raw[1] or ""


def _whole(op: DropShadow, _keep: Retention) -> int:
    return int(op.whole)


ENCODERS: dict[type, Encode] = {
    ReadLane: call_of(ReadLane, "read_lane", of_lane, _page),
    ReadLaneState: command_of(lambda op: ("HMGET", f"{lane_prefix(op.lane)}lane:{op.lane}", "seq", "rp"), _state),
    OpenShadow: call_of(OpenShadow, "open_shadow", of_lane, nothing, sessions=each("sessions", "session")),
    ShadowSessions: command_of(
        lambda op: ("SMEMBERS", f"{lane_prefix(op.lane)}shadow:{op.lane}"), plainly(lambda raw: sorted(map(str, raw)))
    ),
    DropShadow: call_of(
        DropShadow, "drop_shadow", of_lane, nothing, whole=_whole, sessions=each("sessions", "session")
    ),
    UnbindSession: call_of(UnbindSession, "unbind", of_lane, plainly(bool)),
}
