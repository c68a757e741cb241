"""What KATO must hold after a session's log, one event after another, with nothing going wrong.

Written on its own, from KATO's measured rules, and not from the code that is judged with it.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from typing import Any

from kato_tasks.embedded.kato.vectors import added, vector_symbol

STM_CAP = 1_000


@dataclass(slots=True)
class Held:
    """A session's STM, and the patterns that its learns made: (position, name)."""

    stm: list[list[str]] = field(default_factory=list)
    since_mark: list[str] = field(default_factory=list)
    """event ids of the observations since the last learn or clear"""
    patterns: list[tuple[int, str]] = field(default_factory=list)
    empty_learns: list[int] = field(default_factory=list)


def comparable(stm: Sequence[Sequence[str]]) -> list[list[str]]:
    """Events as two KATOs must agree on them.

    Beside a vector's own symbol KATO puts those of learned vectors near it, and which were learned when it saw the
    event is the lanes' business; and where an event could not be rebuilt in its order its strings may stand before its
    vectors.
    """
    return [[*{"VCTR|" for s in e if _is_vector(s)}, *sorted(s for s in e if not _is_vector(s))] for e in stm]


def own_symbols_are_there(stm: Sequence[Sequence[str]], due: Sequence[Sequence[str]]) -> bool:
    """Whether each event of ``due`` has its vector's own symbol in ``stm``, too."""
    pairs = zip(stm, due, strict=True)
    return all(symbol in event for event, wanted in pairs for symbol in wanted if _is_vector(symbol))


def _is_vector(symbol: str) -> bool:
    return symbol.startswith("VCTR|")


def pattern_name(stm: Sequence[Sequence[str]]) -> str:
    """A pattern's name, made of what two KATOs must agree on; where no vector is in it, KATO's own."""
    return "PTRN|" + hashlib.sha1(str(comparable(stm)).encode(), usedforsecurity=False).hexdigest()


def held_after(events: Iterable[Mapping[str, Any]]) -> Held:
    """Play a session's events (standard events with ``position``)."""
    held = Held()
    for event in events:
        kind = event["event_type"]
        if kind == "observation":
            seen = event["observation"]
            vectors = seen.get("vectors")
            symbols = ([vector_symbol(reduce(added, vectors))] if vectors else []) + sorted(seen["strings"])
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
                held.patterns.append((event["position"], pattern_name(held.stm)))
            held.stm, held.since_mark = [], []
        else:
            held.stm, held.since_mark = [], []
    return held
