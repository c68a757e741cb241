"""A day in minutes: does the store stay small while predictions and results pass through it?

    python -m benchmarks.day [--minutes M] [--callers N] [--store-mb S] [--json FILE] [--svg FILE]

A store of 64 MB, a worker, an embedded KATO with patterns. Callers observe, predict and clear by ``.delay()``, each
waiting for its result, as fast as the machine allows. What events take for good (their log, their order, their ids) is
taken off the memory that the store uses; what is left must be flat: a prediction's result has tens of KB.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import redis

from kato_tasks.testing.services import KatoServer, RedisServer
from tests.integration.system import System

NODES, PATTERNS, EVENTS = 4, 40, 12
OF_EVENTS = ("log:*", "order:*", "ids:*", "nodes", "s:*", "vec:*")
"""Keys that grow with events and sessions, and stay."""
WARM_SECONDS = 20.0


@contextmanager
def day_system(scratch: Path, store_mb: int) -> Iterator[System]:
    """A system whose store has little memory; broker and results lie on another Redis."""
    with ExitStack() as exits:
        broker = RedisServer(scratch / "broker")
        store = RedisServer(scratch / "store", "--maxmemory", f"{store_mb}mb")
        kato = KatoServer(scratch / "kato")
        for service in (broker, store, kato):
            exits.callback(service.stop)
            service.start()
        backend = broker.url.removesuffix("/0") + "/1"
        system = System(broker, store, kato, scratch, result_backend=backend)
        exits.enter_context(system.here())
        yield system


def train() -> None:
    """Patterns that begin alike, so that a short STM predicts all of them: answers of tens of KB."""
    from kato_tasks import append_events

    def seen(node: int, session: str, *strings: str) -> dict[str, Any]:
        return {"session_id": session, "node_id": f"node{node}", "observation": {"strings": list(strings)}}

    for node in range(NODES):
        events: list[dict[str, Any]] = []
        for pattern in range(PATTERNS):
            session = f"teacher {node}"
            events += [seen(node, session, "start"), seen(node, session, "then")]
            events += [seen(node, session, f"step {pattern} {i}", f"place {i}") for i in range(EVENTS - 2)]
            events.append({"session_id": session, "node_id": f"node{node}", "event_type": "learn"})
        append_events(events)


class Callers:
    """Threads that call and wait, each with a session of its own."""

    def __init__(self, count: int) -> None:
        self.calls = {"observe": 0, "predict": 0, "clear_stm": 0}
        self.refused = 0
        self.failed: list[str] = []
        self.bytes = 0
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(i,), daemon=True) for i in range(count)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(90)

    def _run(self, number: int) -> None:
        from kato_tasks import clear_stm, observe, predict
        from kato_tasks.errors import StoreFull

        session, node = f"caller {number}", f"node{number % NODES}"
        while not self._stop.is_set():
            try:
                for word in ("start", "then"):
                    self._done("observe", observe.delay(session, {"strings": [word]}, node_id=node).get(timeout=60))
                for _ in range(6):
                    self._done("predict", predict.delay(session).get(timeout=60))
                self._done("clear_stm", clear_stm.delay(session).get(timeout=60))
            except StoreFull:
                with self._lock:
                    self.refused += 1
                time.sleep(0.2)
            except Exception as exc:
                with self._lock:
                    self.failed.append(repr(exc)[:300])

    def _done(self, kind: str, answer: Any) -> None:
        with self._lock:
            self.calls[kind] += 1
            if kind == "predict" and self.calls[kind] % 50 == 1:
                self.bytes = len(json.dumps(answer))


def sample(client: redis.Redis, since: float) -> dict[str, float]:
    """The store's memory now, and what of it belongs to events for good."""
    used = int(client.info("memory")["used_memory"])
    events = 0
    for pattern in OF_EVENTS:
        for key in client.scan_iter(f"kt:*:{pattern}", count=1_000):
            events += int(client.memory_usage(key) or 0)
    keys = {"results": 0, "waiting": 0}
    for key in client.scan_iter("kt:*:[rw]:*", count=1_000):
        keys["results" if ":r:" in str(key) else "waiting"] += 1
    return {"second": round(time.monotonic() - since, 1), "used": used, "events": events, "rest": used - events, **keys}


def measure(minutes: float, callers: int, store_mb: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as scratch, day_system(Path(scratch), store_mb) as system:
        with system.workers(["--concurrency", "2"]):
            train()
            calling, samples = Callers(callers), []
            begun = time.monotonic()
            calling.start()
            while time.monotonic() - begun < minutes * 60:
                time.sleep(3)
                samples.append(sample(system.redis, begun))
            calling.stop()
        seconds = time.monotonic() - begun
    return {
        "minutes": minutes,
        "store_mb": store_mb,
        "callers": callers,
        "calls": calling.calls,
        "calls_per_second": round(sum(calling.calls.values()) / seconds, 1),
        "prediction_bytes": calling.bytes,
        "refused": calling.refused,
        "failed": len(calling.failed),
        "first_failures": calling.failed[:3],
        **judged(samples),
        "samples": samples,
    }


def judged(samples: list[dict[str, float]]) -> dict[str, Any]:
    """How much more memory the second half needed, apart from events, than the first once it was warm."""
    warm = [s for s in samples if s["second"] >= WARM_SECONDS] or samples
    half = len(warm) // 2 or 1
    first, second = (sorted(s["rest"] for s in part) for part in (warm[:half], warm[half:] or warm))
    before, after = first[len(first) // 2], second[len(second) // 2]
    return {"rest_first_half": before, "rest_second_half": after, "flat": after <= before * 1.1 + 500_000}


def curve(found: dict[str, Any]) -> str:
    """The samples as a small picture: memory used, and what is left without events."""
    samples, width, height = found["samples"], 720, 240
    most = max(s["used"] for s in samples) * 1.1
    last = samples[-1]["second"] or 1

    def line(name: str, colour: str) -> str:
        points = " ".join(f"{s['second'] / last * width:.1f},{height - s[name] / most * height:.1f}" for s in samples)
        return f'<polyline fill="none" stroke="{colour}" stroke-width="1.5" points="{points}"/>'

    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height + 30}" font-family="sans-serif" '
        f'font-size="11"><rect width="{width}" height="{height + 30}" fill="white"/>{line("used", "#888")}'
        f'{line("rest", "#06c")}<text x="4" y="{height + 12}">0 to {last / 60:.1f} min; top {most / 1e6:.1f} MB; grey: '
        f"used memory; blue: without what events take for good</text></svg>\n"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--callers", type=int, default=8)
    parser.add_argument("--store-mb", type=int, default=64)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--svg", type=Path)
    options = parser.parse_args()
    found = measure(options.minutes, options.callers, options.store_mb)
    for row in found["samples"]:
        print("   ".join(f"{name} {value:,}" for name, value in row.items()))
    print(json.dumps({name: value for name, value in found.items() if name != "samples"}, indent=1))
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")
    if options.svg:
        options.svg.write_text(curve(found))
    raise SystemExit(0 if found["flat"] and not found["failed"] and not found["refused"] else 1)


if __name__ == "__main__":
    main()
