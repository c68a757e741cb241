"""A store without memory left: nothing is accepted, and what it has is carried out, which makes room."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest
import redis

from kato_tasks import ports
from kato_tasks.adapters.redis import room
from kato_tasks.adapters.redis.scripts import script
from kato_tasks.adapters.redis.store import RedisStore
from kato_tasks.domain.ids import lane_of, partition_of
from kato_tasks.errors import StoreFull
from tests.contract.store.log import Log, new_token, numbered, observation, predict

Fill = Callable[[], None]


@pytest.fixture
def fill(client: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fill]:
    """From its call on Redis has no byte left. Scripts are loaded as they are: a header would change this rule."""
    monkeypatch.setattr("kato_tasks.adapters.redis.store.script", script)

    def now() -> None:
        client.config_set("maxmemory", 1)
        with pytest.raises(redis.ResponseError, match="maxmemory"):
            client.set("anything", "more")

    try:
        yield now
    finally:
        client.config_set("maxmemory", 0)


def test_a_full_store_accepts_no_event_and_says_so(log: Log, fill: Fill) -> None:
    log.append("n", *numbered("known", 1, 1))
    before = log.dump()
    fill()
    for refused in (
        lambda: log.append("n", *numbered("known", 2, 2)),
        lambda: log.append("n", *numbered("new", 1, 1)),
        lambda: log.append("n", predict("known", "p")),
        lambda: log.do(ports.BindNodes(0, [("s", "", "s")])),
        lambda: log.do(ports.KeepScheduled("n", 1, "{}")),
    ):
        with pytest.raises(StoreFull):
            refused()
    assert log.dump() == before


def test_a_lane_is_leased_and_emptied_in_a_full_store(log: Log, fill: Fill) -> None:
    """Falls when the first write of acquire_lanes.lua, take_or_wait.lua or write.lua is one that may take memory."""
    log.append("n", *numbered("a", 1, 2), predict("a", "p"), *numbered("b", 1, 1))
    fill()
    held = log.held("n", "t")
    work = log.taken("n", "t")
    log.intent(held, work, "call")
    log.do(ports.Count(lane_of("n"), "rebuilt"))
    log.do(ports.FlagNodeForRebuild(lane_of("n")))
    log.do(ports.KeepDeadLetter(lane_of("n"), "x", "{}"))
    log.do(ports.KeepUnpublished(lane_of("n"), "{}"))
    done = log.commit(held, work, call="call", results=[("a-1", "{}")])
    while done.work is not None:
        done = log.commit(held, done.work, answers=done.work.predict_id)
    assert (done.due_ms, log.lease("n", "u")) == (-1, None)
    assert {name: log.state("n", name)["cur"] for name in "ab"} == {"a": "2", "b": "1"}


def test_a_task_takes_its_lane_and_another_one_waits_in_a_full_store(log: Log, fill: Fill) -> None:
    log.append("n", *numbered("a", 1, 2))
    fill()
    work = log.claim("n", "a", "a-1", token="t").work
    assert work is not None
    assert log.claim("n", "a", "a-2", position=2, task_id="id", token="u") == ports.Found()
    done = log.commit(log.held("n", "t"), work, results=[("a-2", "{}")])
    assert [parked.requests for parked in done.completed] == [{"id": "{}"}]
    assert [p.event_id for p in log.do(ports.OrphanedTasks(partition_of("n"), -1, 10))] == ["a-2"]
    log.do(ports.DropWaitingTask(lane_of("n"), "a", "a-2", "id"))


def test_wake_ups_and_people_go_on_in_a_full_store(log: Log, fill: Fill) -> None:
    log.append("n", *numbered("a", 1, 1))
    fill()
    assert log.do(ports.SetMark("wake-up", 0, 60_000)) is True
    assert log.do(ports.SetMark("wake-up", 0, 60_000)) is False
    assert 0 < log.redis.pttl("kt:{w000}:wake") <= 60_000
    assert log.do(ports.ParkByHand(lane_of("n"), "a", json.dumps({"reason": "a person"}))) is True
    assert log.do(ports.Resume(lane_of("n"), "a")) is True


def test_a_lane_is_switched_to_another_generation_in_a_full_store(log: Log, fill: Fill) -> None:
    log.append("n", *numbered("a", 1, 1))
    fill()
    assert log.do(ports.TakeLane(lane_of("n"), "t", 20_000)) is True
    held = log.held("n", "t")
    assert log.do(ports.OpenIntents(lane_of("n"))) == []
    assert log.do(ports.SwitchGeneration(held, "n~2", "", "PTRN|x")) == "done"
    assert log.do(ports.GiveLaneBack(held)) is not None


def test_events_are_refused_above_the_share_and_drains_go_on(
    client: redis.Redis, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Falls without the check of the room in RedisStore.execute."""
    monkeypatch.setattr(room, "LOOK_SECONDS", 0.0)
    log.append("n", *numbered("a", 1, 3))
    sharing = RedisStore(client, full_share=0.5)
    rows = [(lane_of("n"), "n", observation("a", "more"), 0)]
    append = ports.Append(partition_of(lane_of("n")), rows)
    used = int(client.info("memory")["used_memory"])
    try:
        client.config_set("maxmemory", int(used * 1.5))
        (refused,) = sharing.execute([append])
        assert isinstance(refused, StoreFull)
        assert "STORE_FULL_SHARE" in str(refused)
        work = log.taken("n", new_token())
        assert len(work.entries) == 3
        client.config_set("maxmemory", used * 4)
        (batch,) = sharing.execute([append])
        assert [status.position for status in batch.statuses] == [4]
    finally:
        client.config_set("maxmemory", 0)


def test_a_store_without_a_limit_is_never_full(client: redis.Redis) -> None:
    client.config_set("maxmemory", 0)
    room.Room(client, 0.000001).check()


def test_the_figures_are_asked_for_once_a_second_and_not_once_an_append(client: redis.Redis, log: Log) -> None:
    for i in range(50):
        log.append("n", *numbered("a", i, i))
    calls = client.info("commandstats").get("cmdstat_info", {}).get("calls", 0)
    for i in range(50, 100):
        log.append("n", *numbered("a", i, i))
    assert client.info("commandstats")["cmdstat_info"]["calls"] - calls <= 3
