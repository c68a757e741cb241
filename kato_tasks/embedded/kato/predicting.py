"""Predictions: which patterns an STM resembles, what they say comes next, and how well they fit.

Fields and figures are those of KATO 3.10.1 where they were measured; `confluence` was 0.0 there.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from operator import attrgetter
from typing import NamedTuple

from kato_tasks.embedded.kato.answers import text_of
from kato_tasks.embedded.kato.matching import matching_blocks, positions
from kato_tasks.embedded.kato.patterns import Event, Pattern, Patterns


class Wanted(NamedTuple):
    """What a session's configuration, and the server for the ranking, say about predictions."""

    recall_threshold: float
    max_predictions: int
    ranking: str


class Predicted(NamedTuple):
    """Predictions and future potentials, both as JSON text, and how many predictions there are."""

    predictions: str
    futures: str
    number: int


NOTHING = Predicted("[]", "[]", 0)


class _Match:
    """How one pattern fits the STM."""

    __slots__ = (
        "confidence",
        "confluence",
        "evidence",
        "first_event",
        "fragmentation",
        "frequency",
        "future",
        "itfdf_similarity",
        "last_event",
        "matches",
        "pattern",
        "potential",
        "predictive_information",
        "probability",
        "similarity",
        "snr",
    )

    def __init__(self, pattern: Pattern, frequency: int, blocks: list[tuple[int, int, int]], state_size: int) -> None:
        symbols = pattern.symbols
        self.pattern = pattern
        self.frequency = frequency
        if len(blocks) == 1:
            start, _, size = blocks[0]
            self.matches = symbols[start : start + size]
        else:
            self.matches = [symbol for start, _, size in blocks for symbol in symbols[start : start + size]]
        matched = len(self.matches)
        end, _, size = blocks[-1]
        self.first_event = pattern.event_of[blocks[0][0]]
        self.last_event = pattern.event_of[end + size - 1] + 1
        self.evidence = matched / len(symbols)
        self.similarity = 2.0 * matched / (len(symbols) + state_size)
        self.fragmentation = float(len(blocks) - 1)
        extras = state_size - matched
        self.snr = (2.0 * matched - extras) / (2.0 * matched + extras)
        # Events are few symbols wide, so this counts what is present faster than building the list.
        present = sum(map(len, pattern.events[self.first_event : self.last_event]))
        self.confidence = matched / present
        self.future = ",".join(pattern.event_texts[self.last_event :])
        self.confluence = 0.0
        self.potential = self.itfdf_similarity = self.predictive_information = self.probability = 0.0

    def text(self, stm: Sequence[Event], *, short: bool) -> str:
        """This match as one prediction, in JSON; `short` leaves out what KATO leaves out for one symbol."""
        pattern = self.pattern
        present = pattern.events[self.first_event : self.last_event]
        matched = set(self.matches)
        shown = {symbol for event in present for symbol in event}
        missing = [[symbol for symbol in event if symbol not in matched] for event in present]
        extras = [[symbol for symbol in event if symbol not in shown] for event in stm]
        emotives = {name: sum(values) / len(values) for name, values in pattern.emotives.items()}
        texts = pattern.event_texts
        floats = (
            ""
            if short
            else f',"itfdf_similarity":{self.itfdf_similarity!r},"pattern_probability":{self.probability!r}'
            f',"weighted_strength":{self.similarity * self.probability!r}'
        )
        return (
            f'{{"type":"prototypical","name":"{pattern.name[5:]}","frequency":{self.frequency}'
            f',"emotives":{text_of(emotives)},"matches":{text_of(self.matches)}'
            f',"past":[{",".join(texts[: self.first_event])}]'
            f',"present":[{",".join(texts[self.first_event : self.last_event])}]'
            f',"missing":{text_of(missing)},"extras":{text_of(extras)},"anomalies":[]'
            f',"potential":{self.potential!r},"evidence":{self.evidence!r}'
            f',"similarity":{self.similarity!r},"fragmentation":{self.fragmentation!r},"snr":{self.snr!r}'
            f',"confluence":{self.confluence!r},"predictive_information":{self.predictive_information!r}'
            f',"sequence":{pattern.text},"future":[{self.future}],"confidence":{self.confidence!r}{floats}}}'
        )


