"""How long healthy sessions wait beside nodes whose calls take long, and beside a KATO instance that hangs."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from kato_tasks import append_events, process_observation_async, session_status
from kato_tasks.domain.ids import pick_instance
from kato_tasks.testing.services import KatoServer, Service
from kato_tasks.testing.waiting import wait_until
from tests.integration.recovering import a_system, observation
from tests.integration.system import System

PREFORK = ["--pool", "prefork", "--concurrency", "2"]
SLOW_SECONDS = 15.0


@contextlib.contextmanager
def slow_system(broker: Service, directory: Path, kato: KatoServer) -> Iterator[System]:
    """A system with the timings of production, whose second KATO instance can be paused; no worker yet."""
    second = KatoServer(directory / "second")
    second.start()
    try:
        more = {"kato_timeout_seconds": "30", "lease_seconds": "4", "renew_seconds": "1", "sweep_seconds": "1"}
        more |= {"kato_urls": f"{kato.url},{second.url}", "backoff_base_seconds": "1", "backoff_cap_seconds": "60"}
        more |= {"breaker_interval_seconds": "2", "shards": "16"}
        with a_system(broker, directory, kato, **more) as system:
            system.second = second
            yield system
    finally:
        with contextlib.suppress(Exception):
            second.resume()
        second.stop()


def named(prefix: str, count: int, instance: str, urls: Sequence[str]) -> list[str]:
    """Session names whose lanes go to this instance; of letters and digits, so that the name is the lane."""
    prefix = "".join(filter(str.isalnum, prefix))
    found: list[str] = []
    number = 0
    while len(found) < count:
        name = f"{prefix}{number}"
        number += 1
        if pick_instance(name, tuple(urls)) == instance:
            found.append(name)
    return found


def urls_of(system: System) -> list[str]:
    return system.environment["KATO_TASKS_KATO_URLS"].split(",")


def begin_slow_calls(system: System, nodes: int) -> list[str]:
    """Nodes of the first instance whose every call takes ``SLOW_SECONDS``, each with a call under way."""
    slow = named("slow", nodes, system.kato.url, urls_of(system))
    system.faults(*({"kind": "delay", "node": node, "seconds": SLOW_SECONDS} for node in slow))
    append_events([observation(node, f"{node}-{i}", "x") for node in slow for i in range(3)])
    wait_until(lambda: all(_running(node) for node in slow), 20, "each slow node has a call under way")
    return slow


def hang(system: System, lanes: int) -> list[str]:
    """The second instance accepts connections and answers nothing any more; so many lanes have something for it."""
    system.second.pause()
    hanging = named("hang", lanes, system.second.url, urls_of(system))
    append_events([observation(node, f"{node}-0", "x") for node in hanging])
    return hanging


def _running(session: str) -> bool:
    status = session_status(session)
    return status is not None and status.state == "running"


def appended_waits(system: System, count: int, pause: float, label: str = "well") -> list[float]:
    """Seconds from the append of one event to its being applied, for so many healthy sessions, one after another."""
    waits = []
    for name in named(label, count, system.kato.url, urls_of(system)):
        began = time.monotonic()
        append_events([observation(name, f"{name}-0", "x")])
        wait_until(lambda name=name: _applied(name), 60, f"{name} is applied", every=0.01)  # type: ignore[misc]
        waits.append(time.monotonic() - began)
        time.sleep(pause)
    return waits


def delayed_waits(system: System, count: int, pause: float, label: str = "delayed") -> list[float]:
    """The same by ``.delay()``: seconds until the caller has its result."""
    waits = []
    for name in named(label, count, system.kato.url, urls_of(system)):
        began = time.monotonic()
        process_observation_async.delay(name, {"strings": ["x"]}).get(timeout=60)
        waits.append(time.monotonic() - began)
        time.sleep(pause)
    return waits


def delay_to(sessions: Sequence[str]) -> None:
    """A ``.delay()`` for each of these sessions; nobody waits for the results."""
    with ThreadPoolExecutor(4) as pool:
        for _ in pool.map(lambda name: process_observation_async.delay(name, {"strings": ["y"]}), sessions):
            pass


def _applied(session: str) -> bool:
    status = session_status(session)
    return status is not None and status.cursor == status.head > 0


def held_lanes(system: System) -> int:
    """How many lanes are leased now."""
    return sum(1 for _ in system.redis.scan_iter("kt:*:lease:*", count=10_000))
