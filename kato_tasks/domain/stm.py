"""What KATO's short-term memory must hold after a run of log entries, and how to bring it about again.

Measured rules (KATO 3.10.1): strings are sorted inside an event and duplicates kept; an observation
without string or vector counts in ``time`` and not in the STM; the STM keeps the newest 1000 events;
emotives and metadata have caps of 1000 of their own; a pattern's name is the SHA-1 of Python's ``str()``
of the STM. An event's vectors become symbols, sorted, before its strings: one of their own, and those of the
learned vectors that are nearest to it when KATO sees it.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from kato_tasks.domain.json_text import dumps
from kato_tasks.domain.log_entry import Logged

STM_CAP = 1_000
Stm = list[list[str]]


Symbols = Mapping[int, Sequence[str] | None]
"""position → what KATO holds for an observation with vectors; None: the event never reached KATO (dead letter)."""


def stm_event(body: Mapping[str, Any], symbols: Sequence[str] | None) -> list[str] | None:
    """The STM event of one observation; ``symbols`` are what KATO made of one with vectors. None: no event."""
    if symbols is not None:
        return list(symbols)
    strings = body["strings"]
    return sorted(strings) if strings else None


def applied(entries: Iterable[Logged], symbols: Symbols) -> list[Logged]:
    """The observations among ``entries`` that reached KATO."""
    return [e for e in entries if e.kind == "o" and not (e.position in symbols and symbols[e.position] is None)]


def expected_stm(entries: Iterable[Logged], symbols: Symbols) -> list[list[str] | None]:
    """The STM after these observations, oldest first; None stands for an event whose names KATO chose unseen."""
    events: list[list[str] | None] = []
    for entry in applied(entries, symbols):
        known = symbols.get(entry.position)
        if known is None and entry.has_vectors:
            events.append(None)
            continue
        event = stm_event(json.loads(entry.body), known)
        if event is not None:
            events.append(event)
    return events[-STM_CAP:]


def matches(stm: Stm, expected: Sequence[list[str] | None]) -> bool:
    """Whether KATO's STM is what the log says."""
    return len(stm) == len(expected) and all(e is None or e == s for s, e in zip(stm, expected, strict=True))


def pattern_name(stm: Stm) -> str:
    """The name under which KATO stores this STM; empty for one symbol in all, of which it stores nothing."""
    if sum(len(event) for event in stm) < 2:
        return ""
    return "PTRN|" + hashlib.sha1(str(stm).encode(), usedforsecurity=False).hexdigest()


def poisonous_to_predict(stm: Stm) -> bool:
    """Whether asking for predictions would put a quote or backslash into KATO's SQL (500, and worse)."""
    symbols = [symbol for event in stm for symbol in event]
    return len(symbols) == 1 and any(c in symbols[0] for c in "'\"\\")


@dataclass(frozen=True, slots=True)
class Again:
    """One event of the STM as it is observed again; ``due``: what KATO made of it (None: nobody ever read that)."""

    position: int
    due: list[str] | None
    form: Literal["strings", "vectors", "symbols"]


@dataclass(frozen=True, slots=True)
class Rebuild:
    """The observations that bring a fresh KATO session to where the old one was."""

    bodies: list[str]
    events: Sequence[Again]

    @property
    def time(self) -> int:
        return len(self.bodies)

    @property
    def stm(self) -> list[list[str] | None]:
        """What KATO must hold then; None stands for an event whose names KATO chooses unseen."""
        return [event.due for event in self.events]

    def judged(self, stm: Stm) -> Judged | None:
        """What became of it; None: KATO holds something that does not come of this."""
        if len(stm) != len(self.events):
            return None
        others, reordered = [], []
        for event, held in zip(self.events, stm, strict=True):
            if event.due is None or held == event.due:
                continue
            if event.form == "vectors":
                others.append(event.position)
            elif event.form == "symbols" and held == sorted(event.due):
                reordered.append(event.position)
            else:
                return None
        return Judged(others, reordered)


@dataclass(frozen=True, slots=True)
class Judged:
    """Positions of events whose vectors brought other symbols than were due, and of those in another order than due."""

    others: Sequence[int]
    reordered: Sequence[int]


def as_observed(symbols: Sequence[str], strings: Sequence[str]) -> list[str]:
    """An event's symbols in the order in which KATO makes them: those of its vectors, then its strings."""
    vectors = list((Counter(symbols) - Counter(strings)).elements())
    return sorted(vectors) + sorted(strings) if len(vectors) + len(strings) == len(symbols) else list(symbols)


def rebuild_of(entries: Sequence[Logged], symbols: Symbols, as_symbols: Container[int] = ()) -> Rebuild:
    """What to observe again, oldest first: the newest 1000 STM events, emotives and metadata, each by its cap.

    An older observation whose emotives KATO would still hold is sent without strings. Vectors are sent as they were
    observed; those at the positions ``as_symbols`` as the symbols that KATO made of them, which it sorts like strings.
    """
    bodies: list[str] = []
    events: list[Again] = []
    room_stm = room_emotives = room_metadata = STM_CAP
    for entry in reversed(applied(entries, symbols)):
        body = json.loads(entry.body)
        known = symbols.get(entry.position)
        kept: dict[str, Any] = {"strings": [], "vectors": [], "emotives": {}, "metadata": {}}
        if room_stm and (body["strings"] or entry.has_vectors):
            room_stm -= 1
            if not entry.has_vectors:
                again = Again(entry.position, stm_event(body, known), "strings")
            elif known is None:
                again = Again(entry.position, None, "vectors")
            else:
                form: Literal["symbols", "vectors"] = "symbols" if entry.position in as_symbols else "vectors"
                again = Again(entry.position, as_observed(known, body["strings"]), form)
            events.append(again)
            if again.form == "vectors":
                kept["strings"], kept["vectors"] = body["strings"], body["vectors"]
            else:
                kept["strings"] = again.due
        if body["emotives"] and room_emotives:
            kept["emotives"] = body["emotives"]
            room_emotives -= 1
        if body["metadata"] and room_metadata:
            kept["metadata"] = body["metadata"]
            room_metadata -= 1
        if kept["strings"] or kept["vectors"] or kept["emotives"] or kept["metadata"]:
            kept["unique_id"] = entry.event_id
            bodies.append(dumps(kept))
        if not room_stm and not room_emotives and not room_metadata:
            break
    bodies.reverse()
    events.reverse()
    return Rebuild(bodies, events)
