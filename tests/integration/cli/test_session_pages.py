"""`sessions list`: sorted, filtered, page by page; `show`, `park` and `resume` for a person and for a script."""

from __future__ import annotations

import re
import shlex
from datetime import UTC, datetime, timedelta

import pytest

from kato_tasks import session_status
from kato_tasks.adapters.redis.keys import prefix
from kato_tasks.api import parking
from kato_tasks.api.session_list import AT_ONCE, SessionFilter, list_sessions
from kato_tasks.bootstrap import Runtime
from kato_tasks.domain.ids import partition_of
from kato_tasks.testing.waiting import wait_until
from tests.integration.cli.running import Cli, append, drain


@pytest.fixture
def stocked(live: Runtime) -> Runtime:
    """Sessions of two nodes; the last letters of the alphabet were appended first."""
    append(live, "done 1", "a", node_id="shop")
    append(live, "done 2", "a")
    drain(live)
    append(live, "waits 10", *"abc", node_id="shop")
    append(live, "waits 9", "a", node_id="desk")
    append(live, "a*b", *"ab")
    append(live, "aXb", "a")
    then = live.figures.now_ms()
    wait_until(lambda: live.figures.now_ms() > then, 5)
    append(live, "done 1", "b", first=2, node_id="shop")
    return live


def listed(cli: Cli, *words: str) -> list[str]:
    return [row["session_id"] for row in cli("sessions", "list", "--json", *words).json]


def test_sessions_are_sorted_as_asked(cli: Cli, stocked: Runtime) -> None:
    by_id = ["a*b", "aXb", "done 1", "done 2", "waits 10", "waits 9"]
    assert listed(cli) == by_id
    assert listed(cli, "--sort", "node") == ["a*b", "aXb", "waits 9", "done 2", "done 1", "waits 10"]
    assert listed(cli, "--sort", "backlog") == ["waits 10", "a*b", "aXb", "done 1", "waits 9", "done 2"]
    newest_first = listed(cli, "--sort", "last")
    assert newest_first[0] == "done 1"
    assert sorted(newest_first) == by_id
    times = [row["last_event_at"] for row in cli("sessions", "list", "--json", "--sort", "last").json]
    assert times == sorted(times, reverse=True)


def test_sessions_are_found_by_node_prefix_and_state(cli: Cli, stocked: Runtime) -> None:
    assert listed(cli, "--node", "shop") == ["done 1", "waits 10"]
    assert listed(cli, "--node", "done 2") == ["done 2"], "its own node"
    assert listed(cli, "--prefix", "done") == ["done 1", "done 2"]
    assert listed(cli, "--prefix", "a*") == ["a*b"], "no pattern"
    assert listed(cli, "--node", "shop", "--prefix", "done", "--state", "pending") == ["done 1"]
    assert listed(cli, "--state", "idle", "--sort", "last") == ["done 2"]
    none = cli("sessions", "list", "--prefix", "x", "--state", "parked")
    assert (none.code, none.out, none.err) == (0, "", "no session is parked and has an id that begins with 'x'\n")


@pytest.mark.parametrize("sort", ["id", "node", "backlog", "last"])
def test_the_pages_are_the_whole_list_and_each_says_how_to_go_on(cli: Cli, stocked: Runtime, sort: str) -> None:
    whole = listed(cli, "--sort", sort)
    pages, words = [], ["sessions", "list", "--sort", sort, "--limit", "4"]
    for _ in range(2):
        ran = cli(*words, "--json")
        pages.append([row["session_id"] for row in ran.json])
        told = re.search(r"go on with: kato-tasks (.*)", ran.err)
        words = shlex.split(told[1]) if told else []
    assert [len(page) for page in pages] == [4, 2]
    assert pages[0] + pages[1] == whole
    assert words == [], "nothing follows the last page"


def test_a_page_behind_a_session_that_is_gone(cli: Cli, stocked: Runtime) -> None:
    assert listed(cli, "--after", "b") == ["done 1", "done 2", "waits 10", "waits 9"]
    ran = cli("sessions", "list", "--sort", "last", "--after", "nobody")
    assert ran.code == 1
    assert ran.err == "Error: session 'nobody' is not known, so no page begins behind it; leave --after out\n"


