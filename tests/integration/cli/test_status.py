"""What an operator is told: who works, what waits and why, what is wrong, and what was acknowledged."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator

import pytest

from kato_tasks import app
from kato_tasks.adapters.redis.keys import SIGNS, prefix
from kato_tasks.api.signs import AboutWorker, give_beat_sign, give_worker_sign, withdraw_worker_sign
from kato_tasks.bootstrap import Runtime
from kato_tasks.domain.ids import partition_of
from kato_tasks.ports.generations import GiveLaneBack, SwitchGeneration, TakeLane
from kato_tasks.ports.lanes import Batch, Count, FlagNodeForRebuild, Lease
from kato_tasks.ports.waiting_tasks import KeepUnpublished
from tests.gateway import HTML, Gateway, Rule
from tests.integration.cli.running import Cli, Json, append, drain, post

HERE = "here here 1"
"""the id of the worker that this process stands for"""
JSON = {"content-type": "application/json"}


def told(cli: Cli, *, code: int) -> Json:
    ran = cli("status", "--json")
    assert ran.code == code, ran.out
    found: Json = ran.json
    assert found["health"] == ("degraded" if code else "healthy")
    return found


def reason(cli: Cli, part: str) -> str:
    """The only reason why the whole is degraded."""
    (one,) = told(cli, code=1)["reasons"]
    assert part in one
    return str(one)


def aged(rt: Runtime, key: str, member: str, seconds: float) -> None:
    """Make something in a zset as old as that."""
    rt.redis.zadd(key, {member: rt.figures.now_ms() - int(seconds * 1000)})


def test_without_a_worker_status_is_degraded_and_says_how_to_start_one(cli: Cli, live: Runtime) -> None:
    assert told(cli, code=0)["workers"][0]["name"] == "here"
    withdraw_worker_sign(live.store, AboutWorker(name="here", host="here", pid=1))
    assert reason(cli, "no worker is running") == ("no worker is running: start one with celery -A kato_tasks worker")


def test_a_worker_that_gives_no_sign_any_more_is_gone_and_one_that_stops_serves_nothing(
    cli: Cli, live: Runtime
) -> None:
    aged(live, f"{SIGNS['worker']}seen", HERE, 16)
    assert re.search(r"here gave its last sign \d\d s ago", reason(cli, "no worker is running"))
    assert told(cli, code=1)["workers"][0]["state"] == "gone"
    aged(live, f"{SIGNS['worker']}seen", HERE, -3_600)
    assert told(cli, code=1)["workers"][0]["state"] == "gone", "it is from before the store's clock went back"
    everything = json.loads(live.redis.hget(f"{SIGNS['worker']}about", HERE) or "")["queues"]
    again = AboutWorker(name="here", host="here", pid=2, queues=everything, started_ms=10**15)
    give_worker_sign(live.store, again)
    assert [one["pid"] for one in told(cli, code=0)["workers"]] == [2], "it was started again under its name"
    (shown,) = cli("status").out.splitlines()[-2:-1]
    assert shown.startswith("worker")
    give_worker_sign(live.store, again.model_copy(update={"stopping": True}))
    assert "no worker is running" in reason(cli, "no worker")


def test_shards_in_which_something_waits_and_that_no_worker_serves_are_named(cli: Cli, live: Runtime) -> None:
    give_worker_sign(live.store, AboutWorker(name="here", host="here", pid=1, queues=["kato.lane.00", "kato.control"]))
    assert told(cli, code=0)["workers"][0]["queues"] == ["kato.lane.00", "kato.control"]
    append(live, "x", "a")
    shard = partition_of("x") % 16
    assert shard
    assert f"something waits in shard {shard}, which no running worker serves" in reason(
        cli, f"-Q kato.lane.{shard:02d}"
    )
    give_worker_sign(live.store, AboutWorker(name="here", host="here", pid=1, queues=[f"kato.lane.{shard:02d}"]))
    reason(cli, "no running worker serves kato.control")


def test_something_that_waits_while_nothing_moves_degrades_and_a_long_backlog_that_moves_does_not(
    cli: Cli, live: Runtime
) -> None:
    append(live, "x", "a")
    p = prefix(partition_of("x"))
    assert told(cli, code=0)["backlog"] == 1, "it has just come"
    aged(live, f"{p}since", "x", 111)
    assert "an event waits for 1 min 51 s and nothing was applied there meanwhile" in reason(cli, "nothing moves")
    live.redis.hset(f"{p}stats", "moved", live.figures.now_ms() - 2_000)
    told(cli, code=0)
    live.redis.hset(f"{p}stats", "moved", live.figures.now_ms() - 12_000)
    reason(cli, "nothing moves")
    drain(live)
    told(cli, code=0)


def test_a_parked_session_is_waited_for_by_a_person_and_is_not_said_to_stand_still(cli: Cli, live: Runtime) -> None:
    append(live, "x", "a")
    assert cli("sessions", "park", "x").code == 0
    aged(live, f"{prefix(partition_of('x'))}since", "x", 111)
    reason(cli, "1 session(s) parked")


def test_sessions_whose_tries_fail_are_counted_and_shown_with_what_they_met(
    cli: Cli, live: Runtime, kato_url: str
) -> None:
    post(f"{kato_url}/_embedded/faults", {"rules": [{"route": "observe-sequence", "kind": "error_before"}], "seed": 1})
    session = "an \x1b[31mill\n one"
    append(live, session, "a")
    drain(live)
    found = told(cli, code=0)
    assert found["failing_sessions"] == 1, "a single failed try is no news"
    aged(live, f"{prefix(partition_of(live.sessions.lane_of(session)))}failing", session, 9)
    why = reason(cli, f"1 session cannot go on, {session!r} for 9 s: ")
    assert "500" in why
    shown = cli("status")
    assert "500" in shown.out
    assert "\x1b[31m" not in shown.err
    assert [one["session_id"] for one in told(cli, code=1)["failing"]] == [session]


def test_messages_that_stay_unpublished_degrade(cli: Cli, live: Runtime) -> None:
    def keep(**more: int) -> None:
        live.redis.delete(f"{prefix(partition_of('x'))}outbox")
        live.store.execute([KeepUnpublished("x", json.dumps({"name": "t", **more}))])

    keep(kept_ms=live.figures.now_ms() - 1_000)
    assert 1 <= told(cli, code=0)["unpublished_seconds"] < 10
    keep(kept_ms=live.figures.now_ms() - 70_000)
    assert "1 task message could not be published for 1 min 10 s" in reason(cli, "once the broker answers")
    keep()
    reason(cli, "1 task message could not be published: ")  # an earlier version kept it: nobody knows for how long


@pytest.fixture
def other() -> Iterator[Gateway]:
    """Another HTTP server, whose /health answers 200 as KATO's does."""
    with Gateway("http://127.0.0.1:9") as gateway:
        yield gateway


