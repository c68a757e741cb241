"""Operations of those who move applied events to the archive."""

from __future__ import annotations

from kato_tasks import ports
from kato_tasks.adapters.redis.decoding import plainly, unarchived_lanes
from kato_tasks.adapters.redis.encoding import each
from kato_tasks.adapters.redis.keys import prefix
from kato_tasks.adapters.redis.operations.building import Encode, call_of, of_lane, of_partition, write_of

ENCODERS: dict[type, Encode] = {
    ports.ReadUnarchived: call_of(ports.ReadUnarchived, "read_unarchived", of_partition, unarchived_lanes),
    ports.DropArchived: call_of(
        ports.DropArchived, "drop_archived", of_lane, plainly(bool), sessions=each("sessions", "session up_to")
    ),
    ports.NoteUnarchived: write_of(
        ports.NoteUnarchived,
        "SADD",
        lambda op, keep: f"{prefix(op.partition)}unarchived",
        lambda op, keep: op.lanes,
    ),
}
