"""What is applied moves to the archive and leaves Redis, whatever is away or dies meanwhile.

Some of it drains and archives in this process: what has been archived by when is then the test's choice.
"""

from __future__ import annotations

import contextlib
import json
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest

from kato_tasks import append_events, session_status
from kato_tasks.adapters.redis.keys import prefix
from kato_tasks.adapters.sql.archive import open_archive
from kato_tasks.adapters.sql.schema import open_schema
from kato_tasks.api.archiving import archive_partitions, note_all_lanes
from kato_tasks.bootstrap import Runtime, forget_runtime, runtime
from kato_tasks.domain.ids import PARTITIONS, lane_of, partition_of
from kato_tasks.domain.results import SessionStatus
from kato_tasks.ports.archive import Archive
from kato_tasks.testing.postgres import PostgresServer
from kato_tasks.testing.services import KatoServer, RedisServer
from kato_tasks.testing.waiting import wait_until
from tests.integration.recovering import SOLO, a_system, history, learning, observation, run_of
from tests.integration.system import Json, System, drained


@pytest.fixture
def system(
    redis_url: str, redis_server: RedisServer, kato: KatoServer, postgres_url: str, tmp_path: Path
) -> Iterator[System]:
    with contextlib.closing(open_schema(postgres_url)) as schema:
        schema.upgrade()
    with a_system(redis_server, tmp_path, kato, archive_url=postgres_url) as system:
        yield system


@pytest.fixture
def archive(system: System) -> Iterator[Archive]:
    """The archive as somebody else sees it."""
    with contextlib.closing(open_archive(system.settings.archive_url)) as archive:
        yield archive


@pytest.fixture
def rt(system: System) -> Runtime:
    """This process, which drains and archives without a worker."""
    return runtime()


def drain(rt: Runtime) -> None:
    while rt.drainer.drain_partitions(range(PARTITIONS)).lanes:
        pass


def archive_all(rt: Runtime) -> int:
    assert rt.archive is not None
    done = archive_partitions(rt, rt.archive, range(PARTITIONS), 60)
    assert not done.more
    return done.events


def status(session: str) -> SessionStatus:
    found = session_status(session)
    assert found is not None
    return found


def log_of(rt: Runtime, session: str, node: str) -> list[str]:
    """The entries in the store, as they are."""
    return [str(text) for text in rt.redis.lrange(f"{prefix(partition_of(lane_of(node)))}log:{session}", 0, -1)]


def forget_marks() -> None:
    """An archiving task that failed or died leaves a mark for a minute, after which the sweep sends another."""
    for shard in range(runtime().settings.shards):
        runtime().marks.clear_archiving(shard)


def archived_up_to(archive: Archive, heads: dict[str, int], seconds: float = 30) -> None:
    def reached() -> bool:
        return archive.heads(list(heads)) == heads

    wait_until(reached, seconds, f"{len(heads)} sessions are archived", every=0.1)


def numbered(session: str, node: str, first: int, last: int) -> list[Json]:
    return run_of(session, last - first + 1, first, node)


# ------------------------------------------------------------------------------ in this process


def test_events_are_archived_with_the_bytes_of_the_log_in_the_order_of_their_lane_and_leave_the_store(
    rt: Runtime, archive: Archive
) -> None:
    sessions = {"a": "n", "b ü": "n", "c\x01": "m"}
    for session, node in sessions.items():
        events = [*history("x", node), *(learning("x", f"x/l{n}", node) for n in range(2))]
        # The second learn has nothing to learn, so it becomes a dead letter.
        append_events([{**event, "session_id": session} for event in events])
    written = {session: log_of(rt, session, node) for session, node in sessions.items()}
    drain(rt)
    assert archive_all(rt) == sum(map(len, written.values()))
    for session, node in sessions.items():
        kept = list(archive.of_session(session))
        assert [event.entry for event in kept] == written[session]
        assert [event.position for event in kept] == list(range(1, len(kept) + 1))
        assert {(event.node, event.lane) for event in kept} == {(node, lane_of(node))}
        assert [event.position for event in kept if event.dead] == [len(kept)]
        assert log_of(rt, session, node) == written[session][-1:], "a learned STM needs nothing of the log"
    orders = [event.lane_order for event in archive.of_lane("n")]
    assert orders == list(range(1, len(written["a"]) + len(written["b ü"]) + 1))
    assert archive_all(rt) == 0


def test_of_an_stm_that_was_not_learned_the_store_keeps_its_events(rt: Runtime, archive: Archive) -> None:
    append_events([*numbered("a", "n", 0, 9), learning("a", "l", "n"), *numbered("a", "n", 10, 14)])
    written = log_of(rt, "a", "n")
    drain(rt)
    archive_all(rt)
    assert archive.heads(["a"]) == {"a": 16}
    assert log_of(rt, "a", "n") == written[11:]
    append_events(numbered("a", "n", 15, 15))
    drain(rt)
    assert status("a").cursor == 17


