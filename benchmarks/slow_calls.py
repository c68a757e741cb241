"""How long healthy sessions wait while others are slow: the figures of invariant 5.

    python -m benchmarks.slow_calls [--count N] [--json FILE]

One worker, prefork 2, two KATO instances. First nothing is slow; then 4 nodes take 15 s a call; then the second
instance accepts connections and answers nothing, with 40 lanes on it, appended and by ``.delay()``. Waits are seconds
from an append to the event's being applied, and from a ``.delay()`` to its result.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from pathlib import Path

from kato_tasks.testing.services import KatoServer, RedisServer
from tests.integration.slow_calls import (
    PREFORK,
    appended_waits,
    begin_slow_calls,
    delay_to,
    delayed_waits,
    hang,
    held_lanes,
    slow_system,
)
from tests.integration.system import System


def figures(waits: list[float]) -> dict[str, float]:
    ordered = sorted(waits)
    return {
        "count": len(ordered),
        "median": statistics.median(ordered),
        "p99": ordered[int(len(ordered) * 0.99) - 1],
        "max": ordered[-1],
    }


def measure(system: System, count: int) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}

    def both(label: str) -> None:
        found[f"{label}, append"] = figures(appended_waits(system, count, 0.1, f"{label} a"))
        found[f"{label}, .delay()"] = figures(delayed_waits(system, count, 0.1, f"{label} d"))

    with system.workers(PREFORK):
        both("nothing slow")
        begin_slow_calls(system, 4)
        both("4 nodes of 15 s")
        system.faults()
        hanging = hang(system, 40)
        both("40 lanes of an instance that hangs")
        delay_to(hanging)
        both("the same, called by .delay()")
        found["lanes held at the end"] = {"count": float(held_lanes(system))}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=60, help="healthy sessions per row (default %(default)s)")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        broker, kato = RedisServer(Path(scratch) / "broker"), KatoServer(Path(scratch) / "kato")
        try:
            broker.start()
            kato.start()
            with slow_system(broker, Path(scratch), kato) as system:
                rows = measure(system, options.count)
        finally:
            kato.stop()
            broker.stop()
    for label, row in rows.items():
        print(f"{label:48} " + "   ".join(f"{name} {value:.3f}" for name, value in row.items()))
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
