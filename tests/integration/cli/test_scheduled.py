"""Events with a countdown or an eta: listed, shown with their session, told by `wait`, waited for when asked."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from kato_tasks import learn, observe
from kato_tasks.adapters.redis.sessions import LATER_AT_ONCE
from kato_tasks.api.scheduled import later_payload, scheduled_events
from kato_tasks.bootstrap import Runtime
from kato_tasks.celery_tasks.postponed import append_due
from kato_tasks.domain.ids import PARTITIONS
from kato_tasks.ports.log import KeepScheduled
from kato_tasks.testing.waiting import wait_until
from tests.contract.store.log import observation
from tests.integration.cli.running import Cli, append, drain


@pytest.fixture
def planned(live: Runtime) -> list[str]:
    """Three scheduled calls; their task ids in the order in which they are due."""
    append(live, "Case 1", "a")
    drain(live)
    second = observe.apply_async(("Case 2", {"strings": ["a"]}), countdown=7_200).id
    eta = datetime.now(UTC) + timedelta(hours=1)
    first = learn.apply_async(("Case 1",), {"event_id": "learn of today"}, eta=eta).id
    third = observe.apply_async(("Case 1", {"strings": ["b"]}), countdown=86_400).id
    return [first, second, third]


def test_scheduled_events_are_listed_the_next_one_first(cli: Cli, live: Runtime, planned: list[str]) -> None:
    rows = cli("sessions", "scheduled", "--json").json
    assert [row["task_id"] for row in rows] == planned
    assert [(row["session_id"], row["event_type"]) for row in rows] == [
        ("Case 1", "learn"),
        ("Case 2", "observation"),
        ("Case 1", "observation"),
    ]
    assert [row["event_id"] for row in rows] == ["learn of today", planned[1], planned[2]]
    due = datetime.fromisoformat(rows[0]["due_at"])
    assert timedelta(minutes=58) < due - datetime.now(UTC) < timedelta(minutes=61)
    table = cli("sessions", "scheduled").out
    for text in ("Case 2", "learn", f"{due:%Y-%m-%d %H:%M:%S} UTC, in 5", planned[0], "the task's"):
        assert text in table
    limited = cli("sessions", "scheduled", "--limit", "1")
    assert len(limited.out.splitlines()) == 2
    assert "there are more than 1" in limited.err


def test_scheduled_events_of_one_session(cli: Cli, live: Runtime, planned: list[str]) -> None:
    assert [row["task_id"] for row in cli("sessions", "scheduled", "Case 2", "--json").json] == [planned[1]]
    assert cli("sessions", "scheduled", "Case 3").err == "nothing is scheduled for session 'Case 3'\n"
    shown = cli("sessions", "show", "Case 1")
    assert "2 events, the next: learn " in shown.out
    scheduled = cli("sessions", "show", "Case 1", "--json").json["scheduled"]
    assert [row["task_id"] for row in scheduled] == [planned[0], planned[2]]
    assert cli("sessions", "show", "Case 2", "--json").json["head"] == 0, "no event has a position before it is due"


def test_what_another_version_kept_is_listed_without_its_task_and_what_is_broken_is_left_out(
    cli: Cli, live: Runtime
) -> None:
    due = live.figures.now_ms() + 60_000
    live.store.execute([KeepScheduled("old", due, later_payload(observation("old", "e")))])
    live.store.execute([KeepScheduled("old", due, "{oops")])
    (row,) = cli("sessions", "scheduled", "--json").json
    assert (row["session_id"], row["event_id"], row["task_id"]) == ("old", "e", None)


def test_very_many_scheduled_events_are_read_a_few_at_a_time(live: Runtime) -> None:
    due = live.figures.now_ms() + 60_000
    many = [KeepScheduled("one", due + i, later_payload(observation("one", f"e{i}"))) for i in range(5 * LATER_AT_ONCE)]
    live.store.execute(many)
    before = live.redis.info("commandstats")["cmdstat_zrange"]["calls"] if _asked(live) else 0
    assert next(scheduled_events(live)).event_id == "e0"
    assert live.redis.info("commandstats")["cmdstat_zrange"]["calls"] - before == 1
    assert [event.event_id for event in scheduled_events(live, "one")] == [f"e{i}" for i in range(5 * LATER_AT_ONCE)]


def _asked(live: Runtime) -> bool:
    return "cmdstat_zrange" in live.redis.info("commandstats")


def test_wait_says_what_is_scheduled_and_does_not_wait_for_it(cli: Cli, live: Runtime, planned: list[str]) -> None:
    ran = cli("wait")
    assert ran.code == 0
    assert "nothing is pending; 3 events are scheduled for later: see kato-tasks sessions scheduled" in ran.err
    assert cli("wait", "--quiet").err == ""
    late = cli("wait", "--scheduled", "--timeout", "0.3")
    assert late.code == 1
    assert "not done after 0.3 s: 3 events scheduled for later" in late.err


def test_wait_waits_for_scheduled_events_when_it_is_asked_to(cli: Cli, live: Runtime) -> None:
    observe.apply_async(("x", {"strings": ["a"]}), countdown=2)
    waiting = cli.start("wait", "--scheduled", "--timeout", "60")
    try:

        def appended() -> bool:
            append_due(live, range(PARTITIONS))
            drain(live)
            return waiting.poll() is not None

        wait_until(appended, 30)
        assert waiting.returncode == 0
        assert cli("sessions", "show", "x", "--json").json["cursor"] == 1
    finally:
        waiting.kill()
        waiting.communicate()
