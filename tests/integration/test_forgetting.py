"""A session is forgotten everywhere, in the middle of a system that goes on; what is in the way is said."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from kato_tasks import append_events, events_by_node, forget_session, learn, observe, session_status
from kato_tasks.adapters.redis.keys import prefix
from kato_tasks.api import forgetting, held_patterns
from kato_tasks.api.archiving import archive_partitions
from kato_tasks.api.parking import park, resume
from kato_tasks.api.replays import working
from kato_tasks.api.replays.calls import cancel_replay, prepare_replay, replay_status, start_replay
from kato_tasks.api.replays.switching import finish_replay
from kato_tasks.bootstrap import archive_schema, runtime
from kato_tasks.domain.ids import PARTITIONS, partition_of
from kato_tasks.domain.replays import ENDED, ReplayRequest
from kato_tasks.errors import SessionBusy
from kato_tasks.ports.generations import TakeLane
from kato_tasks.testing.services import KatoServer, RedisServer
from kato_tasks.testing.waiting import wait_until
from tests.integration.system import System, drained

THREADS = ["--pool", "threads", "--concurrency", "4"]
PERSON, EVENT = "person-4711 ü", "fact-of-4711"
PATIENCE = 60
Json = dict[str, Any]


@pytest.fixture(scope="module")
def system(redis_server: RedisServer, kato: KatoServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    directory = tmp_path_factory.mktemp("forgetting")
    system = System(
        redis_server,
        redis_server,
        kato,
        directory,
        sweep_seconds="0.2",
        archive_url=f"sqlite:///{directory / 'archive.sqlite'}",
    )
    with system.here():
        archive_schema(system.settings).upgrade()
        yield system


@pytest.fixture
def clean(system: System) -> System:
    system.empty()
    with sqlite3.connect(system.directory / "archive.sqlite") as database:
        database.execute("DELETE FROM kato_events")
    return system


def history(session: str, node: str | None, ids: str, *, learned: int = 2) -> list[Json]:
    """Some patterns that are learned, one of them shared by all, and an STM."""
    events: list[Json] = []
    for turn in range(learned):
        what = "shared" if turn == 0 else f"only {session}"
        events += [{"observation": {"strings": [word]}} for word in ("begin", what)] + [{"event_type": "learn"}]
    events += [{"observation": {"strings": ["now"]}}] * 2
    more = {"session_id": session} | ({"node_id": node} if node else {})
    return [event | more | {"event_id": f"{ids}-{i}"} for i, event in enumerate(events)]


def traces_left(system: System, *texts: str) -> list[str]:
    """Every key of the store, and every row of the archive's files, in which one of these texts is."""
    found, forms = [], {text for one in texts for text in (one, json.dumps(one)[1:-1])}
    store = system.redis
    for key in store.scan_iter(count=1_000):
        read: dict[str, Callable[[str], Any]] = {
            "string": store.get,
            "hash": store.hgetall,
            "list": lambda name: store.lrange(name, 0, -1),
            "set": store.smembers,
            "zset": lambda name: store.zrange(name, 0, -1),
            "none": store.exists,  # it has expired
        }
        content = f"{key} {read[str(store.type(key))](str(key))}"
        if any(form in content for form in forms):
            found.append(str(key))
    for path in system.directory.glob("archive.sqlite"):
        with sqlite3.connect(path) as database:
            rows = database.execute("SELECT * FROM kato_events").fetchall()
        found += [str(row) for row in rows if any(form in str(row) for form in forms)]
    return found


def archived(system: System) -> None:
    wait_until(lambda: not list(system.redis.scan_iter("kt:*:unarchived")), PATIENCE, "everything is archived")


def test_nothing_of_a_forgotten_session_is_left_and_the_others_go_on(clean: System) -> None:
    system = clean
    append_events(history(PERSON, "shop", EVENT) + history("other", "shop", "other"))
    with system.workers(THREADS):
        assert observe.delay(PERSON, {"strings": ["by task"]}, event_id=f"{EVENT}-task").get(timeout=PATIENCE)
        drained([PERSON, "other"])
        archived(system)
        append_events([{"session_id": PERSON, "event_id": f"{EVENT}-late", "observation": {"strings": ["late"]}}])
        observe.apply_async((PERSON, {"strings": ["some day"]}), event_id=f"{EVENT}-due", countdown=3600)
        drained([PERSON])
        before, stm = session_status("other"), system.stm("other")
        gone = session_status(PERSON)
        assert gone is not None
        assert gone.binding is not None

        told = forget_session(PERSON)

        assert (told.known, told.events, told.node_is_shared, told.scheduled) == (True, 10, True, 1)
        assert told.archived >= 9
        assert told.kato_session == gone.binding.kato_session_id
        assert [(one.learns, one.frequency, one.only_here) for one in told.patterns] == [(1, 2, False), (1, 1, True)]
        assert "rebuild --node shop" in told.remedy
        assert traces_left(system, PERSON, EVENT) == []
        assert session_status(PERSON) is None
        assert system.ask(f"sessions/{gone.binding.kato_session_id}")["alive"] is False
        assert session_status("other") == before
        assert system.stm("other") == stm

        append_events(
            [
                {"session_id": "other", "event_id": "more", "observation": {"strings": ["more"]}},
                {"session_id": PERSON, "event_id": f"{EVENT}-0", "observation": {"strings": ["anew"]}},
            ]
        )
        drained(["other", PERSON])
        assert system.stm("other") == [*stm, ["more"]]
        assert system.stm(PERSON) == [["anew"]]
        status = session_status(PERSON)
        assert status is not None
        assert (status.head, status.node_id) == (1, PERSON)


