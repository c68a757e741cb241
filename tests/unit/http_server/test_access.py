"""Who is let in, without a server."""

from __future__ import annotations

import asyncio

import pytest

from kato_tasks.domain.api_keys import ApiKey, Scope, make_key, split_key
from kato_tasks.errors import InvalidEvent
from kato_tasks.http_server.access import STALE_SECONDS, Access, is_loopback
from kato_tasks.http_server.problems import Problem


def request(key: str = "", host: str = "localhost") -> dict[str, object]:
    headers = [(b"host", host.encode())]
    if key:
        headers.append((b"authorization", f"Bearer {key}".encode()))
    return {"headers": headers}


def access(*keys: ApiKey, on_loopback: bool = False, backlog: int = 0) -> Access:
    made = Access(lambda: list(keys), lambda: backlog, on_loopback=on_loopback)
    asyncio.run(made.refresh())
    return made


def refusal(made: Access, asked: dict[str, object], scope: Scope = "write") -> int:
    with pytest.raises(Problem) as caught:
        made.admit(asked, scope)
    return caught.value.status


def test_a_key_is_made_of_256_random_bits_and_kept_as_a_hash() -> None:
    key, text = make_key(("write",), now_ms=1)
    parts = split_key(text)
    assert parts is not None
    assert (parts[0], len(parts[1])) == (key.id, 43)
    assert parts[1] not in key.dump()
    assert ApiKey.load(key.dump()) == key
    assert key.matches(parts[1])
    assert not key.matches(parts[1][:-1])
    assert make_key(("write",), now_ms=1)[1] != text


@pytest.mark.parametrize(
    "text", ["", "kt_", "kt_x_y", "kt_0123456789ab_short", "Kt_0123456789ab_" + "x" * 43, "kt_\x00"]
)
def test_what_has_not_the_form_of_a_key_is_none(text: str) -> None:
    assert split_key(text) is None


def test_a_key_needs_a_scope_and_a_short_name() -> None:
    with pytest.raises(InvalidEvent, match="scope"):
        make_key((), now_ms=1)
    with pytest.raises(InvalidEvent, match="name"):
        make_key(("read",), name="x" * 101, now_ms=1)


def test_without_keys_only_loopback_is_open_and_only_under_its_own_name() -> None:
    made = access(on_loopback=True)
    assert made.admit(request(), "admin").id == "anyone"
    assert made.admit(request(host="127.0.0.1:8080"), "admin").id == "anyone"
    assert made.admit(request(host="[::1]:8080"), "admin").id == "anyone"
    assert refusal(made, request(host="evil.example")) == 421
    assert refusal(made, request(host="127.0.0.1.evil.example")) == 421
    assert refusal(made, request(host="")) == 421
    assert refusal(access(), request()) == 401


def test_once_there_is_a_key_loopback_needs_one_too() -> None:
    key, text = make_key(("write",), now_ms=1)
    made = access(key, on_loopback=True)
    assert refusal(made, request()) == 401
    assert made.admit(request(text), "write") is key
    assert made.admit(request(text, host="any.example"), "write") is key
    assert refusal(made, request(text), "read") == 403


def test_to_revoke_the_last_key_lets_nobody_in() -> None:
    key, text = make_key(("write",), now_ms=1)
    kept = [key]
    made = Access(kept.copy, lambda: 0, on_loopback=True)
    asyncio.run(made.refresh())
    assert made.admit(request(text), "write") is key
    kept.clear()
    asyncio.run(made.refresh())
    assert refusal(made, request(text)) == 401
    assert refusal(made, request()) == 401


def test_keys_that_cannot_be_read_for_long_open_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    key, text = make_key(("write",), now_ms=1)
    made = access(key)
    made._read_at -= STALE_SECONDS + 1
    assert refusal(made, request(text)) == 503


def test_requests_are_counted_per_key_and_come_back_with_time() -> None:
    key, text = make_key(("write",), requests_per_second=10, now_ms=1)
    made = access(key)
    for _ in range(20):
        made.admit(request(text), "write")
    assert refusal(made, request(text)) == 429
    made._buckets[key.id].at -= 0.5
    for _ in range(5):
        made.admit(request(text), "write")
    assert refusal(made, request(text)) == 429
    made._buckets[key.id].at -= 1_000
    for _ in range(20):
        made.admit(request(text), "write")
    assert refusal(made, request(text)) == 429


def test_only_writing_is_held_back_by_the_backlog() -> None:
    key, text = make_key(("write", "read"), backlog=5, now_ms=1)
    assert access(key, backlog=5).admit(request(text), "write") is key
    assert refusal(access(key, backlog=6), request(text)) == 429
    assert access(key, backlog=6).admit(request(text), "read") is key


@pytest.mark.parametrize(
    ("host", "own"),
    [
        ("localhost", True),
        ("a.localhost", True),
        ("127.0.0.9", True),
        ("::1", True),
        ("0.0.0.0", False),
        ("a.b", False),
    ],
)
def test_loopback_is_known_by_name_and_address(host: str, own: bool) -> None:
    assert is_loopback(host) is own
