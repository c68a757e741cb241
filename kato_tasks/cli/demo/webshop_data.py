"""Make a small data set that is the same at every call: what visitors of three web shops do, visit by visit."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

SHOPS = ("shop Lisboa", "shop Zürich", "shop 東京")
NAMES = ("Ada", "Zoë", "Mats", "Yuki", "Ines", "Łukasz", "Aoife", "Bruno", "Chloé", "Dmitri")
VISITORS = 60
OPENING = datetime(2025, 11, 13, 9, 0, tzinfo=UTC)

# A list in a journey is a loop, which a visitor walks one to three times.
JOURNEYS: tuple[tuple[int, tuple[str | tuple[str, ...], ...]], ...] = (
    (5, ("home", ("search", "product"), "basket", "checkout", "paid")),
    (3, ("campaign", "product", "basket", "checkout", "paid")),
    (3, ("home", ("product", "compare"), "basket", "delivery costs", "left")),
    (2, ("search engine", ("product", "reviews"), "basket", "checkout", "paid")),
    (1, ("home", "order status", "help", "chat", "left")),
)
MOOD = {"paid": 0.9, "basket": 0.4, "product": 0.2, "delivery costs": -0.6, "left": -0.3, "help": -0.4}


@dataclass(frozen=True, slots=True)
class Visit:
    """Holds one visitor's way through a shop."""

    session_id: str
    node_id: str
    pages: tuple[str, ...]


def visits(count: int = VISITORS) -> list[Visit]:
    """Return the visits that are learned."""
    chance = random.Random(20251113)
    made = []
    for number in range(1, count + 1):
        journey = chance.choices([steps for _, steps in JOURNEYS], [weight for weight, _ in JOURNEYS])[0]
        pages: list[str] = []
        for step in journey:
            pages += [step] if isinstance(step, str) else list(step) * chance.choices((1, 2, 3), (6, 3, 1))[0]
        made.append(Visit(f"visitor {number} {chance.choice(NAMES)}", SHOPS[number % len(SHOPS)], tuple(pages)))
    return made


def events(of: list[Visit]) -> Iterator[dict[str, Any]]:
    """Yield the visits as standard KATO events, interleaved in the order of their time.

    Each visit is learned at its end.
    """
    chance = random.Random(60)
    timed: list[tuple[datetime, int, dict[str, Any]]] = []
    for number, visit in enumerate(of):
        when = OPENING + timedelta(seconds=40 * number)
        for step, page in enumerate(visit.pages):
            when += timedelta(seconds=chance.randint(5, 90))
            timed.append((when, number, observed(visit, step, page, when)))
        when += timedelta(seconds=1)
        learn = {
            "event_type": "learn",
            "event_id": f"{visit.session_id}, learned",
            "session_id": visit.session_id,
            "node_id": visit.node_id,
            "timestamp": when.isoformat(),
        }
        timed.append((when, number, learn))
    return (event for _, _, event in sorted(timed, key=lambda row: row[:2]))


def observed(visit: Visit, step: int, page: str, when: datetime) -> dict[str, Any]:
    """Return one page of a visit as an event.

    The event's id is derived from the fact, so importing the same data twice adds nothing.
    """
    return {
        "event_type": "observation",
        "event_id": f"{visit.session_id}, page {step + 1}",
        "session_id": visit.session_id,
        "node_id": visit.node_id,
        "timestamp": when.isoformat(),
        "observation": {"strings": [page], "emotives": {"mood": MOOD[page]} if page in MOOD else {}},
        "metadata": {"source": "web-shop"},
    }


TODAY = (
    Visit("guest Renée", SHOPS[0], ("home", "search", "product")),
    Visit("guest Søren", SHOPS[1], ("campaign", "product", "basket")),
    Visit("guest Keiko", SHOPS[2], ("home", "product", "compare", "basket")),
)
"""Visits that are still going on. The demo asks what comes next in them."""
