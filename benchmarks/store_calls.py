"""What the store's scripts cost, beside an earlier revision's, in turns, in one run.

    python -m benchmarks.store_calls REVISION [--rounds N] [--json FILE]

For each call: microseconds of CPU in Redis (all it does for the call: reading it, the script, the answer), and of
Python in making the words of the call and a value of the answer. Each tree has a process and a database of its own on
one Redis; the two take turns call by call, every few milliseconds. Printed are, for each, the median of the quarter
that other processes disturbed least, and the ratio of the two. On a machine that does other things, compare a revision
with itself first: what differs then is noise.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from kato_tasks.testing.services import RedisServer

# Runs in either tree: only calls that both have. Its first line says which calls there are; for each line that it is
# sent it measures the next part of that call.
PROGRAM = """
import json, sys, time
from kato_tasks import ports
from kato_tasks.adapters.redis.operations import Retention, encode
from kato_tasks.adapters.redis.store import RedisStore, answer_of, connect, words
try:
    from kato_tasks.domain.kato_session import Binding, Intent
    from kato_tasks.domain.log_entry import entry_of
except ImportError:  # an earlier layout
    from kato_tasks.domain.binding import Binding, Intent
    from kato_tasks.domain.entries import entry_of
from kato_tasks.domain.events import parse_event
from kato_tasks.domain.ids import lane_of, partition_of

try:
    Held, AcquireLanes = ports.Held, ports.Lease
except AttributeError:  # as they are called now
    Held, AcquireLanes = ports.Lease, ports.AcquireLanes
client, keep, PARTS = connect(sys.argv[1]), Retention(), int(sys.argv[2])
client.flushdb()
store = RedisStore(client)

def lane(node):
    return Held(lane_of(node), node * 32, 6_000_000, ports.Batch(100, 1_000_000))

def entries(node, session, first, count):
    event = parse_event({"session_id": session, "observation": {"strings": ["a"]}})
    return [(lane_of(node), node, entry_of(event, event_id=str(i)), 0) for i in range(first, first + count)]

def append(node, session, first, count):
    return ports.Append(partition_of(lane_of(node)), entries(node, session, first, count))

def lease(node):
    held = lane(node)
    return AcquireLanes(partition_of(held.lane), held.token, held.lease_ms, 64, held.batch)

bound = Binding("http://kato:8000", "session-0123456789", "n", 4, 3, 1, 1764000000000, "0123456789ab", 3)
intent = Intent(call="c", kind="observe", first=1, last=9)
one, many, few = lane("b"), lane("c"), lane("d")
each = PARTS * 20
for start in range(0, each * 101 + 1000, 1000):
    store.execute([append("b", "s", start, 1000)])
store.execute([append("c", f"s{i}", 0, 1) for i in range(each)])
store.execute([append("d", f"s{i}", 0, 1) for i in range(each)])
store.execute([lease("b"), lease("c"), lease("d")])
calls = {
    "append of 1 event": [append("a", f"s{i % 100}", i, 1) for i in range(each)],
    "append of 200 events": [append("e", "many", i * 200, 200) for i in range(PARTS * 2)],
    "commit of 100 events, with the next 100": [
        ports.Commit(one, "s", f"c{i}", i * 100, i * 100 + 100, bound) for i in range(each)
    ],
    "commit of 1 event, with the next session's": [
        ports.Commit(many, f"s{i}", f"c{i}", 0, 1, bound, results=[("0", "{}")]) for i in range(each)
    ],
    "intent": [ports.WriteIntent(few, f"s{i}", 0, intent, bound) for i in range(each)],
    "defer": [ports.Defer(few, f"s{i}", 1000, 1, 0, "why") for i in range(each)],
    "renew": [ports.Renew(few)] * each,
}
store.execute([ports.Renew(few)])

def cpu():
    spent = client.info("cpu")
    return (spent["used_cpu_user_main_thread"] + spent["used_cpu_sys_main_thread"]) * 1e6

