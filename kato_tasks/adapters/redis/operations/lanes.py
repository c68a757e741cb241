"""Operations of those who drain lanes: leases, intents, and the outcomes of calls to KATO."""

from __future__ import annotations

from kato_tasks import ports
from kato_tasks.adapters.redis.calls import Arg
from kato_tasks.adapters.redis.decoding import (
    as_it_is,
    binding_and_intent,
    certain,
    intent_written,
    learned,
    leased,
    log_entries,
    next_work,
    nothing,
    plainly,
    symbols,
    written,
)
from kato_tasks.adapters.redis.encoding import each
from kato_tasks.adapters.redis.keys import BINDING_FIELDS, INTENT_FIELDS
from kato_tasks.adapters.redis.operations.building import (
    LEASE,
    Encode,
    call_of,
    command_of,
    lane_prefix,
    of_lane,
    of_lease,
    of_partition,
    write_of,
)
from kato_tasks.adapters.redis.retention import Retention

NEXT = {"max_events": "lease.batch.events", "max_bytes": "lease.batch.bytes"}
"""How large the lane's next piece of work may be."""


def _mode(op: ports.Commit | ports.Defer | ports.Park, _keep: Retention) -> str:
    return "next" if op.go_on else "release"


def _binding(op: ports.WriteIntent | ports.Bind, _keep: Retention) -> str:
    return op.binding.dump() if op.binding else ""


# ------------------------------------------------------------------------------------------------- intent


def _intent(op: ports.WriteIntent, _keep: Retention) -> str:
    return op.intent.dump()


def _lent_in(op: ports.WriteIntent, _keep: Retention) -> str:
    return op.binding.run if op.binding else ""


# --------------------------------------------------------------------------------------------------- bind


def _ltm_lost(op: ports.Bind, _keep: Retention) -> int:
    return int(op.ltm_lost)


# ------------------------------------------------------------------------------------------------- commit


def _binding_after(op: ports.Commit, _keep: Retention) -> str:
    return "-" if op.keep_binding else op.binding.dump() if op.binding else ""


def _stm_start(op: ports.Commit, _keep: Retention) -> Arg:
    return "-" if op.stm_start is None else op.stm_start


def _result_ms(op: ports.Commit, keep: Retention) -> int:
    return min(keep.result_ms, keep.prediction_ms) if op.predict_id else keep.result_ms


def _pattern(op: ports.Commit, _keep: Retention) -> str:
    return op.learned[0] if op.learned else ""


def _frequency(op: ports.Commit, _keep: Retention) -> int:
    return op.learned[1] if op.learned else 0


def _is_learn(op: ports.Commit, _keep: Retention) -> int:
    return int(op.stm_start is not None and op.learned is not None)


def _borrowed(op: ports.Commit, _keep: Retention) -> int:
    return int(op.borrowed)


ENCODERS: dict[type, Encode] = {
    # A lease and its end.
    ports.AcquireLanes: call_of(
        ports.AcquireLanes, "acquire_lanes", of_partition, leased, max_events="batch.events", max_bytes="batch.bytes"
    ),
    ports.Renew: call_of(ports.Renew, "renew", of_lease, plainly(bool), **LEASE),
    # Under a lease.
    ports.WriteIntent: call_of(
        ports.WriteIntent,
        "intent",
        of_lease,
        intent_written,
        **LEASE,
        call_id="intent.call",
        intent=_intent,
        binding=_binding,
        pattern="intent.pattern",
        lent_in=_lent_in,
    ),
    ports.Bind: call_of(
        ports.Bind,
        "bind",
        of_lease,
        written,
        **LEASE,
        binding=_binding,
        ltm_lost=_ltm_lost,
        symbols=each("symbols", "position names"),
    ),
    ports.Commit: call_of(
        ports.Commit,
        "commit",
        of_lease,
        next_work,
        **LEASE,
        **NEXT,
        binding=_binding_after,
        stm_start=_stm_start,
        mode=_mode,
        result_ms=_result_ms,
        pattern=_pattern,
        frequency=_frequency,
        certain_run="certain",
        archiving="keep.archiving",
        parked_why="park_reason",
        is_learn=_is_learn,
        borrowed=_borrowed,
        results=each("results", "event_id result"),
        symbols=each("symbols", "position names"),
        letters=each("dead", "id letter"),
    ),
    ports.Defer: call_of(ports.Defer, "defer", of_lease, next_work, **LEASE, **NEXT, error_text="error", mode=_mode),
    ports.Park: call_of(ports.Park, "park", of_lease, next_work, **LEASE, **NEXT, mode=_mode),
    # What a drain looks up, and what it writes down beside its steps.
    ports.ReadLog: call_of(ports.ReadLog, "read_log", of_lane, log_entries),
    ports.ReadSession: command_of(
        lambda op: ("HMGET", f"{lane_prefix(op.lane)}s:{op.session}", *BINDING_FIELDS, *INTENT_FIELDS),
        binding_and_intent,
    ),
    ports.ReadSymbols: command_of(lambda op: ("HGETALL", f"{lane_prefix(op.lane)}vec:{op.session}"), symbols),
    ports.IsParked: command_of(lambda op: ("HEXISTS", f"{lane_prefix(op.lane)}s:{op.session}", "pk"), plainly(bool)),
    ports.LearnedLately: command_of(
        lambda op: ("HGET", f"{lane_prefix(op.lane)}learned:{op.lane}", op.pattern), learned
    ),
    ports.CertainFrequency: call_of(ports.CertainFrequency, "certain", of_lane, certain),
    ports.UnsettledLearn: command_of(
        lambda op: ("HGET", f"{lane_prefix(op.lane)}unsettled:{op.lane}", op.pattern), as_it_is
    ),
    ports.KnownPattern: command_of(lambda op: ("HGET", f"{lane_prefix(op.lane)}lane:{op.lane}", "known"), as_it_is),
    ports.FlagNodeForRebuild: call_of(ports.FlagNodeForRebuild, "flag_node", of_lane, nothing),
    ports.KeepDeadLetter: write_of(
        ports.KeepDeadLetter,
        "HSETNX",
        lambda op, keep: f"{lane_prefix(op.lane)}dead",
        lambda op, keep: (op.id, op.letter),
    ),
    ports.Count: write_of(
        ports.Count, "HINCRBY", lambda op, keep: f"{lane_prefix(op.lane)}stats", lambda op, keep: (op.name, op.by)
    ),
    # What keeps lanes going when a process died or the clock went back.
    ports.KeepAlive: call_of(ports.KeepAlive, "keep_alive", of_partition, plainly(int)),
    ports.ClockBack: call_of(ports.ClockBack, "clock_back", of_partition, plainly(int)),
}