def test_archiving_twice_and_by_two_at_once_is_harmless(rt: Runtime, archive: Archive) -> None:
    from concurrent.futures import ThreadPoolExecutor

    for turn in range(3):
        append_events([event for n in range(10) for event in numbered(f"s{n}", f"n{n}", 10 * turn, 10 * turn + 9)])
        drain(rt)
        with ThreadPoolExecutor(3) as threads:
            list(threads.map(lambda _: archive_all(rt), range(3)))
    assert archive.heads([f"s{n}" for n in range(10)]) == {f"s{n}": 30 for n in range(10)}
    assert archive.count() == 300


def test_a_store_that_began_again_under_the_same_archive_parks_the_sessions_that_differ(
    system: System, rt: Runtime, archive: Archive, caplog: pytest.LogCaptureFixture
) -> None:
    append_events([*numbered("a", "n", 0, 4), *numbered("b", "n", 0, 4)])
    drain(rt)
    archive_all(rt)
    system.redis.flushdb()
    forget_runtime(close=True)
    rt = runtime()
    append_events([*numbered("a", "n", 100, 102), *numbered("b", "n", 0, 5), *numbered("new", "n", 0, 1)])
    drain(rt)
    written = log_of(rt, "a", "n")
    archive_all(rt)
    parked = status("a").parked
    assert parked is not None
    assert "the archive holds another event at position 1 (a/0)" in str(parked)
    assert log_of(rt, "a", "n") == written, "somebody will want to compare them"
    assert [event.entry.split("\n")[1] for event in archive.of_session("a")] == [f"a/{n}" for n in range(5)]
    assert "archive.conflict" in caplog.text
    assert archive.heads(["b", "new"]) == {"b": 6, "new": 2}
    assert (status("b").state, status("new").state) == ("idle", "idle")


def test_a_long_stm_whose_oldest_emotives_are_only_archived_is_rebuilt_as_it_was(system: System, rt: Runtime) -> None:
    """Falls when a rebuild takes what the log still holds for all that there was."""
    for session in ("lost", "kept"):
        quiet = [observation(session, f"{session}/q{n}", emotives={"joy": float(n % 7)}) for n in range(300)]
        seen = [observation(session, f"{session}/{n}", f"{n:04}", metadata={"n": str(n)}) for n in range(1_200)]
        plain = [observation(session, f"{session}/p{n}", f"p{n:04}") for n in range(1_000)]
        events = [*quiet, *seen, *plain]
        for begin in range(0, len(events), 500):
            append_events([{**event, "node_id": session} for event in events[begin : begin + 500]])
        drain(rt)
    archive_all(rt)
    assert len(log_of(rt, "lost", "lost")) < 1_500, "the store has only the tail"
    system.faults({"kind": "expire", "node": "lost", "count": 1})
    for session in ("lost", "kept"):
        append_events([observation(session, f"{session}/after", "after", node=session)])
        drain(rt)
    epochs = {session: bound.epoch for session in ("lost", "kept") if (bound := status(session).binding)}
    assert epochs == {"lost": 2, "kept": 1}
    assert system.stm("lost") == system.stm("kept")
    assert len(system.stm("lost")) == 1_000
    append_events([learning(session, f"{session}/l", session) for session in ("lost", "kept")])
    drain(rt)
    drained(["lost", "kept"])
    lost, kept = pattern_of(system, "lost"), pattern_of(system, "kept")
    assert lost == kept
    # KATO keeps as many emotives as its setting says.
    assert (lost["frequency"], len(lost["emotives"]), len(lost["metadata"]["n"])) == (1, 5, 1_000)


def pattern_of(system: System, node: str) -> Json:
    """The one pattern that a node has learned, without its node."""
    (name,) = system.ask(f"patterns?node={node}")
    with urllib.request.urlopen(f"{system.kato.url}/pattern/{quote(name)}?node_id={node}", timeout=10) as answer:  # noqa: S310  an address of ours
        pattern: Json = json.loads(answer.read())["pattern"]["pattern"]
    return pattern


def test_lanes_that_were_drained_before_there_was_an_archive_are_archived_once_they_are_noted(
    rt: Runtime, archive: Archive
) -> None:
    append_events([*numbered("a", "n", 0, 4), *numbered("b", "m", 0, 4)])
    drain(rt)
    for lane in ("n", "m"):
        rt.redis.delete(f"{prefix(partition_of(lane))}unarchived")
    assert archive_all(rt) == 0
    assert note_all_lanes(rt) == 2
    assert archive_all(rt) == 10
    assert archive.heads(["a", "b"]) == {"a": 5, "b": 5}


