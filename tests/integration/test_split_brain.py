"""A store that keeps nothing is named at a worker's start; one that became a replica is left behind."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import redis

from kato_tasks import ports
from kato_tasks.adapters.redis.keys import mark
from kato_tasks.adapters.redis.persistence import persistence_problem
from kato_tasks.adapters.redis.store import RedisStore, connect
from kato_tasks.domain.ids import partition_of
from kato_tasks.errors import StoreUnavailable
from kato_tasks.testing.services import LOOPBACK, RedisServer
from kato_tasks.testing.waiting import wait_until
from tests.contract.store.log import observation

CHECKOUT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("appendonly", "save", "says"),
    [
        ("yes", "", None),
        ("yes", "3600 1", None),
        ("no", "3600 1", "a crash loses every event since the last snapshot"),
        ("no", "", "a restart loses every event"),
    ],
)
def test_a_store_says_what_it_would_lose(own_redis: RedisServer, appendonly: str, save: str, says: str | None) -> None:
    client = redis.Redis.from_url(own_redis.url, decode_responses=True)
    client.config_set("appendonly", appendonly)
    client.config_set("save", save)
    problem = persistence_problem(client)
    assert (problem is None) if says is None else (problem is not None and says in problem)


def test_a_store_that_hides_its_settings_is_named_all_the_same(own_redis: RedisServer) -> None:
    client = redis.Redis.from_url(own_redis.url, decode_responses=True)
    client.config_set("appendonly", "no")
    client.acl_setuser("default", commands=["-config"])
    assert "appendonly is off" in (persistence_problem(client) or "")


def worker_log(server: RedisServer, directory: Path) -> str:
    """What a worker with two processes logs until it is ready and was stopped."""
    at = server.url.removesuffix("/0")
    environment = dict(os.environ) | {
        "PYTHONPATH": str(CHECKOUT),
        "KATO_TASKS_BROKER_URL": server.url,
        "KATO_TASKS_RESULT_BACKEND": f"{at}/1",
        "KATO_TASKS_STORE_URL": f"{at}/2",
        "KATO_TASKS_KATO_URLS": "http://127.0.0.1:9",
    }
    path = directory / "worker.log"
    with path.open("wb") as log:
        worker = subprocess.Popen(
            [sys.executable, "-m", "celery", "-A", "kato_tasks", "worker", "--concurrency", "2", "-l", "INFO"],
            env=environment,
            cwd=directory,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            # The first round of the sweep comes after whatever is said at the start.
            with redis.Redis.from_url(f"{at}/2") as client:
                wait_until(lambda: b" ready." in path.read_bytes() and client.exists(mark("sweep", 0)), 60)
        finally:
            worker.terminate()
            worker.wait(60)
    return path.read_text()


def test_a_worker_warns_once_of_a_store_that_keeps_nothing(own_redis: RedisServer, tmp_path: Path) -> None:
    with redis.Redis.from_url(own_redis.url) as client:
        client.config_set("appendonly", "no")
    lines = re.findall(r"^.*store\.volatile.*$", worker_log(own_redis, tmp_path), re.MULTILINE)
    assert len(lines) == 1
    assert "WARNING" in lines[0]
    assert lines[0].endswith("a restart loses every event; set appendonly yes")


def test_a_worker_says_nothing_of_a_store_with_an_append_only_file(own_redis: RedisServer, tmp_path: Path) -> None:
    assert "store.volatile" not in worker_log(own_redis, tmp_path)


def test_a_primary_without_its_replica_takes_no_event_and_gives_no_lease(own_redis: RedisServer) -> None:
    """What min-replicas-to-write is for: the side that was cut off does nothing more."""
    store = RedisStore(connect(own_redis.url))
    lane = "lane"
    row = (lane, lane, observation("session", "1"), 0)
    assert not isinstance(store.execute([ports.Append(partition_of(lane), [row], "")])[0], Exception)
    with redis.Redis.from_url(own_redis.url) as client:
        client.config_set("min-replicas-to-write", 1)
    row = (lane, lane, observation("session", "2"), 0)
    append = ports.Append(partition_of(lane), [row], "")
    lease = ports.AcquireLanes(partition_of(lane), "token", 5_000, 1, ports.Batch(10, 1_000))
    assert [type(answer) for answer in store.execute([append, lease])] == [StoreUnavailable] * 2
    with redis.Redis.from_url(own_redis.url) as client:
        client.config_set("min-replicas-to-write", 0)
    assert [work.head for work in store.execute([lease])[0]] == [1]
    store.redis.close()


def test_a_store_that_became_a_replica_is_left_for_the_primary_at_the_next_call(
    own_redis: RedisServer, tmp_path: Path
) -> None:
    """As behind a name that follows the primary: new connections reach it, and those that are open stay."""
    count = ports.Count("lane", "leftovers")
    other = RedisServer(tmp_path / "other")
    other.start()
    try:
        store = RedisStore(connect(own_redis.url))
        assert store.execute([count]) == [None]
        # From now on the address means the other one, also for a connection that is opened again.
        pool = store.redis.connection_pool
        connection = pool.get_connection()
        connection.port = pool.connection_kwargs["port"] = other.port
        pool.release(connection)
        with redis.Redis.from_url(own_redis.url) as old:
            old.replicaof(LOOPBACK, other.port)
        (refused,) = store.execute([count])
        assert isinstance(refused, StoreUnavailable)
        assert store.execute([count]) == [None]
        store.redis.close()
    finally:
        # Told to stop, each would first wait for what the other has begun to copy.
        other.kill()
        own_redis.kill()
