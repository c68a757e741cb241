"""Replays of real histories: rebuilt nodes equal live ones, are switched to while events come, and survive kills."""

from __future__ import annotations

import contextlib
import json
import random
import urllib.parse
import urllib.request
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from celery.result import AsyncResult

from kato_tasks import (
    append_event,
    append_events,
    history,
    learn,
    observe,
    predict,
    replay,
    replay_events,
    session_status,
)
from kato_tasks.adapters.sql.schema import open_schema
from kato_tasks.api.replays.calls import cancel_replay, plan_replay, replay_status, resume_replay, start_replay
from kato_tasks.bootstrap import runtime
from kato_tasks.celery_app import app
from kato_tasks.domain.generations import generation_name
from kato_tasks.domain.replays import ENDED, ReplayRequest, ReplayStatus
from kato_tasks.domain.stm import pattern_name
from kato_tasks.errors import InvalidEvent, ReplayBusy
from kato_tasks.testing.postgres import PostgresServer
from kato_tasks.testing.rabbitmq import RabbitmqServer
from kato_tasks.testing.services import KatoServer, RedisServer
from kato_tasks.testing.waiting import StillWaiting, wait_until
from tests.integration.system import System, drained

Json = dict[str, Any]
WORKER = ["--pool", "prefork", "--concurrency", "2"]
THREADS = ["--pool", "threads", "--concurrency", "4"]
PATIENCE = 90


