"""A store that comes back may have lost what a process remembers of it: a session still has one node and one lane."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from kato_tasks import ports
from kato_tasks.adapters.redis.store import RedisStore, StoreRun, connect
from kato_tasks.domain.log_entry import Entry
from kato_tasks.engine.append import Mailbox
from kato_tasks.errors import NodeConflict, StoreUnavailable
from kato_tasks.testing.services import RedisServer
from tests.contract.store.log import Log, observation

Open = Callable[[], RedisStore]


def opened(server: RedisServer, kind: type[RedisStore] = RedisStore) -> RedisStore:
    """As a process opens its own, which looks at the store first."""
    run = StoreRun()
    client = connect(server.url, run=run)
    client.ping()
    return kind(client, None, run)


def loses_everything(server: RedisServer) -> None:
    with connect(server.url) as client:
        client.flushall()
    server.stop()
    server.start()


def on(session: str, event_id: str, node: str) -> Entry:
    return replace(observation(session, event_id), node_id=node)


def logs(server: RedisServer) -> list[str]:
    with connect(server.url) as client:
        return sorted(str(key).split(":", 2)[2] for key in client.scan_iter("*:log:*"))


def test_a_node_that_the_store_forgot_is_written_down_again(own_redis: RedisServer) -> None:
    one = Mailbox(opened(own_redis))
    one.append([on("a", "1", "team")])
    loses_everything(own_redis)
    one.append([on("a", "2", "team")])
    Mailbox(opened(own_redis)).append([observation("a", "3")])
    with connect(own_redis.url) as client:
        assert Log(client).events("team", "a") == ["2", "3"]
    assert logs(own_redis) == ["log:a"]


def test_a_node_that_another_process_wrote_down_after_the_loss_counts(own_redis: RedisServer) -> None:
    one = Mailbox(opened(own_redis))
    one.append([on("a", "1", "team")])
    loses_everything(own_redis)
    Mailbox(opened(own_redis)).append([observation("a", "2")])
    with pytest.raises(NodeConflict):
        one.append([on("a", "3", "team")])
    assert one.append([observation("a", "4")]).placed[0].lane == "a"
    assert logs(own_redis) == ["log:a"]


class LostAtTheAppend(RedisStore):
    """The store goes down and comes back empty right before the append is sent, and another process is quicker."""

    server: RedisServer
    lost = False

    def execute(self, operations: Sequence[ports.Effect[Any]]) -> list[Any]:
        if not self.lost and any(isinstance(one, ports.Append) for one in operations):
            self.lost = True
            loses_everything(self.server)
            Mailbox(opened(self.server)).append([observation("a", "quicker")])
        return super().execute(operations)


def test_an_append_with_a_remembered_node_is_not_carried_out_by_another_run_of_the_store(
    own_redis: RedisServer,
) -> None:
    """Falls without the look at the connection: it is replaced silently, and nothing fails."""
    store = opened(own_redis, LostAtTheAppend)
    assert isinstance(store, LostAtTheAppend)
    store.server = own_redis
    with pytest.raises((NodeConflict, StoreUnavailable)) as raised:
        Mailbox(store).append([on("a", "1", "team")])
    assert logs(own_redis) == ["log:a"]
    assert isinstance(raised.value, NodeConflict)


def test_a_bulk_append_goes_on_with_the_run_that_answers(own_redis: RedisServer) -> None:
    store = opened(own_redis, LostAtTheAppend)
    assert isinstance(store, LostAtTheAppend)
    store.server = own_redis
    mailbox = Mailbox(store)
    events = [observation(session, f"{i}") for i in range(1_500) for session in "bc"]
    placed = mailbox.append(events).placed
    assert [p.appended.position for p in placed] == [i // 2 + 1 for i in range(3_000)]
    with connect(own_redis.url) as client:
        assert [Log(client).events(s, s) for s in "bc"] == [[f"{i}" for i in range(1_500)]] * 2
