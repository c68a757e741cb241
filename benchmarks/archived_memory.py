"""What sessions cost in Redis whose history is archived, and whether Redis stays flat while events come.

    python -m benchmarks.archived_memory idle --sessions 100000 --out FILE
    python -m benchmarks.archived_memory flat --events 1000000 --sessions 1000 --out FILE

``idle``: sessions with two observations and a learn each, all applied and archived, each of a node of its own or
several of one (--per-node): used_memory at several sizes and the slope between them, with the ids that are remembered
against duplicates and without. What expires ten minutes after a session's last learn is erased before each look.
``flat``: long sessions with a learn every 50 events; used_memory at every tenth. The ids are remembered for seconds
there (DEDUPE_DAYS), so that the window fills and ids leave it during the run.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.memory import bytes_by_kind
from benchmarks.replay_stack import replay_stack, unarchived
from benchmarks.stack import Stack
from kato_tasks import append_events
from kato_tasks.bootstrap import runtime
from kato_tasks.testing.waiting import wait_until

BATCH = 2_000
BACKLOG = 20_000
WINDOW_SECONDS = 20.0


def used(bench: Stack) -> int:
    return int(bench.db(2).info("memory")["used_memory"])


def settled(bench: Stack) -> None:
    """Wait until all is applied and archived."""
    rt = runtime()
    wait_until(lambda: sum(part.backlog for part in rt.figures.partitions()) == 0, 3_600, "all is applied", every=0.5)
    wait_until(lambda: not unarchived(), 3_600, "all is archived", every=0.5)
    # Results and marks of the last tasks leave the store.
    wait_until(lambda: not [*bench.db(2).scan_iter("kt:*:r:*", count=10_000)], 60, "no result is left", every=0.5)


def story(number: int, per_node: int) -> list[dict[str, Any]]:
    session = f"visitor-{number}"
    of: dict[str, Any] = {"session_id": session}
    if per_node > 1:
        of["node_id"] = f"shop {number // per_node}"
    seen = [{"strings": [f"action:{word}"], "emotives": {"sentiment": 0.5}} for word in ("open", "close")]
    return [*({**of, "observation": each} for each in seen), {**of, "event_type": "learn"}]


def forget_what_expires(bench: Stack) -> None:
    """Erase what expires ten minutes after a session's last learn."""
    store = bench.db(2)
    for kind in ("certain", "learned"):
        keys = [str(key) for key in store.scan_iter(f"kt:*{kind}:*", count=5_000)]
        for start in range(0, len(keys), 5_000):
            store.delete(*keys[start : start + 5_000])


def idle(bench: Stack, sessions: int, per_node: int) -> dict[str, Any]:
    begin, points, made = used(bench), [], 0
    for size in (sessions // 10, sessions // 4, sessions // 2, sessions):
        while made < size:
            append_events([event for number in range(made, min(size, made + 500)) for event in story(number, per_node)])
            made = min(size, made + 500)
        settled(bench)
        forget_what_expires(bench)
        kinds = bytes_by_kind(bench.db(2))
        points.append({"sessions": size, "used_memory": used(bench) - begin, "ids": kinds.get("ids", 0)})
        print(json.dumps(points[-1]), flush=True)
    (first, last), each = (points[0], points[-1]), {kind: round(size / sessions, 1) for kind, size in kinds.items()}
    more = last["sessions"] - first["sessions"]
    slope = (last["used_memory"] - first["used_memory"]) / more
    without = slope - (last["ids"] - first["ids"]) / more
    return {
        "sessions_of_a_node": per_node,
        "points": points,
        "bytes_for_each_further_session": round(slope),
        "of_these_without_the_ids": round(without),
        "bytes_each": round(last["used_memory"] / sessions),
        "bytes_each_by_key": dict(sorted(each.items(), key=lambda one: -one[1])),
    }


def rounds(events: int, sessions: int) -> Iterator[list[dict[str, Any]]]:
    for number in range(events // sessions):
        kind: dict[str, Any] = {"event_type": "learn"}
        if number % 50 != 49:
            kind = {"observation": {"strings": [f"page {number % 200}"], "emotives": {"joy": 0.5}}}
        yield [{"session_id": f"visitor {one}", "node_id": f"shop {one % 100}", **kind} for one in range(sessions)]


def flat(bench: Stack, events: int, sessions: int) -> dict[str, Any]:
    rt, points, appended = runtime(), [], 0
    began = time.perf_counter()
    for batch in rounds(events, sessions):
        for start in range(0, len(batch), BATCH):
            append_events(batch[start : start + BATCH])
        appended += len(batch)
        wait_until(
            lambda: sum(part.backlog for part in rt.figures.partitions()) < BACKLOG, 600, "drains keep up", every=0.05
        )
        if appended % (events // 10) == 0:
            settled(bench)
            kinds = bytes_by_kind(bench.db(2))
            points.append(
                {
                    "events": appended,
                    "used_memory": used(bench),
                    "ids": kinds.get("ids", 0),
                    "log": kinds.get("log", 0),
                    "order": kinds.get("order", 0),
                }
            )
            print(json.dumps(points[-1]), flush=True)
    return {"seconds": round(time.perf_counter() - began), "ids_are_kept_for_seconds": WINDOW_SECONDS, "points": points}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["idle", "flat"])
    parser.add_argument("--sessions", type=int)
    parser.add_argument("--per-node", type=int, default=1)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    more = {} if given.what == "idle" else {"dedupe_days": str(WINDOW_SECONDS / 86_400)}
    with tempfile.TemporaryDirectory() as scratch, replay_stack(Path(scratch), **more) as bench:
        if given.what == "idle":
            found = idle(bench, given.sessions or 100_000, given.per_node)
        else:
            found = flat(bench, given.events, given.sessions or 1_000)
    print(json.dumps(found, indent=1))
    if given.out:
        given.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
