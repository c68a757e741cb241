"""Decide what a replay is about: which lanes, how many events, and into which nodes they go."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from kato_tasks.bootstrap import Runtime
from kato_tasks.domain.events import check_session_id
from kato_tasks.domain.generations import generation_name, is_shadow_session
from kato_tasks.domain.ids import belongs, lane_of
from kato_tasks.domain.replays import PARTS, LaneReplay, ReplayRequest
from kato_tasks.engine.replay.copying import timestamp_ms
from kato_tasks.engine.replay.history import LaneHistory
from kato_tasks.engine.store_retry import raise_errors
from kato_tasks.errors import InvalidEvent
from kato_tasks.ports.generations import GenerationOf
from kato_tasks.ports.replays import ReadLaneState

AT_ONCE = 1_000


@dataclass(frozen=True, slots=True)
class ReplayPlan:
    """What a replay would do: its lanes, how many sessions they have, and how many events are to be applied."""

    lanes: tuple[LaneReplay, ...]
    sessions: int
    events: int

    def parts(self, at_most: int = PARTS) -> list[list[LaneReplay]]:
        """Share the lanes out to at most ``at_most`` parts, each with about the same number of events."""
        count = max(1, min(at_most, len(self.lanes)))
        parts: list[list[LaneReplay]] = [[] for _ in range(count)]
        sizes = [0] * count
        for lane in sorted(self.lanes, key=lambda one: -one.total):
            least = sizes.index(min(sizes))
            parts[least].append(lane)
            sizes[least] += lane.total + 1
        return parts


def plan(rt: Runtime, request: ReplayRequest, replay_id: str) -> ReplayPlan:
    """Return what the replay would do. Nothing is changed.

    Raises InvalidEvent if what was asked for does not exist (a session, a node, a moment before the first event), and
    StoreUnavailable or ArchiveUnavailable.
    """
    request.check()
    if request.mode == "rebuild":
        nodes, sessions = _nodes_to_rebuild(rt, request)
        lanes = _lanes(rt, nodes, replay_id)
        return ReplayPlan(tuple(lanes), sessions, sum(lane.total for lane in lanes))
    session = check_session_id(request.session_id)
    if is_shadow_session(session):
        raise InvalidEvent("session_id", f"{session!r} is a copy that a replay made; name the session that it copies")
    node = rt.sessions.node_of(session)
    if node is None:
        raise InvalidEvent("session_id", f"{session!r} has no events, so there is nothing to replay")
    if request.mode == "stm":
        lane = LaneReplay(lane_of(node), node, "", total=1)
        return ReplayPlan((lane,), 1, 1)
    (lane,) = _lanes(rt, {lane_of(node): node}, replay_id)
    last = _last_order(rt, lane, request)
    return ReplayPlan((_ending_at(lane, last),), 1, last)


def _ending_at(lane: LaneReplay, last: int) -> LaneReplay:
    return LaneReplay(lane.lane, lane.node, lane.target, lane.source_generation, total=last, last_order=last)


def _nodes_to_rebuild(rt: Runtime, request: ReplayRequest) -> tuple[dict[str, str], int]:
    """Return the lanes that are meant, each with its node as KATO is told it, and how many sessions they have."""
    flagged = rt.figures.lost_lanes().open | rt.figures.doubtful_lanes() if request.flagged else None
    wanted = lane_of(request.node_id) if request.node_id else None
    nodes: dict[str, str] = {}
    sessions = 0
    for session, node in _all_sessions(rt):
        lane = lane_of(node)
        if wanted is not None and lane != wanted and not belongs(session, request.node_id, node):
            continue
        if flagged is not None and lane not in flagged:
            continue
        nodes[lane] = node
        sessions += 1
    if not nodes:
        if wanted is not None:
            raise InvalidEvent("node_id", f"no session belongs to node {request.node_id!r}")
        if flagged is not None:
            raise InvalidEvent("flagged", "no node is flagged for a rebuild, so there is nothing to do")
        raise InvalidEvent("mode", "there is no session yet, so there is nothing to rebuild")
    return nodes, sessions


def _all_sessions(rt: Runtime) -> Iterator[tuple[str, str]]:
    for page in rt.sessions.pages():
        yield from ((session, node) for session, node in page.items() if not is_shadow_session(session))


def _lanes(rt: Runtime, nodes: dict[str, str], replay_id: str) -> list[LaneReplay]:
    found: list[LaneReplay] = []
    names = list(nodes)
    for start in range(0, len(names), AT_ONCE):
        some = names[start : start + AT_ONCE]
        states = raise_errors(rt.store.execute([ReadLaneState(lane) for lane in some]))
        served = raise_errors(rt.store.execute([GenerationOf(lane) for lane in some]))
        for lane, (applied, _), generation in zip(some, states, served, strict=True):
            target = generation_name(nodes[lane], replay_id)
            found.append(LaneReplay(lane, nodes[lane], target, generation, total=applied))
    return found


def _last_order(rt: Runtime, lane: LaneReplay, request: ReplayRequest) -> int:
    """Return the place in the lane's order at which a replay of mode ``as_of`` ends.

    A time is a time of events (``timestamp``): the lane's events up to now that are not later are replayed.
    """
    history = LaneHistory(rt.store, rt.archive)
    last = history.page(lane.lane, 0, 1).applied
    first_ms: int | None = None
    positions = 0
    for event in history.events(lane.lane, last):
        if event.session != request.session_id:
            continue
        positions = event.position
        if request.position == event.position:
            return event.lane_order
        if request.until_ms is not None:
            at = timestamp_ms(event.entry)
            first_ms = at if first_ms is None else min(first_ms, at)
            if first_ms <= request.until_ms:
                return last
    if not positions:
        raise InvalidEvent(
            "session_id", f"no event of {request.session_id!r} is applied yet, so there is nothing to replay"
        )
    if request.position is not None:
        raise InvalidEvent(
            "position", f"is {request.position}, and the last applied event of this session is at {positions}"
        )
    if request.until_ms is not None:
        raise InvalidEvent("time", "is before the session's first event; there is nothing to replay up to it")
    return last
