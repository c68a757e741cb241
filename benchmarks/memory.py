"""What an idle session costs in Redis: its keys by MEMORY USAGE, and the growth of used_memory.

    python -m benchmarks.memory [--sessions N] [--json]

Each session gets two observations and a learn, so its STM is empty afterwards and its log has three entries.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from typing import Any

import redis

from benchmarks.stack import stack
from kato_tasks.adapters.redis.keys import prefix
from kato_tasks.domain.ids import PARTITIONS

# Kept because they are history or dedupe memory; everything else is what the session itself costs.
HISTORY = frozenset({"log", "order", "ids"})


def measure(sessions: int) -> dict[str, Any]:
    with stack() as bench:
        from kato_tasks.api.append import append_events
        from kato_tasks.bootstrap import forget_runtime, runtime

        forget_runtime(close=True)
        rt = runtime()
        store = bench.db(2)
        before = int(store.info("memory")["used_memory"])
        for start in range(0, sessions, 500):
            append_events(
                event for number in range(start, min(sessions, start + 500)) for event in _story(f"visitor-{number}")
            )
        appended = int(store.info("memory")["used_memory"])
        while rt.drainer.drain_partitions(range(PARTITIONS)).lanes:
            pass
        after = int(store.info("memory")["used_memory"])
        kinds = bytes_by_kind(store)
        forget_runtime(close=True)
    each = {kind: round(size / sessions, 1) for kind, size in sorted(kinds.items(), key=lambda item: -item[1])}
    session = sum(size for kind, size in each.items() if kind not in HISTORY)
    return {
        "sessions": sessions,
        "events_each": 3,
        "used_memory_each": round((after - before) / sessions, 1),
        "used_memory_each_before_draining": round((appended - before) / sessions, 1),
        "bytes_each_by_key": each,
        "session_bytes_each": round(session, 1),
        "history_bytes_each": round(sum(each.values()) - session, 1),
    }


def _story(session: str) -> list[dict[str, Any]]:
    seen = [{"strings": [f"action:{word}"], "emotives": {"sentiment": 0.5}} for word in ("open", "close")]
    return [
        *({"event_type": "observation", "session_id": session, "observation": each} for each in seen),
        {"event_type": "learn", "session_id": session},
    ]


def bytes_by_kind(store: redis.Redis) -> dict[str, int]:
    """Bytes by the part of the key that says what it is (a fixed share of them belongs to partitions, not sessions)."""
    sizes: dict[str, int] = defaultdict(int)
    keys = [str(key) for key in store.scan_iter(count=5_000)]
    for start in range(0, len(keys), 5_000):
        chunk = keys[start : start + 5_000]
        pipe = store.pipeline(transaction=False)
        for key in chunk:
            pipe.memory_usage(key, samples=0)
        for key, size in zip(chunk, pipe.execute(), strict=True):
            rest = key[len(prefix(0)) :] if key.startswith("kt:{p") else key
            sizes[rest.split(":", 1)[0]] += int(size or 0)
    return sizes


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory")
    parser.add_argument("--sessions", type=int, default=10_000)
    parser.add_argument("--json", action="store_true", help="figures as JSON")
    given = parser.parse_args()
    figures = measure(given.sessions)
    if given.json:
        print(json.dumps(figures, indent=1))
        return 0
    print(f"{figures['sessions']:,} idle sessions with an empty STM and 3 log entries each, bytes per session in Redis")
    for kind, size in figures["bytes_each_by_key"].items():
        print(f"  {kind:12} {size:>8,.1f}{'   history' if kind in HISTORY else ''}")
    print(f"  {'session':12} {figures['session_bytes_each']:>8,.1f}   history {figures['history_bytes_each']:,.1f}")
    print(f"  {'used_memory':12} {figures['used_memory_each']:>8,.1f}   grown in all, per session")
    return 0


if __name__ == "__main__":
    sys.exit(main())
