"""Work on one part of a replay: copy its lanes' histories, have them applied, and verify what KATO holds then."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from kato_tasks.api.replays.asking import run_programs
from kato_tasks.api.replays.shadows import AHEAD, copy_pages, note_applied, problem_of, shadow_partitions
from kato_tasks.bootstrap import Runtime
from kato_tasks.domain.generations import generation_name
from kato_tasks.domain.ids import lane_of, partition_of, pick_instance
from kato_tasks.domain.replays import DIFFERENCES, ENDED, LaneReplay, Replay
from kato_tasks.engine.replay.expecting import Expected
from kato_tasks.engine.replay.history import LaneHistory
from kato_tasks.engine.replay.verifying import Verified, verify
from kato_tasks.engine.store_retry import execute_with_retry, raise_errors
from kato_tasks.errors import KatoError, StoreUnavailable
from kato_tasks.ports.replays import UnbindSession
from kato_tasks.telemetry.log_events import log_event

log = logging.getLogger(__name__)
LANES_AT_ONCE = 64
EVENTS_AT_ONCE = 8_000
"""About how many events of all lanes are copied before they are applied."""
LEAST_AT_ONCE = 100
"""About how many events are copied at a time where REPLAY_EVENTS_PER_SECOND is less."""
VISIBLE_MS = 300
"""So long after its last event was applied a lane is compared: KATO shows a learn a while later (KATO_API.md)."""
LEASE_SECONDS = 10.0
PAUSE_SECONDS = 0.05
"""The first wait where nothing moves; each further one is twice as long."""
LONG_PAUSE_SECONDS = 0.2
"""A wait that is longer than this gives the worker's slot back."""
DIFFERING_SECONDS = 3.0
"""How long a lane that differs is compared again, because KATO shows a learn up to a second late."""
ATTEMPTS = 3
"""The number of nodes, one after the other, in which a lane is rebuilt before the differences are reported."""
Drain = Callable[[Sequence[int]], None]
"""Drains what is due in these partitions for one slice."""


@dataclass(frozen=True, slots=True)
class SliceDone:
    """What a slice of a part did: whether the part is done, or else after how many seconds to go on."""

    done: bool
    wait_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class _Round:
    """What one round did: the lanes that it was about, and after how many seconds the next one is due.

    ``moved`` is False where nothing could be done, since KATO or a drain takes its time.
    """

    changed: Sequence[LaneReplay]
    wait_seconds: float = 0.0
    moved: bool = True


def work_on_part(rt: Runtime, replay_id: str, part: int, seconds: float, drain: Drain) -> SliceDone:
    """Work on a part for about ``seconds``. Doing this in two processes at once is harmless: one of them waits.

    Raises StoreUnavailable, ArchiveUnavailable and KatoError; the part goes on where it was when it is called again.
    """
    token, stop = uuid.uuid4().hex, time.monotonic() + seconds
    if not rt.replays.lease_part(replay_id, part, token, LEASE_SECONDS):
        return SliceDone(done=False, wait_seconds=2.0)
    try:
        return _work(
            rt, replay_id, part, stop, lambda: rt.replays.lease_part(replay_id, part, token, LEASE_SECONDS), drain
        )
    finally:
        rt.replays.free_part(replay_id, part, token)


def _work(rt: Runtime, replay_id: str, part: int, stop: float, renew: Callable[[], bool], drain: Drain) -> SliceDone:
    lanes = rt.replays.lanes(replay_id, part)
    pause = PAUSE_SECONDS
    while True:
        replay = rt.replays.read(replay_id)
        if replay is None or replay.state in ENDED:
            return SliceDone(done=True)
        todo = [lane for lane in lanes.values() if lane.state in ("waiting", "copying")]
        if not todo:
            return SliceDone(done=True)
        if replay.request.mode == "stm":
            done = _rebuild_stms(rt, replay, todo, drain)
        else:
            done = _advance(rt, replay, todo, drain)
        rt.replays.note_lanes(replay_id, part, done.changed)
        lanes |= {lane.lane: lane for lane in done.changed}
        # Where nothing moves, KATO takes its time. The worker's slot is not held for that.
        pause, wait = (PAUSE_SECONDS, done.wait_seconds) if done.moved else (pause * 2, pause)
        if 0 < wait <= LONG_PAUSE_SECONDS and time.monotonic() + wait < stop:
            time.sleep(min(wait, LONG_PAUSE_SECONDS))
        elif wait or time.monotonic() >= stop:
            return SliceDone(done=False, wait_seconds=wait if wait > LONG_PAUSE_SECONDS else 0.0)
        if not renew():
            return SliceDone(done=False, wait_seconds=2.0)


def _advance(rt: Runtime, replay: Replay, todo: Sequence[LaneReplay], drain: Drain) -> _Round:
    """Do one round of these lanes: copy, have applied, and compare those whose events are all applied."""
    copied = _copy(rt, replay, [lane for lane in todo if not lane.complete_ms], drain)
    now_ms = _now_ms()
    complete = [lane for lane in todo if lane.complete_ms] + [lane for lane in copied.changed if lane.complete_ms]
    due = [lane for lane in complete if not 0 <= now_ms - lane.complete_ms < VISIBLE_MS]
    if due:
        verified = {lane.lane: lane for lane in verify_lanes(rt, replay, due)}
        return _Round([lane for lane in copied.changed if lane.lane not in verified] + list(verified.values()))
    if complete and len(complete) == len(todo):
        # Nothing is left to copy, so what was applied last becomes visible at KATO meanwhile.
        wait = max(PAUSE_SECONDS, (min(lane.complete_ms for lane in complete) + VISIBLE_MS - now_ms) / 1000)
        return _Round(copied.changed, wait)
    return copied


