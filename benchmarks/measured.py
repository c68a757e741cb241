"""One measurement, and the judgement on what reached KATO."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any


@dataclass(frozen=True, slots=True)
class Books:
    """What was sent against what KATO holds, per session and summed.

    ``inverted``: events that KATO applied after one that was sent later. ``overlapped``: calls that met another
    on their node.
    """

    lost: int
    duplicated: int
    inverted: int
    overlapped: int = 0

    def __add__(self, other: Books) -> Books:
        return Books(
            self.lost + other.lost,
            self.duplicated + other.duplicated,
            self.inverted + other.inverted,
            self.overlapped + other.overlapped,
        )


def books_of(sent: Sequence[str], held: Sequence[str]) -> Books:
    """Compare one session's events, by name, with those that KATO applied, in its order."""
    rank = {name: index for index, name in enumerate(sent)}
    first: dict[str, int] = {}
    duplicated, inverted, highest = 0, 0, -1
    for name in held:
        if name in first or name not in rank:
            duplicated += 1
            continue
        first[name] = rank[name]
        inverted += rank[name] < highest
        highest = max(highest, rank[name])
    return Books(len(sent) - len(first), duplicated, inverted)


def books_of_all(sent: Mapping[str, Sequence[str]], held: Mapping[str, Sequence[str]], overlapped: int) -> Books:
    total = Books(0, 0, 0, overlapped)
    for session, names in sent.items():
        total += books_of(names, held.get(session, ()))
    return total


@dataclass(frozen=True, slots=True)
class Measured:
    """One variant, once. ``seconds``: from the first call to the last event applied."""

    variant: str
    events: int
    seconds: float
    books: Books | None = None
    flood_ms: tuple[float, float] | None = None
    """p50 and p99 from .delay() to applied while everything is sent at once: mostly the queue's length"""
    paced_ms: tuple[float, float] | None = None
    """the same at 30 events a second"""

    @property
    def rate(self) -> float:
        return self.events / self.seconds

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"rate": self.rate}


def percentiles(seconds: Sequence[float]) -> tuple[float, float]:
    """p50 and p99 in milliseconds."""
    ordered = sorted(seconds)
    return (
        round(median(ordered) * 1000, 2),
        round(ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))] * 1000, 2),
    )


def summary(runs: Sequence[Measured]) -> dict[str, Any]:
    """The medians of one variant's repeats; the books are summed: one slip in any run shows."""
    books = [run.books for run in runs if run.books]

    def middle(pairs: Sequence[tuple[float, float] | None]) -> list[float] | None:
        given = [pair for pair in pairs if pair]
        return [median(pair[0] for pair in given), median(pair[1] for pair in given)] if given else None

    return {
        "variant": runs[0].variant,
        "events": runs[0].events,
        "seconds": median(run.seconds for run in runs),
        "rate": median(run.rate for run in runs),
        "rates": [round(run.rate, 1) for run in runs],
        "flood_ms": middle([run.flood_ms for run in runs]),
        "paced_ms": middle([run.paced_ms for run in runs]),
        "books": asdict(sum(books, Books(0, 0, 0))) if books else None,
    }
