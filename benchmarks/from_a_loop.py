"""What calls from an event loop cost beside the blocking ones: one process, a store and a broker, no worker.

    python -m benchmarks.from_a_loop [--calls N] [--rounds N] [--broker redis|rabbitmq] [--json]

Every round runs every variant once, after one round that is not counted; medians of the rounds. ``cpu ms`` is the CPU
time of this process per event, which says more than the rate where other programs are at work. ``lag`` is how long
the loop was held up at most, by the median round.
"""

from __future__ import annotations

import argparse
import asyncio
import inspect
import json
import platform
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from kato_tasks import append_events, append_events_async, observe
from kato_tasks.testing.rabbitmq import RabbitmqServer
from kato_tasks.testing.services import KatoServer, RedisServer
from tests.integration.system import System

AT_ONCE = 16
SESSIONS = 100
BULK = 20
"""So many times the calls are appended in bulk."""
Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Rate:
    variant: str
    events: int
    per_second: float
    runs: tuple[float, ...]
    ms_each: float
    cpu_ms: float
    lag_ms: float


def seen(i: int) -> tuple[str, Json]:
    return f"session {i % SESSIONS}", {"strings": [f"page {i}"]}


def event(i: int) -> Json:
    session, observation = seen(i)
    return {"event_type": "observation", "session_id": session, "observation": observation}


async def by_16(calls: int, call: Callable[[int], Awaitable[Any]]) -> None:
    numbers = iter(range(calls))

    async def some() -> None:
        for i in numbers:
            await call(i)

    await asyncio.gather(*(some() for _ in range(AT_ONCE)))


def in_thread(i: int) -> Awaitable[Any]:
    session, observation = seen(i)
    return asyncio.to_thread(observe.delay, session, observation)


def delay(calls: int) -> None:
    for i in range(calls):
        observe.delay(*seen(i))


async def adelay_in_turn(calls: int) -> None:
    for i in range(calls):
        await observe.adelay(*seen(i))


async def adelay_16(calls: int) -> None:
    await by_16(calls, lambda i: observe.adelay(*seen(i)))


async def adelay_all(calls: int) -> None:
    await asyncio.gather(*(observe.adelay(*seen(i)) for i in range(calls)))


async def thread_in_turn(calls: int) -> None:
    for i in range(calls):
        await in_thread(i)


async def thread_16(calls: int) -> None:
    await by_16(calls, in_thread)


def bulk(calls: int) -> None:
    append_events([event(i) for i in range(calls * BULK)])


async def bulk_async(calls: int) -> None:
    events = []
    for i in range(calls * BULK):
        events.append(event(i))
        if i % 500 == 0:
            await asyncio.sleep(0)
    await append_events_async(events)


VARIANTS: dict[str, tuple[Callable[[int], Any], int]] = {
    "`.delay()`, one after another": (delay, 1),
    "`adelay`, one after another": (adelay_in_turn, 1),
    "`to_thread(delay)`, one after another": (thread_in_turn, 1),
    "`adelay`, 16 at a time": (adelay_16, 1),
    "`to_thread(delay)`, 16 at a time": (thread_16, 1),
    "`adelay`, all at once": (adelay_all, 1),
    "`append_events`": (bulk, BULK),
    "`append_events_async`": (bulk_async, BULK),
}


async def ticked(work: Coroutine[Any, Any, None], lags: list[float]) -> None:
    """Do this beside a ticker, and note the longest time that it had to wait for its turn."""
    worst = 0.0

    async def tick() -> None:
        nonlocal worst
        while True:
            began = time.perf_counter()
            await asyncio.sleep(0.001)
            worst = max(worst, time.perf_counter() - began - 0.001)

    ticker = asyncio.create_task(tick())
    await work
    ticker.cancel()
    lags.append(worst)


def measured(calls: int, rounds: int) -> list[Rate]:
    took: dict[str, list[tuple[float, float]]] = {name: [] for name in VARIANTS}
    lags: dict[str, list[float]] = {name: [] for name in VARIANTS}
    for _ in range(rounds + 1):
        for name, (variant, _) in VARIANTS.items():
            began, cpu = time.perf_counter(), time.process_time()
            if inspect.iscoroutinefunction(variant):
                asyncio.run(ticked(variant(calls), lags[name]))
            else:
                variant(calls)
            took[name].append((time.perf_counter() - began, time.process_time() - cpu))
    out = []
    for name, (_, times) in VARIANTS.items():
        events = calls * times
        runs = tuple(round(events / seconds, 1) for seconds, _ in took[name][1:])
        seconds = median(one for one, _ in took[name][1:])
        cpu = median(one for _, one in took[name][1:])
        lag = median(lags[name][1:]) if lags[name] else 0.0
        out.append(Rate(name, events, median(runs), runs, 1000 * seconds / events, 1000 * cpu / events, 1000 * lag))
    return out


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--broker", choices=("redis", "rabbitmq"), default="redis")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        here = Path(name)
        store = RedisServer(here / "store")
        broker = RedisServer(here / "broker") if given.broker == "redis" else RabbitmqServer(here / "broker")
        try:
            store.start()
            broker.start()
            kato = KatoServer(here / "kato")
            kato.port = 9  # nobody applies the events, so nobody asks it
            system = System(broker, store, kato, here)
            with system.here():
                rates = measured(given.calls, given.rounds)
        finally:
            broker.stop()
            store.stop()
    if given.json:
        about = {
            "broker": given.broker,
            "calls": given.calls,
            "rounds": given.rounds,
            "python": platform.python_version(),
        }
        print(json.dumps(about | {"rates": [asdict(rate) for rate in rates]}, indent=1))
        return 0
    print(f"{'':40}{'events/s':>10}{'ms each':>10}{'cpu ms':>10}{'lag ms':>10}")
    for rate in rates:
        print(f"{rate.variant:40}{rate.per_second:10,.0f}{rate.ms_each:10.2f}{rate.cpu_ms:10.3f}{rate.lag_ms:10.1f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
