"""End a replay: report what differs, or catch up with live events and switch lane by lane to the new generation."""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from dataclasses import replace

from kato_tasks.api.replays.shadows import copy_pages, note_applied, shadow_partitions
from kato_tasks.api.replays.working import Drain, SliceDone, verify_lanes
from kato_tasks.bootstrap import Runtime
from kato_tasks.domain.replays import DIFFERENCES, ENDED, LaneReplay, Replay
from kato_tasks.engine.store_retry import execute_with_retry, raise_errors
from kato_tasks.errors import LeaseLost
from kato_tasks.ports.generations import GiveLaneBack, SwitchGeneration, TakeLane
from kato_tasks.ports.lanes import Batch, Lease, Renew
from kato_tasks.ports.replays import ReadLaneState

LANES_AT_ONCE = 64
TAIL = 200
"""With more new events than this a lane is caught up with before it is taken, so that it is not held for long."""
TAKEN_MS = 20_000
WAIT_SECONDS = 0.5


def finish_replay(rt: Runtime, replay_id: str, seconds: float, drain: Drain) -> SliceDone:
    """Go on ending a replay for about ``seconds``, once all of its parts are done.

    If any lane failed nothing is switched, the old generation goes on serving, and the record says what differs.
    Raises StoreUnavailable, ArchiveUnavailable and KatoError; it goes on where it was when it is called again.
    """
    stop = time.monotonic() + seconds
    replay = rt.replays.change(replay_id, state="verifying")
    if replay.state in ENDED:
        return SliceDone(done=True)
    waited = False
    for part in range(replay.parts):
        lanes = list(rt.replays.lanes(replay_id, part).values())
        if failed := [lane for lane in lanes if lane.state == "failed"]:
            return _fail(rt, replay, failed)
    if replay.request.mode != "rebuild":
        return _done(rt, replay)
    for part in range(replay.parts):
        waiting = [lane for lane in rt.replays.lanes(replay_id, part).values() if lane.state != "switched"]
        for start in range(0, len(waiting), LANES_AT_ONCE):
            some = _switch_some(rt, replay, part, waiting[start : start + LANES_AT_ONCE], drain)
            if failed := [lane for lane in some if lane.state == "failed"]:
                return _fail(rt, replay, failed)
            waited = waited or any(lane.state != "switched" for lane in some)
            if time.monotonic() >= stop:
                return SliceDone(done=False)
    return SliceDone(done=False, wait_seconds=WAIT_SECONDS) if waited else _done(rt, replay)


def _done(rt: Runtime, replay: Replay) -> SliceDone:
    rt.replays.change(replay.id, state="done", ended_ms=rt.figures.now_ms())
    _release(rt, replay)
    return SliceDone(done=True)


def _fail(rt: Runtime, replay: Replay, failed: Sequence[LaneReplay]) -> SliceDone:
    texts = [
        lane.problem if lane.problem.startswith("node ") else f"lane {lane.lane}: {lane.problem}" for lane in failed
    ]
    rt.replays.change(
        replay.id,
        state="failed",
        reason=f"{len(failed)} of {replay.lanes} lanes could not be rebuilt; what served before goes on serving there",
        differences=tuple(texts[:DIFFERENCES]),
        more_differences=max(0, len(texts) - DIFFERENCES),
        ended_ms=rt.figures.now_ms(),
    )
    _release(rt, replay)
    return SliceDone(done=True)


def _release(rt: Runtime, replay: Replay) -> None:
    for part in range(replay.parts):
        rt.replays.release(replay.id, list(rt.replays.lanes(replay.id, part)))