@pytest.mark.parametrize(
    ("status", "body", "headers", "told_is"),
    [
        (
            404,
            b'{"detail":"Not Found"}',
            JSON,
            "that is not KATO's; check the host and the path in KATO_TASKS_KATO_URLS",
        ),
        (401, b"", {}, "set KATO_TASKS_KATO_TOKEN or KATO_TASKS_KATO_HEADERS"),
        (
            200,
            HTML,
            {"content-type": "text/html"},
            "that is no answer of KATO's (a maintenance page, or another program)",
        ),
        (200, b'{"status":"ok"}', JSON, "that is no answer of KATO's (a maintenance page, or another program)"),
    ],
    ids=["404", "401", "html", "json"],
)
def test_what_answers_at_katos_address_and_is_not_kato_degrades_with_what_to_mend(
    cli: Cli,
    live: Runtime,
    other: Gateway,
    monkeypatch: pytest.MonkeyPatch,
    status: int,
    body: bytes,
    headers: dict[str, str],
    told_is: str,
) -> None:
    healthy = Rule("health", 200, b'{"status":"healthy"}', JSON)
    other.rules([healthy, Rule(status=status, body=body, headers=headers)])
    monkeypatch.setenv("KATO_TASKS_KATO_URLS", other.url)
    app.close()
    assert reason(cli, told_is).startswith(f"what answers there is not KATO: {other.url} answers {status}: ")
    assert f"{other.url} is not KATO" in cli("status").out


