"""Start, look at, cancel, resume and clean up replays: the plain calls that commands, HTTP and applications share."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from kato_tasks.api.replays.planning import ReplayPlan, plan
from kato_tasks.bootstrap import Runtime
from kato_tasks.bootstrap.replaying import replay_starter
from kato_tasks.domain.generations import generation_name, shadow_session
from kato_tasks.domain.replays import (
    ENDED,
    LIMITED_PARTS,
    PARTS,
    LaneReplay,
    Replay,
    ReplayRequest,
    ReplayStatus,
    new_replay_id,
)
from kato_tasks.errors import BrokerUnavailable, ReplayBusy, UnknownReplay


def plan_replay(rt: Runtime, request: ReplayRequest) -> ReplayPlan:
    """Return what a replay would do, without doing it; see ``planning.plan``. Raises what ``start_replay`` raises."""
    found = plan(rt, request, new_replay_id())
    _refuse_busy(rt, found)
    return found


def start_replay(rt: Runtime, request: ReplayRequest) -> Replay:
    """Plan a replay, keep its record and send its chord. Returns the record.

    Raises what ``prepare_replay`` raises. If the broker is away the replay is kept as failed, and can be resumed.
    """
    return _send(rt, prepare_replay(rt, request, new_replay_id()))


def prepare_replay(rt: Runtime, request: ReplayRequest, replay_id: str) -> Replay:
    """Plan a replay and keep its record, whose chord is to be sent. Returns the record, which may be there already.

    Raises InvalidEvent if what was asked for does not exist, ReplayBusy if another replay has one of the lanes, and
    StoreUnavailable or ArchiveUnavailable.
    """
    if (known := rt.replays.read(replay_id)) is not None:
        return known
    found = plan(rt, request, replay_id)
    parts = found.parts(LIMITED_PARTS if rt.settings.replay_events_per_second else PARTS)
    sessions = {}
    if request.mode == "as_of" and request.session_id is not None:
        sessions = {request.session_id: shadow_session(replay_id, request.session_id)}
    record = Replay(
        replay_id,
        request,
        parts=len(parts),
        lanes=len(found.lanes),
        events_total=found.events,
        created_ms=rt.figures.now_ms(),
        sessions=sessions,
    )
    if busy := rt.replays.create(record, parts):
        raise _busy(busy)
    return record


def _send(rt: Runtime, record: Replay) -> Replay:
    try:
        task_id = replay_starter().start(record.id, record.parts)
    except Exception as exc:
        fail_replay(rt, record.id, f"its tasks could not be sent ({exc}); resume it when the broker is back")
        if isinstance(exc, BrokerUnavailable):
            raise BrokerUnavailable(
                f"{exc}; start it, or mend KATO_TASKS_BROKER_URL, and go on with `kato-tasks replay resume {record.id}`"
            ) from exc
        raise
    return rt.replays.change(record.id, task_id=task_id)


def _refuse_busy(rt: Runtime, found: ReplayPlan) -> None:
    if busy := rt.replays.holders([lane.lane for lane in found.lanes]):
        raise _busy(dict(busy))


def _busy(busy: dict[str, str]) -> ReplayBusy:
    lane, other = next(iter(busy.items()))
    more = f" (and of {len(busy) - 1} other lanes)" if len(busy) > 1 else ""
    return ReplayBusy(f"replay {other} of lane {lane!r}{more} has not ended; wait for it, or cancel it first")


def known_replay(rt: Runtime, replay_id: str) -> Replay:
    """Return a replay's record. Raises UnknownReplay if there is none of that id, and StoreUnavailable."""
    found = rt.replays.read(replay_id)
    if found is None:
        raise UnknownReplay(f"there is no replay {replay_id!r}; `kato-tasks replay list` shows them")
    return found


