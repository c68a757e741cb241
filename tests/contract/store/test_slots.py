"""Every key that a script touches is in the slot of its KEYS[1], so a Cluster can hold the store.

The whole suite runs on a Cluster node too, where a script that touches a key of another slot is refused; here
it is shown that the node does refuse, that every script was among those that ran, and which keys they touched.
"""

from __future__ import annotations

import re

import pytest
import redis

from kato_tasks import ports
from kato_tasks.adapters.redis.keys import prefix
from kato_tasks.adapters.redis.scripts import NAMES, script
from kato_tasks.adapters.redis.store import connect
from kato_tasks.domain.ids import partition_of
from kato_tasks.domain.kato_session import Intent
from kato_tasks.errors import StoreUnavailable
from kato_tasks.testing.services import RedisServer
from tests.contract.store.conftest import strict
from tests.contract.store.log import Log, binding, learn, numbered, predict


def every_script(log: Log, session: str) -> None:
    """Run each script at least once, in a lane and a session with braces in their names."""
    node = "n{x}"
    log.do(ports.BindNodes(partition_of(session), [(session, "", node)]))
    log.append(node, *numbered(session, 1, 2), learn(session, "l"), predict(session, "p"), source="s", offsets=[1] * 4)
    log.append(node, *numbered(session, 7, 8))
    held = log.held(node, "t")
    work = log.taken(node, "t")
    log.claim(node, session, f"{session}-1", task_id="one", request="{}")
    log.do(ports.Renew(held))
    log.intent(held, work, "call")
    log.do(ports.FlagNodeForRebuild(held.lane))
    assert log.do(ports.OpenIntents(held.lane)) == [session]
    log.do(ports.Bind(held, session, 0, binding(), closes_call="call", events_at_most=5, ltm_lost=True))
    done = ports.Commit(
        held, session, "c", 0, 2, binding(), results=[(f"{session}-1", "{}")], symbols=[(1, "[]")], dead=[("d", "{}")]
    )
    work_of_learn = log.do(done).work
    assert work_of_learn is not None
    intent = Intent(call="learn", kind="learn", first=3, last=3, pattern="PTRN|x", frequency=0)
    log.do(ports.WriteIntent(held, session, 2, intent))
    log.do(ports.CertainFrequency(held.lane, "PTRN|x"))
    log.do(ports.Commit(held, session, "learn", 2, 3, binding(), stm_start=3, learned=("PTRN|x", 1)))
    log.do(ports.OrphanedTasks(partition_of(node), -1, 10))
    log.do(ports.DropWaitingTask(node, session, f"{session}-1", "one"))
    assert log.do(ports.Defer(held, session, 0, 1, 1, "why", events_at_most=2)).work is not None
    log.do(ports.Park(held, session, "{}"))
    assert log.do(ports.Resume(node, session)) is True
    assert log.do(ports.ParkByHand(node, session, "{}")) is True
    log.do(ports.ClockBack(partition_of(node), 1_000, 1_000))
    assert log.do(ports.LastEvent(node, session)) is not None
    log.do(ports.KeepScheduled(node, 1, "[]"))
    log.do(ports.DropScheduled(partition_of(node), "[]"))
    log.do(ports.KeepAlive(partition_of(node), 10**13, 10**13, 10))
    log.do(ports.SetMark("sweep", 0, 1_000))
    log.do(ports.Count(node, "rebuilt"))
    log.do(ports.NoteDelivery(node, session, f"{session}-2"))
    log.do(ports.GiveSign("worker", "w", "{}", 1_000))
    assert log.do(ports.HoldReader("r", "t", 1_000)) is True
    log.do(ports.GiveReaderBack("r", "t"))
    assert log.do(ports.DropPredictions(partition_of(node), "kafka:out", "none", 1)) is False
    log.do(ports.AddCallCounts((("http://kato\nlearn\n2xx", 1),)))
    log.do(ports.AcknowledgeLost(partition_of(node), ("n{x}",), "{}"))
    log.do(ports.ReadLane(node, 0, 10))
    log.do(ports.UnbindSession(node, session))
    assert log.do(ports.KeepFrontSession(node, session, node, "{}", '{"recall_threshold":0.3}'))
    assert log.do(ports.FindFrontSession(node, session)) is not None
    log.do(ports.NoteUnarchived(partition_of(node), (node,)))
    (lane,) = log.do(ports.ReadUnarchived(partition_of(node), 10, 100))
    log.do(ports.ReadLog(node, session, 1, 2))
    assert log.do(ports.DropArchived(node, lane.first_seq, lane.commits, [(session, 3)], 1_000))
    assert log.do(ports.TakeLane(held.lane, "t2", held.lease_ms)) is True
    taken = log.held(node, "t2")
    assert log.do(ports.SwitchGeneration(taken, "m{x}", "", "PTRN|y")) == "done"
    log.redis.hset(f"{prefix(partition_of(node))}s:{session}", "cur", 6)
    log.redis.delete(f"{prefix(partition_of(node))}asks:{session}")
    assert log.do(ports.ForgetCommits(taken, session, 1, 10)) == 0
    log.do(ports.ForgetIds(node, session, [("0", "e")]))
    assert log.do(ports.ForgetSession(taken, session, [("0", "e")], ["e"], ["l"])) == "done"
    assert log.do(ports.GiveLaneBack(taken)) is not None
    log.do(ports.OpenShadow(node, "0123456789ab", [session]))
    log.do(ports.DropShadow(node, [session], "s", whole=True))


