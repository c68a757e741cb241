"""Why an event is not applied is stored in one form, which the version before wrote and reads."""

from __future__ import annotations

import json

import pytest

from kato_tasks.domain.refusals import ANSWER_CHARS, BuriedEvent, Refusal
from kato_tasks.errors import UnreadableRow

PARKED = (
    '{"reason":"failed 9 times","last_answer":"KATO answered 500: é","position":7,"event_id":"e7",'
    '"attempts":9,"first_ms":1000,"last_ms":2000}'
)
LETTER = (
    '{"session_id":"s","node_id":"n","lane":"n","position":7,"event":{"event_type":"learn","event_id":"e7"},'
    '"reason":"failed 9 times","last_answer":"KATO answered 500: é","attempts":9,"first_ms":1000,"last_ms":2000}'
)
UNPLACED = (
    '{"session_id": "s", "node_id": "n", "lane": "n", "position": null, "raw": "o1\\ne7\\n{}\\n{}", '
    '"reason": "known with another body", "attempts": 0, "first_ms": 1000, "last_ms": 1000}'
)
"""As 0.2.0 wrote them, to the byte."""


def test_a_parked_session_s_record_is_read_and_written_to_the_byte() -> None:
    refusal = Refusal("failed 9 times", 7, 9, 1000, 2000, "KATO answered 500: é", "e7")
    assert refusal.dump() == PARKED
    assert Refusal.load(PARKED) == refusal


def test_a_dead_letter_is_read_and_written_to_the_byte() -> None:
    refusal = Refusal("failed 9 times", 7, 9, 1000, 2000, "KATO answered 500: é")
    letter = BuriedEvent("s", "n", "n", refusal, {"event_type": "learn", "event_id": "e7"})
    assert letter.dump() == LETTER
    assert BuriedEvent.load(LETTER) == letter


def test_a_letter_that_never_got_a_position_is_read_and_written_to_the_byte() -> None:
    refusal = Refusal("known with another body", None, 0, 1000, 1000)
    letter = BuriedEvent("s", "n", "n", refusal, raw="o1\ne7\n{}\n{}")
    assert json.dumps(letter.as_letter()) == UNPLACED
    assert BuriedEvent.load(UNPLACED) == letter


def test_a_field_of_a_later_version_is_no_reason_to_stop() -> None:
    assert Refusal.load(PARKED[:-1] + ',"new":1}') == Refusal.load(PARKED)


def test_a_long_answer_is_cut() -> None:
    long = Refusal("no", 1, 1, 1, 1, "x" * (ANSWER_CHARS + 1))
    assert len(Refusal.load(long.dump()).last_answer) == ANSWER_CHARS


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"reason":"no"}'])
def test_what_is_no_record_cannot_be_read(text: str) -> None:
    with pytest.raises(UnreadableRow):
        Refusal.load(text)
    with pytest.raises(UnreadableRow):
        BuriedEvent.load(text)
