"""Operations of those who switch a lane to another generation of its node."""

from __future__ import annotations

from kato_tasks import ports
from kato_tasks.adapters.redis.decoding import generation, given_back, plainly, switched
from kato_tasks.adapters.redis.operations.building import (
    LEASE,
    Encode,
    call_of,
    command_of,
    lane_prefix,
    of_lane,
    of_lease,
)

ENCODERS: dict[type, Encode] = {
    ports.TakeLane: call_of(ports.TakeLane, "take_lane", of_lane, plainly(bool)),
    ports.GiveLaneBack: call_of(ports.GiveLaneBack, "give_lane_back", of_lease, given_back, **LEASE),
    ports.OpenIntents: call_of(ports.OpenIntents, "open_intents", of_lane, plainly(list)),
    ports.SwitchGeneration: call_of(ports.SwitchGeneration, "switch_generation", of_lease, switched, **LEASE),
    ports.GenerationOf: command_of(lambda op: ("HGET", f"{lane_prefix(op.lane)}lane:{op.lane}", "gen"), generation),
}
