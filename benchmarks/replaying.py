"""Rebuild a long history in a new generation, from PostgreSQL: its rate beside the guide's loop, memory, overhead.

    python -m benchmarks.replaying --events 1000000 --sessions 20000 --nodes 2000

The history is made as users make it: appended, drained by a worker and archived. The guide's loop (docs of KATO: one
POST for each event, one httpx client) runs before and after the replay, against the same embedded KATO. Afterwards
every pattern's frequency in the new generation is compared with the history's.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import httpx

from benchmarks.replay_stack import History, appended_and_archived, differing_patterns, replay_stack
from benchmarks.stack import Stack
from kato_tasks.api.replays.calls import replay_status, start_replay
from kato_tasks.bootstrap import runtime
from kato_tasks.domain.replays import ENDED, ReplayRequest

GUIDE_SESSIONS = 60
EVERY_SECONDS = 2.0
"""How often the status is asked for, which reads a row of each lane; until the first event it is asked more often."""


def guide_rate(url: str, history: History) -> float:
    """Events per second of the guide's loop: a session, then one POST for each of its events."""
    rates = []
    with httpx.Client(base_url=url) as kato:
        for number in range(GUIDE_SESSIONS):
            begun = time.perf_counter()
            session = kato.post("/sessions", json={"node_id": f"guide {number}"}).json()["session_id"]
            each = history.events // history.sessions
            for i in range(each):
                body = {"strings": [f"page {i * 7 % 200}"], "vectors": [], "emotives": {}}
                kato.post(f"/sessions/{session}/observe", json=body).raise_for_status()
            rates.append(each / (time.perf_counter() - begun))
    return median(rates)


class Memory:
    """What each process has resident, and what the store holds, in KiB, as often as it is asked."""

    def __init__(self, bench: Stack) -> None:
        self._bench = bench
        self.samples: list[tuple[int, int]] = []

    def sample(self) -> None:
        pids = [process.pid for process in self._bench.workers]
        largest = max(_resident_kib(one) for pid in pids for one in [pid, *_children(pid)])
        self.samples.append((largest, int(self._bench.db(2).info("memory")["used_memory"]) // 1024))

    def report(self) -> dict[str, dict[str, int]]:
        """The largest of each tenth of the run."""
        tenth = max(1, len(self.samples) // 10)
        parts = [self.samples[start : start + tenth] for start in range(0, len(self.samples), tenth)]
        return {
            name: {f"{i * 10}%": max(sample[at] for sample in part) for i, part in enumerate(parts)}
            for at, name in enumerate(("largest_worker_kib", "store_kib"))
        }


def _resident_kib(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4
    except OSError:
        return 0


def _children(pid: int) -> list[int]:
    try:
        return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def measure(bench: Stack, history: History) -> dict[str, Any]:
    before = guide_rate(bench.kato_url, history)
    print(f"guide's loop: {before:.0f} events/s", flush=True)
    applied, archived = appended_and_archived(history)
    print(f"history: {history.events / applied:.0f} events/s applied, archived after {archived:.0f} s", flush=True)
    rt, memory = runtime(), Memory(bench)
    memory.sample()
    begun = time.perf_counter()
    replay = start_replay(rt, ReplayRequest("rebuild"))
    started = time.perf_counter() - begun
    first = 0.0
    told = begun
    while True:
        status = replay_status(rt, replay.id)
        memory.sample()
        now = time.perf_counter()
        if not first and status.events_done:
            first = now - begun
        if now - told > 10:
            told = now
            print(f"{now - begun:.0f} s: {status.events_done}, {status.lanes}", flush=True)
        if status.state in ENDED:
            break
        time.sleep(EVERY_SECONDS if first else 0.05)
    assert status.state == "done", status
    seconds = (status.ended_ms - status.created_ms) / 1000
    wrong = differing_patterns(bench.kato, history)
    after = guide_rate(bench.kato_url, history)
    rate, guide = history.events / seconds, max(before, after)
    return {
        "events": history.events,
        "sessions": history.sessions,
        "nodes": history.nodes,
        "guide_events_per_second": [round(before), round(after)],
        "live_events_per_second": round(history.events / applied),
        "seconds": round(seconds, 1),
        "events_per_second": round(rate),
        "times_the_guide": round(rate / guide, 1),
        "seconds_to_start": round(started, 1),
        "seconds_to_the_first_event": round(first, 1),
        "patterns": sum(map(len, history.patterns.values())),
        "patterns_that_differ": wrong,
        **memory.report(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--sessions", type=int, default=2_000)
    parser.add_argument("--nodes", type=int, default=200)
    parser.add_argument("--concurrency", type=int, default=2, help="processes of the one worker")
    parser.add_argument(
        "--kato-url", default="", help="a KATO that runs already and is empty, instead of an embedded one"
    )
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as scratch,
        replay_stack(Path(scratch), given.concurrency, given.kato_url) as bench,
    ):
        found = measure(bench, History(given.events, given.sessions, given.nodes))
    print(json.dumps(found, indent=2))
    if given.out:
        given.out.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