def test_a_kato_that_fails_is_told_apart_from_one_that_is_away_and_from_another_program(
    cli: Cli, live: Runtime, other: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    other.rules([Rule(status=500, body=b"Internal Server Error", headers={"content-type": "text/plain"})])
    monkeypatch.setenv("KATO_TASKS_KATO_URLS", other.url)
    app.close()
    reason(cli, f"KATO at {other.url} fails: it answers 500")
    other.stop()
    reason(cli, f"KATO at {other.url} does not answer: ")


@pytest.fixture
def volatile(live: Runtime) -> Iterator[Runtime]:
    """A store as a stock redis-server is: no append-only file."""
    live.redis.config_set("appendonly", "no")
    yield live
    live.redis.config_set("save", "")
    live.redis.config_set("appendonly", "yes")


def test_a_store_without_an_append_only_file_degrades_until_a_person_says_that_it_is_meant(
    cli: Cli, volatile: Runtime
) -> None:
    assert "a restart loses every event; set appendonly yes" in reason(cli, "kato-tasks acknowledge store-volatile")
    assert cli("acknowledge", "store-volatile", "--note", "a test store", "--by", "ann").code == 0
    (kept,) = told(cli, code=0)["acknowledged"]
    assert (kept["id"], kept["by"], kept["note"]) == ("store-volatile", "ann", "a test store")
    assert "acknowledged by ann" in cli("status").err
    volatile.redis.config_set("save", "60 1")
    reason(cli, "a crash loses every event since the last snapshot")


def test_lost_patterns_can_be_acknowledged_by_node_and_come_back_when_they_are_lost_again(
    cli: Cli, live: Runtime
) -> None:
    for node in ("shop", "desk"):
        live.redis.sadd(f"{prefix(partition_of(node))}ltm_lost", node)
    assert "KATO lost the patterns of 2 node(s) ('desk', 'shop')" in reason(cli, "kato-tasks acknowledge")
    assert cli("acknowledge", "ltm-lost:shop", "--note", "it was a test").code == 0
    assert "1 node(s) ('desk')" in reason(cli, "KATO lost the patterns")
    rows = {row["id"]: row["note"] for row in cli("acknowledge", "--json").json}
    assert rows == {"ltm-lost:desk": "", "ltm-lost:shop": "it was a test"}
    assert cli("acknowledge", "--all").code == 0
    found = told(cli, code=0)
    assert (found["ltm_lost"], found["ltm_lost_acknowledged"]) == (0, 2)
    assert {item["id"] for item in found["acknowledged"]} == {"ltm-lost:desk", "ltm-lost:shop"}
    live.redis.sadd(f"{prefix(partition_of('shop'))}ltm_lost", "shop")
    assert "1 node(s) ('shop')" in reason(cli, "KATO lost the patterns")
    wrong = cli("acknowledge", "ltm-lost:shopp")
    assert wrong.code == 1
    assert "there is no 'ltm-lost:shopp' to acknowledge" in wrong.err


def test_learns_of_unknown_outcome_can_be_acknowledged_and_the_next_one_is_told(cli: Cli, live: Runtime) -> None:
    live.store.execute([Count("n", "learns_unknown"), Count("m", "learns_unknown")])
    reason(cli, "the outcome of 2 learns could not be found out")
    assert cli("acknowledge", "learns-unknown").code == 0
    assert told(cli, code=0)["learns_unknown"] == 2
    live.store.execute([Count("n", "learns_unknown")])
    reason(cli, "the outcome of 1 learn could not be found out")


def test_a_beat_that_is_missed_for_long_is_told_with_what_is_lacking_without_it(cli: Cli, live: Runtime) -> None:
    about = AboutWorker.model_validate_json(live.redis.hget(f"{SIGNS['worker']}about", HERE) or "")
    give_worker_sign(live.store, about.model_copy(update={"started_ms": live.figures.now_ms() - 61_000}))
    assert "KATO sessions in use are not kept from expiring" in reason(cli, "no beat is running")
    assert cli("acknowledge", "no-beat", "--note", "on purpose").code == 0
    told(cli, code=0)
    give_beat_sign(live.store, "0")
    assert told(cli, code=0)["beat"]["published_seconds"] < 10
    (beat,) = live.redis.zrange(f"{SIGNS['beat']}seen", 0, -1)
    aged(live, f"{SIGNS['beat']}seen", str(beat), 90)
    reason(cli, "beat has not published for 1 min 30 s")


def test_status_fits_sixty_columns_and_its_help_explains_its_words(cli: Cli, live: Runtime) -> None:
    append(live, "x", "a")
    assert max(map(len, cli("status").out.splitlines())) <= 60
    helped = cli("status", "--help").out
    for word in ("fenced", "rebuilt", "leftovers", "unpublished", "learns unknown"):
        assert f"\n  {word}  " in helped


def test_a_message_is_kept_with_the_time_since_which_it_waits(live: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    from kato_tasks import observe

    monkeypatch.setattr("celery.app.base.Celery.send_task", _no_broker)
    before = int(time.time() * 1000) - 1_000
    observe.delay("x", {"strings": ["a"]})
    (text,) = live.redis.lrange(f"{prefix(partition_of('x'))}outbox", 0, -1)
    assert json.loads(text)["kept_ms"] >= before


def _no_broker(*_: object, **__: object) -> None:
    raise OSError("no broker")


def test_nodes_that_are_flagged_for_a_rebuild_are_listed_with_the_command_that_rebuilds_them(
    cli: Cli, live: Runtime
) -> None:
    """Whether or not they degrade the status: a doubtful learn that was acknowledged is still to be mended."""
    command = "kato-tasks replay start --mode rebuild --flagged"
    assert (told(cli, code=0)["flagged"], told(cli, code=0)["rebuild_wanted"]) == ([], 0)
    live.store.execute([FlagNodeForRebuild("shop"), FlagNodeForRebuild("desk")])
    live.redis.sadd(f"{prefix(partition_of('desk'))}ltm_lost", "desk")
    assert told(cli, code=1)["flagged"] == [
        {"lane": "desk", "why": "lost", "mend": command},
        {"lane": "shop", "why": "in doubt", "mend": command},
    ]
    assert cli("acknowledge", "--all").code == 0
    assert told(cli, code=0)["rebuild_wanted"] == 2
    said = cli("status").err
    assert f"to be rebuilt: the node 'shop', its patterns are in doubt: {command}" in said
    live.store.execute([TakeLane("shop", "t", 5_000)])
    held = Lease("shop", "t", 5_000, Batch(1, 1))
    live.store.execute([SwitchGeneration(held, "shop~2", ""), GiveLaneBack(held)])
    assert [node["lane"] for node in told(cli, code=0)["flagged"]] == ["desk"]
