"""Operations of persons and processes that look after the whole: parked sessions, dead letters, marks and signs."""

from __future__ import annotations

from kato_tasks import ports
from kato_tasks.adapters.redis.decoding import front_state, nothing, plainly
from kato_tasks.adapters.redis.encoding import each
from kato_tasks.adapters.redis.keys import ACKNOWLEDGED, CALL_COUNTS, SIGNS, mark
from kato_tasks.adapters.redis.operations.building import (
    Encode,
    call_of,
    command_of,
    lane_prefix,
    of_lane,
    of_partition,
    write_of,
)

ENCODERS: dict[type, Encode] = {
    ports.Resume: call_of(ports.Resume, "resume", of_lane, plainly(bool)),
    ports.ParkByHand: call_of(ports.ParkByHand, "park_by_hand", of_lane, plainly(bool)),
    ports.FindFrontSession: call_of(ports.FindFrontSession, "find_front", of_lane, front_state),
    ports.KeepFrontSession: call_of(ports.KeepFrontSession, "keep_front", of_lane, plainly(bool)),
    ports.DropDeadLetter: command_of(lambda op: ("HDEL", f"{lane_prefix(op.lane)}dead", op.id), nothing),
    ports.AcknowledgeLost: call_of(
        ports.AcknowledgeLost, "acknowledge", of_partition, plainly(int), lanes=each("lanes", "lane")
    ),
    ports.KeepAcknowledgement: write_of(
        ports.KeepAcknowledgement, "HSET", lambda op, keep: ACKNOWLEDGED, lambda op, keep: (op.id, op.how)
    ),
    ports.SetMark: call_of(ports.SetMark, "set_mark", lambda op, keep: mark(op.of, op.shard), plainly(bool)),
    ports.ClearMark: command_of(lambda op: ("DEL", mark(op.of, op.shard)), nothing),
    ports.AddCallCounts: call_of(
        ports.AddCallCounts, "add_counts", lambda op, keep: CALL_COUNTS, nothing, rows=each("rows", "name by")
    ),
    ports.GiveSign: call_of(ports.GiveSign, "give_sign", lambda op, keep: SIGNS[op.of], plainly(int), says="about"),
}
