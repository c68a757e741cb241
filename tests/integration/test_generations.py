"""A live lane is switched to another node at KATO, filled by hand, while events keep coming and a worker is killed."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from itertools import count

import httpx
import pytest

from kato_tasks import append_events, history, predict, session_status
from kato_tasks.bootstrap import runtime
from kato_tasks.domain.generations import generation_name
from kato_tasks.domain.ids import lane_of
from kato_tasks.engine.store_retry import raise_errors
from kato_tasks.ports.generations import GenerationOf, GiveLaneBack, OpenIntents, SwitchGeneration, TakeLane
from kato_tasks.ports.lanes import Batch, Lease
from kato_tasks.testing.services import KatoServer, RedisServer
from kato_tasks.testing.waiting import wait_until
from tests.contract.kato.client import QUIET, KatoSession, connected
from tests.integration.model import Oracle
from tests.integration.recovering import THREADS, a_system, learning, nobody_waits, observation, total
from tests.integration.system import Json, System, drained

SESSIONS = ("ann", "bob")
LEASE_MS = 10_000


@pytest.fixture(scope="module")
def system(redis_server: RedisServer, kato: KatoServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    with a_system(redis_server, tmp_path_factory.mktemp("generations"), kato) as system:
        yield system


class Story:
    """What was appended to two sessions of one node."""

    def __init__(self) -> None:
        self.node = f"shop {uuid.uuid4().hex[:8]}"
        self.lane = lane_of(self.node)
        self.sessions = [f"{name} of {self.node}" for name in SESSIONS]
        self.events: list[Json] = []
        self._numbers = count()

    def go_on(self, rounds: int = 1) -> None:
        """Each session observes twice and learns, and then observes once more; some patterns come again and again."""
        for _ in range(rounds):
            number = next(self._numbers)
            batch: list[Json] = []
            for session in self.sessions:
                batch += [
                    observation(session, f"{session}/{number}a", "a", node=self.node),
                    observation(session, f"{session}/{number}b", f"b{number % 3}", node=self.node),
                    learning(session, f"{session}/{number}l", self.node),
                    observation(session, f"{session}/{number}z", f"z{number % 2}", node=self.node),
                ]
            append_events(batch)
            self.events += batch

    def due(self) -> Oracle:
        oracle = Oracle({})
        for event in self.events:
            oracle.apply(event["session_id"], {"event_type": "observation", **event})
        return oracle


class ByHand:
    """Fills a node at KATO with what is applied of a story, each event once; as a replay will."""

    def __init__(self, http: httpx.Client, story: Story, node: str) -> None:
        self._story = story
        self._done = dict.fromkeys(story.sessions, 0)
        self._shadows = {
            session: KatoSession(http, http.post("/sessions", json={"node_id": node, "config": QUIET}).json())
            for session in story.sessions
        }

    def catch_up(self) -> None:
        for session, shadow in self._shadows.items():
            status = session_status(session)
            assert status is not None
            after = self._done[session]
            for event in history(session, after=after, limit=status.cursor - after):
                if event["event_type"] == "learn":
                    shadow.learn()
                    shadow.clear()
                else:
                    shadow.observe(*event["observation"]["strings"])
            self._done[session] = status.cursor


def counted(system: System, node: str) -> dict[str, int]:
    return {name: row["frequency"] for name, row in system.ask(f"patterns?node={node}").items()}


def switch(story: Story, old: str, new: str, filling: ByHand | None = None) -> None:
    """Take the lane when no call of it is open, let the new node catch up, switch, and give the lane back."""
    store, token = runtime().store, uuid.uuid4().hex
    held = Lease(story.lane, token, LEASE_MS, Batch(1, 1))

    def taken_in_peace() -> bool:
        (taken,) = store.execute([TakeLane(story.lane, token, LEASE_MS)])
        if taken and store.execute([OpenIntents(story.lane)]) != [[]]:
            store.execute([GiveLaneBack(held)])
            return False
        return bool(taken)

    wait_until(taken_in_peace, 20, "the lane is taken, and no call of it is open", every=0.01)
    if filling is not None:
        filling.catch_up()
    answers = store.execute([SwitchGeneration(held, new, old), SwitchGeneration(held, new, old), GiveLaneBack(held)])
    raise_errors(answers)
    assert answers[:2] == ["done", "done"]


def bound_nodes(story: Story) -> set[str]:
    statuses = [session_status(session) for session in story.sessions]
    return {status.binding.node for status in statuses if status is not None and status.binding is not None}


def hold_to_the_story(system: System, story: Story, node: str) -> None:
    """The STMs are whole, and this node has each pattern as often as it was learned."""
    due = story.due()
    assert {session: system.stm(session) for session in story.sessions} == due.stm
    assert counted(system, node) == due.patterns.counts
    for session in story.sessions:
        status = session_status(session)
        assert status is not None
        assert (status.node_id, status.lane) == (story.node, story.lane), "callers see the node as they named it"


def test_a_live_lane_is_switched_to_another_node_and_back_and_nothing_is_lost_or_done_twice(system: System) -> None:
    """Falls when a KATO session of the old node is used, kept or lent after the switch (ensure_bound, lent_to)."""
    story = Story()
    new = generation_name(story.node, "0123456789ab")
    over = threading.Event()

    def feed() -> None:
        while not over.wait(0.03):
            story.go_on()

    with connected(system.kato.url) as http, system.workers(THREADS) as (first,):
        story.go_on(5)
        drained(story.sessions)
        filling = ByHand(http, story, new)
        filling.catch_up()
        assert counted(system, new) == counted(system, story.lane) != {}
        feeder = threading.Thread(target=feed)
        feeder.start()
        try:
            before = len(story.events)
            wait_until(lambda: len(story.events) > before + 30, 20, "events keep coming")
            switch(story, "", new, filling)
            first.kill()
            frozen = counted(system, story.lane)
            with system.workers(THREADS):
                answers = [predict.delay(session).get(timeout=30) for session in story.sessions]
                wait_until(lambda: bound_nodes(story) == {new}, 20, "both sessions are on the new node")
                before = len(story.events)
                wait_until(lambda: len(story.events) > before + 30, 20, "events keep coming")
                over.set()
                feeder.join()
                drained(story.sessions)
                assert [answer["node_id"] for answer in answers] == [story.node] * 2
                hold_to_the_story(system, story, new)
                assert counted(system, story.lane) == frozen, "the old node learns nothing more"
                there = counted(system, new)
                switch(story, new, "")
                assert runtime().store.execute([GenerationOf(story.lane)]) == [""]
                story.go_on(2)
                drained(story.sessions)
        finally:
            over.set()
            feeder.join()
    assert bound_nodes(story) == {story.node}
    assert counted(system, new) == there, "the node that was left learns nothing more"
    assert {session: system.stm(session) for session in story.sessions} == story.due().stm
    assert sum(counted(system, story.lane).values()) == sum(frozen.values()) + 4
    assert system.ask("stats")["overlaps"] == 0
    assert [total(system, name) for name in ("learns_unknown", "learns_in_doubt")] == [0, 0]
    nobody_waits(system)