SESSIONS, ROUNDS = 200, 4


def memory_of(rt: Runtime) -> Counter[str]:
    """Bytes of all keys of the store, by the kind of key."""
    found: Counter[str] = Counter()
    keys = [str(key) for key in rt.redis.scan_iter("kt:*", count=5_000)]
    pipe = rt.redis.pipeline(transaction=False)
    for key in keys:
        pipe.memory_usage(key, samples=0)
    for key, size in zip(keys, pipe.execute(), strict=True):
        found[key.split("}:")[1].split(":")[0]] += size or 0
    return found


def test_what_is_archived_takes_no_memory_of_redis(rt: Runtime, archive: Archive) -> None:
    """20,000 events of 200 sessions, in which every 25th is a learn. Ids stay for DEDUPE_DAYS, and count apart."""
    sizes = []
    for turn in range(ROUNDS):
        for n in range(0, SESSIONS, 20):
            events = [
                event
                for s in range(n, n + 20)
                for event in [
                    *run_of(f"s{s}", 24, 25 * turn, f"node{s // 4}"),
                    learning(f"s{s}", f"s{s}/l{turn}", f"node{s // 4}"),
                ]
            ]
            append_events(events)
        drain(rt)
        drained([f"s{s}" for s in range(SESSIONS)])
        archive_all(rt)
        sizes.append(memory_of(rt))
    assert archive.count() == SESSIONS * ROUNDS * 25 == 20_000
    assert archive.heads(["s0", "s199"]) == {"s0": 100, "s199": 100}
    for size in sizes:
        size.pop("ids", None)
        size.pop("learned", None)  # It expires 2 s after the last learn.
    assert "log" not in sizes[-1], sizes[-1]
    assert sizes[-1].total() / SESSIONS < 1_000, sizes[-1]
    assert sizes[-1].total() < sizes[0].total() * 1.15, sizes


# ------------------------------------------------------------------------------ with workers


def test_a_worker_archives_what_it_applies(system: System, archive: Archive) -> None:
    events = [event for n in range(6) for event in history(f"s{n}", f"n{n // 2}")]
    with system.workers(SOLO):
        append_events(events)
        drained([f"s{n}" for n in range(6)])
        lengths = {f"s{n}": status(f"s{n}").head for n in range(6)}
        archived_up_to(archive, lengths)


def test_while_the_archive_is_away_events_go_on_being_applied_and_all_is_archived_when_it_is_back(
    system: System, archive: Archive, postgres_server: PostgresServer
) -> None:
    with system.workers(SOLO) as (worker,):
        append_events(numbered("a", "n", 0, 4))
        drained(["a"])
        archived_up_to(archive, {"a": 5})
        postgres_server.stop()
        append_events([*numbered("a", "n", 5, 9), *numbered("b", "m", 0, 4)])
        drained(["a", "b"])
        wait_until(lambda: "archive.postponed" in worker.text(), 30, "the worker says that the archive is away")
        append_events(numbered("a", "n", 10, 14))
        drained(["a"])
        assert "Traceback" not in worker.text()
        postgres_server.start()
        forget_marks()
        archived_up_to(archive, {"a": 15, "b": 5})
    assert [event.position for event in archive.of_session("a")] == list(range(1, 16))


@pytest.mark.parametrize("killed_while", ["it waits for the archive", "it archives"])
def test_what_a_killed_worker_was_archiving_is_archived_once_by_another(
    system: System, archive: Archive, killed_while: str
) -> None:
    sessions = [f"s{n}" for n in range(20)]
    with system.workers(SOLO) as (first,), contextlib.ExitStack() as stack:
        if killed_while == "it waits for the archive":
            blocker = stack.enter_context(psycopg.connect(system.settings.archive_url))
            blocker.execute("LOCK TABLE kato_events IN SHARE MODE")
        for turn in range(10):
            append_events([event for name in sessions for event in numbered(name, name, 20 * turn, 20 * turn + 19)])
        if killed_while == "it archives":
            wait_until(lambda: archive.count() > 0, 30, "some of it is archived", every=0.005)
        else:
            waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'COPY%'"
            with psycopg.connect(system.settings.archive_url, autocommit=True) as watcher:
                wait_until(lambda: watcher.execute(waiting).fetchone() != (0,), 30, "a write waits", every=0.01)
        first.kill()
    forget_marks()
    with system.workers(SOLO):
        drained(sessions)
        archived_up_to(archive, dict.fromkeys(sessions, 200), 60)
    assert archive.count() == 4_000
    for name in sessions[:3]:
        assert [event.position for event in archive.of_session(name)] == list(range(1, 201))
