"""Each figure of the system has a sentence in `/metrics`: an HTTP server would fail at the first scrape without it."""

from __future__ import annotations

from kato_tasks.api.status import Counts
from kato_tasks.http_server.metrics import WORDS


def test_each_figure_has_a_sentence_for_prometheus_and_no_other() -> None:
    assert WORDS.keys() == Counts.model_fields.keys()
    assert all(words.endswith(".") for words in WORDS.values())
