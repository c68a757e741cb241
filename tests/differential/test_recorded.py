"""The embedded KATO answers as the real one did when its answers were recorded."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from kato_tasks.embedded.kato.server import serve_in_thread
from tests.differential.comparing import differences
from tests.differential.questions import QUESTIONS, Question
from tests.differential.record import RECORDED, answers, described, text_of

FILE = json.loads(RECORDED.read_bytes())
ASKED: dict[str, dict[str, Any]] = {question["title"]: question for question in FILE["questions"]}


@pytest.fixture(scope="module")
def embedded() -> Iterator[str]:
    with serve_in_thread(visible_after=0.0) as url:
        yield url


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: question.title)
def test_the_embedded_kato_answers_as_the_real_one_did(embedded: str, question: Question) -> None:
    recorded = ASKED[question.title]
    wrong = []
    given = answers(embedded, question, recorded["nodes"])
    for call, real, answer in zip(question.calls, recorded["answers"], given, strict=True):
        found = differences({name: real[name] for name in real if name != "call"}, answer)
        wrong += [f"{call.shown()}\n  {path}\n    real:     {r!r}\n    embedded: {e!r}" for path, r, e in found]
    assert not wrong, "\n".join(wrong)


def test_every_question_was_recorded_as_it_is_asked_now() -> None:
    asked = {question.title: [described(call)["call"] for call in question.calls] for question in QUESTIONS}
    assert asked == {title: [answer["call"] for answer in question["answers"]] for title, question in ASKED.items()}


def test_the_recorded_file_says_of_what_and_is_small_enough_to_read() -> None:
    assert (FILE["kato"], FILE["processes"]) == ("3.10.1", 4)
    text = RECORDED.read_text(encoding="utf-8")
    assert text == text_of(FILE)
    assert len(text) < 300_000
