"""What a learn answered is what the next predict of its node sees, whichever session asks, and no other one waits."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from kato_tasks import append_events, learn, observe, predict
from kato_tasks.testing.services import KatoServer, RedisServer
from tests.integration.system import System

NODE = "one shop"
ROUNDS = 8
LATE_MS = 280
"""A little sooner than what a predict waits out, and later than a real KATO showed any pattern."""


@pytest.fixture(scope="module")
def system(redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """A KATO that shows a pattern late, and a worker that sweeps once a minute: what is due sooner, it must wake."""
    redis_server.start()
    kato = KatoServer(tmp_path_factory.mktemp("late-kato"), "--visible-after-ms", str(LATE_MS))
    kato.start()
    system = System(redis_server, redis_server, kato, tmp_path_factory.mktemp("system"), sweep_seconds="60")
    try:
        with system.here(), system.workers(["--pool", "threads", "--concurrency", "4"]):
            yield system
    finally:
        kato.stop()


def test_the_next_predict_of_a_node_sees_what_a_learn_of_another_session_answered(system: System) -> None:
    """Falls without the lane's `le` in commit.lua, as predict asks before KATO shows the pattern; and without
    `wake_soon`, as nobody wakes the lane when the wait is over."""
    observe.delay("asker", {"strings": ["start"]}, node_id=NODE).get(timeout=30)
    seen = []
    for number in range(ROUNDS):
        teacher = f"teacher {number}"
        for page in ("start", f"next {number}"):
            observe.delay(teacher, {"strings": [page]}, node_id=NODE)
        name = learn.delay(teacher).get(timeout=30)["pattern_name"]
        answer = predict.delay("asker").get(timeout=10)
        seen.append(name in [f"PTRN|{one['name'].removeprefix('PTRN|')}" for one in answer["predictions"]])
    assert seen == [True] * ROUNDS


def test_a_predict_is_answered_while_other_sessions_of_its_node_learn_all_the_time(system: System) -> None:
    """That what is learned later holds it up no longer is proven in test_lanes.py; here all of it is at work."""
    observe.delay("patient", {"strings": ["x"]}, node_id="busy").get(timeout=30)
    answered = threading.Event()

    def teach() -> None:
        pupils = itertools.count()
        while not answered.wait(0.02):
            session = f"pupil {next(pupils)}"
            common = {"session_id": session, "node_id": "busy"}
            append_events(
                [
                    {**common, "event_id": f"{session}/o", "observation": {"strings": ["x", "y"]}},
                    {**common, "event_id": f"{session}/l", "event_type": "learn"},
                ]
            )

    with ThreadPoolExecutor(1) as pool:
        teaching = pool.submit(teach)
        try:
            for _ in range(3):
                predict.delay("patient").get(timeout=20)
        finally:
            answered.set()
        teaching.result()
