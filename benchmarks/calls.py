"""What an event costs in calls and instructions, beside an earlier revision: figures that a busy machine does not move.

    python -m benchmarks.calls REVISION [--instructions] [--json FILE]

Drained by one process: 2,000 sessions of 4 events and 20 of 400, each with scripts run by Redis, requests to KATO, and,
with ``--instructions`` (needs valgrind), instructions that the draining process executes, all per event. Sent as tasks:
2,000 calls of ``process_observation_async.delay()`` for 50 sessions through one worker, with messages through the
broker and the same two counts.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks.against import PROGRAM
from benchmarks.stack import CHECKOUT, Stack, stack

DRAINED = {"2,000 sessions x 4": (2_000, 4), "20 sessions x 400": (20, 400)}
CALLS = 2_000
SESSIONS = 50
PREPARING = PROGRAM.split("began, cpu")[0]
SEND = """
import sys
from kato_tasks import process_observation_async
calls, sessions = int(sys.argv[1]), int(sys.argv[2])
sent = [process_observation_async.delay(f"s{i % sessions}", {"strings": [f"a{i}"]}) for i in range(calls)]
for result in sent:
    result.get(timeout=120)
"""


def counts(bench: Stack) -> dict[str, int]:
    """Return what was counted so far.

    That is how often Redis read from a connection (of the store, and with tasks also of the broker and of the results),
    scripts that it ran, messages that went to the broker, and requests to KATO.
    """
    stats = bench.db(0).info("commandstats")
    requests = bench.kato.stats()["requests"]
    return {
        "round trips": bench.db(0).info("stats")["total_reads_processed"],
        "scripts": stats.get("cmdstat_evalsha", {}).get("calls", 0),
        "messages": stats.get("cmdstat_lpush", {}).get("calls", 0),
        "requests": sum(n for name, n in requests.items() if name != "health" and not name.startswith("_")),
    }


def run(bench: Stack, program: str, *words: int, counting: bool = False) -> int:
    """Run a program with the tree under test; return how many instructions it took, or 0 without ``counting``."""
    command = [sys.executable, "-c", program, *map(str, words)]
    if counting:
        count = ["valgrind", "--tool=cachegrind", "--cache-sim=no", f"--cachegrind-out-file={os.devnull}"]
        command = [*count, *command]
    environment = {**os.environ, **bench.environment, "PYTHONHASHSEED": "0"}
    done = subprocess.run(command, env=environment, cwd=bench.checkout, check=True, capture_output=True, text=True)
    found = re.search(r"I\s+refs:\s+([\d,]+)", done.stderr)
    return int(found[1].replace(",", "")) if found else 0


def drained(bench: Stack, load: tuple[int, int], *, instructions: bool) -> dict[str, float]:
    """Drain a load once and return what it cost per event."""
    bench.kato.reset()
    events = load[0] * load[1]
    counted = [counts(bench)]
    for program in (PREPARING, PROGRAM):
        run(bench, program, *load)
        counted.append(counts(bench))
    # The program appends what it drains, so what appending takes is counted by itself.
    at_first, prepared, after = counted
    cost = {
        name: (after[name] - 2 * prepared[name] + at_first[name]) / events
        for name in ("round trips", "scripts", "requests")
    }
    if instructions:
        bench.kato.reset()
        whole, prepared = (run(bench, text, *load, counting=True) for text in (PROGRAM, PREPARING))
        cost["instructions"] = (whole - prepared) / events
    return cost


def sent(bench: Stack) -> dict[str, float]:
    """Send tasks through one worker and return what they cost per event."""
    bench.db(0).flushall()
    bench.kato.reset()
    with ExitStack() as exits:
        bench.worker(exits, "calls", "kato_tasks", "--concurrency", "2")
        before = counts(bench)
        run(bench, SEND, CALLS, SESSIONS)
        after = counts(bench)
    return {name: (after[name] - before[name]) / CALLS for name in after}


def measure(tree: Path, *, instructions: bool) -> dict[str, dict[str, float]]:
    """Return load → cost per event, for the tree in this directory."""
    with stack(checkout=tree) as bench:
        bench.environment["PYTHONPATH"] = str(tree)
        rows = {name: drained(bench, load, instructions=instructions) for name, load in DRAINED.items()}
        return {**rows, f"{CALLS:,} .delay() for {SESSIONS} sessions": sent(bench)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("revision")
    parser.add_argument("--instructions", action="store_true")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if options.instructions and shutil.which("valgrind") is None:
        parser.error("--instructions needs valgrind, which is not installed")
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as scratch:
        before = Path(scratch) / "before"
        subprocess.run(["git", "worktree", "add", "--detach", str(before), options.revision], cwd=CHECKOUT, check=True)
        try:
            for which, tree in (("before", before), ("now", CHECKOUT)):
                results[which] = measure(tree, instructions=options.instructions)
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", str(before)], cwd=CHECKOUT, check=True)
    for load, row in results["now"].items():
        for name, now in row.items():
            was = results["before"][load][name]
            print(f"{load:32} {name:13} per event: before {was:10,.2f}   now {now:10,.2f}")
    if options.json:
        options.json.write_text(json.dumps({"revision": options.revision, **results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
