"""Events with vectors on the KATO at KATO_URL: what is bound after its KATO session is gone, beside one left alone."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import httpx
import pytest

from kato_tasks import append_events
from kato_tasks.bootstrap import Runtime, runtime
from kato_tasks.testing.services import KatoServer, RedisServer
from kato_tasks.testing.waiting import wait_until
from tests.contract.kato.client import Kato, KatoSession
from tests.integration.recovering import QUICK, total
from tests.integration.system import Json, System
from tests.integration.test_expiry import drain, observed, status
from tests.integration.test_vectors import learn, name_of, settled

pytestmark = pytest.mark.skipif("KATO_URL" not in os.environ, reason="KATO_URL names no running KATO")
ROOM = [[0.1, 0.2]]


@dataclass
class Running:
    """A KATO that others started, in the place of one of ours."""

    url: str

    def start(self) -> None:
        pass

    def reset(self) -> None:
        pass


@pytest.fixture(scope="module")
def kato() -> Iterator[Kato]:
    with httpx.Client(base_url=os.environ["KATO_URL"].rstrip("/"), timeout=60, trust_env=False) as http:
        yield Kato(http)


@pytest.fixture
def system(redis_server: RedisServer, kato: Kato, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    redis_server.start()
    running = cast("KatoServer", Running(str(kato.http.base_url).rstrip("/")))
    more = QUICK | {"kato_timeout_seconds": "10"}
    with (system := System(redis_server, redis_server, running, tmp_path_factory.mktemp("on_kato"), **more)).here():
        system.empty()
        yield system


@pytest.fixture
def rt(system: System) -> Runtime:
    return runtime()


def played(kato: Kato, events: list[Json]) -> KatoSession:
    """The same events, one after the other, without us."""
    sessions: dict[str, KatoSession] = {}
    node = f"alone_{uuid.uuid4().hex[:8]}"
    for event in events:
        session = sessions.setdefault(event["session_id"], kato.session(node))
        if event.get("event_type") == "learn":
            session.learn()
        else:
            seen = event["observation"]
            session.observe(*seen["strings"], vectors=seen.get("vectors", []))
    return sessions["a"]


STORIES: dict[str, list[tuple[Any, ...]]] = {
    "a vector alone": [("a", [], ROOM), ("a", ["x"], [])],
    "a string before VCTR|": [("a", ["Room", "7", "x"], ROOM), ("a", ["x"], [])],
    "several vectors": [("a", ["Room"], [[1.0, 2.0], [0.5, 0.5]]), ("a", ["x"], [])],
    "near learned ones": [("b", ["y"], [[0.1, 0.3]]), ("b", ["z"], [[0.1, 0.4]]), ("b",), ("a", ["Room"], ROOM)],
    "learned since": [("a", ["x", "y"], ROOM), ("b", ["y"], [[0.1, 0.3]]), ("b",)],
    "learned since, string before": [("a", ["Room", "7"], ROOM), ("b", ["y"], [[0.1, 0.3]]), ("b",)],
}


@pytest.mark.parametrize("story", STORIES)
def test_what_is_bound_holds_what_a_kato_that_was_left_alone_holds_or_its_symbols_in_another_order(
    system: System, rt: Runtime, kato: Kato, story: str
) -> None:
    node = f"bound_{uuid.uuid4().hex[:8]}"
    steps = STORIES[story]
    events = [observed(s[0], *s[1], node=node, vectors=s[2]) if len(s) == 3 else learn(s[0], node) for s in steps]
    due = [*played(kato, events).stm(), ["after"]]
    for event in events:
        append_events([event])
        settled(rt, str(event["session_id"]))
    bound = status("a").binding
    assert bound is not None
    kato.http.delete(f"/sessions/{bound.kato_session_id}")
    append_events([observed("a", "after", node=node)])
    settled(rt, "a")
    bound = status("a").binding
    assert bound is not None
    held = kato.http.get(f"/sessions/{bound.kato_session_id}/stm").json()["stm"]
    nearest = story == "learned since, string before"
    assert held == ([sorted(due[0]), *due[1:]] if nearest else due)
    assert (held == due, total(system, "reordered")) == (not nearest, int(nearest))
    append_events([learn("a", node)])
    settled(rt, "a")
    reader = kato.session(node)
    wait_until(lambda: (reader.pattern(name_of(held)) or {}).get("frequency") == 1, 10)
    assert status("a").parked is None
    drain(rt)
