"""Write predictions as JSON text without a JSON library, because an answer has thousands of figures."""

from __future__ import annotations

from kato_tasks.embedded.kato.likeness import Match, State
from kato_tasks.embedded.kato.patterns import Event
from kato_tasks.embedded.kato.weighing import Ensemble
from kato_tasks.kato_wire.answers import quote, text_of

_NO_WEIGHTS = ',"weighted_similarity":null,"weighted_evidence":null,"weighted_confidence":null,"weighted_snr":null'


class Writer:
    """Writes the predictions for one STM. Text that many of them have in common is made once."""

    def __init__(self, state: State, ensemble: Ensemble) -> None:
        self._state = state
        self._ensemble = ensemble
        self._extras: dict[str, str] = {}

    def prediction(self, match: Match) -> str:
        """Return a match as one prediction, with its fields in KATO's order."""
        pattern, ensemble = match.pattern, self._ensemble
        figures = ensemble.figures(match)
        extras = self._extras.get(match.key)
        if extras is None:
            extras = self._extras[match.key] = text_of(match.extras(self._state))
        weighted = _NO_WEIGHTS if match.weighted is None else _weights(match)
        if match.pre_potential is not None:
            # If KATO had to choose before it weighed, it leaves the figure by which it chose in its answer.
            weighted += f',"_pre_potential":{match.pre_potential!r}'
        probability, similarity = f"{match.probability!r}", f"{match.similarity!r}"
        return (
            f'{{"type":"prototypical","name":"{pattern.name[5:]}","frequency":{match.frequency}'
            f',"emotives":{text_of(pattern.felt()) if pattern.emotives else "{}"}'
            f',"matches":[{",".join(map(quote, match.matches))}]'
            f',"past":[{",".join(pattern.event_texts[: match.first])}],"present":[{match.key}]'
            f',"missing":{self._missing(match)},"extras":{extras}'
            f',"anomalies":{text_of(match.anomalies) if match.anomalies else "[]"}'
            f',"potential":{match.potential!r},"evidence":{match.evidence!r}'
            f',"similarity":{similarity},"fragmentation":{match.fragmentation!r},"snr":{match.snr!r}'
            f',"confluence":{ensemble.confluence(match)!r},"predictive_information":{match.predictive_information!r}'
            f',"sequence":{pattern.text},"future":[{match.future}],"confidence":{match.confidence!r}{weighted}'
            f',"entropy":{figures.entropy!r},"normalized_entropy":{figures.normalized_entropy!r}'
            f',"global_normalized_entropy":{figures.global_normalized_entropy!r}'
            f',"itfdf_similarity":{match.itfdf_similarity!r},"tfidf_score":{figures.tfidf_score!r}'
            f',"pattern_probability":{probability},"weighted_strength":{match.similarity * match.probability!r}'
            f',"bayesian_posterior":{ensemble.posterior(match)!r},"bayesian_prior":{probability}'
            f',"bayesian_likelihood":{similarity}}}'
        )

    def futures(self) -> str:
        """Return what the predictions say comes next, the most supported first."""
        share = self._ensemble.share
        texts = [
            f'{{"future":[{future.text}],"aggregate_potential":{share(future)!r}'
            f',"supporting_patterns":{future.patterns},"total_weighted_frequency":{future.weight!r}}}'
            for future in self._ensemble.futures()
        ]
        return "[" + ",".join(texts) + "]"

    def _missing(self, match: Match) -> str:
        """Return, for each event that is present, its symbols that did not match."""
        if match.confidence == 1.0 and not self._state.fuzzy:
            return "[" + ",".join(["[]"] * (match.after - match.first)) + "]"
        matched = set(match.matches)
        return text_of([_without(event, matched) for event in match.present])


def _without(event: Event, matched: set[str]) -> Event:
    return [symbol for symbol in event if symbol not in matched]


def _weights(match: Match) -> str:
    weighted = match.weighted
    assert weighted is not None
    return (
        f',"weighted_similarity":{text_of(weighted.similarity)},"weighted_evidence":{weighted.evidence!r}'
        f',"weighted_confidence":{weighted.confidence!r},"weighted_snr":{weighted.snr!r}'
    )
