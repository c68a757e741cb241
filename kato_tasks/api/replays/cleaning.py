"""Erase what a replay leaves: shadow lanes in the store, their sessions at KATO, and nodes that nothing uses."""

from __future__ import annotations

import logging
import time
from dataclasses import replace

from kato_tasks.api.replays.asking import run_programs
from kato_tasks.api.replays.calls import known_replay
from kato_tasks.bootstrap import Runtime
from kato_tasks.domain.ids import lane_of, pick_instance
from kato_tasks.domain.replays import ENDED, Cleaned, LaneReplay, Replay
from kato_tasks.engine.drain import kato_api
from kato_tasks.engine.replay.copying import source_of
from kato_tasks.engine.store_retry import execute_with_retry, raise_errors
from kato_tasks.errors import KatoError, ReplayBusy
from kato_tasks.ports.effects import Program, perform
from kato_tasks.ports.generations import GenerationOf
from kato_tasks.ports.lanes import ReadSession
from kato_tasks.ports.replays import DropShadow, ShadowSessions
from kato_tasks.telemetry.log_events import log_event

log = logging.getLogger(__name__)
SESSIONS_AT_ONCE = 500
KEPT_SECONDS = 7 * 86_400
"""So long a replay that left nothing is still listed."""


def clean_replay(rt: Runtime, replay_id: str, seconds: float, *, nodes: bool) -> bool:
    """Erase what a replay left, for about ``seconds``. Returns whether nothing is left.

    The record of a replay that left nothing is kept for another ``KEPT_SECONDS``, and others until they are
    cleaned: it names the nodes. Shadow lanes go, and their KATO sessions. With ``nodes`` the patterns go, too, of
    nodes that no lane uses: those of a replay that did not switch, of mode ``as_of``, and the generations that
    served before. Raises ReplayBusy if the replay has not ended, UnknownReplay, StoreUnavailable and KatoError.
    """
    replay = known_replay(rt, replay_id)
    if replay.state not in ENDED:
        raise ReplayBusy(f"replay {replay_id} is {replay.state}; cancel it first")
    stop = time.monotonic() + seconds
    for part in range(replay.parts):
        for lane in rt.replays.lanes(replay_id, part).values():
            if is_clean(lane, nodes=nodes):
                continue
            clean_lane(rt, replay, lane, nodes=nodes)
            cleaned: Cleaned = "nodes" if nodes else "shadow"
            rt.replays.note_lanes(replay_id, part, [replace(lane, cleaned=cleaned)])
            if time.monotonic() >= stop:
                return False
    lanes = list(rt.replays.all_lanes(replay_id))
    # One that can still be resumed has lanes of which nothing was erased.
    over = replay.state == "done" or any(lane.cleaned for lane in lanes)
    if over and all(is_clean(lane, nodes=True) for lane in lanes):
        rt.replays.retire(replay_id, KEPT_SECONDS)
    return True


def is_clean(lane: LaneReplay, *, nodes: bool) -> bool:
    """Return whether everything that ``clean_replay`` erases of a lane is erased already."""
    return not lane.target or lane.cleaned == "nodes" or (lane.cleaned == "shadow" and not nodes)


def nodes_to_empty(rt: Runtime, replay_id: str) -> list[str]:
    """List the nodes whose patterns ``clean_replay`` with ``nodes`` would erase now. Raises StoreUnavailable."""
    lanes = [lane for lane in rt.replays.all_lanes(replay_id) if not is_clean(lane, nodes=True)]
    serving = raise_errors(execute_with_retry(rt.store, [GenerationOf(lane.lane) for lane in lanes]))
    return [node for lane, served in zip(lanes, serving, strict=True) for node in unused_nodes(lane, served)]


def clean_lane(rt: Runtime, replay: Replay, lane: LaneReplay, *, nodes: bool) -> None:
    """Erase what a replay that has ended left of one lane; see ``clean_replay``, which raises the same."""
    for target in lane.targets:
        _drop_shadow(rt, replay, lane_of(target))
    if not nodes:
        return
    (serving,) = raise_errors(execute_with_retry(rt.store, [GenerationOf(lane.lane)]))
    for node in unused_nodes(lane, serving):
        for ended in run_programs(rt, [(node, empty_node(rt, lane_of(lane.target), node))]):
            if ended.error is not None:
                raise ended.error
        log_event(log, logging.INFO, "replay.node_emptied", replay=replay.id, lane=lane.lane, node=node)


def _drop_shadow(rt: Runtime, replay: Replay, shadow: str) -> None:
    (names,) = raise_errors(execute_with_retry(rt.store, [ShadowSessions(shadow)]))
    source = f"{source_of(replay.id)}:{shadow}"
    for start in range(0, len(names), SESSIONS_AT_ONCE):
        some = names[start : start + SESSIONS_AT_ONCE]
        run_programs(rt, [(name, _delete_session(shadow, name)) for name in some])
        whole = start + SESSIONS_AT_ONCE >= len(names)
        raise_errors(execute_with_retry(rt.store, [DropShadow(shadow, some, source, whole)]))


def unused_nodes(lane: LaneReplay, serving: str) -> list[str]:
    """List the nodes of a lane that a replay filled or replaced and that do not serve ('' serves: the live node)."""
    return sorted({*lane.targets, lane.source_generation or lane.node} - {serving or lane.node})


def _delete_session(shadow: str, name: str) -> Program[None]:
    binding, _ = yield from perform(ReadSession(shadow, name))
    if binding is not None:
        try:
            yield from kato_api.delete_session(binding.url, binding.kato_session)
        except KatoError:
            return  # KATO forgets it when its time to live ends.


def empty_node(rt: Runtime, lane: str, node: str) -> Program[None]:
    """Empty a node of all its patterns, at the KATO instance of ``lane``. Raises KatoError."""
    options = rt.drainer.options.kato
    url = pick_instance(lane, options.urls)
    kato_session = yield from kato_api.create_session(url, node, 60, options.session_config())
    yield from kato_api.clear_all(url, kato_session)
    yield from kato_api.delete_session(url, kato_session)
