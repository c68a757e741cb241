"""Operations of Celery tasks that wait for an event's result, and of messages that could not be published."""

from __future__ import annotations

from kato_tasks import ports
from kato_tasks.adapters.redis.decoding import found, nothing, orphaned_tasks, plainly
from kato_tasks.adapters.redis.keys import prefix
from kato_tasks.adapters.redis.operations.building import (
    Encode,
    call_of,
    command_of,
    lane_prefix,
    of_lane,
    of_partition,
    write_of,
)
from kato_tasks.adapters.redis.retention import Retention


def _told_ms(_op: ports.DropWaitingTask | ports.NoteDelivery, keep: Retention) -> int:
    return min(keep.result_ms, keep.told_ms)


ENCODERS: dict[type, Encode] = {
    ports.TakeOrWait: call_of(
        ports.TakeOrWait,
        "take_or_wait",
        of_lane,
        found,
        max_events="batch.events",
        max_bytes="batch.bytes",
    ),
    ports.DropWaitingTask: call_of(
        ports.DropWaitingTask, "drop_waiting_task", of_lane, nothing, told_ms=_told_ms, told_bytes="keep.told_bytes"
    ),
    ports.NoteDelivery: call_of(
        ports.NoteDelivery, "note_delivery", of_lane, nothing, told_ms=_told_ms, told_bytes="keep.told_bytes"
    ),
    ports.ReadResults: command_of(
        lambda op: ("MGET", *(f"{lane_prefix(op.lane)}r:{event_id}\n{op.session}" for event_id in op.event_ids)),
        plainly(list),
    ),
    ports.ReadDeadLettersAt: command_of(
        lambda op: ("HMGET", f"{lane_prefix(op.lane)}dead", *(f"{op.session}\n{place}" for place in op.positions)),
        plainly(list),
    ),
    ports.OrphanedTasks: call_of(ports.OrphanedTasks, "orphaned_tasks", of_partition, orphaned_tasks),
    ports.LookSoon: command_of(
        lambda op: ("ZADD", f"{lane_prefix(op.lane)}waiting", "XX", 0, f"{op.event_id}\n{op.session}"), nothing
    ),
    ports.KeepUnpublished: write_of(
        ports.KeepUnpublished, "RPUSH", lambda op, keep: f"{lane_prefix(op.lane)}outbox", lambda op, keep: (op.message,)
    ),
    ports.UnpublishedMessages: command_of(
        lambda op: ("LRANGE", f"{prefix(op.partition)}outbox", 0, op.limit - 1), plainly(list)
    ),
    ports.DropUnpublished: command_of(lambda op: ("LREM", f"{prefix(op.partition)}outbox", 1, op.message), nothing),
}
