"""This tree's drain beside an earlier revision's, in turns, in one run: what did a change cost?

    python -m benchmarks.against REVISION [--rounds N] [--json FILE]

Each round drains the same two loads with each tree, in a process of its own, against one embedded KATO and one
Redis: 100 sessions of 400 events, and 10,000 sessions of 4. Printed are medians of events per second and their ratio.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path

from kato_tasks.testing.services import KatoServer, RedisServer

LOADS = {"100 sessions x 400": (100, 400), "10,000 sessions x 4": (10_000, 4)}

# Runs in either tree: only calls that both have.
PROGRAM = """
import json, sys, time
from kato_tasks.bootstrap import runtime
try:
    from kato_tasks.domain.log_entry import entry_of
except ImportError:  # as it was called until 0.2
    from kato_tasks.domain.entries import entry_of
from kato_tasks.domain.events import parse_event
sessions, each = int(sys.argv[1]), int(sys.argv[2])
rt = runtime()
rt.redis.flushdb()
entries = [
    entry_of(parse_event({"session_id": f"s{s}", "observation": {"strings": [f"a{e}"]}}), event_id=f"{s}-{e}")
    for e in range(each) for s in range(sessions)
]
for start in range(0, len(entries), 5000):
    rt.mailbox.append(entries[start:start + 5000])
began, cpu = time.perf_counter(), time.process_time()
for shard in range(16):
    while rt.drainer.drain_partitions(rt.partitions_of(shard)).lanes:
        pass
seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
applied = sum(int(rt.redis.hget(f"kt:{{p{p:03d}}}:stats", "applied") or 0) for p in range(256))
assert applied == len(entries), (applied, len(entries))
print(json.dumps({"rate": len(entries) / seconds, "cpu_us": cpu * 1e6 / len(entries)}))
"""


def measure(tree: Path, redis_url: str, kato_url: str, load: tuple[int, int]) -> dict[str, float]:
    reset = urllib.request.Request(f"{kato_url}/_embedded/reset", method="POST", data=b"")  # noqa: S310
    urllib.request.urlopen(reset).read()  # noqa: S310
    environment = {
        "PYTHONPATH": str(tree),
        "KATO_TASKS_STORE_URL": redis_url,
        "KATO_TASKS_KATO_URLS": kato_url,
        "PATH": "/usr/bin:/bin",
    }
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *map(str, load)],
        env=environment,
        cwd=tree,
        check=True,
        capture_output=True,
        text=True,
    )
    return dict(json.loads(done.stdout))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("revision")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    here = Path(__file__).resolve().parent.parent
    with tempfile.TemporaryDirectory() as scratch:
        before = Path(scratch) / "before"
        subprocess.run(["git", "worktree", "add", "--detach", str(before), options.revision], cwd=here, check=True)
        redis, kato = RedisServer(Path(scratch) / "redis"), KatoServer(Path(scratch) / "kato")
        try:
            redis.start()
            kato.start()
            rows = compare(here, before, redis.url, kato.url, options.rounds)
        finally:
            kato.stop()
            redis.stop()
            subprocess.run(["git", "worktree", "remove", "--force", str(before)], cwd=here, check=True)
    for row in rows:
        print(
            f"{row['load']:22} before {row['before']:9,.0f}/s   now {row['now']:9,.0f}/s   "
            f"ratio {row['ratio']:.2f}   CPU per event {row['cpu_us_before']:.1f} → {row['cpu_us_now']:.1f} µs"
        )
    if options.json:
        options.json.write_text(json.dumps({"revision": options.revision, "rows": rows}, indent=1) + "\n")


def compare(here: Path, before: Path, redis_url: str, kato_url: str, rounds: int) -> list[dict[str, object]]:
    rows = []
    for name, load in LOADS.items():
        runs: dict[str, list[dict[str, float]]] = {"before": [], "now": []}
        for turn in range(rounds):
            trees = [("before", before), ("now", here)]
            for which, tree in trees if turn % 2 else reversed(trees):
                runs[which].append(measure(tree, redis_url, kato_url, load))
        rate = {which: statistics.median(run["rate"] for run in of) for which, of in runs.items()}
        cpu = {which: statistics.median(run["cpu_us"] for run in of) for which, of in runs.items()}
        rows.append(
            {
                "load": name,
                **rate,
                "ratio": rate["now"] / rate["before"],
                "cpu_us_before": cpu["before"],
                "cpu_us_now": cpu["now"],
                "runs": runs,
            }
        )
    return rows


if __name__ == "__main__":
    main()
