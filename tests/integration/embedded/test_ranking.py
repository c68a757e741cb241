"""Predictions are ranked as the server was told, as KATO does it: what a session asks for is ignored."""

import pytest

from kato_tasks.embedded import create_app
from tests.contract.kato.client import QUIET, Kato, body_of
from tests.integration.embedded.conftest import Start


def ranked(kato: Kato, asked: str) -> list[str]:
    """What comes next after a, b, in order: learned once with few symbols, five times with many."""
    session = kato.session(config={**QUIET, "rank_sort_algo": asked})
    for events, times in ((["a", "b", "rare"], 1), (["a", "b", "c", "d", "e", "often"], 5)):
        for _ in range(times):
            session.sequence(*([name] for name in events))
            session.learn()
    session.sequence(["a"], ["b"])
    predictions = body_of(session.ask("GET", "predictions"))["predictions"]
    return [prediction["future"][-1][0] for prediction in predictions]


def test_a_session_that_asks_for_another_ranking_gets_the_servers(start: Start) -> None:
    kato = start(visible_after=0.0)
    assert ranked(kato, "frequency") == ["rare", "often"]


def test_a_server_ranks_by_the_field_it_was_told(start: Start) -> None:
    kato = start(visible_after=0.0, rank_sort_algo="frequency")
    assert ranked(kato, "potential") == ["often", "rare"]


def test_a_field_that_no_prediction_has_is_refused_at_start() -> None:
    with pytest.raises(ValueError, match="rank_sort_algo is 'nope'; predictions rank by potential, similarity"):
        create_app(rank_sort_algo="nope")