@pytest.fixture(scope="module")
def system(redis_server: RedisServer, kato: KatoServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    system = System(redis_server, redis_server, kato, tmp_path_factory.mktemp("replays"), sweep_seconds="0.2")
    with system.here():
        yield system


class Story:
    """Random sessions of a few nodes, and what KATO must hold of them."""

    def __init__(self, seed: int, sessions: int = 12, nodes: int = 3) -> None:
        self.rng = random.Random(seed)
        self.sessions = {f"s{i} ü": f"shop {i % nodes}" for i in range(sessions)}
        self.stms: dict[str, list[list[str]]] = {session: [] for session in self.sessions}
        self.patterns: dict[str, Counter[str]] = {node: Counter() for node in self.sessions.values()}
        self.numbers: Counter[str] = Counter()

    def events(self, count: int) -> list[Json]:
        return [self.event() for _ in range(count)]

    def event(self) -> Json:
        session = self.rng.choice(list(self.sessions))
        self.numbers[session] += 1
        event: Json = {"session_id": session, "node_id": self.sessions[session]}
        event["event_id"] = f"{session}-{self.numbers[session]}"
        stm = self.stms[session]
        if stm and self.rng.random() < 0.25:
            name = pattern_name(stm)
            if name:
                self.patterns[self.sessions[session]][name] += 1
            self.stms[session] = []
            return event | {"event_type": "learn"}
        strings = self.rng.choices(["a", "b", "c d", "é"], k=self.rng.randint(1, 2))
        stm.append(sorted(strings))
        return event | {"observation": {"strings": strings, "emotives": {"joy": 0.5}}}

    def frequencies(self, system: System) -> dict[str, Counter[str]]:
        """What KATO counts now on the nodes that serve, of every pattern that was ever learned."""
        names = {name for counted in self.patterns.values() for name in counted}
        rows = {}
        for node in self.patterns:
            session = next(one for one, its in self.sessions.items() if its == node)
            status = session_status(session)
            assert status is not None
            served = serving_node(session)
            rows[node] = Counter({name: n for name in names if (n := frequency(system, served, name))})
        return rows

    def check(self, system: System) -> None:
        with contextlib.suppress(StillWaiting):  # KATO shows a new pattern a moment later
            wait_until(lambda: self.frequencies(system) == self.patterns, 3, every=0.1)
        assert self.frequencies(system) == self.patterns
        for session, stm in self.stms.items():
            status = session_status(session)
            if stm and status is not None and status.binding is not None:
                predict.delay(session).get(timeout=PATIENCE)  # whatever served before, this is asked of its generation
                assert system.stm(session) == stm, session


def serving_node(session: str) -> str:
    from kato_tasks.domain.ids import lane_of
    from kato_tasks.ports.generations import GenerationOf

    node = runtime().sessions.node_of(session)
    assert node is not None
    (generation,) = runtime().store.execute([GenerationOf(lane_of(node))])
    return generation or node


def frequency(system: System, node: str, pattern: str) -> int:
    path = f"/pattern/{urllib.parse.quote(pattern, safe='')}?node_id={urllib.parse.quote(node, safe='')}"
    with urllib.request.urlopen(f"{system.kato.url}{path}", timeout=10) as answer:  # noqa: S310  an address of ours
        found = json.loads(answer.read())["pattern"]
    return int(found["pattern"]["frequency"]) if found["status"] == "okay" else 0


def ended(replay_id: str, timeout: float = PATIENCE) -> ReplayStatus:
    wait_until(lambda: replay_status(runtime(), replay_id).state in ENDED, timeout, "the replay ends", every=0.1)
    return replay_status(runtime(), replay_id)


def test_a_rebuilt_generation_equals_the_live_node_and_serves_while_events_go_on(system: System) -> None:
    system.empty()
    story = Story(1)
    append_events(story.events(600))
    with system.workers(WORKER):
        drained(list(story.sessions))
        story.check(system)
        before = {session: serving_node(session) for session in story.sessions}
        begun = start_replay(runtime(), ReplayRequest("rebuild"))
        for _ in range(20):
            append_events(story.events(10))
        status = ended(begun.id)
        assert (status.state, status.differences) == ("done", ()), status
        append_events(story.events(100))
        drained(list(story.sessions))
        after = {session: serving_node(session) for session in story.sessions}
        assert not set(after.values()) & set(before.values())
        story.check(system)
        assert AsyncResult(begun.task_id, app=app).get(timeout=PATIENCE)["state"] == "done"
        with system.redis as client:
            wait_until(lambda: not list(client.scan_iter("kt:*:shadow:*")), PATIENCE, "the shadows are gone")


def stm_at(events: list[Json], session: str, position: int) -> list[list[str]]:
    """The STM of a session after its event at this position."""
    stm: list[list[str]] = []
    for event in [one for one in events if one["session_id"] == session][:position]:
        stm = [] if event.get("event_type") == "learn" else [*stm, sorted(event["observation"]["strings"])]
    return stm


def without_ranks(answer: Any) -> list[Any]:
    """What a prediction says of the patterns, without the figures that depend on how many there are."""
    kept = ("name", "frequency", "matches", "past", "present", "future")
    return sorted(json.dumps({key: one[key] for key in kept if key in one}) for one in answer["predictions"])


def test_a_node_as_of_a_position_has_the_stm_and_the_predictions_that_were_live_then(system: System) -> None:
    system.empty()
    story = Story(2, sessions=3, nodes=1)
    events = story.events(120)
    session = max(story.sessions, key=lambda one: story.numbers[one])
    places = [i for i, event in enumerate(events) if event["session_id"] == session]
    middle = next(i for i in places[len(places) // 2 :] if events[i].get("event_type") != "learn")
    position = places.index(middle) + 1
    with system.workers(THREADS):
        append_events(events[: middle + 1])
        drained(list(story.sessions))
        live = predict.delay(session).get(timeout=PATIENCE)
        append_events(events[middle + 1 :])
        drained(list(story.sessions))
        begun = start_replay(runtime(), ReplayRequest("as_of", session_id=session, position=position))
        status = ended(begun.id)
        assert (status.state, status.reason) == ("done", ""), status
        shadow = status.sessions[session]
        assert system.stm(shadow) == stm_at(events, session, position)
        assert without_ranks(predict.delay(shadow).get(timeout=PATIENCE)) == without_ranks(live)
        story.check(system)  # the live node is as it was


def test_an_stm_is_rebuilt_in_a_fresh_kato_session(system: System) -> None:
    system.empty()
    with system.workers(THREADS):
        for i in range(5):
            observe.delay("one", {"strings": [f"{i}"]}).get(timeout=PATIENCE)
        before = session_status("one")
        begun = start_replay(runtime(), ReplayRequest("stm", session_id="one"))
        status = ended(begun.id)
        assert status.state == "done", status
        after = session_status("one")
        assert before is not None
        assert after is not None
        assert before.binding is not None
        assert after.binding is not None
        assert after.binding.kato_session_id != before.binding.kato_session_id
        assert system.stm("one") == [[f"{i}"] for i in range(5)]


@pytest.fixture
def archive_server(tmp_path: Path) -> Iterator[PostgresServer]:
    """A PostgreSQL with our tables, which the test may kill."""
    server = PostgresServer(tmp_path / "archive")
    server.start()
    with contextlib.closing(open_schema(server.url)) as schema:
        schema.upgrade()
    yield server
    server.stop()


@pytest.fixture
def rabbitmq_system(
    rabbitmq_server: RabbitmqServer, archive_server: PostgresServer, tmp_path: Path
) -> Iterator[System]:
    """RabbitMQ gives a killed worker's messages to the next one at once. The store and KATO survive a restart."""
    store = RedisServer(tmp_path / "store", "--appendonly", "yes")
    kato = KatoServer(tmp_path / "kato", "--data", str(tmp_path / "kato.data"))
    with contextlib.ExitStack() as stack:
        for server in (store, kato):
            stack.callback(server.stop)
            server.start()
        system = System(rabbitmq_server, store, kato, tmp_path, sweep_seconds="0.2", archive_url=archive_server.url)
        with system.here():
            yield system


@pytest.mark.heavy
@pytest.mark.timeout(400)
def test_a_replay_survives_kills_of_its_workers_and_a_restart_of_the_store_of_the_archive_and_of_kato(
    rabbitmq_system: System, archive_server: PostgresServer
) -> None:
    system = rabbitmq_system
    system.empty()
    story = Story(3, sessions=40, nodes=8)
    append_events(story.events(4_000))
    with system.workers(WORKER):
        drained(list(story.sessions), 120)
        archive = runtime().archive
        assert archive is not None
        wait_until(
            lambda: sum(archive.heads(list(story.sessions)).values()) == 4_000, PATIENCE, "all is archived", every=0.2
        )
    system.faults({"route": "observe-sequence", "kind": "delay_after", "seconds": 0.02})
    with system.workers(["--pool", "threads", "--concurrency", "2"]) as (worker,):
        begun = start_replay(runtime(), ReplayRequest("rebuild"))
        for share in (0.1, 0.3, 0.5, 0.7, 0.9):
            wait_until(partial(reached, begun.id, share), PATIENCE, f"{share} is done", every=0.02)
            append_events(story.events(20))
            worker.kill()
            if share == 0.3:
                archive_server.kill()
                archive_server.start()
            if share == 0.5:
                system.store.kill()
                system.store.start()
            if share == 0.7:
                system.kato.stop()
                system.kato.start()
            worker.start()
        system.faults()
        status = ended(begun.id, 240)
        assert (status.state, status.differences) == ("done", ()), status
        drained(list(story.sessions), 120)
        story.check(system)


def test_a_replay_says_that_it_waits_for_the_archive_and_goes_on_when_it_is_back(
    rabbitmq_system: System, archive_server: PostgresServer
) -> None:
    system = rabbitmq_system
    system.empty()
    story = Story(7)
    append_events(story.events(200))
    with system.workers(WORKER):
        drained(list(story.sessions))
        archive = runtime().archive
        assert archive is not None
        wait_until(
            lambda: sum(archive.heads(list(story.sessions)).values()) == 200, PATIENCE, "all is archived", every=0.2
        )
        archive_server.stop()
        begun = start_replay(runtime(), ReplayRequest("rebuild"))
        wait_until(
            lambda: "the archive" in replay_status(runtime(), begun.id).waits, PATIENCE, "it says what it waits for"
        )
        assert replay_status(runtime(), begun.id).state == "running"
        archive_server.start()
        status = ended(begun.id)
        assert (status.state, status.waits, status.differences) == ("done", "", ()), status
        story.check(system)


def reached(replay_id: str, share: float) -> bool:
    return progress(replay_id) >= share


def progress(replay_id: str) -> float:
    status = replay_status(runtime(), replay_id)
    return status.events_done / max(1, status.events_total) if status.state not in ENDED else 1.0


def test_a_replay_that_is_cancelled_leaves_what_served_and_can_be_resumed(system: System) -> None:
    system.empty()
    story = Story(4)
    append_events(story.events(300))
    with system.workers(WORKER):
        drained(list(story.sessions))
    before = {session: serving_node(session) for session in story.sessions}
    begun = start_replay(runtime(), ReplayRequest("rebuild"))
    with pytest.raises(ReplayBusy, match=begun.id):
        start_replay(runtime(), ReplayRequest("rebuild", node_id="shop 1"))
    with pytest.raises(ReplayBusy, match=begun.id):
        plan_replay(runtime(), ReplayRequest("rebuild", node_id="shop 1"))
    assert cancel_replay(runtime(), begun.id).state == "cancelled"
    with system.workers(WORKER):
        append_events(story.events(100))
        drained(list(story.sessions))
        assert {session: serving_node(session) for session in story.sessions} == before
        assert replay_status(runtime(), begun.id).state == "cancelled"
        resume_replay(runtime(), begun.id)
        status = ended(begun.id)
        assert (status.state, status.differences) == ("done", ())
        story.check(system)
        with pytest.raises(ReplayBusy, match="is done"):
            resume_replay(runtime(), begun.id)


def test_where_kato_miscounts_one_nodes_patterns_no_node_is_switched_and_the_report_says_what_differs(
    system: System,
) -> None:
    system.empty()
    story = Story(5, sessions=2, nodes=2)
    append_events(story.events(60))
    with system.workers(WORKER):
        drained(list(story.sessions))
        before = {session: serving_node(session) for session in story.sessions}
        plan = plan_replay(runtime(), ReplayRequest("rebuild"))
        assert sorted(lane.lane for lane in plan.lanes) == ["shop_0", "shop_1"]
        # The part of the larger lane comes first, and must not be switched before the other one is looked at.
        differing = min(plan.lanes, key=lambda lane: lane.total).node
    begun = start_replay(runtime(), ReplayRequest("rebuild"))
    # Somebody else teaches one of the two new nodes, too, which nothing of ours would do.
    name = next(iter(story.patterns[differing]))
    for attempt in (1, 2, 3):
        teach(system, generation_name(differing, begun.id, attempt), name)
    with system.workers(WORKER):
        status = ended(begun.id)
        assert status.state == "failed"
        assert len(status.differences) == 1
        assert name in status.differences[0]
        assert {session: serving_node(session) for session in story.sessions} == before
        story.check(system)


def teach(system: System, node: str, name: str) -> None:
    """Let another client learn a pattern of the story on this node."""
    symbols = learned_stms(name)
    made = post(system, "/sessions", {"node_id": node})
    path = f"/sessions/{made['session_id']}"
    for event in symbols[0]:
        post(system, f"{path}/observe", {"strings": event, "vectors": [], "emotives": {}})
    assert post(system, f"{path}/learn", {})["pattern_name"] == name


def learned_stms(name: str) -> list[list[list[str]]]:
    again = Story(5, sessions=2, nodes=2)
    for _ in range(60):
        before = {session: list(stm) for session, stm in again.stms.items()}
        event = again.event()
        stm = before[event["session_id"]]
        if event.get("event_type") == "learn" and pattern_name(stm) == name:
            return [stm]
    raise AssertionError(name)


def post(system: System, path: str, body: Json) -> Json:
    request = urllib.request.Request(  # noqa: S310  an address of ours
        f"{system.kato.url}{path}", json.dumps(body).encode(), {"Content-Type": "application/json"}, method="POST"
    )
    with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
        found: Json = json.loads(answer.read())
    return found


@pytest.mark.parametrize(
    ("request_", "field", "says"),
    [
        (ReplayRequest("as_of", session_id="nobody"), "session_id", "has no events"),
        (ReplayRequest("stm", session_id="nobody"), "session_id", "has no events"),
        (ReplayRequest("rebuild", node_id="nowhere"), "node_id", "no session belongs"),
        (
            ReplayRequest("as_of", session_id="one", position=4),
            "position",
            "last applied event of this session is at 3",
        ),
        (ReplayRequest("as_of", session_id="one", until_ms=1), "time", "before the session's first event"),
        (ReplayRequest("as_of", session_id="two"), "session_id", "no event of 'two' is applied yet"),
        (ReplayRequest("as_of", session_id="replay:0123456789ab:one"), "session_id", "a copy that a replay made"),
        (ReplayRequest("rebuild", flagged=True), "flagged", "no node is flagged"),
        (ReplayRequest("as_of"), "session_id", "is missing"),
        (ReplayRequest("rebuild", session_id="one"), "session_id", "give its node_id"),
        (ReplayRequest("as_of", session_id="one", position=1, until_ms=5), "position", "two moments"),
        (ReplayRequest("stm", session_id="one", position=1), "position", "go with mode as_of"),
    ],
)
def test_what_cannot_be_replayed_is_one_sentence_that_names_the_field(
    system: System, request_: ReplayRequest, field: str, says: str
) -> None:
    if session_status("one") is None or session_status("one").cursor != 3:  # type: ignore[union-attr]
        system.empty()
        append_events([{"session_id": "one", "observation": {"strings": [f"{i}"]}} for i in range(3)])
        with system.workers(THREADS):
            drained(["one"])
        append_events([{"session_id": "two", "node_id": "one", "observation": {"strings": ["not applied"]}}])
    with pytest.raises(InvalidEvent, match=says) as raised:
        start_replay(runtime(), request_)
    assert raised.value.field == field
    assert runtime().replays.all() == []


def test_where_there_is_no_session_there_is_nothing_to_rebuild(system: System) -> None:
    system.empty()
    with pytest.raises(InvalidEvent, match="there is no session yet") as raised:
        start_replay(runtime(), ReplayRequest("rebuild"))
    assert raised.value.field == "mode"
    assert runtime().replays.all() == []


def test_the_events_of_an_aggregate_are_replayed_into_a_session_that_can_be_asked(system: System) -> None:
    system.empty()
    placed = ["OrderPlaced", "OrderPaid", "OrderSent"]
    with system.workers(THREADS):
        for number in range(3):
            for kind in placed:
                append_event(f"order {number}", kind, {"number": number}, node_id="orders")
            learn.delay(f"order {number}").get(timeout=PATIENCE)
        append_event("order 9", "OrderPlaced", {}, node_id="orders")
        append_event("order 9", "OrderPaid", {})
        drained(["order 9"])
        session = replay_events("order 9")
        assert system.stm(session) == [["OrderPlaced"], ["OrderPaid"]]
        (first, *_) = predict.delay(session).get(timeout=PATIENCE)["predictions"]
        assert (first["future"], first["frequency"]) == ([["OrderSent"]], 3)
        earlier = replay_events("order 9", position=1)
        assert system.stm(earlier) == [["OrderPlaced"]]
        assert [event["event_type"] for event in history("order 9")] == ["observation", "observation"]


def test_the_task_of_a_replay_ends_with_the_replay_and_can_be_chained(system: System) -> None:
    system.empty()
    story = Story(6)
    append_events(story.events(200))
    with system.workers(THREADS):
        drained(list(story.sessions))
        result = replay.delay("rebuild", node_id="shop 1")
        status = result.get(timeout=PATIENCE)
        assert (status["state"], status["differences"]) == ("done", [])
        assert replay_status(runtime(), status["id"]).lanes == {"switched": 1}
        story.check(system)
        refused = replay.delay("rebuild", node_id="nowhere")
        with pytest.raises(InvalidEvent, match="no session belongs"):
            refused.get(timeout=PATIENCE)


@pytest.mark.timeout(300)
def test_a_replay_goes_on_after_its_broker_was_away_for_longer_than_a_task_tries_to_be_sent(
    rabbitmq_server: RabbitmqServer,
    redis_server: RedisServer,
    kato: KatoServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """A part whose next message cannot be sent is not acknowledged, and comes again."""
    rabbitmq_server.start()
    system = System(rabbitmq_server, redis_server, kato, tmp_path_factory.mktemp("broker"), sweep_seconds="0.2")
    with system.here():
        system.empty()
        story = Story(8)
        append_events(story.events(900))
        with system.workers(THREADS) as (worker,):
            drained(list(story.sessions))
            system.faults({"kind": "delay", "route": "observe-sequence", "seconds": 1.0})
            begun = start_replay(runtime(), ReplayRequest("rebuild"))
            wait_until(lambda: progress(begun.id) > 0, PATIENCE, "it has begun")
            rabbitmq_server.stop()
            wait_until(lambda: "task.requeued" in worker.text(), 30, "a part could not send its next message")
            assert replay_status(runtime(), begun.id).state == "running"
            system.faults()
            rabbitmq_server.start()
            status = ended(begun.id)
            assert (status.state, status.differences) == ("done", ())
            story.check(system)
