"""`kato-tasks replay`: replays are started, watched, ended and cleaned up; what is wrong is one sentence."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis

from kato_tasks import append_events, predict
from kato_tasks.adapters.redis.keys import prefix
from kato_tasks.adapters.redis.replays import REPLAYS
from kato_tasks.bootstrap import Runtime
from kato_tasks.domain.ids import partition_of
from kato_tasks.ports.generations import GenerationOf
from kato_tasks.ports.lanes import FlagNodeForRebuild
from kato_tasks.testing.waiting import wait_until
from tests.integration.cli.running import Cli, append, drain
from tests.integration.cli.terminal import on_terminal
from tests.integration.cli.test_bad_input import one_sentence
from tests.integration.system import Worker

Json = dict[str, Any]
NOBODY = "redis://127.0.0.1:9/0"
FIELDS = {
    "id",
    "mode",
    "state",
    "events_done",
    "events_total",
    "events_per_second",
    "remaining_seconds",
    "lanes",
    "differences",
    "more_differences",
    "reason",
    "waits",
    "sessions",
    "task_id",
    "created_at",
    "ended_at",
}


def expiry(rt: Runtime, replay_id: str) -> int:
    """After how many seconds the record of a replay ends; -1: it does not."""
    with redis.Redis.from_url(rt.settings.store_url) as client:
        return int(client.ttl(f"{REPLAYS}{replay_id}"))


@contextmanager
def a_worker(cli: Cli, directory: Path) -> Iterator[None]:
    environment = {f"KATO_TASKS_{name}": value for name, value in cli.settings.items()}
    worker = Worker(directory / "worker", environment, "--pool", "threads", "--concurrency", "4")
    worker.start()
    try:
        yield
    finally:
        worker.stop()


@pytest.fixture
def worker(cli: Cli, live: Runtime, tmp_path: Path) -> Iterator[None]:
    with a_worker(cli, tmp_path):
        yield


@pytest.fixture
def history(live: Runtime) -> None:
    """Two sessions of one node and one of another, all applied: 3 observations and a learn each, then one more."""
    for session, node in (("Case 1", "shop"), ("Case 2", "shop"), ("lone", "desk")):
        events: list[Json] = [
            {"event_id": f"e{i}", "session_id": session, "node_id": node, "observation": {"strings": [text]}}
            | {"timestamp": f"2026-03-0{i}T12:00:00Z"}
            for i, text in enumerate("abc", 1)
        ]
        events.append({"event_id": "l", "session_id": session, "node_id": node, "event_type": "learn"})
        events[-1]["timestamp"] = "2026-03-04T12:00:00Z"
        last = {"event_id": "e5", "session_id": session, "node_id": node, "observation": {"strings": ["a"]}}
        append_events([*events, last | {"timestamp": "2026-03-05T12:00:00Z"}])
    drain(live)


def generation(rt: Runtime, lane: str) -> str:
    (found,) = rt.store.execute([GenerationOf(lane)])
    return str(found)


def flag(rt: Runtime, lane: str) -> None:
    rt.store.execute([FlagNodeForRebuild(lane)])
    rt.redis.sadd(f"{prefix(partition_of(lane))}ltm_lost", lane)


def kept(rt: Runtime) -> set[str]:
    return {str(key) for key in rt.redis.scan_iter("kt:*")}


@pytest.mark.usefixtures("history", "worker")
def test_a_rebuild_is_watched_to_its_end_and_what_it_says_is_so(cli: Cli, live: Runtime) -> None:
    ran = cli("replay", "start", "--mode", "rebuild", "--watch", "--json")
    assert ran.code == 0, ran.err
    assert set(ran.json) == FIELDS
    assert (ran.json["mode"], ran.json["state"], ran.json["differences"]) == ("rebuild", "done", [])
    assert (ran.json["events_done"], ran.json["events_total"]) == (15, 15)
    assert ran.json["lanes"] == {"switched": 2}
    assert "done: 15 of 15 (100%) events" in ran.err
    assert generation(live, "shop") != ""
    id_ = ran.json["id"]
    assert cli("replay", "status", id_, "--json").json == ran.json
    shown = cli("replay", "status", id_)
    assert shown.code == 0
    for text in ("state      done", "events     15 of 15 (100%)", "lanes      2 switched", id_):
        assert text in shown.out
    assert [row["id"] for row in cli("replay", "list", "--json").json] == [id_]
    assert re.search(rf"{id_}\s+rebuild\s+all nodes\s+done\s+15 of 15", cli("replay", "list").out)
    predicted = predict.delay("Case 1").get(timeout=30)
    assert predicted["predictions"][0]["frequency"] == 2, "both learns of the node are in its new generation"


@pytest.mark.usefixtures("history", "worker")
def test_the_command_that_status_prints_rebuilds_the_flagged_nodes(cli: Cli, live: Runtime) -> None:
    flag(live, "shop")
    said = cli("status").err
    found = re.search(r"to be rebuilt: the node 'shop', KATO lost its patterns: kato-tasks (.*)", said)
    assert found, said
    ran = cli(*found[1].split(), "--watch", "--json")
    assert (ran.code, ran.json["state"], ran.json["lanes"]) == (0, "done", {"switched": 1})
    assert generation(live, "shop") != ""
    assert generation(live, "desk") == ""
    assert "to be rebuilt" not in cli("status").err
    again = cli(*found[1].split(), "--json")
    assert (again.code, again.json["id"], again.json["state"]) == (0, None, "done")
    assert again.err == "no node is flagged for a rebuild, so there is nothing to replay\n"


@pytest.mark.usefixtures("history")
def test_a_dry_run_says_what_would_be_done_and_changes_nothing(cli: Cli, live: Runtime) -> None:
    before = kept(live)
    ran = cli("replay", "start", "--mode", "rebuild", "--dry-run")
    assert (ran.code, ran.err) == (0, "nothing was changed; leave --dry-run out to start it\n")
    head, columns, *rows = ran.out.splitlines()
    assert head.startswith("would replay 15 events of 3 sessions of 2 lanes into new nodes at KATO")
    assert columns.split() == ["node", "served", "now", "by", "events"]
    assert [row.split() for row in rows] == [["shop", "shop", "10"], ["desk", "desk", "5"]]
    planned = cli("replay", "start", "--mode", "rebuild", "--node", "desk", "--dry-run", "--json").json
    assert planned == {
        "dry_run": True,
        "mode": "rebuild",
        "lanes_total": 1,
        "sessions_total": 1,
        "events_total": 5,
        "nodes": [{"node_id": "desk", "served_by": "desk", "events_total": 5}],
        "more_nodes": 0,
    }
    stm = cli("replay", "start", "--mode", "stm", "--session", "lone", "--dry-run")
    assert stm.out == "would rebuild the short-term memory of session 'lone', and learn nothing\n"
    words = ("replay", "start", "--mode", "as_of", "--session", "Case 1", "--position", "2", "--dry-run")
    assert cli(*words).out.startswith("would replay 2 events of the session's lane into a new node at KATO:\n")
    assert cli("replay", "list").err == "there are no replays\n"
    assert kept(live) - before == set()


@pytest.mark.usefixtures("live")
def test_a_dry_run_names_twenty_nodes_and_counts_the_others(cli: Cli, live: Runtime) -> None:
    for i in range(23):
        append(live, f"s{i:02}", "a")
    drain(live)
    ran = cli("replay", "start", "--mode", "rebuild", "--dry-run")
    assert len(ran.out.splitlines()) == 2 + 20
    assert "and 3 more nodes" in ran.err
    planned = cli("replay", "start", "--mode", "rebuild", "--dry-run", "--json").json
    assert (len(planned["nodes"]), planned["more_nodes"], planned["lanes_total"]) == (20, 3, 23)


@pytest.mark.usefixtures("history", "worker")
def test_as_of_names_a_session_that_commands_and_tasks_can_ask_and_clean_erases_it(cli: Cli, live: Runtime) -> None:
    ran = cli("replay", "start", "--mode", "as_of", "--session", "Case 1", "--position", "2")
    assert ran.code == 0
    id_ = ran.out.strip()
    assert re.fullmatch("[0-9a-f]{12}", id_), "only the id is data"
    shadow = f"replay:{id_}:Case 1"
    assert f"watch it with kato-tasks replay status {id_} --watch" in ran.err
    assert f"when it is done, ask session {shadow!r} in place of 'Case 1'" in ran.err
    watched = cli("replay", "status", id_, "--watch", "--json")
    assert (watched.code, watched.json["state"], watched.json["sessions"]) == (0, "done", {"Case 1": shadow})
    assert f"stands for Case 1  {shadow}" in cli("replay", "status", id_).out
    assert cli("sessions", "show", shadow, "--json").json["cursor"] == 2
    assert predict.delay(shadow).get(timeout=30)["predictions"] == [], "nothing was learned up to position 2"
    assert predict.delay("Case 1").get(timeout=30)["predictions"] != []
    said = cli("replay", "start", "--mode", "as_of", "--session", shadow).err
    assert "is a replay's own session; name the one that it stands for" in said
    cleaned = cli("replay", "clean", id_, "--old-generations", "--yes", "--wait")
    assert (cleaned.code, cleaned.err) == (0, f"nothing is left of replay {id_}\n")
    wait_until(lambda: expiry(live, id_) > 0, 10, "the record of a replay that left nothing ends by itself")
    left = {key for key in kept(live) if shadow in key and ":r:" not in key}
    assert left == set(), "nothing of it is in the store but what a task was just answered"


@pytest.mark.usefixtures("history", "worker")
def test_as_of_a_time_leaves_out_what_is_later(cli: Cli) -> None:
    words = ("replay", "start", "--mode", "as_of", "--session", "lone", "--wait", "--json", "--time")
    for until, cursor in (("2026-03-02T12:00:00Z", 2), ("2026-03-05T13:00:00+01:00", 5), ("2026-03-03", 2)):
        ran = cli(*words, until)
        assert ran.json["state"] == "done", ran.out
        (shadow,) = ran.json["sessions"].values()
        assert cli("sessions", "show", shadow, "--json").json["cursor"] == cursor


@pytest.mark.usefixtures("history", "worker")
def test_a_sessions_short_term_memory_is_rebuilt_in_a_fresh_kato_session(cli: Cli, live: Runtime) -> None:
    before = cli("sessions", "show", "lone", "--json").json["binding"]
    ran = cli("replay", "start", "--mode", "stm", "--session", "lone", "--watch")
    assert ran.code == 0, ran.err
    assert "state      done" in ran.out
    after = cli("sessions", "show", "lone", "--json").json["binding"]
    assert after["kato_session_id"] != before["kato_session_id"]
    assert after["stm_length"] == before["stm_length"] == 1
    (listed,) = cli("replay", "list", "--json").json
    wait_until(lambda: expiry(live, listed["id"]) > 0, 10, "it left nothing, so its record ends by itself")


@pytest.mark.usefixtures("history")
def test_a_replay_without_a_worker_waits_is_cancelled_and_goes_on_when_it_is_resumed(
    cli: Cli, live: Runtime, tmp_path: Path
) -> None:
    words = ("replay", "start", "--mode", "rebuild", "--node", "desk")
    ran = cli(*words)
    id_ = ran.out.strip()
    running = cli("replay", "status", id_)
    assert running.code == 0
    assert "state      running" in running.out
    assert f"it goes on; watch it with kato-tasks replay status {id_} --watch" in running.err
    busy = cli(*words)
    assert (busy.code, busy.out) == (1, "")
    assert f"replay {id_} of lane 'desk' has not ended; wait for it, or cancel it first" in one_sentence(busy)
    assert one_sentence(cli(*words, "--dry-run")) == one_sentence(busy)
    assert f"replay {id_} is running; there is nothing to resume" in one_sentence(cli("replay", "resume", id_))
    assert f"replay {id_} is running; end it first: kato-tasks replay cancel {id_}" in one_sentence(
        cli("replay", "clean", id_)
    )
    cancelled = cli("replay", "cancel", id_, "--json")
    assert (cancelled.code, cancelled.json["state"]) == (0, "cancelled")
    assert f"kato-tasks replay resume {id_} lets it go on where it was" in cancelled.err
    assert one_sentence(cli("replay", "cancel", id_)) == (
        f"replay {id_} was cancelled already, so there is nothing to cancel"
    )
    told = cli("replay", "status", id_)
    assert told.code == 1
    assert "reason     it was cancelled by a person" in told.out
    with a_worker(cli, tmp_path):
        resumed = cli("replay", "resume", id_, "--wait", "--json")
        assert (resumed.code, resumed.json["state"]) == (0, "done"), resumed.err
    assert generation(live, "desk") != ""
    assert one_sentence(cli("replay", "resume", id_)) == f"replay {id_} is done; start another one"
    assert one_sentence(cli("replay", "cancel", id_)) == f"replay {id_} is done, so there is nothing to cancel"


@pytest.mark.usefixtures("history", "worker")
def test_the_generation_that_served_before_is_erased_when_a_person_agrees(cli: Cli, live: Runtime) -> None:
    id_ = cli("replay", "start", "--mode", "rebuild", "--node", "shop", "--watch", "--json").json["id"]
    assert patterns(cli, "shop") == 1
    refused = cli("replay", "clean", id_, "--old-generations", stdin=b"n\n")
    assert refused.code == 1
    assert "This erases all patterns of 1 node at KATO for good (shop). Go on? [y/N]" in refused.err
    assert "nothing was erased; answer y, or give --yes" in refused.err
    assert "nothing was erased" in cli("replay", "clean", id_, "--old-generations", stdin=b"").err
    assert cli("replay", "clean", id_, "--wait").err == f"nothing is left of replay {id_} but its patterns at KATO\n"
    assert patterns(cli, "shop") == 1
    assert expiry(live, id_) == -1, "the record names the node that is left"
    assert cli("replay", "clean", id_, "--old-generations", "--wait", stdin=b"y\n").code == 0
    wait_until(lambda: expiry(live, id_) > 0, 10, "the record of a replay that left nothing ends by itself")
    assert patterns(cli, "shop") == 0
    assert patterns(cli, generation(live, "shop")) == 1, "what serves is not touched"
    again = cli("replay", "clean", id_, "--old-generations", "--wait")
    assert (again.code, again.err) == (0, f"nothing is left of replay {id_}\n"), "there is nothing to ask about"


@pytest.mark.usefixtures("history", "worker")
def test_a_replay_that_was_cleaned_up_cannot_be_resumed(cli: Cli, live: Runtime) -> None:
    cli.settings["BROKER_URL"], there = NOBODY, cli.settings["BROKER_URL"]
    cli.inside = False
    failed = cli("replay", "start", "--mode", "rebuild", "--node", "desk")
    cli.settings["BROKER_URL"], cli.inside = there, True
    assert failed.code == 2
    sentence = one_sentence(failed)
    found = re.search(r"kato-tasks replay resume ([0-9a-f]{12})", sentence)
    assert found, sentence
    assert sentence.startswith("the broker does not take the tasks of replays (")
    assert "start it, or mend KATO_TASKS_BROKER_URL" in sentence
    assert cli("replay", "status", found[1], "--json").json["state"] == "failed"
    assert cli("replay", "clean", found[1], "--wait").code == 0
    assert one_sentence(cli("replay", "resume", found[1])) == (
        f"replay {found[1]} was cleaned up, so it cannot go on; start another one"
    )


@pytest.mark.usefixtures("history")
def test_ctrl_c_ends_the_watch_and_not_the_replay(cli: Cli) -> None:
    id_ = cli("replay", "start", "--mode", "rebuild").out.strip()
    watching = cli.start("replay", "status", id_, "--watch")
    try:
        assert watching.stderr is not None
        assert watching.stderr.readline().decode() == "running: 0 of 15 (0%) events\n"
        watching.send_signal(signal.SIGINT)
        out, err = watching.communicate(timeout=30)
    finally:
        watching.kill()
        watching.wait()
    assert (watching.returncode, out) == (130, b"")
    assert (
        f"replay {id_} goes on without this watch: kato-tasks replay status {id_} --watch looks again" in err.decode()
    )
    assert cli("replay", "status", id_, "--json").json["state"] == "running"


@pytest.mark.usefixtures("live")
def test_a_queue_that_no_worker_serves_is_told(cli: Cli, live: Runtime) -> None:
    append(live, "s", "a")
    drain(live)
    live.redis.delete(*live.redis.keys("kt:*worker*"))
    ran = cli("replay", "start", "--mode", "rebuild")
    assert ran.code == 0
    assert "no running worker serves the queue kato.replay, so it waits: start one with celery -A" in ran.err


@pytest.mark.usefixtures("history", "worker")
def test_a_terminal_sees_a_bar(cli: Cli) -> None:
    (seen,) = on_terminal(cli, ["replay", "start", "--mode", "rebuild", "--watch"], columns=120)
    assert re.search(r"replay [0-9a-f]{12} .*100% (verifying|done), 15 events, [\d,]+/s", seen), seen
    assert "done" in seen


WRONG = [
    (("--mode", "rebuild", "--session", "Case 1"), 2, "--session does not go with --mode rebuild: "),
    (("--mode", "rebuild", "--node", "shop", "--flagged"), 2, "give one of the two"),
    (("--mode", "rebuild", "--node", ""), 2, "--node is empty: name a node, or leave --node out"),
    (("--mode", "rebuild", "--position", "2"), 2, "--position goes with --mode as_of: "),
    (("--mode", "stm", "--session", "lone", "--time", "2026-01-01"), 2, "--time goes with --mode as_of: "),
    (("--mode", "stm"), 2, "--mode stm is about one session: add --session ID"),
    (("--mode", "stm", "--session", "lone", "--node", "desk"), 2, "--node goes with --mode rebuild: "),
    (("--mode", "as_of", "--session", "lone", "--flagged"), 2, "--flagged goes with --mode rebuild: "),
    (
        ("--mode", "as_of", "--session", "lone", "--position", "1", "--time", "2026-01-01"),
        2,
        "--position and --time are two moments: give one of them",
    ),
    (("--mode", "rebuild", "--dry-run", "--wait"), 2, "--dry-run starts nothing that could be waited for"),
    (("--mode", "as_of", "--session", "lone", "--time", "noon"), 1, "--time 'noon' is no time in ISO 8601; write for"),
    (("--mode", "stm", "--session", "nobody"), 1, "--session: 'nobody' is not known; kato-tasks sessions list shows"),
    (("--mode", "rebuild", "--node", "nobody"), 1, "--node: no session belongs to node 'nobody'; kato-tasks sessions"),
    (
        ("--mode", "as_of", "--session", "lone", "--position", "6"),
        1,
        "--position: is 6, and the last applied event of this session is at 5; give one up to there",
    ),
    (
        ("--mode", "as_of", "--session", "lone", "--time", "2026-02-01"),
        1,
        "--time: is before the session's first event; there is nothing to replay up to it; give a later one",
    ),
]


@pytest.mark.usefixtures("history")
def test_what_cannot_be_replayed_is_one_sentence_with_the_option_and_the_remedy(cli: Cli, live: Runtime) -> None:
    before = kept(live)
    for words, code, said in WRONG:
        ran = cli("replay", "start", *words)
        assert said in one_sentence(ran), words
        assert ran.code == code, words
    assert kept(live) - before == set()


@pytest.mark.usefixtures("live")
def test_a_replay_that_is_not_there(cli: Cli) -> None:
    for command in (["status"], ["status", "--watch"], ["cancel"], ["resume"], ["clean", "--yes"]):
        ran = cli("replay", command[0], "abc", *command[1:])
        assert (ran.code, one_sentence(ran)) == (1, "there is no replay 'abc'; `kato-tasks replay list` shows them")


@pytest.mark.usefixtures("live")
def test_no_session_and_no_store_and_no_archive(cli: Cli, live: Runtime) -> None:
    ran = cli("replay", "start", "--mode", "rebuild", "--dry-run", "--json")
    assert (ran.code, ran.err) == (0, "there are no sessions, so there is nothing to replay\n")
    assert ran.json["lanes_total"] == 0
    for words in (("status", "abc"), ("list",), ("start", "--mode", "rebuild")):
        away = cli("replay", *words, STORE_URL=NOBODY)
        assert away.code == 2
        assert one_sentence(away).startswith("Redis does not answer: ")
    append(live, "new", "a")
    as_of = ("replay", "start", "--mode", "as_of", "--session", "new", "--position", "1")
    away = cli(*as_of, ARCHIVE_URL="sqlite:////nowhere/at/all/archive.db")
    assert away.code == 2
    assert "/nowhere/at/all/archive.db" in one_sentence(away)


def patterns(cli: Cli, node: str) -> int:
    """How many patterns KATO has of a node."""
    path = f"{cli.settings['KATO_URLS']}/_embedded/patterns"
    return len(httpx.get(path, params={"node": node}, timeout=5).raise_for_status().json())
