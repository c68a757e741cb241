"""Copy pages of lanes' histories into their shadow lanes, and see how far these are applied."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from kato_tasks.bootstrap import Runtime
from kato_tasks.domain.generations import is_shadow_session
from kato_tasks.domain.ids import default_node, lane_of, partition_of
from kato_tasks.domain.replays import LaneReplay, Replay
from kato_tasks.engine.replay.copying import copies_of, source_of
from kato_tasks.engine.replay.history import LaneHistory, PageRequest
from kato_tasks.engine.store_retry import execute_with_retry, raise_errors
from kato_tasks.ports.effects import Effect
from kato_tasks.ports.log import Append, BindNodes
from kato_tasks.ports.replays import OpenShadow, ReadLaneState, ShadowSessions

AHEAD = 2_000
"""About how many events of a lane may be copied and not applied yet."""


@dataclass(frozen=True, slots=True)
class Copied:
    """What a round of copying did: the lanes as they are now, how many events it copied, and which lanes it ended.

    A lane is at its ``end`` when everything is copied that was applied in the live lane when this was read.
    """

    lanes: tuple[LaneReplay, ...]
    events: int
    ended: frozenset[str]


def shadow_partitions(lanes: Sequence[LaneReplay]) -> list[int]:
    """List the partitions in which the shadow lanes of these lanes are."""
    return sorted({partition_of(lane_of(lane.target)) for lane in lanes})


def copy_pages(rt: Runtime, replay: Replay, lanes: Sequence[LaneReplay], most: int) -> Copied:
    """Copy one page of each lane's history, about ``most`` events in all. A page that comes again is not copied twice.

    Raises StoreUnavailable, ArchiveUnavailable, and UnreadableRow for an event that is broken.
    """
    history = LaneHistory(rt.store, rt.archive)
    operations: list[Effect[Any]] = []
    found: list[LaneReplay] = []
    copied, ended = 0, set[str]()
    limit = max(50, most // max(1, len(lanes)))
    found += [lane for lane in lanes if lane.events - lane.applied >= AHEAD]
    due = [lane for lane in lanes if lane.events - lane.applied < AHEAD]
    pages = history.pages([PageRequest(lane.lane, lane.copied, limit, lane.last_order) for lane in due])
    for lane, page in zip(due, pages, strict=True):
        copies = copies_of(page.events, replay.id, replay.request.until_ms)
        if copies:
            shadow, source = lane_of(lane.target), source_of(replay.id)
            names = sorted({entry.session_id for entry, _ in copies})
            operations.append(OpenShadow(shadow, replay.id, names))
            if replay.request.mode == "as_of":
                operations += [BindNodes(partition_of(one), [(one, lane.target, default_node(one))]) for one in names]
            rows = [(shadow, lane.target, entry, order) for entry, order in copies]
            operations.append(Append(partition_of(shadow), rows, f"{source}:{shadow}"))
        copied += len(copies)
        if page.reached >= (lane.last_order or page.applied):
            ended.add(lane.lane)
        found.append(replace(lane, state="copying", copied=page.reached, events=lane.events + len(copies)))
    raise_errors(execute_with_retry(rt.store, operations))
    return Copied(tuple(found), copied, frozenset(ended))


def note_applied(rt: Runtime, lanes: Sequence[LaneReplay]) -> list[LaneReplay]:
    """Return these lanes with how many of their copies are applied now. Raises StoreUnavailable."""
    states = raise_errors(execute_with_retry(rt.store, [ReadLaneState(lane_of(lane.target)) for lane in lanes]))
    return [replace(lane, applied=applied) for lane, (applied, _) in zip(lanes, states, strict=True)]


def problem_of(rt: Runtime, lane: LaneReplay) -> str:
    """Return why a shadow lane does not go on, if a person must look at it; '' if it only takes its time."""
    shadow = lane_of(lane.target)
    (names,) = raise_errors(execute_with_retry(rt.store, [ShadowSessions(shadow)]))
    some = {name: lane.target for name in names if is_shadow_session(name)}
    for row in rt.sessions.read(some):
        if row.parked is not None:
            return f"{row.session}: {row.parked.get('reason')} {row.parked.get('last_answer', '')}".strip()
    return ""
