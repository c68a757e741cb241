"""Operations of those who erase one session."""

from __future__ import annotations

from typing import Any

from kato_tasks import ports
from kato_tasks.adapters.redis.decoding import nothing
from kato_tasks.adapters.redis.encoding import each
from kato_tasks.adapters.redis.keys import prefix
from kato_tasks.adapters.redis.operations.building import LEASE, Encode, call_of, command_of, of_lane, of_lease
from kato_tasks.adapters.redis.retention import Retention
from kato_tasks.domain.ids import partition_of
from kato_tasks.errors import LeaseLost

LOST = -1
_FORGOT: dict[int, ports.Forgot] = {1: "done", 2: "unapplied", 3: "open"}


def _place(op: ports.ForgetCommits, raw: Any) -> int:
    if raw == LOST:
        raise LeaseLost(op.lease.lane)
    return int(raw)


def _forgot(op: ports.ForgetSession, raw: Any) -> ports.Forgot:
    if raw == LOST:
        raise LeaseLost(op.lease.lane)
    return _FORGOT[int(raw)]


def _whole(op: ports.ForgetSession, _keep: Retention) -> int:
    return int(op.whole)


ENCODERS: dict[type, Encode] = {
    ports.ForgetCommits: call_of(ports.ForgetCommits, "forget_commits", of_lease, _place, **LEASE),
    ports.ForgetSession: call_of(
        ports.ForgetSession,
        "forget_session",
        of_lease,
        _forgot,
        **LEASE,
        whole=_whole,
        ids=each("ids", "bucket known"),
        results=each("results", "event_id"),
        letters=each("letters", "letter"),
    ),
    ports.ForgetIds: call_of(ports.ForgetIds, "forget_ids", of_lane, nothing, ids=each("ids", "bucket known")),
    ports.ForgetNode: command_of(lambda op: ("HDEL", f"{prefix(partition_of(op.session))}nodes", op.session), nothing),
}