def test_a_rebuilt_node_has_only_what_the_others_taught(clean: System) -> None:
    append_events(history(PERSON, "shop", EVENT) + history("other", "shop", "other"))
    with clean.workers(THREADS):
        drained([PERSON, "other"])
        told = forget_session(PERSON)
        replay = start_replay(runtime(), ReplayRequest("rebuild", node_id="shop"))
        wait_until(lambda: replay_status(runtime(), replay.id).state in ENDED, PATIENCE, "the replay ends")
        assert replay_status(runtime(), replay.id).state == "done"
        append_events(history(PERSON, "shop", EVENT, learned=0))
        drained([PERSON])
        found = forget_session(PERSON)
    assert [one.only_here for one in told.patterns] == [False, True]
    assert found.patterns == ()


def test_a_long_session_that_is_forgotten_takes_nothing_of_what_the_others_did_after_it(
    clean: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Falls when a page of forgotten places counts as the end of a lane's history."""
    monkeypatch.setattr(working, "EVENTS_AT_ONCE", 100)
    first, other = history("first", "shop", "first"), history("other", "shop", "other")
    long = [{"observation": {"strings": [f"s{i}"]}, "event_id": f"{EVENT}-long-{i}"} for i in range(500)]
    rt = runtime()

    def drain(partitions: Sequence[int] = range(PARTITIONS)) -> None:
        rt.drainer.drain_partitions(partitions, later=lambda _: None)

    for events in (first, [one | {"session_id": PERSON, "node_id": "shop"} for one in long], other):
        append_events(events)
        drain()
    forget_session(PERSON)
    replay = prepare_replay(rt, ReplayRequest("rebuild", node_id="shop"), "0123456789ab")
    wait_until(lambda: working.work_on_part(rt, replay.id, 0, 5.0, drain).done, PATIENCE, "the node is copied")
    wait_until(lambda: finish_replay(rt, replay.id, 5.0, drain).done, PATIENCE, "the replay ends")
    status = replay_status(rt, replay.id)
    assert (status.state, status.events_done) == ("done", len(first) + len(other))
    assert [event["event_id"] for event in events_by_node("shop")] == [one["event_id"] for one in first + other]


def test_a_session_that_has_its_node_alone_takes_lane_and_patterns_along(clean: System) -> None:
    append_events(history("person4711", None, EVENT))
    with clean.workers(THREADS):
        drained(["person4711"])
        archived(clean)
        told = forget_session("person4711", patterns=True)
        assert (told.node_is_shared, told.patterns, told.remedy) == (False, (), "")
        assert traces_left(clean, "person4711", EVENT) == []
        append_events(history("person4711", None, EVENT))
        drained(["person4711"])
        archived(clean)
        assert [one.frequency for one in forget_session("person4711").patterns] == [1, 1]
    assert traces_left(clean, "person4711", EVENT) == []


@pytest.mark.parametrize("step", ["erase_copies", "_delete", "_erase", "_forget_node"])
def test_a_call_that_died_in_the_middle_is_finished_by_the_next(
    clean: System, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    append_events(history(PERSON, "shop", EVENT) + history("other", "shop", "other"))

    def die(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with clean.workers(THREADS):
        drained([PERSON, "other"])
        archived(clean)
        with monkeypatch.context() as patched:
            patched.setattr(forgetting, step, die)
            with pytest.raises(KeyboardInterrupt):
                forget_session(PERSON)
        assert session_status(PERSON) is not None, "it can still be found"
        told = forget_session(PERSON)
        assert told.known
        assert not told.history, "the archive's part was erased by the first call, and the second one says so"
        assert told.remedy
        assert traces_left(clean, PERSON, EVENT) == []
        assert forget_session(PERSON).known is False


def test_whoever_loses_the_lane_while_the_history_is_read_erases_nothing(
    clean: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Invariant 2. Falls when the lane is not held again before KATO and the archive are told anything."""
    append_events(history(PERSON, "shop", EVENT) + history("other", "shop", "other"))
    with clean.workers(THREADS):
        drained([PERSON, "other"])
        archived(clean)
        before = session_status(PERSON)
        assert before is not None
        assert before.binding is not None
        read = held_patterns.read_frequencies

        def read_for_long(rt: Any, lane: str, node: str, held: Any) -> Any:
            found = read(rt, lane, node, held)
            lease = f"{prefix(partition_of(lane))}lease:{lane}"
            wait_until(lambda: not clean.redis.exists(lease), 10, "the lease has run out")
            return found

        monkeypatch.setattr(forgetting, "LANE_MS", 500)
        monkeypatch.setattr(forgetting, "read_frequencies", read_for_long)
        with pytest.raises(SessionBusy, match="taken by a worker meanwhile; forget it again"):
            forget_session(PERSON)
        assert session_status(PERSON) == before
        assert clean.ask(f"sessions/{before.binding.kato_session_id}")["alive"] is True
        assert rows_of(clean, PERSON) == 8


def rows_of(system: System, session: str) -> int:
    """How many events of a session the archive holds."""
    with sqlite3.connect(system.directory / "archive.sqlite") as database:
        (count,) = database.execute("SELECT count(*) FROM kato_events WHERE session_id = ?", (session,)).fetchone()
    return int(count)


def test_two_who_forget_a_session_at_once_do_not_disturb_each_other(clean: System) -> None:
    append_events(history(PERSON, "shop", EVENT) + history("other", "shop", "other"))
    with clean.workers(THREADS):
        drained([PERSON, "other"])
        with ThreadPoolExecutor(4) as pool:
            told = list(pool.map(forget_session, [PERSON] * 4))
        assert sum(one.known for one in told) == 1
        assert traces_left(clean, PERSON, EVENT) == []
        append_events([{"session_id": "other", "event_id": "more", "observation": {"strings": ["more"]}}])
        drained(["other"])


def test_what_is_in_the_way_is_said_and_nothing_is_erased(clean: System, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forgetting, "PATIENCE_SECONDS", 0.2)
    append_events(history(PERSON, "shop", EVENT))
    with pytest.raises(SessionBusy, match=r"is not applied to its end \(8 to go\); wait"):
        forget_session(PERSON)
    park(runtime(), PERSON, "why")
    with pytest.raises(SessionBusy, match="sessions resume"):
        forget_session(PERSON)
    resume(runtime(), PERSON)
    waiting = observe.delay(PERSON, {"strings": ["x"]}, event_id=f"{EVENT}-task")
    with clean.workers(THREADS):
        drained([PERSON])
        waiting.get(timeout=PATIENCE)
    runtime().store.execute([TakeLane("shop", "someone", 60_000)])
    with pytest.raises(SessionBusy, match=r"worked on for longer than 0\.2 s"):
        forget_session(PERSON)
    clean.redis.delete(*clean.redis.scan_iter("kt:*:lease:shop"))
    replay = start_replay(runtime(), ReplayRequest("rebuild", node_id="shop"))
    with pytest.raises(SessionBusy, match=f"replay {replay.id} works on node 'shop'"):
        forget_session(PERSON)
    assert session_status(PERSON) is not None
    cancel_replay(runtime(), replay.id)
    assert forget_session(PERSON).known
    assert traces_left(clean, PERSON, EVENT) == []


def test_an_archiving_that_read_before_and_writes_after_leaves_nothing(
    clean: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Falls when the archiver does not look whether its sessions are still there."""
    with clean.workers(THREADS):
        pass  # only so that the directory is there
    append_events(history(PERSON, "shop", EVENT) + history("other", "shop", "other"))
    rt = runtime()
    rt.drainer.drain_partitions(range(PARTITIONS), later=lambda _: None)
    drained([PERSON, "other"])
    archive = rt.archive
    assert archive is not None
    write = type(archive).write

    def write_late(self: Any, events: Any) -> Any:
        monkeypatch.setattr(type(archive), "write", write)
        assert forget_session(PERSON).known
        return write(self, events)

    monkeypatch.setattr(type(archive), "write", write_late)
    archive_partitions(rt, archive, range(PARTITIONS), 5.0)
    assert traces_left(clean, PERSON, EVENT) == []
    assert archive.heads(["other"]) == {"other": 8}


def test_a_session_that_nobody_knows_is_nothing_to_forget(clean: System) -> None:
    assert forget_session("nobody").known is False


def test_a_learn_by_a_process_that_remembers_the_session_begins_it_anew(clean: System, tmp_path: Path) -> None:
    append_events(history(PERSON, "shop", EVENT))
    with clean.workers(THREADS):
        drained([PERSON])
        forget_session(PERSON)
        append_events(history(PERSON, "elsewhere", EVENT, learned=1))
        drained([PERSON])
        status = session_status(PERSON)
        assert status is not None
        assert (status.node_id, status.head) == ("elsewhere", 5)
        assert learn.delay(PERSON).get(timeout=PATIENCE)["status"] == "learned"
