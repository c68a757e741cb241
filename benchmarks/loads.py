"""The loads of `benchmarks.real`, each applied once by the kato_tasks that is first on the path.

Run by `benchmarks.real`: ``python -m benchmarks.loads URL RUN SHARE DATA ROW…``; prints events and seconds as JSON.
"""

from __future__ import annotations

import http.client
import json
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from benchmarks.stack import Stack, stack
from kato_tasks.adapters.redis.keys import prefix
from kato_tasks.cli.demo.helpdesk_data import read_tickets
from kato_tasks.domain.ids import PARTITIONS

APPEND = 1_000
CONNECTIONS_BY_HAND = 16
"""The number from 2 to 32 with which a KATO of four processes on 2 cores answered most."""
PATIENCE_SECONDS = 900.0
HELP_DESK = "help-desk"
SINGLES = "singles"
"""one `.delay()` per event, else bulk appends"""
BY_HAND = "many-by-hand"
"""without kato_tasks: what KATO itself takes, asked with the calls that kato_tasks would make"""
Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Load:
    what: str
    """with a place for the number of ``parts``"""
    parts: int
    """sessions, observations or tickets at full size"""
    events: Callable[[str, float, Path], Iterator[Json]]
    """of a run (its node names are the run's own), at a share of the full size"""

    def told(self, share: float) -> str:
        return self.what.format(max(1, int(self.parts * share)))


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
    "lanes": Load("{:,} sessions x 400 observations, a node each", 100, observations(100, 400)),
    "one": Load("one session x {:,} observations", 4_000, observations(1, 4_000)),
    "many": Load("{:,} sessions, a node each, x 4 observations", 2_000, observations(2_000, 4)),
    BY_HAND: Load("without kato_tasks: {:,} x create and a sequence of 4", 2_000, observations(2_000, 4)),
    SINGLES: Load("`.delay()`, {:,} sessions x 50 tasks of one observation", 20, observations(20, 50)),
    HELP_DESK: Load("help-desk log, {:,} tickets on one node, a learn each", 4_580, tickets),
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


def ask_by_hand(kato_url: str, events: list[Json]) -> None:
    """Each session's creation and its observations in one sequence; as fast as some threads get them answered."""
    sessions: dict[str, list[Json]] = {}
    for event in events:
        sessions.setdefault(event["session_id"], []).append(event["observation"])
    waiting = iter(sessions.items())
    turn = threading.Lock()
    address = urlsplit(kato_url)
    answered: list[str] = []

    def work() -> None:
        connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=PATIENCE_SECONDS)

        def post(path: str, body: Json) -> Json:
            connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
            answer = connection.getresponse()
            text = answer.read()
            if answer.status != 200:
                raise AssertionError(f"KATO answered {answer.status} to {path}: {text[:200]!r}")
            return dict(json.loads(text))

        while True:
            with turn:
                session, observations = next(waiting, ("", []))
            if not session:
                return
            config = {"process_predictions": False, "max_pattern_length": 0}
            made = post("/sessions", {"node_id": f"{session} by hand", "config": config})["session_id"]
            post(f"/sessions/{made}/observe-sequence", {"observations": observations})
            answered.append(session)

    threads = [threading.Thread(target=work) for _ in range(CONNECTIONS_BY_HAND)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if len(answered) != len(sessions):
        raise AssertionError(f"{len(answered)} of {len(sessions)} sessions were answered")


def apply_once(bench: Stack, row: str, run: str, share: float, data: Path) -> Json:
    """Its figures, and what the store counted meanwhile: on a well KATO nothing but events."""
    # It takes its settings from the environment when it is imported.
    from kato_tasks import append_events, process_observation_async

    load = LOADS[row]
    events = list(load.events(run, share, data))
    before = counters(bench)
    begin = time.perf_counter()
    if row == BY_HAND:
        ask_by_hand(bench.kato_url, events)
        return {"events": len(events), "seconds": time.perf_counter() - begin, "counters": {}}
    if row == SINGLES:
        for event in events:
            process_observation_async.delay(event["session_id"], event["observation"], event_id=event["event_id"])
    else:
        rest = iter(events)
        while chunk := list(islice(rest, APPEND)):
            append_events(chunk)
    due = before["applied"] + len(events)
    while counters(bench)["applied"] < due:
        so_far = time.perf_counter() - begin
        if so_far > PATIENCE_SECONDS:
            raise AssertionError(f"{load.told(share)}: not within {PATIENCE_SECONDS} s")
        # Asking takes some milliseconds of both cores: rarely enough, and yet exact to 1 %.
        time.sleep(min(0.5, max(0.02, so_far / 100)))
    seconds = time.perf_counter() - begin
    return {"events": len(events), "seconds": seconds, "counters": dict(counters(bench) - before)}


def main() -> None:
    url, run, share, data, *rows = sys.argv[1:]
    with ExitStack() as exits:
        bench = exits.enter_context(stack(kato_url=url, checkout=Path.cwd()))
        bench.worker(exits, "real", "kato_tasks", "-P", "prefork", "-c", "2")
        done = {row: apply_once(bench, row, f"{run}{row[0]}", float(share), Path(data)) for row in rows}
    print(json.dumps(done))


if __name__ == "__main__":
    main()
