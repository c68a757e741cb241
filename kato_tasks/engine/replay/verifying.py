"""Compare what KATO holds of a replayed lane with what the lane's history makes."""

from __future__ import annotations

from dataclasses import dataclass

from kato_tasks.domain.generations import shadow_session
from kato_tasks.domain.ids import lane_of
from kato_tasks.domain.replays import LaneReplay
from kato_tasks.domain.visible import visible
from kato_tasks.engine.drain import kato_api
from kato_tasks.engine.replay.expecting import Expected
from kato_tasks.errors import KatoRejected, KatoSessionGone
from kato_tasks.ports.effects import Program, perform
from kato_tasks.ports.lanes import ReadSession

MOST = 10
"""How many differences of one lane are named."""


@dataclass(frozen=True, slots=True)
class Verified:
    """What a comparison found: differences in words, and a pattern that KATO certainly holds ('' for none).

    ``lasting`` says that another try would find the same, because the history lacks something.
    """

    differences: tuple[str, ...]
    known_pattern: str = ""
    lasting: bool = False


def verify(lane: LaneReplay, replay_id: str, url: str, expected: Expected) -> Program[Verified]:
    """Compare a lane's patterns with their frequencies, and its sessions' STMs. Nothing else may use the lane's node.

    Raises KatoError if KATO does not answer.
    """
    differences: list[str] = []
    where = f"node {visible(lane.node)}"
    if lane.events != expected.events:
        differences.append(f"{where}: {lane.events} events were copied, and its history has {expected.events}")
    for session, position in list(expected.gaps.items())[:MOST]:
        missing = f"position {position} of session {visible(session)}"
        differences.append(f"{where}: {missing} is neither in the store nor in the archive")
    if expected.gaps:
        return Verified(tuple(differences), lasting=True)
    known = ""
    for pattern, count in expected.patterns.items():
        held = yield from kato_api.read_frequency(url, lane.target, pattern)
        if held == count:
            known = pattern
        elif len(differences) < MOST:
            differences.append(f"{where}: KATO counts pattern {pattern} {held} times, and its history {count} times")
    for session, stm in expected.stms.items():
        if stm is None or len(differences) >= MOST:
            continue
        held_stm = yield from _held_stm(lane, shadow_session(replay_id, session))
        if held_stm is not None and held_stm != stm:
            differences.append(
                f"{where}: KATO holds an STM of {len(held_stm)} events of session {visible(session)}, and its history "
                f"makes one of {len(stm)}" + (" with other content" if len(held_stm) == len(stm) else "")
            )
    return Verified(tuple(differences), known)


def _held_stm(lane: LaneReplay, shadow: str) -> Program[list[list[str]] | None]:
    """Return what KATO holds of a session; None where its KATO session expired, so that its next use rebuilds it."""
    binding, _ = yield from perform(ReadSession(lane_of(lane.target), shadow))
    if binding is None:
        return None
    try:
        seen = yield from kato_api.read_back(binding.url, binding.kato_session)
    except (KatoSessionGone, KatoRejected):
        return None
    stm: list[list[str]] = seen.stm
    return stm
