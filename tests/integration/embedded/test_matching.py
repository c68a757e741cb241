"""Matching is as difflib does it, only faster: the oracle is difflib itself."""

import random
from difflib import SequenceMatcher

from kato_tasks.embedded.kato.matching import Sought, matching_blocks
from kato_tasks.embedded.kato.patterns import Patterns
from kato_tasks.embedded.kato.predicting import Memo, PredictionOptions

WANTED = PredictionOptions(0.0, 100, "potential")


def test_blocks_are_those_that_difflib_finds() -> None:
    dice = random.Random(5)
    for _ in range(3000):
        symbols = "abcdefgh"[: dice.randint(1, 8)]
        pattern = dice.choices(symbols, k=dice.randint(1, 14))
        state = dice.choices(symbols + "z", k=dice.randint(1, 14))
        expected = SequenceMatcher(None, pattern, state, autojunk=False).get_matching_blocks()
        found = matching_blocks(pattern, Sought(state))
        assert found == [tuple(block) for block in expected if block.size], (pattern, state)


def test_a_memo_answers_anew_once_a_pattern_was_learned_again() -> None:
    patterns, memo = Patterns(), Memo()
    for frequency in (1, 2):
        patterns.learn([["a"], ["b"]], [], [], visible_at=0.0, stored=True)
        patterns.show(0.0)
        for _ in range(2):
            predicted = memo.predict("n", patterns, [["a"], ["b"]], WANTED)
            assert f'"frequency":{frequency},' in predicted.predictions


def test_a_memo_stays_within_its_limit() -> None:
    patterns, memo = Patterns(), Memo(limit=5_000)
    for number in range(100):
        memo.predict("n", patterns, [["a"], [str(number)]], WANTED)
    assert len(memo._known) < 10