def predict(patterns: Patterns, stm: list[Event], wanted: Wanted) -> Predicted:
    """What the visible `patterns` say of `stm`: best first, at most `max_predictions`.

    An STM of one symbol is answered only by patterns that start with it.
    """
    state = [symbol for event in stm for symbol in event]
    single = len(state) == 1
    candidates: dict[str, Pattern] = {}
    for symbol in dict.fromkeys(state):
        for pattern in (patterns.by_first if single else patterns.by_symbol).get(symbol, ()):
            candidates[pattern.name] = pattern
    if not candidates:
        return NOTHING
    places = positions(state)
    size = len(state)
    matches = []
    for pattern in candidates.values():
        match = _Match(pattern, patterns.frequency(pattern), matching_blocks(pattern.symbols, state, places), size)
        if match.similarity >= wanted.recall_threshold:
            matches.append(match)
    if not matches:
        return NOTHING
    futures = _weigh(matches, _Weights(patterns, state))
    ranking = attrgetter(wanted.ranking) if wanted.ranking in _Match.__slots__ else attrgetter("potential")
    matches.sort(key=ranking, reverse=True)
    best = matches[: wanted.max_predictions]
    predictions = "[" + ",".join([match.text(stm, short=single) for match in best]) + "]"
    return Predicted(predictions, futures, len(best))


class _Weights:
    """How alike a state and what is present of a pattern are, weighted by how common each symbol is."""

    def __init__(self, patterns: Patterns, state: list[str]) -> None:
        self._counts = patterns.symbol_counts
        self._total = patterns.symbol_total or 1
        self._state: dict[str, float] = {}
        for symbol in state:
            self._state[symbol] = self._state.get(symbol, 0.0) + self._counts.get(symbol, 0) / self._total
        self._norm = sum(value * value for value in self._state.values())

    def distance(self, present: list[Event]) -> float:
        """Cosine distance, 0 (alike) to 1."""
        weights: dict[str, float] = {}
        counts, total = self._counts, self._total
        for event in present:
            for symbol in event:
                weights[symbol] = weights.get(symbol, 0.0) + counts.get(symbol, 0) / total
        if weights == self._state:
            return 0.0
        norm = dot = 0.0
        state = self._state
        for symbol, weight in weights.items():
            norm += weight * weight
            dot += weight * state.get(symbol, 0.0)
        if not norm or not self._norm:
            return 1.0
        distance: float = 1.0 - dot / (norm * self._norm) ** 0.5
        return distance


def _weigh(matches: list[_Match], weights: _Weights) -> str:
    """Fill in what depends on all matches together; answers the future potentials as JSON text."""
    everything = sum(match.frequency for match in matches) or 1
    futures: dict[str, list[float]] = {}
    for match in matches:
        match.probability = match.frequency / everything
        if match.future:
            future = futures.setdefault(match.future, [0.0, 0])
            future[0] += match.frequency * match.similarity
            future[1] += 1
    all_futures = sum(weight for weight, _ in futures.values()) or 1.0
    seen: dict[tuple[str, ...], float] = {}
    for match in matches:
        present = match.pattern.events[match.first_event : match.last_event]
        key = tuple(match.pattern.event_texts[match.first_event : match.last_event])
        distance = seen.get(key)
        if distance is None:
            distance = seen[key] = weights.distance(present)
        match.itfdf_similarity = round(1.0 - distance * match.probability, 12)
        if match.future:
            share = futures[match.future][0] / all_futures
            match.predictive_information = match.similarity * match.probability / share if share else 0.0
        match.potential = round(
            (match.evidence + match.confidence) * match.snr
            + match.itfdf_similarity
            + 1.0 / (match.fragmentation + 1.0),
            12,
        )
    ordered = sorted(futures.items(), key=lambda item: item[1][0], reverse=True)
    return (
        "["
        + ",".join(
            f'{{"future":[{future}],"aggregate_potential":{weight / all_futures!r}'
            f',"supporting_patterns":{count},"total_weighted_frequency":{weight!r}}}'
            for future, (weight, count) in ordered
        )
        + "]"
    )


class Memo:
    """Predictions already computed for the same patterns, STM and wishes; bounded by size, oldest out."""

    def __init__(self, limit: int = 32 * 1024 * 1024) -> None:
        self._limit = limit
        self._size = 0
        self._known: OrderedDict[tuple[object, ...], tuple[Predicted, int]] = OrderedDict()

    def predict(self, node_key: str, patterns: Patterns, stm: list[Event], wanted: Wanted) -> Predicted:
        """As `predict`, computed once while the node's visible patterns stay as they are."""
        key = (node_key, patterns.version, wanted, tuple(map(tuple, stm)))
        known = self._known.get(key)
        if known is not None:
            self._known.move_to_end(key)
            return known[0]
        predicted = predict(patterns, stm, wanted)
        # Roughly, in bytes: the texts, and the STM in the key.
        weight = 500 + len(predicted.predictions) + len(predicted.futures) + 100 * len(stm)
        self._known[key] = predicted, weight
        self._size += weight
        while self._size > self._limit:
            self._size -= self._known.popitem(last=False)[1][1]
        return predicted
