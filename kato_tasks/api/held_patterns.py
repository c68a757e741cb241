"""Say which patterns of KATO a session taught, before its history is erased."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from kato_tasks.api.replays.asking import run_programs
from kato_tasks.bootstrap import Runtime
from kato_tasks.domain.forgotten import HeldPattern
from kato_tasks.domain.ids import pick_instance
from kato_tasks.engine.drain import kato_api
from kato_tasks.engine.replay.history import LaneHistory
from kato_tasks.engine.replay.holding import Taught, find_taught, find_taught_by_others
from kato_tasks.engine.store_retry import execute_with_retry, raise_errors
from kato_tasks.ports.archive import ArchivedEvent
from kato_tasks.ports.replays import ReadLaneState

MOST_EVENTS = 1_000_000
"""How many events of a node's history are looked through at most, the newest ones."""
MOST_PATTERNS = 1_000
"""The number of patterns whose frequency KATO is asked for at most."""
VISIBLE_SECONDS = 1.0
"""The longest time by which KATO shows a new pattern late: 200 ms as a rule, and more if its server is busy."""
PAUSE_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class SessionTaught:
    """What a session taught by its ``events``, as far as they are left.

    ``others`` are the patterns that other sessions of the node taught; None: the history was too long to know.
    """

    taught: Taught
    events: int
    others: frozenset[str] | None

    def is_whole(self, cursor: int) -> bool:
        """Return whether these were all events of a session of which ``cursor`` were applied (0: its log is gone)."""
        return cursor > 0 and self.events == cursor and self.taught.missing is None


def find_session_taught(rt: Runtime, session: str, lane: str) -> SessionTaught:
    """Return what a session taught by the events that the store and the archive still hold.

    Raises StoreUnavailable, ArchiveUnavailable and UnreadableRow.
    """
    (state,) = raise_errors(execute_with_retry(rt.store, [ReadLaneState(lane)]))
    applied: int = state[0]
    begin = max(0, applied - MOST_EVENTS)
    mine: list[ArchivedEvent] = []
    events = LaneHistory(rt.store, rt.archive).events(lane, applied, begin)
    others = find_taught_by_others(_apart(events, session, mine), session)
    return SessionTaught(find_taught(mine), len(mine), frozenset(others) if begin == 0 else None)


def _apart(events: Iterator[ArchivedEvent], session: str, mine: list[ArchivedEvent]) -> Iterator[ArchivedEvent]:
    """Yield the events of the others, and put the session's own into ``mine``."""
    for event in events:
        if event.session == session:
            mine.append(event)
        else:
            yield event


def read_frequencies(rt: Runtime, lane: str, node: str, held: SessionTaught) -> tuple[HeldPattern, ...]:
    """Return the patterns that a session taught, the most learned first, with KATO's frequency where KATO answers.

    ``frequency`` is None where KATO does not answer. A pattern that KATO does not know is looked up again for up to
    1 second, because KATO shows new patterns late.
    """
    url = pick_instance(lane, rt.drainer.options.kato.urls)
    names = [name for name, _ in held.taught.patterns.most_common(MOST_PATTERNS)]
    counted = _frequencies(rt, url, node, names)
    until = time.monotonic() + VISIBLE_SECONDS
    # A pattern that was learned a moment ago is unknown to KATO for a while, as a lost one is for good.
    while (unknown := [name for name, frequency in counted.items() if frequency == 0]) and time.monotonic() < until:
        time.sleep(PAUSE_SECONDS)
        counted |= _frequencies(rt, url, node, unknown)
    return tuple(
        HeldPattern(
            name=name,
            learns=held.taught.patterns[name],
            frequency=counted.get(name),
            only_here=name not in held.others if held.others is not None else None,
        )
        for name in names
    )


def _frequencies(rt: Runtime, url: str, node: str, names: Sequence[str]) -> dict[str, int | None]:
    """Return KATO's frequencies by pattern; 0: KATO does not know the pattern; left out: KATO did not answer."""
    ended = run_programs(rt, [(name, kato_api.read_frequency(url, node, name)) for name in names])
    return {one.key: one.value for one in ended if one.error is None}