@pytest.fixture
def strict_log(cluster_node: RedisServer, monkeypatch: pytest.MonkeyPatch) -> Log:
    monkeypatch.setattr("kato_tasks.adapters.redis.store.script", strict)
    client = connect(cluster_node.url)
    client.flushall()
    return Log(client)


def test_every_script_runs_on_a_cluster_node_that_refuses_other_slots(strict_log: Log) -> None:
    strict_log.redis.config_resetstat()
    every_script(strict_log, "{braces} and }{p000}: more")


def test_the_cluster_node_does_refuse_a_script_that_leaves_its_slot(strict_log: Log) -> None:
    with pytest.raises(redis.ResponseError, match="slot"):
        strict_log.redis.eval(
            "#!lua\nredis.call('GET', KEYS[1] .. 'a'); return redis.call('GET', ARGV[1])",
            1,
            prefix(1),
            prefix(2) + "a",
        )


def test_no_script_touches_a_key_outside_its_partitions_prefix(redis_url: str) -> None:
    """As MONITOR shows it: every command of every script, and every key in it. Falls with a key without `P`."""
    watcher = redis.Redis.from_url(redis_url, decode_responses=True)
    with connect(redis_url) as client, watcher.monitor() as monitor:  # type: ignore[no-untyped-call]
        every_script(Log(client), "plain")
        client.execute_command("PING", "that is all")
        seen = []
        for row in monitor.listen():
            if "that is all" in row["command"]:
                break
            seen.append(row)
    ran = {row["command"].split(" ")[1] for row in seen if row["command"].startswith("EVALSHA")}
    assert ran == {script(name).sha for name in NAMES}
    by_scripts = [row["command"] for row in seen if row["client_type"] == "lua"]
    assert len(by_scripts) > 100
    keyless = {"TIME"}
    for command in by_scripts:
        name, *words = command.split(" ")
        if name.upper() not in keyless:
            assert re.match(r"kt:\{(p\d{3}|sweep|signs|listening)\}:", words[0]), command
    assert {w.split(" ")[1][:10] for w in by_scripts if " " in w} <= {
        prefix(partition_of("n{x}")),
        prefix(partition_of("plain")),
        "kt:{sweep}",
        "kt:{signs}",
        "kt:{listen",
    }


def test_scripts_that_the_server_has_forgotten_are_loaded_again(redis_url: str) -> None:
    with connect(redis_url) as client:
        log = Log(client)
        log.append("n", *numbered("a", 1, 1))
        for round_ in range(2, 5):
            client.script_flush()
            log.all(*(ports.Renew(log.held(f"n{i}", "t")) for i in range(20)))
            client.script_flush()
            log.append("n", *numbered("a", round_, round_))
        assert log.events("n", "a") == [f"a-{i}" for i in range(1, 5)]


def test_the_store_says_plainly_that_it_cannot_be_asked(redis_server: RedisServer) -> None:
    redis_server.start()
    with connect("redis://127.0.0.1:1/0") as client, pytest.raises(StoreUnavailable, match="does not answer"):
        Log(client).append("n", *numbered("a", 1, 1))
