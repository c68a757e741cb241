"""Predict: find which patterns an STM resembles, what they say comes next, and how well they fit.

Forms, fields and figures are those of KATO 3.10.1, whatever the questions; the order of equals is our own.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from heapq import nlargest
from math import inf
from operator import attrgetter
from typing import Any, NamedTuple

from kato_tasks.embedded.kato.answers import ServerError
from kato_tasks.embedded.kato.config import FILTERS
from kato_tasks.embedded.kato.likeness import Match, State
from kato_tasks.embedded.kato.patterns import Event, Pattern, Patterns
from kato_tasks.embedded.kato.single import predict_single
from kato_tasks.embedded.kato.weighing import Ensemble, unbroken
from kato_tasks.embedded.kato.writing import Writer

WEIGHED_AT_MOST = 3
"""Times `max_predictions`: beyond that KATO leaves out what fits worst before it compares the rest."""


class Wanted(NamedTuple):
    """What a session's configuration, and the server for the ranking, say about predictions; else KATO's defaults."""

    recall_threshold: float = 0.1
    max_predictions: int = 100
    ranking: str = "potential"
    token_matching: bool = True
    fuzzy_token_threshold: float = 0.0
    affinity_emotive: object = None
    passes: bool | None = True
    """False: a filter that KATO does not know lets no pattern through; None: it fails at the filters. Those that it
    knows are not applied here."""

    @classmethod
    def of(cls, setting: Callable[[str], Any], threshold: float, ranking: str) -> Wanted:
        """What a session has set, of whatever type: KATO keeps nearly all that it is told later."""
        fuzzy, emotive = setting("fuzzy_token_threshold"), setting("affinity_emotive")
        if isinstance(emotive, (list, dict)) and emotive:
            raise ServerError("an emotive that cannot be looked up")
        return cls(
            threshold,
            setting("max_predictions"),
            ranking,
            bool(setting("use_token_matching")),
            # Compared with a number it fails, pattern by pattern, so that nothing is near enough.
            (fuzzy or 0.0) if isinstance(fuzzy, (int, float, type(None))) else inf,
            emotive or None,
            _passes(setting("filter_pipeline")),
        )


def _passes(filters: object) -> bool | None:
    """Whether all filters are known; a config that is changed later takes any value."""
    if not filters:
        return True
    if not isinstance(filters, (str, list, dict)) or any(isinstance(name, (list, dict)) for name in filters):
        return None
    return all(name in FILTERS for name in filters)


class Predicted(NamedTuple):
    """Return predictions and future potentials as JSON text, and how many predictions there are.

    `futures` None: KATO does not look for any, and what it looked for last is shown again.
    """

    predictions: str
    futures: str | None
    number: int


NOTHING = Predicted("[]", "[]", 0)


def predict(patterns: Patterns, stm: list[Event], wanted: Wanted) -> Predicted:
    """Return what the visible `patterns` say of `stm`: the best first, at most `max_predictions`.

    An STM of one symbol is answered in another form, and only by patterns that start with it.
    """
    symbols = [symbol for event in stm for symbol in event]
    if len(symbols) == 1:
        found = predict_single(patterns, symbols[0], wanted.max_predictions, wanted.affinity_emotive)
        return Predicted("[" + ",".join(found) + "]", None, len(found))
    if wanted.passes is None:
        raise ServerError("filters that cannot be looked up")
    if not wanted.passes:
        return NOTHING
    state = State(stm, by_character=not wanted.token_matching, fuzzy=wanted.fuzzy_token_threshold)
    matches = _matches(patterns, state, wanted)
    if not matches:
        return NOTHING
    ensemble = Ensemble(matches, state, patterns.statistics)
    best = sorted(matches, key=_ranking(wanted.ranking, ensemble), reverse=True)[: wanted.max_predictions]
    writer = Writer(state, ensemble)
    predictions = ",".join(map(writer.prediction, best))
    return Predicted(f"[{predictions}]", writer.futures(), len(best))


def _matches(patterns: Patterns, state: State, wanted: Wanted) -> list[Match]:
    threshold = wanted.recall_threshold
    matches: list[Match] = []
    if wanted.fuzzy_token_threshold > 1.0 or (not wanted.token_matching and threshold <= 0):
        # Measured: compared character by character, nothing passes a threshold of 0.
        return matches
    for pattern in _candidates(patterns, state, threshold):
        similarity = state.similarity(pattern)
        if similarity >= threshold:
            match = Match(pattern, patterns.frequency(pattern) or 1, state, similarity)
            if match.fragmentation >= 0 or threshold <= 0:
                matches.append(match)
    emotive = wanted.affinity_emotive
    if emotive:
        weights = patterns.statistics.weights(set(state.symbols), emotive)
        for match in matches:
            match.weigh(weights, state)
    most = wanted.max_predictions * WEIGHED_AT_MOST
    if len(matches) > most:
        for match in matches:
            gained = unbroken(match.fragmentation)
            match.pre_potential = (match.evidence + match.confidence) * match.snr + gained
        matches = nlargest(most, matches, key=attrgetter("pre_potential"))
    return matches


def _candidates(patterns: Patterns, state: State, threshold: float) -> Iterable[Pattern]:
    """Every pattern that can be similar enough: with a threshold, one that has a symbol of the STM."""
    if threshold <= 0:
        return patterns.visible.values()
    found: dict[str, Pattern] = {}
    for symbol in dict.fromkeys(state.symbols):
        for pattern in patterns.by_symbol.get(symbol, ()):
            found[pattern.name] = pattern
    return found.values()


def _ranking(name: str, ensemble: Ensemble) -> Callable[[Match], float]:
    """The value of the field that the server ranks by."""
    match name:
        case "bayesian_posterior":
            return ensemble.posterior
        case "bayesian_prior":
            return lambda match: match.probability
        case "bayesian_likelihood":
            return lambda match: match.similarity
        case "confluence":
            return ensemble.confluence
        case "entropy" | "normalized_entropy" | "global_normalized_entropy" | "tfidf_score":
            return lambda match: float(getattr(ensemble.figures(match), name))
        case _:
            return lambda match: float(getattr(match, name))


class Memo:
    """Predictions already computed for the same patterns, STM and wishes; bounded by size, oldest out."""

    def __init__(self, limit: int = 32 * 1024 * 1024) -> None:
        self._limit = limit
        self._size = 0
        self._known: OrderedDict[tuple[object, ...], tuple[Predicted, int]] = OrderedDict()

    def predict(self, node_key: str, patterns: Patterns, stm: list[Event], wanted: Wanted) -> Predicted:
        """As `predict`, computed once while the node's patterns stay as they are."""
        key = (node_key, patterns.version, wanted, tuple(map(tuple, stm)))
        known = self._known.get(key)
        if known is not None:
            self._known.move_to_end(key)
            return known[0]
        predicted = predict(patterns, stm, wanted)
        # Roughly, in bytes: the texts, and the STM in the key.
        weight = 500 + len(predicted.predictions) + len(predicted.futures or "") + 100 * len(stm)
        self._known[key] = predicted, weight
        self._size += weight
        while self._size > self._limit:
            self._size -= self._known.popitem(last=False)[1][1]
        return predicted