def replay_status(rt: Runtime, replay_id: str) -> ReplayStatus:
    """Return how far a replay is. Raises UnknownReplay if there is none of that id, and StoreUnavailable."""
    record = known_replay(rt, replay_id)
    done, lanes, total = 0, Counter[str](), 0
    for lane in rt.replays.all_lanes(replay_id):
        done += lane.applied
        total += max(lane.total, lane.events) if record.request.mode != "stm" else 1
        lanes[lane.state] += 1
    if record.state == "done":
        total = done
    since = (record.ended_ms or rt.figures.now_ms()) - record.created_ms
    rate = done * 1000 / since if done and since > 0 else None
    return ReplayStatus(
        id=record.id,
        mode=record.request.mode,
        state=record.state,
        events_done=done,
        events_total=max(total, done),
        differences=record.differences,
        more_differences=record.more_differences,
        reason=record.reason,
        waits="" if record.state in ENDED else record.waits,
        lanes=dict(lanes),
        sessions=record.sessions,
        task_id=record.task_id,
        created_ms=record.created_ms,
        ended_ms=record.ended_ms,
        rate=rate,
        remaining_seconds=(total - done) / rate if rate and record.state not in ENDED else None,
    )


def cancel_replay(rt: Runtime, replay_id: str) -> Replay:
    """Let a replay end before it is done. Lanes that are switched already stay switched. Returns the record.

    Raises UnknownReplay if there is none of that id, and StoreUnavailable.
    """
    record = known_replay(rt, replay_id)
    if record.state in ENDED:
        return record
    reason = "it was cancelled by a person"
    record = rt.replays.change(replay_id, state="cancelled", reason=reason, ended_ms=rt.figures.now_ms())
    rt.replays.release(replay_id, [lane.lane for lane in rt.replays.all_lanes(replay_id)])
    return record


def _again(record: Replay, lane: LaneReplay) -> LaneReplay:
    """Return a lane that failed as one that is tried again: a node that is rebuilt begins again in another one."""
    if record.request.mode == "rebuild":
        return lane.afresh(generation_name(lane.node, record.id, lane.attempt + 1))
    return replace(lane, state="waiting" if record.request.mode == "stm" else "copying", problem="")


def fail_replay(rt: Runtime, replay_id: str, reason: str) -> None:
    """End a replay that cannot go on, and let other replays have its lanes. What served before goes on serving.

    ``reason`` is a sentence for ``replay_status``. Raises UnknownReplay and StoreUnavailable.
    """
    rt.replays.change(replay_id, state="failed", reason=reason, ended_ms=rt.figures.now_ms())
    rt.replays.release(replay_id, [lane.lane for lane in rt.replays.all_lanes(replay_id)])


def note_wait(rt: Runtime, replay_id: str, waits: str) -> None:
    """Note for ``replay_status`` which server a replay's task waits for; '' if it no longer waits for one.

    Raises StoreUnavailable.
    """
    record = rt.replays.read(replay_id)
    if record is not None and record.waits != waits:
        rt.replays.change(replay_id, waits=waits)


def resume_replay(rt: Runtime, replay_id: str) -> Replay:
    """Let a replay that failed or was cancelled go on where it was. Returns the record.

    Lanes that failed are tried again. Raises UnknownReplay, ReplayBusy if it has not ended, was cleaned up, or another
    replay has one of its lanes, and StoreUnavailable.
    """
    record = known_replay(rt, replay_id)
    if record.state not in ENDED:
        raise ReplayBusy(f"replay {replay_id} is {record.state}; there is nothing to resume")
    if record.state == "done":
        raise ReplayBusy(f"replay {replay_id} is done; start another one")
    if any(lane.cleaned for lane in rt.replays.all_lanes(replay_id)):
        raise ReplayBusy(f"replay {replay_id} was cleaned up, so it cannot go on; start another one")
    waiting = [lane.lane for lane in rt.replays.all_lanes(replay_id) if lane.state != "switched"]
    if busy := rt.replays.take(replay_id, waiting):
        raise _busy(busy)
    for part in range(record.parts):
        lanes = rt.replays.lanes(replay_id, part)
        again = [_again(record, lane) for lane in lanes.values() if lane.state == "failed"]
        if again:
            rt.replays.note_lanes(replay_id, part, again)
    return _send(rt, rt.replays.reopen(replay_id, ""))
