"""Operations of listeners and sinks."""

from __future__ import annotations

from kato_tasks import ports
from kato_tasks.adapters.redis.decoding import nothing, outgoing_predictions, pairs, plainly
from kato_tasks.adapters.redis.keys import BODIES, READERS, prefix
from kato_tasks.adapters.redis.operations.building import Encode, call_of, command_of, lane_prefix, of_partition
from kato_tasks.adapters.redis.retention import Retention


def _reader(op: ports.HoldReader | ports.GiveReaderBack, _keep: Retention) -> str:
    return f"{READERS}{op.name}"


def _predictions(op: ports.CountPredictions | ports.ReadPredictions) -> str:
    return f"{prefix(op.partition)}sink:{op.sink}"


ENCODERS: dict[type, Encode] = {
    ports.HoldReader: call_of(ports.HoldReader, "hold_reader", _reader, plainly(bool)),
    ports.GiveReaderBack: call_of(ports.GiveReaderBack, "give_reader_back", _reader, nothing),
    ports.KeepBodies: command_of(
        lambda op: ("HSET", f"{BODIES}{op.name}", *(word for row in op.rows for word in row)), nothing
    ),
    ports.ReadBodies: command_of(lambda op: ("HGETALL", f"{BODIES}{op.name}"), pairs),
    ports.DropBodies: command_of(lambda op: ("HDEL", f"{BODIES}{op.name}", *op.event_ids), nothing),
    ports.KeepRefusedMessage: command_of(
        lambda op: ("HSETNX", f"{lane_prefix(op.lane)}dead", op.id, op.letter), nothing
    ),
    ports.CountPredictions: command_of(lambda op: ("LLEN", _predictions(op)), plainly(int)),
    ports.ReadPredictions: command_of(lambda op: ("LRANGE", _predictions(op), 0, op.most - 1), outgoing_predictions),
    ports.DropPredictions: call_of(ports.DropPredictions, "drop_predictions", of_partition, plainly(bool)),
}
