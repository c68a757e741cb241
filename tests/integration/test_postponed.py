"""Events with a due time and messages that were kept: each is carried out by itself and holds up no other."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
import redis

from kato_tasks import append_events, history, observe, session_status
from kato_tasks.adapters.redis.keys import prefix
from kato_tasks.api.dead_letters import dead_letters, find
from kato_tasks.api.dead_letters import redrive as redriven
from kato_tasks.bootstrap import Runtime, runtime
from kato_tasks.celery_tasks.app.configuration import beat_schedule
from kato_tasks.celery_tasks.postponed import append_due, publish_kept_messages
from kato_tasks.celery_tasks.sweeping import sweep
from kato_tasks.celery_tasks.wakeups import send_overtaking_wakeup
from kato_tasks.domain.ids import PARTITIONS, default_node, lane_of, partition_of, queue_of, shard_of
from kato_tasks.errors import InvalidEvent
from kato_tasks.ports.log import KeepScheduled
from kato_tasks.ports.waiting_tasks import KeepUnpublished
from kato_tasks.testing.services import KatoServer, RedisServer
from tests.integration.recovering import a_system, new_name, observation
from tests.integration.system import System

ALL = range(PARTITIONS)


@pytest.fixture(scope="module")
def system(redis_server: RedisServer, kato: KatoServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    with a_system(redis_server, tmp_path_factory.mktemp("postponed"), kato) as system:
        yield system


@pytest.fixture
def rt(system: System) -> Runtime:
    system.empty()
    return runtime()


def ids(session: str) -> list[str]:
    return [event["event_id"] for event in history(session)]


def later(session: str, event_id: str, due_ms: int, **more: object) -> None:
    from datetime import UTC, datetime

    observe.apply_async(
        (session, {"strings": [event_id]}),
        {"event_id": event_id, **more},
        eta=datetime.fromtimestamp(due_ms / 1000, UTC),
    )


def test_calls_with_one_eta_are_appended_in_their_order(rt: Runtime) -> None:
    session, due = new_name("s"), rt.figures.now_ms() - 1_000
    sent = [f"{(i * 7919) % 1000}" for i in range(60)]
    for event_id in sent:
        later(session, event_id, due)
    assert append_due(rt, ALL) == 60
    assert ids(session) == sent


BROKEN = {
    "no JSON": "{oops",
    "a newer version": '{"v":2,"entry":[]}',
    "too short": '["a"]',
    "too long": None,
    "an unknown kind": '["a",null,"e","merge",false,"d","o0\\ne\\n{}\\n{}"]',
    "a text where a truth value belongs": '["a",null,"e","o","yes","d","o0\\ne\\n{}\\n{}"]',
}


@pytest.mark.parametrize("payload", BROKEN)
def test_what_was_kept_for_later_and_cannot_be_read_is_a_dead_letter_and_the_others_are_appended(
    rt: Runtime, payload: str
) -> None:
    session = new_name("s")
    due = rt.figures.now_ms() - 1_000
    lane = lane_of(default_node(session))
    later(session, "first", due)
    text = BROKEN[payload]
    if text is None:  # a later version may append to the row
        (kept,) = rt.redis.zrange(f"{prefix(partition_of(lane))}later", 0, -1)
        row = json.loads(str(kept))
        row[2], row[6] = "longer", row[6].replace("first", "longer", 1)
        text = json.dumps([*row, {"new": 1}])
    rt.store.execute([KeepScheduled(lane, due, text)])
    later(session, "last", due)
    append_due(rt, ALL)
    letters = list(dead_letters(rt))
    if payload == "too long":
        assert (ids(session), letters) == (["first", "longer", "last"], [])
        return
    assert ids(session) == ["first", "last"]
    assert [letter.event["kept"].strip() for letter in letters] == [text]
    assert rt.redis.zcard(f"{prefix(partition_of(lane))}later") == 0
    with pytest.raises(InvalidEvent):  # nobody knows what it was
        redriven(rt, find(rt, letters[0].id))


def test_an_event_kept_for_later_whose_session_cannot_take_it_holds_up_none_of_the_others(rt: Runtime) -> None:
    session, broken, due = new_name("s"), new_name("broken"), rt.figures.now_ms() - 1_000
    append_events([observation(broken, "1", "a")])
    p = prefix(partition_of(lane_of(default_node(broken))))
    later(broken, "2", due)
    rt.redis.delete(f"{p}log:{broken}")
    rt.redis.set(f"{p}log:{broken}", "no list")
    for event_id in ("1", "2", "3"):
        later(session, event_id, due)
    append_due(rt, ALL)
    assert ids(session) == ["1", "2", "3"]
    (letter,) = dead_letters(rt)
    assert (letter.event_id, letter.session_id) == ("2", broken)


def kept(session: str, task_id: str, queue: str, **more: object) -> str:
    lane = lane_of(default_node(session))
    place = {"lane": lane, "position": 1, "event_id": task_id}
    return json.dumps(
        {
            "name": "kato_tasks.process_observation_async",
            "kwargs": {"session_id": session, "observation": {"strings": ["a"]}},
            "task_id": task_id,
            "link": None,
            "link_error": None,
            "options": {"queue": queue, "headers": {"kato": place}},
            **more,
        }
    )


def messages(system: System, session: str) -> list[str]:
    """The ids of the task messages in the queue that serves this session."""
    queue = queue_of(shard_of(partition_of(lane_of(default_node(session))), 4))
    with redis.Redis.from_url(system.broker.url) as broker:
        return [json.loads(text)["headers"]["id"] for text in reversed(broker.lrange(queue, 0, -1))]


def test_a_kept_message_goes_to_the_queue_that_serves_its_lane_now(system: System, rt: Runtime) -> None:
    """It was kept when there were more shards."""
    session = new_name("s")
    rt.store.execute([KeepUnpublished(lane_of(default_node(session)), kept(session, "t1", "kato.lane.77"))])
    assert publish_kept_messages(rt, ALL) == 1
    assert messages(system, session) == ["t1"]
    assert list(dead_letters(rt)) == []


def test_a_kept_message_that_cannot_be_published_is_a_dead_letter_and_the_others_go_out(
    system: System, rt: Runtime
) -> None:
    sessions = [new_name("s") for _ in range(6)]
    for session in sessions:
        lane = lane_of(default_node(session))
        no_queue = json.dumps(
            json.loads(kept(session, "bad", "kato.lane.77")) | {"options": {"queue": "no.such.queue"}}
        )
        for message in (kept(session, f"{session}/1", "q"), "{oops", no_queue, kept(session, f"{session}/2", "q")):
            rt.store.execute([KeepUnpublished(lane, message)])
    assert publish_kept_messages(rt, ALL) == 12
    for session in sessions:
        assert [id_ for id_ in messages(system, session) if session in id_] == [f"{session}/1", f"{session}/2"]
    letters = list(dead_letters(rt))
    assert {letter.event["message"] == "{oops" for letter in letters} == {True, False}
    for letter in letters:
        with pytest.raises(InvalidEvent):  # its event is in the log already
            redriven(rt, letter)


def test_a_session_whose_binding_cannot_be_read_is_shown_with_the_reason(rt: Runtime) -> None:
    session = new_name("s")
    append_events([observation(session, "1", "a")])
    p = prefix(partition_of(lane_of(default_node(session))))
    rt.redis.hset(f"{p}s:{session}", "b0", '{"v":2}')
    status = session_status(session)
    assert status is not None
    assert "of another version" in (status.last_error or "")
    while rt.drainer.drain_partitions(ALL).lanes:
        pass
    status = session_status(session)
    assert status is not None
    assert status.state == "parked"
    assert "of another version" in (status.parked or {})["reason"]


def test_a_sweep_brings_back_the_lanes_that_a_clock_which_went_back_left_ahead(rt: Runtime) -> None:
    session = new_name("s")
    append_events([observation(session, "1", "a")])
    lane = lane_of(default_node(session))
    p, ahead = prefix(partition_of(lane)), rt.figures.now_ms() + 3_600_000
    rt.redis.zadd(f"{p}pend:{lane}", {session: ahead})
    rt.redis.zadd(f"{p}ready", {lane: ahead})
    assert sweep(rt) == 1
    assert rt.drainer.drain_partitions(ALL).lanes == 1
    assert session_status(session).cursor == 1  # type: ignore[union-attr]


def test_a_wake_up_is_discarded_by_no_clock_of_its_sender_or_of_its_worker(system: System, rt: Runtime) -> None:
    """Falls with `expires`, which a worker whose clock is ahead takes for past."""
    append_events([observation(new_name("s"), "1", "a")])
    send_overtaking_wakeup(rt, range(4))
    with redis.Redis.from_url(system.broker.url) as broker:
        queues = [queue_of(shard) for shard in range(4)] + ["kato.control"]
        sent = [json.loads(text)["headers"] for queue in queues for text in broker.lrange(queue, 0, -1)]
    assert [headers["task"] for headers in sent] == ["kato_tasks.drain", "kato_tasks.drain_overdue"]
    assert [headers["expires"] for headers in sent] == [None, None]
    for entry in beat_schedule().values():
        assert entry["options"]["expires"] >= 3600


def test_wake_ups_that_nobody_takes_are_bounded_by_their_mark(system: System, rt: Runtime) -> None:
    session = new_name("s")
    for i in range(20):
        append_events([observation(session, str(i), "a")])
    with redis.Redis.from_url(system.broker.url) as broker:
        assert sum(broker.llen(queue_of(shard)) for shard in range(4)) == 1