def test_a_page_of_very_many_sessions_takes_few_round_trips_and_keeps_a_page_in_memory(rt: Runtime) -> None:
    """Falls when each session is asked for by itself, or when all of them are kept until they are sorted."""
    made = 5_000
    pipe = rt.redis.pipeline(transaction=False)
    for i in range(made):
        session = f"s{i:05d}"
        p = prefix(partition_of(session))
        pipe.hset(f"{p}nodes", session, session)
        pipe.hset(f"{p}s:{session}", mapping={"lane": session, "node": session, "head": i + 1, "cur": 1})
    pipe.execute()
    before = rt.redis.info("stats")["total_reads_processed"]
    page = list_sessions(rt, limit=10, after="s02999")
    by_name = rt.redis.info("stats")["total_reads_processed"] - before
    assert [status.session_id for status in page.sessions] == [f"s0{i}" for i in range(3000, 3010)]
    assert page.more
    assert by_name < 400, "an HSCAN for each of 256 partitions, and one look at the page"
    assert [status.head for status in list_sessions(rt, sort="backlog", limit=3).sessions] == [5000, 4999, 4998]
    assert len(list_sessions(rt, SessionFilter(prefix="s0499"), sort="backlog", limit=AT_ONCE * 30).sessions) == 10


def test_when_the_last_event_came_is_shown_and_of_old_rows_what_there_is(cli: Cli, live: Runtime) -> None:
    append(live, "x", "a")
    drain(live)
    status = session_status("x")
    assert status is not None
    assert status.last_event_at is not None
    at = datetime.fromisoformat(status.last_event_at)
    assert abs(datetime.now(UTC) - at) < timedelta(seconds=60)
    shown = cli("sessions", "show", "x").out
    assert re.search(rf"^last event +{at:%Y-%m-%d %H:%M:%S} UTC, \d+ s ago$", shown, re.MULTILINE)
    assert re.search(r"\d+ s ago", cli("sessions", "list").out)
    p = prefix(partition_of("x"))
    live.redis.delete(f"{p}log:x")
    applied = session_status("x")
    assert applied is not None
    assert applied.last_event_at is not None, "when it was applied stands in its row"
    live.redis.hdel(f"{p}s:x", "at")
    assert cli("sessions", "show", "x", "--json").json["last_event_at"] is None
    assert cli("sessions", "list").out.splitlines()[1].split()[-1] == "-"
    assert "none yet" in cli("sessions", "show", "x").out


def test_the_columns_have_the_names_of_the_json(cli: Cli, stocked: Runtime) -> None:
    header, first, *_ = cli("sessions", "list").out.splitlines()
    assert header.split() == ["session", "node", "state", "cursor", "head", "last", "event", "why"]
    assert first.split()[:6] == ["a*b", "its", "own", "pending", "0", "2"]


def test_a_session_whose_rows_are_broken_does_not_hide_the_others(cli: Cli, stocked: Runtime) -> None:
    p = prefix(partition_of("aXb"))
    stocked.redis.delete(f"{p}s:aXb")
    stocked.redis.set(f"{p}s:aXb", "no hash")
    rows = {row["session_id"]: row for row in cli("sessions", "list", "--json").json}
    assert len(rows) == 6
    assert "its rows in the store cannot be read" in rows["aXb"]["last_error"]


def test_a_parked_session_is_shown_with_times_and_without_empty_fields(cli: Cli, live: Runtime) -> None:
    append(live, "x", "a")
    parking.park(live, "x", "looking into it")
    shown = cli("sessions", "show", "x").out
    assert re.search(r"^parked since +\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC, \d+ s ago$", shown, re.MULTILINE)
    assert re.search(r"^parked because +looking into it$", shown, re.MULTILINE)
    for noise in ("_ms", "answer", "at event", "attempts"):
        assert noise not in shown


def test_what_kato_answered_is_shown_when_it_parked_the_session(cli: Cli, live: Runtime) -> None:
    append(live, "x", "a")
    why = '{"reason":"5 attempts failed","last_answer":"KATO answered 500: no","event_id":"e1","position":1,'
    why += '"attempts":5,"first_ms":1000,"last_ms":2000,"new":"of a later version"}'
    live.redis.hset(f"{prefix(partition_of('x'))}s:x", "pk", why)
    shown = dict(re.split(r"  +", line, maxsplit=1) for line in cli("sessions", "show", "x").out.splitlines())
    assert shown["KATO's answer"] == "KATO answered 500: no"
    assert shown["at event"] == "e1, position 1"
    assert shown["first failed"].startswith("1970-01-01 00:00:01 UTC")
    assert shown["parked: new"] == "of a later version"


def test_park_and_resume_answer_a_script_with_the_session(cli: Cli, live: Runtime) -> None:
    append(live, "x y", "a")
    parked = cli("sessions", "park", "x y", "--json")
    assert (parked.json["session_id"], parked.json["state"]) == ("x y", "parked")
    assert "kato-tasks sessions resume 'x y' lets it go on" in parked.err
    assert cli("sessions", "resume", "x y", "--json").json["state"] == "pending"
