"""Predict for an STM of one symbol. KATO answers it in symbols instead of events, and by other rules.

Only patterns that start with the symbol answer, whatever the recall threshold is. They are always ranked by potential.
"""

from __future__ import annotations

from kato_tasks.embedded.kato.patterns import Pattern, Patterns
from kato_tasks.kato_wire.answers import text_of


def predict_single(patterns: Patterns, symbol: str, most: int, affinity_emotive: object) -> list[str]:
    """Return the predictions, each as JSON text, the best first."""
    found = []
    candidates = patterns.by_first.get(symbol, [])
    if not candidates:
        return []  # KATO fails at a `most` that is no whole number only once it has found something.
    weights = None
    if affinity_emotive:
        symbols = {symbol}.union(*(pattern.symbols for pattern in candidates))
        weights = patterns.statistics.weights(symbols, affinity_emotive)
    for pattern in candidates:
        evidence = 1 / len(pattern.symbols)
        similarity = 2.0 / (len(pattern.symbols) + 1)
        weighted, counted = "null,null,null,null", evidence
        if weights is not None:
            own, all_of_it = weights[symbol], sum(weights[each] for each in pattern.symbols)
            counted = own / all_of_it
            weighted = f"{2.0 * own / (own + all_of_it)!r},{counted!r},1.0,1.0"
        potential = (counted + 1.0) * 1.0 + 1.0
        found.append((potential, _prediction(patterns, pattern, similarity, evidence, weighted.split(","), potential)))
    found.sort(key=lambda each: each[0], reverse=True)
    return [text for _, text in found[:most]]


def _prediction(
    patterns: Patterns, pattern: Pattern, similarity: float, evidence: float, weighted: list[str], potential: float
) -> str:
    symbol = text_of(pattern.symbols[:1])
    by_similarity, by_evidence, by_confidence, by_snr = weighted
    return (
        f'{{"name":"{pattern.name[5:]}","pattern_data":{pattern.text},"length":{len(pattern.symbols)}'
        f',"frequency":{patterns.frequency(pattern) or 1},"emotives":{text_of(pattern.felt())},"matches":{symbol}'
        f',"missing":[],"present":{symbol},"past":[],"future":{text_of(pattern.symbols[1:])},"extras":[]'
        f',"similarity":{similarity!r},"evidence":{evidence!r},"confidence":1.0,"snr":1.0,"fragmentation":0'
        f',"anomalies":[],"weighted_similarity":{by_similarity},"weighted_evidence":{by_evidence}'
        f',"weighted_confidence":{by_confidence},"weighted_snr":{by_snr},"potential":{potential!r}}}'
    )
