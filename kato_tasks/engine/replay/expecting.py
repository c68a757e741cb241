"""Compute from a lane's history what KATO must hold after it: the patterns' frequencies and each STM. Pure."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from kato_tasks.domain.log_entry import Logged
from kato_tasks.domain.stm import STM_CAP, Stm, pattern_name, stm_event
from kato_tasks.engine.replay.copying import timestamp_ms
from kato_tasks.ports.archive import ArchivedEvent


@dataclass(slots=True)
class Expected:
    """What a lane's history makes.

    ``patterns`` counts the learns of each pattern by its name. ``unnamed`` counts those whose name only KATO knows,
    because vectors were among what was learned. ``stms`` has the STM of each session that has one, and None where it
    holds vectors, whose symbols KATO chooses. ``events`` counts what KATO is sent. ``gaps`` names sessions of which
    some positions are in no history, with the first of these.
    """

    patterns: Counter[str] = field(default_factory=Counter)
    unnamed: int = 0
    stms: dict[str, Stm | None] = field(default_factory=dict)
    events: int = 0
    gaps: dict[str, int] = field(default_factory=dict)
    _positions: dict[str, int] = field(default_factory=dict)

    def add(self, history: Iterable[ArchivedEvent], until_ms: int | None = None) -> None:
        """Add the lane's next events, in its order, but for what is later than ``until_ms``. Raises UnreadableRow."""
        for event in history:
            due = self._positions.get(event.session, 0) + 1
            if event.position != due:
                self.gaps.setdefault(event.session, due)
            self._positions[event.session] = event.position
            if event.dead or (until_ms is not None and timestamp_ms(event.entry) > until_ms):
                continue
            self.events += 1
            _apply(self, event.session, Logged.parse(event.position, event.entry))


def expect(history: Iterable[ArchivedEvent], until_ms: int | None = None) -> Expected:
    """Return what KATO must hold after these events, which are in the lane's order. Raises UnreadableRow."""
    found = Expected()
    found.add(history, until_ms)
    return found


def _apply(found: Expected, session: str, entry: Logged) -> None:
    if entry.kind == "o":
        if not entry.counts:
            return
        stm = found.stms.setdefault(session, [])
        if entry.has_vectors or stm is None:
            found.stms[session] = None
            return
        made = stm_event(json.loads(entry.body), None)
        if made is not None:
            stm.append(made)
            if len(stm) > STM_CAP:
                del stm[0]
        return
    stm = found.stms.pop(session, [])
    if entry.kind == "l":
        if stm is None:
            found.unnamed += 1
        elif name := pattern_name(stm):
            found.patterns[name] += 1
