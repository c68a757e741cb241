"""Compute how well one pattern fits the STM: what the two have in common, and what only one of them has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kato_tasks.embedded.kato.matching import Sought, matching_blocks, ratio
from kato_tasks.embedded.kato.patterns import Event, Pattern


@dataclass(frozen=True, slots=True)
class Weighted:
    """Holds the same figures with each symbol counted by its weight."""

    similarity: float | None
    evidence: float
    confidence: float
    snr: float


class State:
    """Holds the STM in the form in which patterns are compared with it."""

    __slots__ = ("_text", "events", "fuzzy", "size", "sought", "symbols")

    def __init__(self, events: list[Event], *, by_character: bool, fuzzy: float) -> None:
        self.events = events
        self.symbols = [symbol for event in events for symbol in event]
        self.size = len(self.symbols)
        self.sought = Sought(self.symbols)
        self._text = Sought(" ".join(self.symbols)) if by_character else None
        self.fuzzy = fuzzy

    def similarity(self, pattern: Pattern) -> float:
        """Return the likeness of the whole pattern, 0 to 1, rounded where KATO rounds.

        It is compared with the recall threshold.
        """
        text = self._text
        if text is None:
            symbols = pattern.symbols
            # Most often the STM is how a pattern begins.
            common = self.size if symbols[: self.size] == self.symbols else self.sought.common(symbols)
            return 2.0 * common / (len(symbols) + self.size) * 100.0 / 100.0
        other = " ".join(pattern.symbols)
        total = len(other) + len(text.symbols)
        return (1.0 - (total - 2 * text.common(other)) / total) * 100.0 / 100.0 if total else 1.0

    def nearly(self, pattern: Pattern) -> tuple[list[str], list[dict[str, Any]]] | None:
        """Return the symbols that have a similar one in the pattern, with details of those that have no equal there.

        Without a fuzzy threshold this is None.
        """
        if self.fuzzy <= 0.0:
            return None
        matches: list[str] = []
        anomalies: list[dict[str, Any]] = []
        for symbol in self.symbols:
            expected, best = "", 0.0
            for other in pattern.symbols:
                alike = ratio(symbol, other)
                if alike > best:
                    expected, best = other, alike
            if best * 100.0 >= self.fuzzy * 100.0 and best:
                matches.append(symbol)
                if expected != symbol:
                    anomalies.append({"observed": symbol, "expected": expected, "similarity": best})
        return matches, anomalies


class Match:
    """Says how one pattern fits. Figures that depend on the other predictions are filled in by ``weighing``."""

    __slots__ = (
        "after",
        "anomalies",
        "confidence",
        "evidence",
        "first",
        "fragmentation",
        "frequency",
        "future",
        "itfdf_similarity",
        "key",
        "matches",
        "pattern",
        "potential",
        "pre_potential",
        "predictive_information",
        "probability",
        "similarity",
        "snr",
        "weighted",
    )

    def __init__(self, pattern: Pattern, frequency: int, state: State, similarity: float) -> None:
        symbols, events, event_of = pattern.symbols, pattern.events, pattern.event_of
        self.pattern = pattern
        self.frequency = frequency
        self.similarity = similarity
        self.anomalies: list[dict[str, Any]] = []
        self.weighted: Weighted | None = None
        self.pre_potential: float | None = None
        blocks = matching_blocks(symbols, state.sought)
        first = after = 0
        if not blocks:
            # Only a recall threshold of 0 lets this match in: the whole pattern is present, and nothing matches.
            matches: list[str] = []
            after = len(events)
        else:
            start, _, size = blocks[0]
            matches = symbols[start : start + size]
            for begin, _, size in blocks[1:]:
                matches += symbols[begin : begin + size]
            end, _, size = blocks[-1]
            after = event_of[end + size - 1] + 1
            first = event_of[start - 1] + 1 if start else 0
        extras = state.size - len(matches)
        near = state.nearly(pattern)
        if near is not None:
            matches, self.anomalies = near
            extras = state.size - len(matches)
        # The last event of the past counts as present if it has the first match too, wherever the match itself is.
        if first and matches and matches[0] in events[first - 1]:
            first -= 1
        self.first, self.after, self.matches = first, after, matches
        matched = len(matches)
        self.evidence = matched / len(symbols)
        self.fragmentation = float(len(blocks) - 1)
        weight = 2.0 * matched + extras
        self.snr = (2.0 * matched - extras) / weight if weight else 0.0
        present = pattern.starts[after] - pattern.starts[first]
        self.confidence = matched / present if present else 0.0
        texts = pattern.event_texts
        self.key = ",".join(texts[first:after])
        self.future = ",".join(texts[after:])
        self.potential = self.itfdf_similarity = self.predictive_information = self.probability = 0.0

    @property
    def present(self) -> list[Event]:
        """Return the pattern's events that count as present: those from the first match to the last one."""
        return self.pattern.events[self.first : self.after]

    def extras(self, state: State) -> list[Event]:
        """Return, for each event of the STM, its symbols that are nowhere in what is present."""
        shown = {symbol for event in self.present for symbol in event}
        return [[symbol for symbol in event if symbol not in shown] for event in state.events]

    def weigh(self, weights: Mapping[str, float], state: State) -> None:
        """Add the figures in which each symbol counts by its weight. The match is then ranked by these."""

        def sum_of(symbols: Sequence[str]) -> float:
            return sum(weights.get(symbol, 0.0) for symbol in symbols)

        matched, pattern = sum_of(self.matches), sum_of(self.pattern.symbols)
        present = sum_of([symbol for event in self.present for symbol in event])
        extras = sum_of([symbol for event in self.extras(state) for symbol in event])
        both = sum_of(state.symbols) + pattern
        self.weighted = Weighted(
            2.0 * matched / both if both else None,
            matched / pattern if pattern else 0.0,
            matched / present if present else 0.0,
            matched / (matched + extras) if matched + extras else 0.0,
        )
