"""Count a node's symbols while it learns. KATO keeps these counts beside the patterns."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence


class Statistics:
    """Holds the counts of one node. They count from the moment of the learn; the patterns become visible only later."""

    __slots__ = ("affinities", "members", "occurrences", "patterns")

    def __init__(self) -> None:
        self.patterns = 0
        """The number of patterns ever learned, each counted once."""
        self.members: dict[str, int] = {}
        """For each symbol, the number of these patterns that contain it."""
        self.occurrences: dict[str, int] = {}
        """For each symbol, how often it was learned in all learns together."""
        self.affinities: dict[str, dict[object, float]] = {}
        """For each symbol, the sums of the emotives with which it was learned."""

    def learn(self, symbols: Sequence[str], emotives: Iterable[Mapping[str, float]], *, new: bool) -> None:
        """Count one learn of a pattern. ``new`` says that it is the pattern's first."""
        counts = Counter(symbols)
        occurrences = self.occurrences
        for symbol, number in counts.items():
            occurrences[symbol] = occurrences.get(symbol, 0) + number
        if new:
            self.patterns += 1
            members = self.members
            for symbol in counts:
                members[symbol] = members.get(symbol, 0) + 1
        felt = means(emotives)
        if felt:
            for symbol in counts:
                sums = self.affinities.setdefault(symbol, {})
                for name, value in felt.items():
                    if math.isfinite(value):  # KATO's store refuses other values.
                        sums[name] = sums.get(name, 0.0) + value

    def probability(self, symbol: str) -> float:
        """Return the share of the patterns that contain a symbol, from 0 to 1. It is 0 for an unknown symbol."""
        return self.members.get(symbol, 0) / self.patterns if self.patterns else 0.0

    def weights(self, symbols: Iterable[str], emotive: object) -> dict[str, float]:
        """Return how strongly each symbol is connected with one emotive. A floor keeps every weight above 0."""
        weights = {}
        for symbol in symbols:
            affinity = abs(self.affinities.get(symbol, {}).get(emotive, 0.0))
            number = self.occurrences.get(symbol, 0)
            weights[symbol] = (affinity / number if number else 0.0) + 0.01
        return weights


def means(emotives: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """Return the mean of each emotive over those that name it. A sum beyond all floats makes the mean infinite."""
    values: dict[str, list[float]] = {}
    for felt in emotives:
        for name, value in felt.items():
            values.setdefault(name, []).append(value)
    return {name: sum(each) / len(each) for name, each in values.items()}
