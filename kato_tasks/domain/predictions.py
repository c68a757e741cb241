"""Bring KATO's predictions into one form, whichever of its two forms KATO answered in. Pure.

For an STM of two symbols or more KATO 3.10.1 answers in events: ``present: [["a"], ["b"]]``, and the pattern as
``sequence``. For an STM of one symbol it answers in symbols: ``present: ["a"]``, and the pattern as ``pattern_data``,
without the figures that compare predictions with each other. Its ``future_potentials`` then belong to another question
that the node was asked before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

Event = list[str]

COMPARING = (
    "confluence",
    "predictive_information",
    "entropy",
    "normalized_entropy",
    "global_normalized_entropy",
    "itfdf_similarity",
    "tfidf_score",
    "pattern_probability",
    "weighted_strength",
    "bayesian_posterior",
    "bayesian_prior",
    "bayesian_likelihood",
    "weighted_similarity",
    "weighted_evidence",
    "weighted_confidence",
    "weighted_snr",
)
"""Figures that KATO gives only for two symbols or more, or with an ``affinity_emotive``. Otherwise they are None."""


def in_one_form(answer: Mapping[str, Any]) -> dict[str, Any]:
    """Return the answer to a predict in the form of ``domain.results.Predicted``, however KATO gave its predictions.

    An answer that has that form already stays as it is.
    """
    given = answer["predictions"]
    predictions = [_prediction(one) for one in given]
    # With nothing predicted, or one symbol, KATO shows the futures of an earlier question, perhaps another session's.
    others = not given or any(_in_symbols(one) for one in given)
    return {**answer, "predictions": predictions, "future_potentials": [] if others else answer["future_potentials"]}


def _in_symbols(prediction: Mapping[str, Any]) -> bool:
    return "sequence" not in prediction and "pattern_data" in prediction


def _prediction(given: Mapping[str, Any]) -> dict[str, Any]:
    made = _lifted(given) if _in_symbols(given) else dict(given)
    if "length" not in made and "sequence" in made:
        made["length"] = sum(map(len, made["sequence"]))
    for name in COMPARING:
        made.setdefault(name, None)
    return made


def _lifted(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return a prediction in symbols as one in events, which are the pattern's whole events."""
    sequence = _events(given["pattern_data"])
    past, present, future = given["past"], given["present"], given["future"]
    symbols = list(chain.from_iterable(sequence))
    if present and symbols == [*past, *present, *future]:
        first = _event_with(sequence, len(past))
        after = _event_with(sequence, len(past) + len(present) - 1) + 1
        past, present, future = sequence[:first], sequence[first:after], sequence[after:]
    else:
        past, present, future = _events(past), _events(present), _events(future)
    matches = given["matches"]
    rest = {name: value for name, value in given.items() if name != "pattern_data"}
    return {
        "type": "prototypical",
        **rest,
        "past": past,
        "present": present,
        "missing": [[symbol for symbol in event if symbol not in matches] for event in present],
        # The one event of the STM.
        "extras": [list(given["extras"])],
        "sequence": sequence,
        "future": future,
    }


def _events(given: Sequence[Any]) -> list[Event]:
    """Return events as they are. Symbols whose events cannot be told any more become one event each."""
    return [list(one) if isinstance(one, list) else [one] for one in given]


def _event_with(sequence: Sequence[Event], place: int) -> int:
    """Return the index of the event that holds the symbol at this place among all symbols."""
    for index, event in enumerate(sequence):
        place -= len(event)
        if place < 0:
            return index
    raise IndexError(place)