parts = {name: [several[i::PARTS] if name == "append of 1 event" else several[i * len(several) // PARTS:(i + 1) *
    len(several) // PARTS] for i in range(PARTS)] for name, several in calls.items()}
print(json.dumps(list(parts)), flush=True)
for line in sys.stdin:
    name = line.strip()
    operations = parts[name].pop(0)
    began = cpu()
    pipe = client.pipeline(transaction=False)
    sent = [encode(operation, keep) for operation in operations]
    for call in sent:
        pipe.execute_command(*words(call))
    raw = pipe.execute(raise_on_error=False)
    spent = (cpu() - began) / len(operations)
    if any(isinstance(answer, Exception) for answer in raw):  # the script was not there yet
        for operation in operations:
            (answer,) = store.execute([operation])
            assert not isinstance(answer, Exception), answer
        print(json.dumps(None), flush=True)
        continue
    began = time.thread_time_ns()
    for _ in range(10):
        for operation in operations:
            words(encode(operation, keep))
    made = time.thread_time_ns()
    for call, answer in zip(sent, raw):
        assert not isinstance(answer_of(call, answer), Exception)
    taken = time.thread_time_ns()
    print(json.dumps({
        "redis": spent,
        "words": (made - began) / 10_000 / len(operations),
        "value": (taken - made) / 1000 / len(operations),
    }), flush=True)
"""
FIGURES = ("redis", "words", "value")


class Tree:
    """A process that measures calls of one tree."""

    def __init__(self, path: Path, redis_url: str, parts: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, redis_url, str(parts)],
            env={"PYTHONPATH": str(path), "PATH": "/usr/bin:/bin"},
            cwd=path,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.calls: list[str] = self._line()

    def measure(self, call: str) -> dict[str, float] | None:
        """The figures of the call's next part; None for the first, which loads the script."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{call}\n")
        self._process.stdin.flush()
        figures: dict[str, float] | None = self._line()
        return figures

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(30)
        if self._process.stdout is not None:
            self._process.stdout.close()

    def _line(self) -> Any:
        assert self._process.stdout is not None
        return json.loads(self._process.stdout.readline())


def quiet(figures: list[float]) -> float:
    """The median of the quarter that was disturbed least: other processes only ever make it slower."""
    return statistics.median(sorted(figures)[: max(1, len(figures) // 4)])


def compare(now: Tree, before: Tree, parts: int) -> list[dict[str, Any]]:
    rows = []
    for call in now.calls:
        runs: dict[str, list[dict[str, float]]] = {"before": [], "now": []}
        for turn in range(parts):
            order = (("before", before), ("now", now))
            for which, tree in order if turn % 2 else reversed(order):
                figures = tree.measure(call)
                if figures is not None:
                    runs[which].append(figures)
        row: dict[str, Any] = {"call": call}
        for figure in FIGURES:
            least = {which: quiet([run[figure] for run in runs[which]]) for which in runs}
            row[figure] = {**least, "ratio": least["now"] / least["before"]}
        rows.append(row)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("revision")
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    here = Path(__file__).resolve().parent.parent
    with tempfile.TemporaryDirectory() as scratch:
        old = Path(scratch) / "before"
        subprocess.run(["git", "worktree", "add", "--detach", str(old), options.revision], cwd=here, check=True)
        redis = RedisServer(Path(scratch) / "redis")
        try:
            redis.start()
            address = redis.url.rsplit("/", 1)[0]
            now = Tree(here, f"{address}/1", options.rounds)
            before = Tree(old, f"{address}/2", options.rounds)
            rows = compare(now, before, options.rounds)
            now.close()
            before.close()
        finally:
            redis.stop()
            subprocess.run(["git", "worktree", "remove", "--force", str(old)], cwd=here, check=True)
    print(f"{'microseconds of CPU, before → now (ratio)':44}" + "".join(f"{figure:>26}" for figure in FIGURES))
    for row in rows:
        shown = (row[figure] for figure in FIGURES)
        cells = (f"{one['before']:.2f} → {one['now']:.2f} ({one['ratio']:.3f})" for one in shown)
        print(f"{row['call']:44}" + "".join(f"{cell:>26}" for cell in cells))
    if options.json:
        options.json.write_text(json.dumps({"revision": options.revision, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
