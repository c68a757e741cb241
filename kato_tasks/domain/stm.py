"""What KATO's short-term memory (STM) must hold after a run of log entries, and how to bring that about again.

KATO's rules, measured on 3.10.1:

- Inside an event strings are sorted, and duplicates are kept.
- An observation without a string or a vector counts in ``time`` and adds nothing to the STM.
- The STM keeps the newest 1000 events; emotives and metadata are kept up to 1000 each.
- A pattern's name is the SHA-1 of Python's ``str()`` of the STM.
- An event's vectors become symbols, sorted, before its strings: one of their own, and those of the learned vectors that
  are nearest to it when KATO sees it.
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
"""How many events KATO's STM keeps, and how many emotives and metadata."""
Stm = list[list[str]]
"""Events, oldest first, each the list of its symbols."""
Symbols = Mapping[int, Sequence[str] | None]
"""position → what KATO holds for an observation with vectors; None: the event never reached KATO (dead letter)."""


def stm_event(body: Mapping[str, Any], symbols: Sequence[str] | None) -> list[str] | None:
    """Return the STM event of one observation, or None where it adds none.

    ``symbols`` are what KATO made of an observation with vectors (None: it has none).
    """
    if symbols is not None:
        return list(symbols)
    strings = body["strings"]
    return sorted(strings) if strings else None


def applied(entries: Iterable[Logged], symbols: Symbols) -> list[Logged]:
    """Return the observations among ``entries`` that reached KATO: all but dead letters."""
    return [e for e in entries if e.kind == "o" and not (e.position in symbols and symbols[e.position] is None)]


def expected_stm(entries: Iterable[Logged], symbols: Symbols) -> list[list[str] | None]:
    """Return the STM after these observations. None stands for an event whose names KATO chose and nothing has read."""
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
    """Return whether KATO's STM is what the log says. A None in ``expected`` matches any event."""
    return len(stm) == len(expected) and all(e is None or e == s for s, e in zip(stm, expected, strict=True))


def pattern_name(stm: Stm) -> str:
    """Return the name under which KATO stores this STM; '' for one symbol in all, of which KATO makes no pattern."""
    if sum(len(event) for event in stm) < 2:
        return ""
    return "PTRN|" + hashlib.sha1(str(stm).encode(), usedforsecurity=False).hexdigest()


def poisonous_to_predict(stm: Stm) -> bool:
    """Return whether to ask for predictions would put a quote or a backslash into KATO's SQL (500, and worse)."""
    symbols = [symbol for event in stm for symbol in event]
    return len(symbols) == 1 and any(c in symbols[0] for c in "'\"\\")


@dataclass(frozen=True, slots=True)
class Again:
    """One event of the STM as it is observed again. ``due`` is what KATO made of it (None: that was never read)."""

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
        """KATO's count of observes afterwards, in a new KATO session."""
        return len(self.bodies)

    @property
    def stm(self) -> list[list[str] | None]:
        """What KATO must hold then. None stands for an event whose names KATO chooses."""
        return [event.due for event in self.events]

    def judged(self, stm: Stm) -> Judged | None:
        """Compare what KATO holds with what was due. Returns None where it holds what cannot come of this rebuild."""
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
    """How a rebuild differs: positions of events with other symbols than were due, or the same in another order."""

    others: Sequence[int]
    reordered: Sequence[int]


def as_observed(symbols: Sequence[str], strings: Sequence[str]) -> list[str]:
    """Return an event's symbols in the order in which KATO makes them: those of its vectors, then its strings."""
    vectors = list((Counter(symbols) - Counter(strings)).elements())
    return sorted(vectors) + sorted(strings) if len(vectors) + len(strings) == len(symbols) else list(symbols)


def rebuild_of(entries: Sequence[Logged], symbols: Symbols, as_symbols: Container[int] = ()) -> Rebuild:
    """Return what to observe again, oldest first: the newest 1000 STM events, emotives and metadata.

    An older observation whose emotives or metadata KATO would still hold is sent without strings. Vectors are sent as
    they were observed. Those at the positions ``as_symbols`` are sent as the symbols that KATO made of them, which it
    sorts like strings.
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
