"""status, wait, config, sessions, dead-letters and the group itself. Lanes are drained in this process."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest

from kato_tasks.api import parking
from kato_tasks.api.status import read_status
from kato_tasks.bootstrap import Runtime
from kato_tasks.domain.events import parse_event
from kato_tasks.domain.log_entry import entry_of
from kato_tasks.testing.waiting import wait_until
from tests.integration.cli.running import Cli, append, drain, stm
from tests.integration.recovering import learning


def test_status_is_healthy_when_all_is_applied(cli: Cli, live: Runtime) -> None:
    append(live, "x", "a", "b", "c")
    before = cli("status", "--json")
    assert before.json["backlog"] == 3
    assert before.json["oldest_unapplied_seconds"] > 0
    drain(live)
    after = cli("status", "--json")
    assert after.code == 0, after.out
    assert (after.json["health"], after.json["backlog"], after.json["applied"]) == ("healthy", 0, 3)
    assert after.json["oldest_unapplied_seconds"] is None
    assert [(shard["backlog"], shard["applied"]) for shard in before.json["shards"]] == [(3, 0)]
    assert after.json["shards"] == [], "an idle shard has nothing to say"
    assert cli("status").out.splitlines()[0].split() == ["health", "healthy"]


def test_status_takes_one_round_trip_to_the_store(live: Runtime) -> None:
    append(live, "x", "a")
    before = live.redis.info("stats")["total_reads_processed"]
    read_status(live)
    after = live.redis.info("stats")["total_reads_processed"]
    # The pipeline is larger than one read of a socket; 2,305 commands in single round trips are not.
    assert after - before < 50


def test_status_of_a_store_that_is_away_is_json_too(cli: Cli) -> None:
    ran = cli("status", "--json", STORE_URL="redis://127.0.0.1:9/2")
    assert ran.code == 2
    assert ran.json["health"] == "unreachable"


def test_a_broker_that_is_away_degrades(cli: Cli, live: Runtime) -> None:
    ran = cli("status", "--json", BROKER_URL="redis://:pw@127.0.0.1:9/0")
    assert ran.code == 1
    assert ran.json["broker"]["url"] == "redis://:***@127.0.0.1:9/0"
    assert "the broker at redis://:***@127.0.0.1:9/0 does not answer" in " ".join(ran.json["reasons"])


def test_wait_returns_when_nothing_is_pending(cli: Cli, live: Runtime) -> None:
    append(live, "x", "a", "b")
    waiting = cli.start("wait", "--timeout", "60")
    try:
        wait_until(lambda: b"2 events of 1 session left" in waiting.stderr.readline(), 30)  # type: ignore[union-attr]
        assert waiting.poll() is None
        drain(live)
        assert waiting.wait(30) == 0
    finally:
        waiting.kill()
        waiting.communicate()


def test_wait_says_what_is_left_after_its_timeout(cli: Cli, live: Runtime) -> None:
    append(live, "x", "a", "b")
    ran = cli("wait", "--timeout", "0.5", "--quiet")
    assert ran.code == 1
    assert ran.err.startswith("Error: not done after 0.5 s: 2 events of 1 session left, the oldest waits for ")


def test_wait_does_not_wait_for_a_person(cli: Cli, live: Runtime) -> None:
    append(live, "x", "a", "b")
    parking.park(live, "x", "for a test")
    ran = cli("wait", "--timeout", "60")
    assert ran.code == 1
    assert "2 events of 1 parked session wait until a person resumes them" in ran.err


def test_config_prints_the_effective_settings_without_secrets(cli: Cli) -> None:
    ran = cli("config", "--json", BROKER_URL="amqp://me:secret@h//", KATO_URLS="http://u:secret@k:1,http://l:2")
    assert ran.json["broker_url"] == "amqp://me:***@h//"
    assert ran.json["kato_urls"] == ["http://u:***@k:1", "http://l:2"]
    assert ran.json["shards"] == 16
    table = cli("config", BROKER_URL="amqp://me:secret@h//")
    assert "secret" not in table.out
    assert "KATO_TASKS_SHARDS" in table.out


def test_sessions_show_prints_the_documented_form(cli: Cli, live: Runtime, kato_url: str) -> None:
    append(live, "Case 1", "a", "b", node_id="desk")
    pending = cli("sessions", "show", "Case 1", "--json").json
    assert (pending["state"], pending["head"], pending["cursor"], pending["binding"]) == ("pending", 2, 0, None)
    drain(live)
    shown = cli("sessions", "show", "Case 1", "--json").json
    assert {k: shown[k] for k in ("session_id", "node_id", "lane", "head", "cursor", "state")} == {
        "session_id": "Case 1",
        "node_id": "desk",
        "lane": "desk",
        "head": 2,
        "cursor": 2,
        "state": "idle",
    }
    binding = shown["binding"]
    assert set(binding) == {"kato_url", "kato_session_id", "node", "time", "stm_length", "epoch"}
    assert (binding["kato_url"], binding["node"], binding["time"], binding["stm_length"]) == (kato_url, "desk", 2, 2)
    words = [line.split() for line in cli("sessions", "show", "Case 1").out.splitlines()]
    for line in (["head", "2"], ["cursor", "2,", "all", "is", "applied"], ["STM", "length", "2"], ["epoch", "1"]):
        assert line in words


@pytest.mark.parametrize("together", [True, False])
def test_sessions_show_counts_time_from_the_learn_that_emptied_the_stm(cli: Cli, live: Runtime, together: bool) -> None:
    # Learned just after its one call the KATO session needs no clear-stm, and KATO's own time goes on.
    append(live, "x", "a", "b")
    if not together:
        drain(live)
    live.mailbox.append([entry_of(parse_event(learning("x", "learn")), event_id="learn")])
    drain(live)

    def time_and_stm() -> tuple[int, int]:
        binding = cli("sessions", "show", "x", "--json").json["binding"]
        return binding["time"], binding["stm_length"]

    assert time_and_stm() == (0, 0)
    append(live, "x", "c", first=3)
    drain(live)
    assert time_and_stm() == (1, 1)


def test_sessions_list_finds_by_state(cli: Cli, live: Runtime) -> None:
    append(live, "done 1", "a")
    append(live, "done 2", "a")
    drain(live)
    append(live, "waits", "a")
    append(live, "stuck", "a")
    parking.park(live, "stuck", "for a test")

    def listed(*words: str) -> set[str]:
        return {row["session_id"] for row in cli("sessions", "list", "--json", *words).json}

    assert listed() == {"done 1", "done 2", "waits", "stuck"}
    assert listed("--state", "idle") == {"done 1", "done 2"}
    assert listed("--state", "pending") == {"waits"}
    assert listed("--state", "parked") == {"stuck"}
    limited = cli("sessions", "list", "--limit", "2")
    assert len(limited.out.splitlines()) == 3
    assert "there are more than 2" in limited.err


def test_a_session_parked_by_hand_stands_still_and_goes_on_where_it_was(cli: Cli, live: Runtime, kato_url: str) -> None:
    append(live, "x", "a")
    drain(live)
    assert cli("sessions", "park", "x", "--reason", "looking into it").code == 0
    append(live, "x", "b", "c", first=2)
    append(live, "y", "a", first=4)
    drain(live)
    shown = cli("sessions", "show", "x", "--json").json
    assert (shown["state"], shown["cursor"], shown["head"]) == ("parked", 1, 3)
    assert shown["parked"]["reason"] == "looking into it"
    assert cli("sessions", "show", "y", "--json").json["cursor"] == 1
    assert cli("status").code == 1
    assert cli("sessions", "park", "x").code == 1
    assert cli("sessions", "resume", "x").code == 0
    drain(live)
    after = cli("sessions", "show", "x", "--json").json
    assert (after["state"], after["cursor"]) == ("idle", 3)
    assert stm(kato_url, after) == [["a"], ["b"], ["c"]]
    assert cli("status").code == 0
    again = cli("sessions", "resume", "x")
    assert again.code == 1
    assert "is not parked, so there is nothing to resume" in again.err


def test_an_idle_session_that_is_parked_leaves_no_lane_due(live: Runtime) -> None:
    append(live, "x", "a")
    parking.park(live, "x", "for a test")
    assert read_status(live).lanes_due == 0
    assert parking.resume(live, "x")
    assert read_status(live).lanes_due == 1


def test_the_group_is_light_for_every_celery_command(cli: Cli) -> None:
    code = (
        "import sys, kato_tasks.cli;"
        "heavy = {'celery', 'kombu', 'redis', 'pydantic', 'httpx', 'rich'} & set(sys.modules);"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env=cli.environment())


def test_help_names_every_command(cli: Cli) -> None:
    ran = cli("--help")
    assert ran.code == 0
    for name in ("import", "sessions", "dead-letters", "status", "wait", "config", "up", "demo"):
        assert re.search(rf"^  {name} ", ran.out, re.MULTILINE), name


def test_the_same_group_is_a_command_of_celery(cli: Cli, live: Runtime) -> None:
    """As the entry point in pyproject.toml declares it."""
    there = cli.directory / "site" / "kato_tasks_cli-0.dist-info"
    there.mkdir(parents=True)
    (there / "METADATA").write_text("Metadata-Version: 2.1\nName: kato-tasks-cli\nVersion: 0\n")
    (there / "entry_points.txt").write_text("[celery.commands]\nkato = kato_tasks.cli:kato\n")
    append(live, "x", "a")
    environment = cli.environment()
    environment["PYTHONPATH"] += f":{there.parent}"
    words = [sys.executable, "-m", "celery", "-A", "kato_tasks", "kato", "sessions", "show", "x", "--json"]
    ran = subprocess.run(words, env=environment, cwd=cli.directory, capture_output=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout)["session_id"] == "x"
    words[-2] = "nobody"
    ran = subprocess.run(words, env=environment, cwd=cli.directory, capture_output=True, check=False)
    assert ran.returncode == 1
    assert b"session 'nobody' is not known" in ran.stderr
    assert b"Traceback" not in ran.stderr
