"""Throughput beside plain Celery tasks, all in one run against one embedded KATO and one Redis.

    python -m benchmarks.run [--short | --full] [--repeat N] [--json FILE]

Variants are interleaved (1 … 6, 1 … 6, …) and medians are shown, because machines are noisy. Times are end to end:
from the first call of the producer, which shares the machine, to the last event applied. Latency of the guide's
tasks ends when KATO's answer is back in the task, that of ours at the commit after KATO's answer.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import celery
import redis

from benchmarks.measured import Measured, summary
from benchmarks.stack import Stack, stack

RESULTS = Path(__file__).with_name("results")
TARGETS = {"lanes": 10.0, "many": 3.0}
TITLES = {
    "guide": "1  guide's task (new client per call)",
    "guide 8 threads": "1t the same, 4 sessions x 100, 8 threads",
    "pooled": "2  the same with a pooled client",
    "empty": "3  empty Celery task",
    "delay": "4  process_observation_async.delay()",
    "lanes": "5  100 sessions, bulk",
    "many": "6  x 4 events each, bulk, by session",
    "many in turns": "6t x 4 events each, bulk, sessions in turns",
}


def measurements(bench: Stack, scale: float, paced: int) -> list[tuple[str, Callable[[str], Measured]]]:
    """Variant → what measures it once; ``scale`` shortens the longer ones."""
    from benchmarks import guide_task, variants

    def count(full: int) -> int:
        return max(1, int(full * scale))

    sizes: dict[str, Any] = {"sessions": 20, "paced": paced}
    return [
        (
            "guide",
            lambda run: variants.guide(bench, guide_task.observe, "guide", events=count(300), queue="guide", **sizes),
        ),
        (
            "guide 8 threads",
            lambda run: variants.guide(
                bench, guide_task.observe, "guide 8 threads", sessions=4, events=400, paced=0, queue="threads"
            ),
        ),
        (
            "pooled",
            lambda run: variants.guide(
                bench, guide_task.observe_pooled, "pooled", events=count(1_000), queue="guide", **sizes
            ),
        ),
        ("empty", lambda run: variants.empty(bench, guide_task.empty, events=count(4_000))),
        ("delay", lambda run: variants.delay(bench, run, events=count(1_000), **sizes)),
        (
            "lanes",
            lambda run: variants.lanes(bench, f"{run}l", "lanes", sessions=100, each=count(400), by_session=False),
        ),
        (
            "many",
            lambda run: variants.lanes(bench, f"{run}m", "many", sessions=count(10_000), each=4, by_session=True),
        ),
        (
            "many in turns",
            lambda run: variants.lanes(
                bench, f"{run}t", "many in turns", sessions=count(10_000), each=4, by_session=False
            ),
        ),
    ]


def measure(*, scale: float, paced: int, repeat: int, only: Sequence[str]) -> dict[str, Any]:
    """Everything, interleaved; returns the raw figures and the medians."""
    runs: dict[str, list[Measured]] = {}
    with ExitStack() as exits:
        bench = exits.enter_context(stack())
        bench.worker(exits, "guide", "benchmarks.guide_task", "-P", "prefork", "-c", "2", "-Q", "guide")
        bench.worker(exits, "threads", "benchmarks.guide_task", "-P", "threads", "-c", "8", "-Q", "threads")
        bench.worker(exits, "lanes", "kato_tasks", "-P", "prefork", "-c", "2")
        for number in range(repeat):
            for variant, once in measurements(bench, scale, paced):
                if only and variant not in only:
                    continue
                measured = once(f"r{number}")
                runs.setdefault(variant, []).append(measured)
                print(f"{number + 1}/{repeat} {variant}: {measured.rate:,.0f}/s", file=sys.stderr, flush=True)
        version = bench.db(0).info("server")["redis_version"]
    medians = {variant: summary(rows) for variant, rows in runs.items()}
    base = medians["empty"]["rate"] if "empty" in medians else None
    for row in medians.values():
        row["times_empty"] = round(row["rate"] / base, 3) if base else None
    return {
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "machine": {
            "cores": os.cpu_count(),
            "python": platform.python_version(),
            "redis": version,
            "celery": celery.__version__,
            "redis-py": redis.__version__,
            "load_before": os.getloadavg()[0],
        },
        "pool": "prefork 2",
        "broker": "redis",
        "repeat": repeat,
        "medians": medians,
        "runs": {variant: [run.as_json() for run in rows] for variant, rows in runs.items()},
    }


def table(report: dict[str, Any]) -> str:
    """The medians as text."""
    head = f"{'':43} {'events':>7} {'events/s':>9} {'x empty':>8}  {'p50/p99 ms, 30/s':>17} {'at once':>15}"
    lines = [f"{head}  {'lost':>4} {'dup':>4} {'inv':>4} {'overl':>5}"]
    for variant, row in report["medians"].items():
        paced, flood = (
            f"{pair[0]:,.0f} / {pair[1]:,.0f}" if pair else "-" for pair in (row["paced_ms"], row["flood_ms"])
        )
        times = f"{row['times_empty']:.2f}" if row["times_empty"] is not None else "-"
        books = row["books"] or {}
        counts = [str(books.get(name, "-")) for name in ("lost", "duplicated", "inverted", "overlapped")]
        lines.append(
            f"{TITLES[variant]:43} {row['events']:>7,} {row['rate']:>9,.0f} {times:>8}  {paced:>17} {flood:>15}"
            f"  {counts[0]:>4} {counts[1]:>4} {counts[2]:>4} {counts[3]:>5}"
        )
    for variant, wanted in TARGETS.items():
        row = report["medians"].get(variant)
        if row and row["times_empty"] is not None:
            verdict = "reached" if row["times_empty"] >= wanted else "MISSED"
            lines.append(f"target: {variant} at least {wanted:g} x the empty task: {row['times_empty']:.1f}, {verdict}")
    return "\n".join(lines)


def next_file() -> Path:
    """The next free ``results/bench-<n>.json``."""
    RESULTS.mkdir(exist_ok=True)
    taken = [int(path.stem.removeprefix("bench-")) for path in RESULTS.glob("bench-[0-9]*.json")]
    return RESULTS / f"bench-{max(taken, default=0) + 1}.json"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run")
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--short", action="store_true", help="a fifth of the events, once")
    size.add_argument("--full", action="store_true", help="all events, three times (default)")
    parser.add_argument("--repeat", type=int, help="how often everything is measured")
    parser.add_argument("--only", nargs="*", default=[], choices=list(TITLES), help="measure these variants only")
    parser.add_argument("--json", type=Path, help="where the raw figures go (default: results/bench-<n>.json)")
    given = parser.parse_args()
    repeat = given.repeat or (1 if given.short else 3)
    report = measure(scale=0.2 if given.short else 1.0, paced=30 if given.short else 90, repeat=repeat, only=given.only)
    print(table(report))
    path = given.json or next_file()
    path.write_text(json.dumps(report, indent=1) + "\n")
    print(f"raw figures: {path}", file=sys.stderr)
    wrong = {
        variant: row["books"]
        for variant, row in report["medians"].items()
        if not variant.startswith(("guide", "pooled")) and row["books"] and any(row["books"].values())
    }
    if wrong:
        print(f"NOT EXACTLY ONCE: {wrong}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
