"""What the store's scripts cost, beside an earlier revision's, in turns, in one run.

    python -m benchmarks.store_calls REVISION [--rounds N] [--json FILE]

For each call: microseconds of Redis in its script (as Redis counts them), and of Python in making the words of the
call. Each round measures each tree in a process of its own, on one Redis; printed are medians and their ratio.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.services import RedisServer

# Runs in either tree: only calls that both have.
PROGRAM = """
import json, statistics, sys, time
import redis
from kato_tasks import ports
from kato_tasks.adapters.redis.operations import Retention, encode
from kato_tasks.adapters.redis.store import RedisStore, connect, words
try:
    from kato_tasks.domain.kato_session import Binding, Intent
    from kato_tasks.domain.log_entry import entry_of
except ImportError:  # an earlier layout
    from kato_tasks.domain.binding import Binding, Intent
    from kato_tasks.domain.entries import entry_of
from kato_tasks.domain.events import parse_event
from kato_tasks.domain.ids import lane_of, partition_of

client = connect(sys.argv[1])
client.flushdb()
store, keep, figures = RedisStore(client), Retention(), {}
lane = lane_of("n")
held = ports.Held(lane, "t" * 32, 600_000, ports.Batch(100, 1_000_000))
bound = Binding("http://kato:8000", "session-0123456789", "n", 4, 3, 1, 1764000000000, "0123456789ab", 3)

def entries(session, first, count):
    event = parse_event({"session_id": session, "observation": {"strings": ["a"]}})
    return [(lane, "n", entry_of(event, event_id=str(i)), 0) for i in range(first, first + count)]

def measure(name, operations):
    (done,) = store.execute(operations[:1])  # loads the script
    assert not isinstance(done, Exception), done
    client.config_resetstat()
    for operation in operations[1:]:
        (done,) = store.execute([operation])
        assert not isinstance(done, Exception), done
    spent = client.info("commandstats")["cmdstat_evalsha"]["usec_per_call"]
    sample, times = operations[-1], []
    for _ in range(15):
        began = time.perf_counter()
        for _ in range(200):
            words(encode(sample, keep))
        times.append((time.perf_counter() - began) / 200 * 1e6)
    figures[name] = {"script": spent, "encode": statistics.median(times)}

partition = partition_of(lane)
measure("append of 1 event", [ports.Append(partition, entries(f"s{i % 100}", i, 1)) for i in range(3000)])
measure("append of 200 events", [ports.Append(partition, entries("many", i, 200)) for i in range(0, 40_000, 200)])
client.flushdb()
for i in range(0, 40_000, 1000):
    store.execute([ports.Append(partition, entries("s", i, 1000))])
store.execute([ports.Lease(partition, held.token, held.lease_ms, 64, held.batch)])
measure("intent", [
    ports.WriteIntent(held, "s", 0, Intent(call="c", kind="observe", first=1, last=9), bound) for i in range(2000)
])
store.execute([ports.Commit(held, "s", "c", 0, 1, bound)])
at, commits = 1, []
for i in range(350):
    commits.append(ports.Commit(held, "s", f"d{i}", at, at + 1, bound, results=[(f"r{i}", "{}")]))
    at += 1
measure("commit of 1 event, 1 result, with the next 100", commits)
commits = []
for i in range(350):
    commits.append(ports.Commit(held, "s", f"e{i}", at, at + 100, bound))
    at += 100
measure("commit of 100 events, with the next 100", commits)
client.flushdb()
store.execute([ports.Append(partition, entries(f"s{i}", 0, 1)) for i in range(3000)])
store.execute([ports.Lease(partition, held.token, held.lease_ms, 64, held.batch)])
measure("commit of 1 event, with the next session's", [
    ports.Commit(held, f"s{i}", f"c{i}", 0, 1, bound, results=[("0", "{}")]) for i in range(2000)
])
measure("defer", [ports.Defer(held, f"s{i}", 1000, 1, 0, "why") for i in range(2000)])
measure("renew", [ports.Renew(held)] * 3000)
print(json.dumps(figures))
"""


def measure(tree: Path, redis_url: str) -> dict[str, dict[str, float]]:
    """The figures of one tree, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, redis_url],
        env={"PYTHONPATH": str(tree), "PATH": "/usr/bin:/bin"},
        cwd=tree,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{tree}:\n{done.stderr[-3000:]}")
    figures: dict[str, dict[str, float]] = json.loads(done.stdout.splitlines()[-1])
    return figures


def compare(here: Path, before: Path, redis_url: str, rounds: int) -> list[dict[str, object]]:
    runs: dict[str, list[dict[str, dict[str, float]]]] = {"before": [], "now": []}
    for turn in range(rounds):
        trees = [("before", before), ("now", here)]
        for which, tree in trees if turn % 2 else reversed(trees):
            runs[which].append(measure(tree, redis_url))
    rows: list[dict[str, object]] = []
    for call in runs["now"][0]:
        row: dict[str, object] = {"call": call}
        for part in ("script", "encode"):
            before_us, now_us = (statistics.median(run[call][part] for run in runs[which]) for which in runs)
            row |= {f"{part}_before": before_us, f"{part}_now": now_us, f"{part}_ratio": now_us / before_us}
        rows.append(row)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("revision")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    here = Path(__file__).resolve().parent.parent
    with tempfile.TemporaryDirectory() as scratch:
        before = Path(scratch) / "before"
        subprocess.run(["git", "worktree", "add", "--detach", str(before), options.revision], cwd=here, check=True)
        redis = RedisServer(Path(scratch) / "redis")
        try:
            redis.start()
            rows = compare(here, before, redis.url, options.rounds)
        finally:
            redis.stop()
            subprocess.run(["git", "worktree", "remove", "--force", str(before)], cwd=here, check=True)
    print(
        f"{'microseconds of':48} {'script: before':>15} {'now':>9} {'ratio':>6} {'words: before':>15} {'now':>7} ratio"
    )
    for row in rows:
        print(
            f"{row['call']:48} {row['script_before']:15.2f} {row['script_now']:9.2f} {row['script_ratio']:6.3f} "
            f"{row['encode_before']:15.2f} {row['encode_now']:7.2f} {row['encode_ratio']:5.3f}"
        )
    if options.json:
        options.json.write_text(json.dumps({"revision": options.revision, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
