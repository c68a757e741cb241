"""What the shop itself remembers: a hash in its own Redis for each person, visit to row."""

import json
import time
import uuid
from typing import Any

import redis
from flask import current_app

Row = dict[str, Any]


def _client() -> redis.Redis:
    return redis.Redis.from_url(current_app.config["PAGES"], decode_responses=True)


def add(person: str, page: str) -> str:
    """A new visit; returns its id."""
    visit = f"{time.time_ns()} {uuid.uuid4().hex[:6]}"
    note(person, visit, page=page)
    return visit


def note(person: str, visit: str, **known: Any) -> None:
    """Add to what is known of a visit."""
    with _client() as client:
        for name, value in known.items():
            client.hset(f"shop:{person}", f"{visit}:{name}", json.dumps(value))


def of(person: str) -> list[Row]:
    """The visits of a person, the oldest first."""
    with _client() as client:
        found = client.hgetall(f"shop:{person}")
    rows: dict[str, Row] = {}
    for key in sorted(found):
        visit, _, name = key.rpartition(":")
        rows.setdefault(visit, {})[name] = json.loads(found[key])
    return list(rows.values())


def when_done(person: str, seconds: float) -> list[Row]:
    """The visits of a person, once KATO has all of them and the person was greeted for each."""
    until = time.monotonic() + seconds
    while True:
        rows = of(person)
        if all("position" in row and "greeted" in row for row in rows):
            return rows
        if time.monotonic() > until:
            raise SystemExit("not done in time: is the shop's worker running, and one that serves KATO?")
        time.sleep(0.1)
