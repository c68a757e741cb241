"""What ends the demo: a replay that differs is a failure, and the moment to look back at had a choice."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from kato_tasks.cli.demo.helpdesk_data import REPLAYED_AT_MOST, SEEN, Program, Ticket, worth_a_look
from kato_tasks.cli.demo.replaying import require_equal
from kato_tasks.domain.replays import ReplayStatus
from kato_tasks.embedded.stack.stack import StackFailed

DONE = ReplayStatus("a1b2c3d4e5f6", "rebuild", "done", 437, 437, ())


def test_a_replay_that_is_done_and_equal_is_its_own_answer() -> None:
    assert require_equal(DONE) is DONE


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (replace(DONE, state="failed", differences=("node shop: KATO counts p 2 times",)), "is failed: node shop"),
        (replace(DONE, differences=("node shop: other STM",)), "node shop: other STM"),
        (replace(DONE, state="cancelled", reason="it was cancelled by a person"), "it was cancelled by a person"),
        (replace(DONE, events_done=436), "436 of 437 events"),
    ],
)
def test_a_replay_that_is_not_done_or_not_equal_fails_the_demo(status: ReplayStatus, words: str) -> None:
    with pytest.raises(StackFailed, match=words):
        require_equal(status)


def _tickets(count: int, steps: int) -> list[Ticket]:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    return [
        Ticket(
            f"case {number}",
            [Program(0, start + timedelta(hours=number, minutes=step), f"step {step}", "") for step in range(steps)],
        )
        for number in range(count)
    ]


def test_the_ticket_to_look_back_at_is_from_the_middle_and_not_too_late_in_a_long_history() -> None:
    case, *activities = worth_a_look(_tickets(100, 6))
    assert case == "case 49"
    assert len(activities) > SEEN + 1
    case, *_ = worth_a_look(_tickets(2_000, 6))
    assert int(case.removeprefix("case ")) <= REPLAYED_AT_MOST / 6


def test_where_every_ticket_is_short_the_longest_is_looked_back_at() -> None:
    tickets = [*_tickets(5, 2), *_tickets(1, 3)]
    assert worth_a_look(tickets)[1:] == ["step 0", "step 1", "step 2"]
