"""Kills of listeners and of everything else, and restarts of brokers, on a broker of each test's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from kato_tasks.testing.services import RedisServer
from tests.integration.listening import predictions, rig
from tests.integration.listening.brokers import Broker
from tests.integration.listening.conftest import on

CLEAN = {"lost": 0, "duplicated": 0, "inverted": 0}


@pytest.mark.chaos
def test_kills_of_the_listener_and_restarts_of_the_broker_lose_double_and_reorder_nothing(
    own_broker: Broker, redis_url: str, redis_server: RedisServer, tmp_path: Path
) -> None:
    """`python -m tests.integration.listening.rig` does the same with 100,000 events, 10 kills and 2 restarts."""
    found = rig.run(own_broker, redis_server, tmp_path, events=6_000, sessions=100, kills=2, restarts=1)
    assert {name: found[name] for name in ("appended", "lost", "duplicated", "inverted")} == {
        "appended": 6_000,
        **CLEAN,
    }


@pytest.mark.chaos
@on("kafka", fixture="own_broker")
def test_kills_of_every_process_lose_and_reorder_no_prediction(
    own_broker: Broker, redis_url: str, own_redis: RedisServer, tmp_path: Path
) -> None:
    """`python -m tests.integration.listening.predictions` does the same with 20,000 events."""
    found = predictions.run(own_broker, own_redis, tmp_path, events=2_000, sessions=40, rounds=1, seed=1)
    wrong = ("lost", "duplicated", "inverted", "missing", "strange")
    assert {name: found[name] for name in wrong} == dict.fromkeys(wrong, 0)
