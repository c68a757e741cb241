"""Operations of those who append events, now or later."""

from __future__ import annotations

from kato_tasks import ports
from kato_tasks.adapters.redis.decoding import appended, as_it_is, last_event, nothing, plainly
from kato_tasks.adapters.redis.encoding import each
from kato_tasks.adapters.redis.keys import prefix
from kato_tasks.adapters.redis.operations.building import (
    Encode,
    call_of,
    command_of,
    of_lane,
    of_partition,
)
from kato_tasks.adapters.redis.retention import Retention
from kato_tasks.domain.ids import partition_of


def _mark_ms(op: ports.Append, keep: Retention) -> int:
    return keep.listened_mark_ms if op.source.startswith(ports.LISTENED) else keep.source_mark_ms


ENCODERS: dict[type, Encode] = {
    ports.Append: call_of(
        ports.Append,
        "append",
        of_partition,
        appended,
        dedupe_ms="keep.dedupe_ms",
        source_mark_ms=_mark_ms,
        most_predicts="keep.predicts",
        events=each(
            "entries",
            "lane node entry offset",
            session="entry.session_id",
            event_id="entry.event_id",
            digest="entry.digest",
            kind="entry.kind",
            entry="entry.text",
            also="entry.also",
        ),
    ),
    ports.BindNodes: call_of(
        ports.BindNodes, "bind_nodes", of_partition, plainly(list), sessions=each("sessions", "session wanted default")
    ),
    ports.LastEvent: call_of(ports.LastEvent, "last_event", of_lane, last_event),
    ports.NodeOf: command_of(lambda op: ("HGET", f"{prefix(partition_of(op.session))}nodes", op.session), as_it_is),
    ports.KeepScheduled: call_of(ports.KeepScheduled, "keep_scheduled", of_lane, nothing),
    ports.DueScheduled: command_of(
        lambda op: ("ZRANGEBYSCORE", f"{prefix(op.partition)}later", "-inf", op.now_ms, "LIMIT", 0, op.limit),
        plainly(list),
    ),
    ports.DropScheduled: call_of(ports.DropScheduled, "drop_scheduled", of_partition, nothing),
}
