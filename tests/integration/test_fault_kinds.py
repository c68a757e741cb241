"""Every kind of fault that KATO_API.md describes, at a high rate on every call, with a real worker between."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from kato_tasks import append_events
from kato_tasks.testing.services import KatoServer, RedisServer
from tests.integration.recovering import (
    THREADS,
    a_system,
    followed,
    history,
    hold_to_the_oracle,
    new_name,
    nobody_waits,
    total,
)
from tests.integration.system import Json, System, drained

ROUTES = ("create", "observe-sequence", "learn", "clear-stm", "cognition-data", "delete", "pattern", "predictions")
RATES = {"delay": 0.08, "delay_after": 0.08, "redis_down": 0.15, "expire": 0.15}
SECONDS = 1.3  # longer than kato_timeout_seconds
KINDS = (
    "delay",
    "delay_after",
    "drop_before",
    "drop_after",
    "error_before",
    "error_after",
    "not_saved",
    "not_found",
    "redis_down",
    "expire",
    "unavailable",
    "clickhouse_down",
)


@pytest.fixture(scope="module")
def system(redis_server: RedisServer, kato: KatoServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    with (
        a_system(redis_server, tmp_path_factory.mktemp("faults"), kato, max_retries="30") as system,
        system.workers(THREADS),
    ):
        yield system


def rules(kind: str) -> list[Json]:
    rate = RATES.get(kind, 0.25)
    wanted = [{"kind": kind, "route": route, "rate": rate, "seconds": SECONDS} for route in ROUTES]
    # What is asked of a session that was deleted by nobody is no fault of KATO's that its API describes; and writing a
    # session down is the last thing that a creation does.
    never = {("not_saved", "delete"), ("not_saved", "create"), ("error_after", "create")}
    return [rule for rule in wanted if (kind, rule["route"]) not in never]


@pytest.mark.parametrize("kind", KINDS)
def test_stm_and_frequencies_are_the_oracles_whatever_the_fault(system: System, kind: str) -> None:
    """Invariants 1 to 3, in real processes; their guards fall one by one in tests/unit/engine."""
    system.kato.reset()
    leftovers = total(system, "leftovers")
    system.faults(*rules(kind))
    node = [new_name("shop") for _ in range(3)]
    sessions = [new_name("visitor") for _ in range(6)]
    stories = [history(session, node[i % 3]) for i, session in enumerate(sessions)]
    for start in range(0, 12, 3):
        append_events([event for story in stories for event in story[start : start + 3]])
        drained(sessions, 60)  # each round by itself: together they could be so few calls that hardly one meets a fault
    counts = system.ask("stats")["faults"]
    assert counts.get(kind, 0) > 3, "there were faults to survive"
    system.faults()
    events = followed([event for story in stories for event in story])
    nobody_waits(system)
    hold_to_the_oracle(system, events)
    # Each bound session is live; whatever lives beside them was counted when it was left behind.
    live = system.ask("stats")["sessions_live"] - len(sessions)
    unseen = counts.get(kind, 0) if kind in ("not_found", "redis_down") else 0
    assert live <= total(system, "leftovers") - leftovers + unseen
    assert system.ask("stats")["overlaps"] == 0


def test_every_session_survives_a_kato_that_loses_everything_in_the_middle(system: System) -> None:
    system.kato.reset()
    sessions = [new_name("visitor") for _ in range(4)]
    stories = [history(session, session) for session in sessions]
    append_events([event for story in stories for event in story[:11]])
    drained(sessions)
    system.faults({"kind": "lose_all", "route": "observe-sequence", "count": 1})
    append_events([event for story in stories for event in story[11:]])
    drained(sessions)
    system.faults()
    events = followed([event for story in stories for event in story])
    hold_to_the_oracle(system, events, patterns=False)
    nobody_waits(system)
