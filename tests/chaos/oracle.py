"""What KATO must hold after a session's log, one event after another, with nothing going wrong.

Written on its own, from KATO's measured rules, and not from the code that is judged with it.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

STM_CAP = 1_000


@dataclass(slots=True)
class Held:
    """A session's STM, and the patterns that its learns made: (position, name)."""

    stm: list[list[str]] = field(default_factory=list)
    since_mark: list[str] = field(default_factory=list)
    """event ids of the observations since the last learn or clear"""
    patterns: list[tuple[int, str]] = field(default_factory=list)
    empty_learns: list[int] = field(default_factory=list)


def vector_symbol(vector: list[float]) -> str:
    """The name that the embedded KATO gives a vector."""
    return "VCTR|" + hashlib.sha1(str(vector).encode(), usedforsecurity=False).hexdigest()


def held_after(events: Iterable[Mapping[str, Any]]) -> Held:
    """Play a session's events (standard events with ``position``)."""
    held = Held()
    for event in events:
        kind = event["event_type"]
        if kind == "observation":
            seen = event["observation"]
            symbols = sorted(map(vector_symbol, seen.get("vectors", ()))) + sorted(seen["strings"])
            if symbols:
                held.stm.append(symbols)
                del held.stm[:-STM_CAP]
            held.since_mark.append(event["event_id"])
        elif kind == "learn":
            if not held.stm:
                # KATO refuses it, and what was observed without strings stays.
                held.empty_learns.append(event["position"])
                continue
            if sum(map(len, held.stm)) > 1:
                name = hashlib.sha1(str(held.stm).encode(), usedforsecurity=False).hexdigest()
                held.patterns.append((event["position"], f"PTRN|{name}"))
            held.stm, held.since_mark = [], []
        else:
            held.stm, held.since_mark = [], []
    return held