def _switch_some(rt: Runtime, replay: Replay, part: int, lanes: Sequence[LaneReplay], drain: Drain) -> list[LaneReplay]:
    """Switch those of these lanes that can be taken now, and return all of them as they are then."""
    lanes = _follow(rt, replay, lanes, drain)
    token = uuid.uuid4().hex
    takes = [TakeLane(lane.lane, token, TAKEN_MS) for lane in lanes]
    got = raise_errors(execute_with_retry(rt.store, takes))
    leases = {
        lane.lane: Lease(lane.lane, token, TAKEN_MS, Batch(1, 1)) for lane, mine in zip(lanes, got, strict=True) if mine
    }
    try:
        held = [lane for lane in lanes if lane.lane in leases]
        ready = _catch_up(rt, replay, held, leases, drain) if held else []
        switched = _switch_held(rt, ready, leases)
        rt.replays.note_lanes(replay.id, part, switched)
    finally:
        if leases:
            execute_with_retry(rt.store, [GiveLaneBack(lease) for lease in leases.values()])
    by_name = {lane.lane: lane for lane in switched}
    return [by_name.get(lane.lane, lane) for lane in lanes]


def _follow(rt: Runtime, replay: Replay, lanes: Sequence[LaneReplay], drain: Drain) -> list[LaneReplay]:
    """Copy and apply what came since, without holding any lane, until little is left."""
    found = {lane.lane: lane for lane in lanes}
    while True:
        states = raise_errors(execute_with_retry(rt.store, [ReadLaneState(name) for name in found]))
        behind = [
            lane
            for lane, (applied, _) in zip(found.values(), states, strict=True)
            if applied - lane.copied > TAIL or lane.events - lane.applied > TAIL
        ]
        if not behind:
            return list(found.values())
        copied = copy_pages(rt, replay, behind, 4 * TAIL * len(behind))
        drain(shadow_partitions(copied.lanes))
        found |= {lane.lane: lane for lane in note_applied(rt, copied.lanes)}


def _catch_up(
    rt: Runtime, replay: Replay, held: Sequence[LaneReplay], leases: dict[str, Lease], drain: Drain
) -> list[LaneReplay]:
    """Copy and apply what is left of lanes that are held, and verify those that had something left.

    A lane that could not be caught up with meanwhile comes back as not ready.
    """
    found = {lane.lane: lane for lane in held}
    states = raise_errors(execute_with_retry(rt.store, [ReadLaneState(name) for name in found]))
    behind = {
        lane.lane
        for lane, (applied, _) in zip(held, states, strict=True)
        if applied > lane.copied or lane.events > lane.applied or lane.state != "ready"
    }
    left, until = set(behind), time.monotonic() + TAKEN_MS / 1000
    while left and time.monotonic() < until:
        copied = copy_pages(rt, replay, [found[name] for name in left], 4 * TAIL * len(left))
        drain(shadow_partitions(copied.lanes))
        found |= {lane.lane: lane for lane in note_applied(rt, copied.lanes)}
        left = {name for name in left if name not in copied.ended or found[name].applied < found[name].events}
        execute_with_retry(rt.store, [Renew(lease) for lease in leases.values()])
    again = [found[name] for name in behind - left]
    while again:
        verified = verify_lanes(rt, replay, again)
        found |= {lane.lane: lane for lane in verified}
        # One that begins again in another node is copied without being held, in the next round.
        left |= {lane.lane for lane in verified if lane.copied == 0}
        again = [lane for lane in verified if lane.state == "copying" and lane.lane not in left]
        if again:
            time.sleep(0.2)
        execute_with_retry(rt.store, [Renew(lease) for lease in leases.values()])
    return list(found.values())


def _switch_held(rt: Runtime, lanes: Sequence[LaneReplay], leases: dict[str, Lease]) -> list[LaneReplay]:
    ready = [lane for lane in lanes if lane.state == "ready"]
    switches = [SwitchGeneration(leases[lane.lane], lane.target, lane.source_generation, lane.known) for lane in ready]
    out = [lane for lane in lanes if lane.state != "ready"]
    for lane, answer in zip(ready, execute_with_retry(rt.store, switches), strict=True):
        if answer == "done":
            out.append(replace(lane, state="switched"))
        elif answer == "other":
            out.append(lane.failed("its generation was switched by another process meanwhile"))
        elif answer == "open" or isinstance(answer, LeaseLost):
            out.append(lane)  # A call has to be reconciled first, or the lease is lost: the next round tries again.
        else:
            raise_errors([answer])
    return out
