"""What a session's config says to predictions: its ranking nothing, and a value of a wrong type little, as in KATO."""

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


@pytest.mark.parametrize("near", ["x", 1.5, [1]])
def test_a_fuzzy_threshold_that_nothing_can_reach_finds_nothing(start: Start, near: object) -> None:
    """Measured on KATO 3.10.1 with "x" and 1.5, which its POST config takes: 200, and no predictions."""
    kato = start(visible_after=0.0)
    session = kato.session(config=QUIET)
    session.sequence(["a"], ["b"], ["c"])
    session.learn()
    body_of(session.ask("POST", "config", json={"config": {"fuzzy_token_threshold": near}}))
    session.sequence(["a"], ["b"])
    assert session.predictions() == []


def test_an_emotive_that_cannot_be_looked_up_is_a_500(start: Start) -> None:
    session = start(visible_after=0.0).session(config=QUIET)
    body_of(session.ask("POST", "config", json={"config": {"affinity_emotive": ["joy"]}}))
    session.sequence(["a"], ["b"])
    assert session.ask("GET", "predictions").status_code == 500
