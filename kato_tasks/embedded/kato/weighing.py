"""Compute those figures of a prediction that depend on the node's other patterns and on the other predictions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from math import log, log2, log10, sqrt
from operator import attrgetter
from typing import NamedTuple

from kato_tasks.embedded.kato.likeness import Match, State
from kato_tasks.embedded.kato.patterns import Event, Fixed, Patterns, Spread
from kato_tasks.embedded.kato.statistics import Statistics

UNLIKELY = 1e-10
"""The probability that KATO assumes for a symbol that has none."""


class Figures(NamedTuple):
    """Holds the figures that depend on the present events alone."""

    entropy: float
    normalized_entropy: float
    global_normalized_entropy: float
    tfidf_score: float
    chance: float
    """The probability that all these symbols occur together."""


class Future(NamedTuple):
    """Describes one future, for all predictions that have it."""

    text: str
    weight: float
    patterns: int


class Ensemble:
    """Holds everything that is predicted for one STM, together with the node's counts of its symbols."""

    def __init__(self, matches: Sequence[Match], state: State, statistics: Statistics) -> None:
        self._statistics = statistics
        self.frequencies = sum(match.frequency for match in matches) or 1
        self._futures: dict[str, list[float]] = {}
        self._counts: dict[str, dict[str, int]] = {}
        for match in matches:
            if match.key not in self._counts:
                self._counts[match.key] = _counted(match.present)
            if match.future:
                future = self._futures.setdefault(match.future, [0.0, 0])
                future[0] += match.frequency * match.similarity
                future[1] += 1
        self._all_futures = sum(weight for weight, _ in self._futures.values())
        # Symbols of the STM that no prediction has in its present weigh nothing, however well they are known.
        known = set[str]().union(*self._counts.values())
        if state.fuzzy:
            known.update(symbol for match in matches for symbol in match.matches)
        self._probability = {symbol: statistics.probability(symbol) for symbol in known}
        self._distances = self._measure(state)
        self._figures: dict[str, Figures] = {}
        self._evidence = 0.0
        for match in matches:
            self._fill_in(match)
            self._evidence += match.similarity * match.probability

    def _measure(self, state: State) -> dict[str, float]:
        """Return the cosine distance of the STM from each present. A symbol weighs the more, the commoner it is."""
        probability = self._probability
        here = {
            symbol: probability[symbol] * number
            for symbol, number in Counter(state.symbols).items()
            if probability.get(symbol)
        }
        norm = sqrt(sum(value * value for value in here.values()))
        distances = {}
        for key, counts in self._counts.items():
            squares = dot = 0.0
            for symbol, number in counts.items():
                weight = probability[symbol] * number
                squares += weight * weight
                dot += weight * here.get(symbol, 0.0)
            distances[key] = 1.0 - dot / (sqrt(squares) * norm) if norm and squares else 1.0
        return distances

    def _fill_in(self, match: Match) -> None:
        match.probability = match.frequency / self.frequencies
        match.itfdf_similarity = 1.0 - self._distances[match.key] * match.frequency / self.frequencies
        if match.future and self._all_futures:
            share = self._futures[match.future][0] / self._all_futures
            match.predictive_information = match.similarity * match.probability / share if share else 0.0
        figures = match.weighted or match
        match.potential = (
            (figures.evidence + figures.confidence) * figures.snr
            + match.itfdf_similarity
            + unbroken(match.fragmentation)
        )

    def posterior(self, match: Match) -> float:
        """Return how likely this pattern is, given the STM and the other predictions."""
        return match.similarity * match.probability / self._evidence if self._evidence else 0.0

    def confluence(self, match: Match) -> float:
        """Return the share of learns that were of this pattern, times the probability that it is no chance."""
        patterns = self._statistics.patterns
        return match.frequency / patterns * (1.0 - self.figures(match).chance) if patterns else 0.0

    def futures(self) -> list[Future]:
        """Return what the predictions say comes next. The most supported future comes first."""
        found = [Future(text, weight, int(number)) for text, (weight, number) in self._futures.items()]
        found.sort(key=attrgetter("weight"), reverse=True)
        return found

    def share(self, future: Future) -> float:
        """Return a future's share of the weight of all futures, from 0 to 1."""
        return future.weight / self._all_futures if self._all_futures else 0.0

    def figures(self, match: Match) -> Figures:
        """Return the figures of the match's present events, which all matches with the same present share.

        If finalize-training fixed the pattern's figures, these are returned instead, except for the chance.
        """
        figures = self._figures.get(match.key)
        if figures is None:
            figures = self._figures[match.key] = self._figures_of(match)
        fixed = match.pattern.fixed
        if fixed is None:
            return figures
        return Figures(*fixed.spread, self._tfidf(fixed.shares), figures.chance)

    def _figures_of(self, match: Match) -> Figures:
        counts, probability = self._counts[match.key], self._probability
        length = sum(counts.values())
        if not length:
            # A near match elsewhere can leave no event present.
            return Figures(0.0, 0.0, 0.0, 0.0, 1.0)
        shares = {symbol: number / length for symbol, number in counts.items()}
        spread = spread_of(shares, len(self._statistics.occurrences), probability)
        chance = 10 ** sum(number * log10(probability[symbol] or UNLIKELY) for symbol, number in counts.items())
        return Figures(*spread, self._tfidf(shares), chance)

    def _tfidf(self, shares: Mapping[str, float]) -> float:
        """Return how distinctive these symbols are. The fewer of the patterns contain one, the more it counts."""
        patterns = self._statistics.patterns
        if not patterns:
            return 0.0
        score = 0.0
        for symbol, share in shares.items():
            having = int(self._probability.get(symbol, 0.0) * patterns) or 1
            score += share * (log2(patterns / having) + 1.0)
        return score / len(shares)


def _counted(events: Sequence[Event]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for event in events:
        for symbol in event:
            counts[symbol] = counts.get(symbol, 0) + 1
    return counts


def spread_of(shares: Mapping[str, float], symbols: int, probability: Mapping[str, float]) -> Spread:
    """Return the three entropies of ``shares``, see ``Spread``. The node knows ``symbols`` different symbols."""
    entropy = normalized = common = 0.0
    base = log(symbols) if symbols > 1 else 0.0
    for symbol, share in shares.items():
        entropy -= share * log2(share)
        if base:
            normalized -= share * log(share) / base
            likely = probability[symbol]
            if likely > 0:
                common -= likely * log(likely) / base
    return entropy, normalized, common


def fix_figures(patterns: Patterns) -> int:
    """Fix the figures of all visible patterns for good, by the node's counts as they are now.

    This is what finalize-training does. Returns the number of patterns.
    """
    statistics = patterns.statistics
    for pattern in patterns.visible.values():
        counts = Counter(pattern.symbols)
        shares = {symbol: number / len(pattern.symbols) for symbol, number in counts.items()}
        probability = {symbol: statistics.probability(symbol) for symbol in counts}
        pattern.fixed = Fixed(spread_of(shares, len(statistics.occurrences), probability), shares)
    patterns.version += 1
    return len(patterns.visible)


def unbroken(fragmentation: float) -> float:
    """Return the gain of a prediction that matches in few runs. It is 0 if nothing matches."""
    return 0.0 if fragmentation < 0 else 1.0 / (fragmentation + 1.0)
