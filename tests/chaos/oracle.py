"""What KATO must hold after a session's log, one event after another, with nothing going wrong.

Written on its own, from KATO's measured rules, and not from the code that is judged with it. How KATO names vectors it
is asked itself, on a node of its own where nothing was learned. Where vectors were learned KATO adds the symbols of up
to three of them to a later event's own, and which of them its server processes know is chance: an event with vectors
fits when it has its own symbol, and beside it only symbols of vectors that its node was sent.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
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
    contents: dict[str, list[list[str]]] = field(default_factory=dict)
    """of each of these patterns"""
    symbols: set[str] = field(default_factory=set)
    """of all vectors that it was sent"""
    empty_learns: list[int] = field(default_factory=list)


Vectors = list[list[float]]
Ask = Callable[[str, str, Any], Any]
"""the JSON of one call to KATO: method, path, body"""


def vector_symbols(ask: Ask, node: str, seen: Iterable[Vectors]) -> dict[str, list[str]]:
    """What KATO makes of each event's vectors on a node that nothing else uses: their JSON → symbols."""
    todo = list({json.dumps(vectors): vectors for vectors in seen if vectors}.items())
    found: dict[str, list[str]] = {}
    for start in range(0, len(todo), 200):
        part = todo[start : start + 200]
        session = ask("POST", "/sessions", {"node_id": node, "config": {"process_predictions": False}})["session_id"]
        events = [{"strings": [], "vectors": vectors, "emotives": {}, "metadata": {}} for _, vectors in part]
        ask("POST", f"/sessions/{session}/observe-sequence", {"observations": events})
        stm = ask("GET", f"/sessions/{session}/stm", None)["stm"]
        found.update({text: symbols for (text, _), symbols in zip(part, stm, strict=True)})
    return found


def fits(seen: list[list[str]], due: list[list[str]], others: set[str]) -> bool:
    """Whether KATO's events are these; ``others``: what it may add to an event with a vector of its own."""
    return len(seen) == len(due) and all(_event_fits(a, b, others) for a, b in zip(seen, due, strict=True))


def _event_fits(seen: list[str], due: list[str], others: set[str]) -> bool:
    if seen == due:
        return True
    own, added = ([symbol for symbol in event if is_vector(symbol)] for event in (due, seen))
    rest = [[symbol for symbol in event if not is_vector(symbol)] for event in (due, seen)]
    known = set(own) <= set(added) <= set(own) | others
    # A rebuilt event's vectors went as strings, which KATO sorts among the others.
    in_order = seen in (sorted(added) + rest[0], sorted(added + rest[0]))
    return bool(own) and known and len(set(added)) == len(added) and in_order


def is_vector(symbol: str) -> bool:
    return symbol.startswith("VCTR|")


def shape(stm: list[list[str]]) -> str:
    """The same for all patterns that differ in nothing but in their vectors' symbols."""
    return str([["VCTR|"] * any(map(is_vector, event)) + [s for s in event if not is_vector(s)] for event in stm])


def held_after(events: Iterable[Mapping[str, Any]], symbols: Mapping[str, list[str]] | None = None) -> Held:
    """Play a session's events (standard events with ``position``); ``symbols``: see `vector_symbols`."""
    held = Held()
    for event in events:
        kind = event["event_type"]
        if kind == "observation":
            seen = event["observation"]
            vectors = seen.get("vectors")
            own = sorted((symbols or {})[json.dumps(vectors)]) if vectors else []
            held.symbols.update(own)
            if own or seen["strings"]:
                held.stm.append(own + sorted(seen["strings"]))
                del held.stm[:-STM_CAP]
            held.since_mark.append(event["event_id"])
        elif kind == "learn":
            if not held.stm:
                # KATO refuses it, and what was observed without strings stays.
                held.empty_learns.append(event["position"])
                continue
            if sum(map(len, held.stm)) > 1:
                name = "PTRN|" + hashlib.sha1(str(held.stm).encode(), usedforsecurity=False).hexdigest()
                held.patterns.append((event["position"], name))
                held.contents[name] = held.stm
            held.stm, held.since_mark = [], []
        else:
            held.stm, held.since_mark = [], []
    return held
