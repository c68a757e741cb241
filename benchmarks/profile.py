"""Where the time goes when 10,000 sessions with 4 events each are drained: one process under cProfile.

    python -m benchmarks.profile [--sessions N] [--top N] [--json]

Own time of every function is added up by layer. The profiler slows Python code and not Redis or KATO, so shares of
our own layers are upper bounds; the rate without the profiler is printed beside it.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import pstats
import sys
import time
from collections import defaultdict
from typing import Any

from benchmarks.stack import Stack, stack
from kato_tasks.domain.ids import PARTITIONS

LAYERS = (
    # Blocking calls of the Redis client: its pipeline goes out with sendall and comes back with recv_into.
    ("waiting for Redis", ("recv_into' of '_socket", "sendall' of '_socket")),
    ("waiting for KATO", ("'poll' of 'select.epoll'",)),
    (
        "HTTP client",
        ("adapters/kato_http/", "httptools", "selectors.py", "select.epoll", "of '_socket.socket'"),
    ),
    ("store adapter", ("kato_tasks/adapters/redis/",)),
    ("Redis client", ("/redis/", "hiredis")),
    ("JSON, dataclasses", ("/json/", "_json", "scanstring", "c_make_encoder", "dataclasses.py", "<string>:__init__")),
    ("entries and domain", ("kato_tasks/domain/",)),
    ("driver, lease keeper", ("running/lease", "running/dr", "running/slices", "threading.py", "_thread")),
    ("engine", ("kato_tasks/engine/", "kato_tasks/ports", "kato_tasks/errors")),
    ("ids (uuid, random)", ("uuid.py", "posix.urandom", "random.py", "binascii", "urandom")),
)
OTHER = "other built-ins"


def layer_of(name: tuple[str, int, str]) -> str:
    """The layer of one profiled function."""
    text = f"{name[0]}:{name[2]}"
    for layer, marks in LAYERS:
        if any(mark in text for mark in marks):
            return layer
    return OTHER


def fill(sessions: int, tag: str) -> int:
    from kato_tasks.api.append import append_events

    events = 0
    for start in range(0, sessions, 250):
        events += len(
            append_events(
                {
                    "event_type": "observation",
                    "session_id": f"{tag}-{number}",
                    "observation": {"strings": [f"n{turn:05d}", "page:dashboard"], "emotives": {"sentiment": 0.8}},
                }
                for number in range(start, min(sessions, start + 250))
                for turn in range(4)
            )
        )
    return events


def drain_all() -> float:
    """Drain everything in this process, as a worker's wake-ups would; returns the seconds it took."""
    from kato_tasks.bootstrap import runtime

    rt = runtime()
    start = time.perf_counter()
    while rt.drainer.drain_partitions(range(PARTITIONS)).lanes:
        pass
    return time.perf_counter() - start


def measure(bench: Stack, sessions: int) -> dict[str, Any]:
    from kato_tasks.bootstrap import forget_runtime

    forget_runtime(close=True)
    fill(256, "warm")
    drain_all()
    events = fill(sessions, "plain")
    cpu = time.process_time()
    plain = drain_all()
    cpu = time.process_time() - cpu
    fill(sessions, "seen")
    profiler = cProfile.Profile()
    profiler.enable()
    seen = drain_all()
    profiler.disable()
    assert bench.kato.stats()["observes"] == 2 * events + 1_024, "not every event is in KATO"
    stats: dict[Any, Any] = pstats.Stats(profiler).stats  # type: ignore[attr-defined]
    layers: dict[str, float] = defaultdict(float)
    rows = []
    for name, (_, calls, own, _, _) in stats.items():
        layers[layer_of(name)] += own
        rows.append((own, calls, f"{name[0].rsplit('/', 2)[-1]}:{name[2]}", layer_of(name)))
    total = sum(layers.values())
    forget_runtime(close=True)
    return {
        "events": events,
        "rate": events / plain,
        "cpu_share": cpu / plain,
        "rate_under_profile": events / seen,
        "layers": {
            layer: {"share": own / total, "us_per_event": own / events * 1e6}
            for layer, own in sorted(layers.items(), key=lambda item: -item[1])
        },
        "top": [
            {"own_us_per_event": own / events * 1e6, "calls": calls, "function": what, "layer": layer}
            for own, calls, what, layer in sorted(rows, reverse=True)[:40]
        ],
    }


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.profile")
    parser.add_argument("--sessions", type=int, default=10_000)
    parser.add_argument("--top", type=int, default=15)
    parser.add_argument("--json", action="store_true", help="figures as JSON")
    given = parser.parse_args()
    with stack() as bench:
        figures = measure(bench, given.sessions)
    if given.json:
        print(json.dumps(figures, indent=1))
        return 0
    print(
        f"{figures['events']:,} events of {given.sessions:,} sessions drained by one process:"
        f" {figures['rate']:,.0f} events/s ({figures['cpu_share']:.0%} of the time on the CPU);"
        f" under the profiler {figures['rate_under_profile']:,.0f}"
    )
    print(f"\n| {'layer':22} | share | us per event |\n|{'-' * 24}|------:|-------------:|")
    for layer, row in figures["layers"].items():
        print(f"| {layer:22} | {row['share']:5.1%} | {row['us_per_event']:12.1f} |")
    print()
    for row in figures["top"][: given.top]:
        print(f"{row['own_us_per_event']:7.2f} us  {row['calls']:>8} calls  {row['function']}  [{row['layer']}]")
    return 0


if __name__ == "__main__":
    sys.exit(main())
