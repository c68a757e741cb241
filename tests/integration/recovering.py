"""What the recovery tests share: a system that forgives quickly, histories, and the oracle they are held against."""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import redis

from kato_tasks import append_events, session_status
from kato_tasks.adapters.redis.keys import prefix
from kato_tasks.domain.ids import lane_of, partition_of
from kato_tasks.testing.services import KatoServer, RedisServer, Service
from kato_tasks.testing.waiting import wait_until
from tests.integration.model import Oracle
from tests.integration.system import Json, System, Worker, drained

QUICK = {
    "kato_timeout_seconds": "1.0",
    "lease_seconds": "2",
    "renew_seconds": "0.5",
    "slice_seconds": "1",
    "sweep_seconds": "0.3",
    "backoff_base_seconds": "0.1",
    "backoff_cap_seconds": "1",
    "kato_settle_seconds": "0.3",
    "breaker_interval_seconds": "0.3",
}
SOLO = ["--pool", "solo"]
THREADS = ["--pool", "threads", "--concurrency", "4"]
HELD_UP = 7.0
"""Seconds inside one call: longer than a worker's start and a lease together."""


def new_name(what: str = "s") -> str:
    return f"{what} {uuid.uuid4().hex[:8]}"


@contextlib.contextmanager
def a_system(broker: Service, directory: Path, kato: KatoServer, **more: str) -> Iterator[System]:
    """A system on a store of its own, where this process is the application."""
    with contextlib.ExitStack() as stack:
        store = RedisServer(directory / "store")
        stack.callback(store.stop)
        store.start()
        broker.start()
        kato.start()
        kato.reset()  # a test that was cut short may have left its faults on
        system = System(broker, store, kato, directory, **{**QUICK, **more})
        stack.enter_context(system.here())
        yield system


def observation(session: str, event_id: str, *strings: str, node: str | None = None, **more: Any) -> Json:
    event = {"session_id": session, "event_id": event_id, "observation": {"strings": list(strings), **more}}
    return event if node is None else {**event, "node_id": node}


def learning(session: str, event_id: str, node: str | None = None) -> Json:
    event = {"session_id": session, "event_id": event_id, "event_type": "learn"}
    return event if node is None else {**event, "node_id": node}


def clearing(session: str, event_id: str) -> Json:
    return {"session_id": session, "event_id": event_id, "event_type": "clear_stm"}


def history(session: str, node: str, rounds: int = 2) -> list[Json]:
    """Observations, learns and a clear; the sessions of a node learn the same patterns."""
    out: list[Json] = []

    def step(event: Json) -> None:
        out.append({**event, "event_id": f"{session}/{len(out)}", "node_id": node})

    for turn in range(rounds):
        for letter in "abc":
            step(observation(session, "", f"{letter}{turn}", emotives={"joy": float(turn)}))
        step(learning(session, ""))
    step(observation(session, "", "forgotten"))
    step(clearing(session, ""))
    for letter in "xy":
        step(observation(session, "", letter))
    return out


def run_of(session: str, count: int, first: int = 0, node: str | None = None) -> list[Json]:
    """Observations `0`, `1`, …, each with its own id."""
    return [observation(session, f"{session}/{i}", str(i), node=node) for i in range(first, first + count)]


def expected(count: int) -> list[list[str]]:
    return [[str(i)] for i in range(count)]


def followed(events: Sequence[Json]) -> list[Json]:
    """One more event for each session, whose answer shows what was not saved before it; waits for it."""
    sessions = list(dict.fromkeys(event["session_id"] for event in events))
    last = [observation(session, f"{session}/last", "z") for session in sessions]
    append_events(last)
    drained(sessions)
    return [*events, *last]


def hold_to_the_oracle(system: System, events: Sequence[Json], *, patterns: bool = True) -> None:
    """Each bound KATO session's STM and each node's frequencies are what these events make, once and in order."""
    oracles: dict[str, Oracle] = {}
    for event in events:
        session = event["session_id"]
        status = session_status(session)
        assert status is not None
        oracle = oracles.setdefault(status.lane, Oracle({}))
        oracle.apply(session, {"event_type": "observation", **event})
    for oracle in oracles.values():
        for session, stm in oracle.stm.items():
            assert system.stm(session) == stm, session
    if not patterns:
        return
    off = 0
    for lane, oracle in oracles.items():
        counted = {name: row["frequency"] for name, row in system.ask(f"patterns?node={lane}").items()}
        due = oracle.patterns.counts
        off += sum(abs(counted.get(name, 0) - due.get(name, 0)) for name in counted.keys() | due.keys())
    in_doubt = total(system, "learns_unknown") + total(system, "learns_in_doubt")
    assert off <= in_doubt, (off, in_doubt)


def total(system: System, name: str) -> int:
    """One of the store's counters, over all partitions."""
    client = system.redis
    return sum(int(client.hget(key, name) or 0) for key in client.scan_iter("kt:{p*}:stats", count=1_000))


def nobody_waits(system: System) -> None:
    """No session is parked and nothing was buried."""
    client = system.redis
    left = [str(key) for end in ("parked", "dead") for key in client.scan_iter(f"kt:{{p*}}:{end}", count=1_000)]
    assert left == []


def caught_in_a_call(system: System, seconds: float = 20.0) -> None:
    """Wait until a worker is inside a call to KATO."""
    wait_until(lambda: system.ask("stats")["in_flight"] > 0, seconds, "a call to KATO is under way")


@contextlib.contextmanager
def another_worker(system: System, *options: str) -> Iterator[Worker]:
    with system.workers(list(options or THREADS)) as (worker,):
        yield worker


def another_finishes_what_a_killed_one_had_begun(system: System, events: Sequence[Json], *, lands_late: bool) -> None:
    """Kill a worker while its first call for these events is held up: within 10 s another has applied them all, once.

    ``lands_late``: wait until KATO has carried the dead worker's call out, too, and look only then.
    """
    with another_worker(system, *SOLO) as first:
        append_events(events)
        caught_in_a_call(system)
        with another_worker(system, *THREADS):
            first.kill()
            killed = time.monotonic()
            drained(list(dict.fromkeys(event["session_id"] for event in events)), 20)
            assert time.monotonic() - killed < 10
            system.faults()
            events = followed(events)
            if lands_late:
                wait_until(lambda: system.ask("stats")["in_flight"] == 0, 15, "the dead worker's call lands late")
            hold_to_the_oracle(system, events)


def lane_keys(system: System, node: str) -> dict[str, bytes]:
    """Every key of a lane's partition byte for byte, but for counters and what runs out by itself."""
    start = prefix(partition_of(lane_of(node)))
    url = system.environment["KATO_TASKS_STORE_URL"]
    with redis.Redis.from_url(url) as raw:
        passing = (b":lease:", b":learned:", b":stats")
        names = [key for key in raw.scan_iter(f"{start}*", count=1_000) if not any(p in key for p in passing)]
        return {key.decode(): raw.dump(key) or b"" for key in names}
