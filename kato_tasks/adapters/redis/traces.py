"""The port ``FindTraces`` on Redis."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import redis

from kato_tasks.adapters.redis.answers import redis_errors
from kato_tasks.adapters.redis.keys import literal, prefix
from kato_tasks.domain.ids import PARTITIONS, partition_of
from kato_tasks.ports.forgetting import FindTraces, Traces

COUNT = 1_000
"""How many elements Redis looks at in one answer of a scan, so that it is never held up."""


class RedisTraces(FindTraces):
    """Looks through keys, dedupe buckets, dead letters, scheduled events and unpublished messages, in scans."""

    def __init__(self, client: redis.Redis) -> None:
        self._redis = client

    def of_session(self, session: str, lane: str) -> Traces:
        """See ``FindTraces.of_session``."""
        p = prefix(partition_of(lane))
        with redis_errors():
            return Traces(
                ids=tuple(self._ids(p, session)),
                results=tuple(self._events(f"{p}r:", session)),
                waiting=tuple(self._events(f"{p}w:", session)),
                letters=tuple(self._letters(session)),
                scheduled=tuple(self._scheduled(session)),
                unpublished=tuple(self._unpublished(session)),
            )

    def _events(self, begin: str, session: str) -> Iterator[str]:
        """Yield the event ids of keys that end with the session. An event id has no line break, a session may have."""
        for key in set(map(str, self._redis.scan_iter(f"{literal(begin)}*\n{literal(session)}", count=COUNT))):
            event_id, _, named = key.removeprefix(begin).partition("\n")
            if named == session:
                yield event_id

    def _ids(self, p: str, session: str) -> Iterator[tuple[str, str]]:
        for bucket in set(map(str, self._redis.scan_iter(f"{literal(p)}ids:*", count=COUNT))):
            fields = self._redis.hscan_iter(bucket, match=f"*\n{literal(session)}", count=COUNT)
            for event_id in {str(field).partition("\n")[0] for field, _ in fields if _ends(str(field), session)}:
                yield bucket.removeprefix(f"{p}ids:"), event_id

    def _letters(self, session: str) -> Iterator[tuple[str, str]]:
        for partition in range(PARTITIONS):
            for name, text in self._redis.hscan_iter(f"{prefix(partition)}dead", count=COUNT):
                if session in _whose(str(text)):
                    yield str(_json(str(text)).get("lane", "")), str(name)

    def _scheduled(self, session: str) -> Iterator[tuple[int, str]]:
        for partition in range(PARTITIONS):
            for payload, _ in self._redis.zscan_iter(f"{prefix(partition)}later", count=COUNT):
                if session in _first(str(payload)):
                    yield partition, str(payload)

    def _unpublished(self, session: str) -> Iterator[tuple[int, str]]:
        for partition in range(PARTITIONS):
            messages: Any = self._redis.lrange(f"{prefix(partition)}outbox", 0, -1)
            for message in messages:
                if session in _caller(str(message)):
                    yield partition, str(message)


def _ends(field: str, session: str) -> bool:
    return field.partition("\n")[2] == session


def _whose(letter: str) -> set[Any]:
    """Return the sessions that a dead letter is about, also one of a text that could not be read."""
    row = _json(letter)
    if not isinstance(row, dict):
        return set()
    event = row.get("event")
    found = [row.get("session_id")]
    if isinstance(event, dict):
        found += [event.get("session_id"), *_caller(str(event.get("message"))), *_first(str(event.get("kept")))]
    return {one for one in found if isinstance(one, str)}


def _caller(message: str) -> list[Any]:
    """Return the session that a task message is for."""
    row = _json(message)
    arguments = row.get("kwargs") if isinstance(row, dict) else None
    return [arguments.get("session_id")] if isinstance(arguments, dict) else []


def _first(payload: str) -> list[Any]:
    """Return the session of an event that was kept for later (``api.scheduled.later_payload``)."""
    row = _json(payload)
    return row[:1] if isinstance(row, list) else []


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


__all__ = ["RedisTraces"]
