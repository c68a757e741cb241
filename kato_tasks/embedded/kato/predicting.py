"""Predict: find the patterns that an STM resembles, how well they fit, and what they say comes next.

The forms, fields and figures are those of KATO 3.10.1 for every request. Only the order of equals is our own.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from heapq import nlargest
from math import inf
from operator import attrgetter
from typing import Any, NamedTuple

from kato_tasks.embedded.kato.likeness import Match, State
from kato_tasks.embedded.kato.patterns import Event, Pattern, Patterns
from kato_tasks.embedded.kato.single import predict_single
from kato_tasks.embedded.kato.weighing import Ensemble, unbroken
from kato_tasks.embedded.kato.writing import Writer
from kato_tasks.kato_wire.answers import ServerError
from kato_tasks.kato_wire.config import FILTERS

WEIGHED_AT_MOST = 3
"""KATO compares at most this many times ``max_predictions`` matches. It first leaves out those that fit worst."""


class PredictionOptions(NamedTuple):
    """Holds what a session's configuration says about predictions, and the field by which the server ranks them.

    The defaults are KATO's.
    """

    recall_threshold: float = 0.1
    max_predictions: int = 100
    ranking: str = "potential"
    token_matching: bool = True
    fuzzy_token_threshold: float = 0.0
    affinity_emotive: object = None
    passes: bool | None = True
    """Whether the filters let patterns through.

    If this is False, a filter that KATO does not know lets no pattern through. If it is None, KATO fails at the
    filters. Filters that KATO knows are not applied here."""

    @classmethod
    def of(cls, setting: Callable[[str], Any], threshold: float, ranking: str) -> PredictionOptions:
        """Return what a session has set.

        Values can be of any type, because KATO keeps nearly everything that a later change of the configuration says.
        Raises ``ServerError`` for an emotive that KATO cannot look up.
        """
        fuzzy, emotive = setting("fuzzy_token_threshold"), setting("affinity_emotive")
        if isinstance(emotive, (list, dict)) and emotive:
            raise ServerError("an emotive that cannot be looked up")
        return cls(
            threshold,
            setting("max_predictions"),
            ranking,
            bool(setting("use_token_matching")),
            # KATO fails to compare other types with a number, pattern by pattern, so nothing is near enough.
            (fuzzy or 0.0) if isinstance(fuzzy, (int, float, type(None))) else inf,
            emotive or None,
            _passes(setting("filter_pipeline")),
        )


def _passes(filters: object) -> bool | None:
    """Return whether all filters are known, or None if KATO cannot look them up.

    A configuration that is changed later accepts any value.
    """
    if not filters:
        return True
    if not isinstance(filters, (str, list, dict)) or any(isinstance(name, (list, dict)) for name in filters):
        return None
    return all(name in FILTERS for name in filters)


class Predicted(NamedTuple):
    """Holds predictions and future potentials as JSON text, and the number of predictions.

    ``futures`` is None if KATO does not look for any. It then shows again what it found the last time.
    """

    predictions: str
    futures: str | None
    number: int


NOTHING = Predicted("[]", "[]", 0)


def predict(patterns: Patterns, stm: list[Event], options: PredictionOptions) -> Predicted:
    """Return the predictions of the visible ``patterns`` for ``stm``: the best first, at most ``max_predictions``.

    An STM of one symbol is answered in another form, and only by patterns that start with it.
    """
    symbols = [symbol for event in stm for symbol in event]
    if len(symbols) == 1:
        found = predict_single(patterns, symbols[0], options.max_predictions, options.affinity_emotive)
        return Predicted("[" + ",".join(found) + "]", None, len(found))
    if options.passes is None:
        raise ServerError("filters that cannot be looked up")
    if not options.passes:
        return NOTHING
    state = State(stm, by_character=not options.token_matching, fuzzy=options.fuzzy_token_threshold)
    matches = _matches(patterns, state, options)
    if not matches:
        return NOTHING
    ensemble = Ensemble(matches, state, patterns.statistics)
    best = sorted(matches, key=_ranking(options.ranking, ensemble), reverse=True)[: options.max_predictions]
    writer = Writer(state, ensemble)
    predictions = ",".join(map(writer.prediction, best))
    return Predicted(f"[{predictions}]", writer.futures(), len(best))


def _matches(patterns: Patterns, state: State, options: PredictionOptions) -> list[Match]:
    threshold = options.recall_threshold
    matches: list[Match] = []
    if options.fuzzy_token_threshold > 1.0 or (not options.token_matching and threshold <= 0):
        # It was measured that nothing passes a threshold of 0 when texts are compared character by character.
        return matches
    for pattern in _candidates(patterns, state, threshold):
        similarity = state.similarity(pattern)
        if similarity >= threshold:
            match = Match(pattern, patterns.frequency(pattern) or 1, state, similarity)
            if match.fragmentation >= 0 or threshold <= 0:
                matches.append(match)
    emotive = options.affinity_emotive
    if emotive:
        weights = patterns.statistics.weights(set(state.symbols), emotive)
        for match in matches:
            match.weigh(weights, state)
    most = options.max_predictions * WEIGHED_AT_MOST
    if len(matches) > most:
        for match in matches:
            gained = unbroken(match.fragmentation)
            match.pre_potential = (match.evidence + match.confidence) * match.snr + gained
        matches = nlargest(most, matches, key=attrgetter("pre_potential"))
    return matches


def _candidates(patterns: Patterns, state: State, threshold: float) -> Iterable[Pattern]:
    """Return every pattern that can be similar enough. With a threshold above 0 it must have a symbol of the STM."""
    if threshold <= 0:
        return patterns.visible.values()
    found: dict[str, Pattern] = {}
    for symbol in dict.fromkeys(state.symbols):
        for pattern in patterns.by_symbol.get(symbol, ()):
            found[pattern.name] = pattern
    return found.values()


def _ranking(name: str, ensemble: Ensemble) -> Callable[[Match], float]:
    """Return a function that gives a match's value of the field by which the server ranks."""
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
    """Remembers predictions for the same patterns, STM and options.

    Its size is limited, in bytes. Predictions that were not used for the longest time are forgotten first.
    """

    def __init__(self, limit: int = 32 * 1024 * 1024) -> None:
        self._limit = limit
        self._size = 0
        self._known: OrderedDict[tuple[object, ...], tuple[Predicted, int]] = OrderedDict()

    def predict(self, node_key: str, patterns: Patterns, stm: list[Event], options: PredictionOptions) -> Predicted:
        """Return what ``predict`` returns. It is computed only once as long as the node's patterns do not change."""
        key = (node_key, patterns.version, options, tuple(map(tuple, stm)))
        known = self._known.get(key)
        if known is not None:
            self._known.move_to_end(key)
            return known[0]
        predicted = predict(patterns, stm, options)
        # This is roughly the size in bytes of the texts, and of the STM in the key.
        weight = 500 + len(predicted.predictions) + len(predicted.futures or "") + 100 * len(stm)
        self._known[key] = predicted, weight
        self._size += weight
        while self._size > self._limit:
            self._size -= self._known.popitem(last=False)[1][1]
        return predicted
