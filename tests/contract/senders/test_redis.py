"""What is particular to streams of Redis as they are sent to."""

from __future__ import annotations

import pytest
import redis

from kato_tasks.adapters.redis_streams.sender import RedisStreamSender
from kato_tasks.errors import ConfigurationError, SourceUnavailable
from kato_tasks.ports.senders import Outgoing
from kato_tasks.testing.services import RedisServer
from tests.contract.senders.brokers import SECRET, messages

PAYLOAD = "private-words"


def entries(url: str, stream: str = "stream") -> list[dict[str, str]]:
    with redis.Redis.from_url(url, decode_responses=True) as client:
        return [fields for _, fields in client.xrange(stream)]


def told(sender: RedisStreamSender, count: int = 1) -> str:
    with pytest.raises(SourceUnavailable) as failed:
        sender.send([Outgoing("s", PAYLOAD.encode(), "id")] * count)
    sender.close()
    text = str(failed.value)
    assert "\n" not in text
    assert SECRET not in text
    assert PAYLOAD not in text
    return text


def test_an_entry_has_the_messages_own_fields_and_else_its_parts(redis_url: str) -> None:
    sender = RedisStreamSender(redis_url, "stream")
    sender.send([Outgoing("s", b"", "id", {"h": "1"}, {"session_id": "s"}), Outgoing("s", b"{}", "id", {"h": "1"})])
    sender.send([Outgoing("", b"{}")])
    assert entries(redis_url) == [
        {"session_id": "s"},
        {"h": "1", "key": "s", "message_id": "id", "data": "{}"},
        {"data": "{}"},
    ]


def test_a_stream_with_a_greatest_length_drops_about_the_oldest(redis_url: str) -> None:
    sender = RedisStreamSender(redis_url, "stream", max_length=500)
    for first in range(0, 5_000, 1_000):
        sender.send(messages(first, 1_000))
    kept = [one["message_id"] for one in entries(redis_url)]
    assert 500 <= len(kept) < 700
    assert kept == [f"id-{i}" for i in range(5_000 - len(kept), 5_000)]


def test_a_redis_that_runs_full_takes_all_messages_of_a_send_or_none(own_redis: RedisServer) -> None:
    with redis.Redis.from_url(own_redis.url) as client:
        client.config_set("maxmemory", client.info("memory")["used_memory"] + 300_000)
        sender = RedisStreamSender(own_redis.url, "stream")
        sends = 0
        full = ""
        while not full and sends < 50:
            try:
                sender.send([Outgoing("s", b"x" * 5_000)] * 20)
                sends += 1
            except SourceUnavailable as exc:
                full = str(exc)
        assert full.endswith("has no memory left: have its streams read and trimmed, or raise its maxmemory")
        assert len(entries(own_redis.url)) == sends * 20 > 0
        client.config_set("maxmemory", 0)
        sender.send([Outgoing("s", b"x", "now")])
    assert entries(own_redis.url)[-1]["message_id"] == "now"


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("SET stream text", "has something else than a stream at the key 'stream': name another stream"),
        (f"CONFIG SET requirepass {SECRET}2", "refuses the user: correct the name and password in its address"),
        ("REPLICAOF 127.0.0.1 1", "is a replica, which takes no writes: name the primary"),
        ("ACL SETUSER default -xadd", "does not let this user add to the stream 'stream': grant the user +xadd and"),
    ],
)
def test_what_redis_refuses_is_one_sentence_that_says_what_to_do(
    own_redis: RedisServer, command: str, says: str
) -> None:
    with redis.Redis.from_url(own_redis.url) as client:
        client.execute_command(*command.split())
    text = told(RedisStreamSender(own_redis.url, "stream"), 3)
    assert text.startswith(f"Redis at 127.0.0.1:{own_redis.port} {says}")


def test_a_wrong_password_is_not_shown(own_redis: RedisServer) -> None:
    with redis.Redis.from_url(own_redis.url) as client:
        client.config_set("requirepass", "right")
    text = told(RedisStreamSender(own_redis.url.replace("//", f"//:{SECRET}@"), "stream"))
    assert "refuses the user: correct the name and password" in text


def test_what_is_no_address_of_a_redis_is_an_error_of_the_configuration() -> None:
    with pytest.raises(ConfigurationError, match="write redis://host:port/db"):
        RedisStreamSender("http://x", "stream").send(messages(0, 1))
