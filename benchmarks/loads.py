"""The loads of `benchmarks.real`, each applied once by the kato_tasks that is first on the path.

Run by `benchmarks.real`: ``python -m benchmarks.loads URL RUN SHARE DATA ROW…``; prints events and seconds as JSON.
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from benchmarks.stack import Stack, busy_wait, stack
from kato_tasks.adapters.redis.keys import prefix
from kato_tasks.domain.ids import PARTITIONS
from kato_tasks.embedded.tickets import read_tickets

APPEND = 1_000
PATIENCE_SECONDS = 900.0
HELP_DESK = "help-desk"
Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Load:
    what: str
    events: Callable[[str, float, Path], Iterator[Json]]
    """of a run (its node names are the run's own), at a share of the full size"""
    single: bool = False
    """one `.delay()` per event, else bulk appends"""


def observations(sessions: int, each: int) -> Callable[[str, float, Path], Iterator[Json]]:
    """Sessions that take turns, a node each."""

    def events(run: str, share: float, _: Path) -> Iterator[Json]:
        many = sessions > 1
        for number in range(each if many else max(1, int(each * share))):
            for session in range(max(1, int(sessions * share)) if many else 1):
                yield {
                    "session_id": f"{run} {session}",
                    "event_id": f"{session}-{number}",
                    "observation": {"strings": [f"a{number:05d}", "page:dashboard"]},
                }

    return events


def tickets(run: str, share: float, data: Path) -> Iterator[Json]:
    """The help-desk log on one node in the order of its time; a learn after each ticket's last step."""
    chosen = read_tickets(data / "helpdesk.csv")
    chosen = chosen[: max(1, int(len(chosen) * share))]
    last = {ticket.case_id: ticket.steps[-1].row for ticket in chosen}
    steps = sorted((step.when, step.row, ticket.case_id, step) for ticket in chosen for step in ticket.steps)
    for _, row, case, step in steps:
        event = {"session_id": f"{run} {case}", "node_id": f"help desk {run}", "event_id": f"{case}-{row}"}
        yield event | {"observation": {"strings": [step.activity]}}
        if row == last[case]:
            yield event | {"event_type": "learn", "event_id": f"{case}-learn"}


LOADS = {
    "lanes": Load("100 sessions x 400 observations, a node each", observations(100, 400)),
    "one": Load("one session x 4,000 observations", observations(1, 4_000)),
    "many": Load("2,000 sessions, a node each, x 4 observations", observations(2_000, 4)),
    "singles": Load(".delay(), one observation a task, 20 sessions", observations(20, 50), single=True),
    HELP_DESK: Load("the help-desk log on one node, a learn per ticket", tickets),
}


def counters(bench: Stack) -> Counter[str]:
    """The store's counters, over all partitions."""
    with bench.db(2) as client:
        pipe = client.pipeline(transaction=False)
        for partition in range(PARTITIONS):
            pipe.hgetall(f"{prefix(partition)}stats")
        total: Counter[str] = Counter()
        for row in pipe.execute():
            total.update({name: int(value) for name, value in row.items()})
    return total


def apply_once(bench: Stack, load: Load, run: str, share: float, data: Path) -> Json:
    """Its figures, and what the store counted meanwhile: on a well KATO nothing but events."""
    # It takes its settings from the environment when it is imported.
    from kato_tasks import append_events, process_observation_async

    events = list(load.events(run, share, data))
    before = counters(bench)
    begin = time.perf_counter()
    if load.single:
        for event in events:
            process_observation_async.delay(event["session_id"], event["observation"], event_id=event["event_id"])
    else:
        rest = iter(events)
        while chunk := list(islice(rest, APPEND)):
            append_events(chunk)
    due = before["applied"] + len(events)
    busy_wait(lambda: counters(bench)["applied"] >= due, PATIENCE_SECONDS, load.what, 0.05)
    seconds = time.perf_counter() - begin
    return {"events": len(events), "seconds": seconds, "counters": dict(counters(bench) - before)}


def main() -> None:
    url, run, share, data, *rows = sys.argv[1:]
    with ExitStack() as exits:
        bench = exits.enter_context(stack(kato_url=url, checkout=Path.cwd()))
        bench.worker(exits, "real", "kato_tasks", "-P", "prefork", "-c", "2")
        done = {row: apply_once(bench, LOADS[row], f"{run}{row[0]}", float(share), Path(data)) for row in rows}
    print(json.dumps(done))


if __name__ == "__main__":
    main()