def _copy(rt: Runtime, replay: Replay, lanes: Sequence[LaneReplay], drain: Drain) -> _Round:
    """Copy some of these lanes' events and have them applied."""
    limit = rt.settings.replay_events_per_second
    some, most = _some(lanes, min(EVENTS_AT_ONCE, max(limit, LEAST_AT_ONCE)) if limit else EVENTS_AT_ONCE)
    if not some:
        return _Round([])
    if limit and (wait := rt.replays.take_share(most, limit)):
        return _Round([], max(wait, LONG_PAUSE_SECONDS))
    copied = copy_pages(rt, replay, some, most)
    if copied.events or any(lane.applied < lane.events for lane in copied.lanes):
        drain(shadow_partitions(copied.lanes))
    changed, now_ms = note_applied(rt, copied.lanes), _now_ms()
    moved = copied.events or sum(lane.applied for lane in changed) > sum(lane.applied for lane in some)
    changed = [
        replace(lane, complete_ms=now_ms) if lane.lane in copied.ended and lane.applied >= lane.events else lane
        for lane in changed
    ]
    if not moved and not any(lane.complete_ms for lane in changed):
        return _Round([_stuck(rt, lane) for lane in changed], moved=False)
    return _Round(changed)


def _some(lanes: Sequence[LaneReplay], most: int) -> tuple[list[LaneReplay], int]:
    """Return the first lanes that have ``most`` events to copy, or all, and how many of them to copy."""
    some: list[LaneReplay] = []
    events = 0
    for lane in lanes[:LANES_AT_ONCE]:
        some.append(lane)
        room = AHEAD - (lane.events - lane.applied)
        events += max(0, min(room, max(1, max(lane.total, lane.last_order) - lane.copied)))
        if events >= most:
            break
    return some, max(1, min(events, most))


def _now_ms() -> int:
    return int(time.time() * 1000)


def _stuck(rt: Runtime, lane: LaneReplay) -> LaneReplay:
    if lane.applied >= lane.events:
        return lane
    problem = problem_of(rt, lane)
    return lane.failed(f"it cannot go on: {problem}") if problem else lane


def verify_lanes(rt: Runtime, replay: Replay, lanes: Sequence[LaneReplay]) -> list[LaneReplay]:
    """Return the lanes that hold what their history makes as ``ready``, and others as ``failed`` after a while.

    One that is to be compared again comes back as ``copying``. Raises KatoError if KATO does not answer.
    """
    by_name = {lane.lane: lane for lane in lanes}
    expected = {name: Expected() for name in by_name}
    history = LaneHistory(rt.store, rt.archive)
    for name, events in history.events_of({lane.lane: lane.copied for lane in lanes}, EVENTS_AT_ONCE):
        expected[name].add(events, replay.request.until_ms)
    programs = []
    for lane in lanes:
        url = pick_instance(lane_of(lane.target), rt.drainer.options.kato.urls)
        programs.append((lane.lane, verify(lane, replay.id, url, expected[lane.lane])))
    out = []
    for ended in run_programs(rt, programs):
        lane = by_name[ended.key]
        if ended.error is not None:
            if isinstance(ended.error, KatoError | StoreUnavailable):
                raise ended.error
            out.append(lane.failed(f"it could not be verified: {ended.error}"))
            continue
        assert ended.value is not None
        out.append(_judge(replay, lane, ended.value))
    return out


def _judge(replay: Replay, lane: LaneReplay, found: Verified) -> LaneReplay:
    if not found.differences:
        return replace(lane, state="ready", known=found.known_pattern, differs_ms=0)
    now_ms = _now_ms()
    if found.lasting:
        return lane.failed("; ".join(found.differences)[: DIFFERENCES * 100])
    if not lane.differs_ms or 0 <= now_ms - lane.differs_ms < DIFFERING_SECONDS * 1000:
        return replace(lane, state="copying", differs_ms=lane.differs_ms or now_ms, complete_ms=now_ms)
    log_event(log, logging.ERROR, "replay.differs", replay=replay.id, lane=lane.lane, reason=found.differences[0])
    if replay.request.mode == "rebuild" and lane.attempt < ATTEMPTS:
        # KATO can lose what it was just taught, when it or one of its stores dies. Another node tells.
        return lane.afresh(generation_name(lane.node, replay.id, lane.attempt + 1))
    return lane.failed("; ".join(found.differences)[: DIFFERENCES * 100])


def _rebuild_stms(rt: Runtime, replay: Replay, todo: Sequence[LaneReplay], drain: Drain) -> _Round:
    """Have the STM of the request's session rebuilt in a fresh KATO session."""
    session = replay.request.session_id or ""
    (lane,) = todo
    if lane.state == "waiting":
        (unbound,) = raise_errors(execute_with_retry(rt.store, [UnbindSession(lane.lane, session)]))
        if not unbound:
            return _Round([lane], moved=False)
        lane = replace(lane, state="copying")
    rt.wake([partition_of(lane.lane)])
    drain([partition_of(lane.lane)])
    (row,) = rt.sessions.read({session: lane.node})
    if row.parked is not None:
        return _Round([lane.failed(f"session {session!r} is parked: {row.parked.get('reason')}")])
    if row.binding is not None and row.binding.expires_ms == 0:
        return _Round([lane], moved=False)
    return _Round([replace(lane, state="ready", applied=1, events=1)])
