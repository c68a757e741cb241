"""What it takes to make a session's STM again, by the length of its tail and of the history before: is more needed?

    python -m benchmarks.stm_rebuild --out FILE

Sessions with an archived history, of which each 50th event is a learn, and a tail of observations after the last learn.
Each STM is rebuilt in a fresh KATO session (`replay start --mode stm`) several times; the store's share is what Redis
holds of the log, which is all that the rebuild reads.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.replay_stack import replay_stack, unarchived
from benchmarks.stack import Stack
from kato_tasks import append_events
from kato_tasks.adapters.redis.keys import prefix
from kato_tasks.api.replays.calls import replay_status, start_replay
from kato_tasks.bootstrap import runtime
from kato_tasks.domain.ids import lane_of, partition_of
from kato_tasks.domain.replays import ENDED, ReplayRequest
from kato_tasks.testing.waiting import wait_until

HISTORIES, TAILS, ROUNDS = (0, 1_000, 20_000), (1, 100, 1_000), 5


def events_of(session: str, history: int, tail: int) -> Iterator[dict[str, Any]]:
    for number in range(history + tail):
        event: dict[str, Any] = {"session_id": session, "node_id": session.replace(" ", "_")}
        if number < history and number % 50 == 49:
            yield event | {"event_type": "learn"}
        else:
            yield event | {"observation": {"strings": [f"page {number % 200}"]}}


def measure(bench: Stack, history: int, tail: int) -> dict[str, Any]:
    session, rt = f"visit {history} {tail}", runtime()
    append_events(list(events_of(session, history, tail)))
    wait_until(lambda: sum(part.backlog for part in rt.figures.partitions()) == 0, 600, "all is applied", every=0.1)
    wait_until(lambda: not unarchived(), 600, "all is archived", every=0.2)
    took = []
    for _ in range(ROUNDS):
        replay = start_replay(rt, ReplayRequest("stm", session_id=session))
        wait_until(lambda id_=replay.id: replay_status(rt, id_).state in ENDED, 60, "the replay ends", every=0.01)  # type: ignore[misc]
        status = replay_status(rt, replay.id)
        assert status.state == "done", status
        took.append(status.ended_ms - status.created_ms)
    node = rt.sessions.node_of(session)
    assert node is not None
    kept = bench.db(2).llen(f"{prefix(partition_of(lane_of(node)))}log:{session}")
    return {"history": history, "tail": tail, "ms": median(took), "all_ms": took, "events_in_redis": kept}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch, replay_stack(Path(scratch)) as bench:
        found = [measure(bench, history, tail) for history in HISTORIES for tail in TAILS]
    for row in found:
        print(json.dumps(row))
    if given.out:
        given.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
