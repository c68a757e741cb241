"""How well a KATO that is already running predicts the help-desk log: what `kato-tasks demo --data` shows, there.

    python -m benchmarks.helpdesk --kato-url URL [--data FILE] [--times N] [--environment NAME=VALUE …]
                                  [--learned NODE] [--out FILE]

Tickets that begin alike ask the same, so each different beginning is asked N times, and each answer is held against
all tickets with it. Each run adds its figures to the file. ``--environment`` says how that KATO was started, for the
report: it ranks by its server's RANK_SORT_ALGO, by default otherwise in each process and after each start.
``--learned`` asks a node that an earlier run has taught (it prints the name): for another start on the same stores.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
import time
import uuid
from collections import Counter, defaultdict
from contextlib import ExitStack
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from benchmarks.real import kato_at
from benchmarks.stack import CHECKOUT, Stack, stack
from kato_tasks.cli.demo.helpdesk_data import SESSION_CONFIG, questions, read_tickets, split

OUT = Path(__file__).with_name("results") / "helpdesk-real.json"
AT_ONCE = 50
"""Questions that are open at a time."""
DATA = CHECKOUT.parent / "shared" / "data" / "helpdesk.csv"


class Watch:
    """The benchmark's workers, as the demo looks after its parts."""

    def __init__(self, bench: Stack) -> None:
        self._bench = bench

    def check(self) -> None:
        ended = [worker.pid for worker in self._bench.workers if worker.poll() is not None]
        if ended:
            raise SystemExit(f"a worker has ended: {ended}")


def measured(url: str, data: Path, learned: str, times: int) -> dict[str, Any]:
    """One run's figures."""
    tickets = read_tickets(data)
    first, rest = split(tickets)
    node = learned or f"helpdesk-{uuid.uuid4().hex[:8]}"
    with ExitStack() as exits:
        settings = {"KATO_TASKS_KATO_SESSION_CONFIG": json.dumps(SESSION_CONFIG)}
        bench = exits.enter_context(stack(kato_url=url, settings=settings))
        bench.worker(exits, "helpdesk", "kato_tasks", "-P", "prefork", "-c", "2")
        # Late: they take their settings from the environment.
        from kato_tasks.cli.demo.helpdesk import learn
        from kato_tasks.cli.screen import Screen

        screen, watch = Screen(quiet=True), Watch(bench)
        figures: dict[str, Any] = {"node": node, "tickets": len(tickets), "tickets_learned": len(first)}
        if not learned:
            figures |= learn(watch, screen, first, node)
        came: dict[tuple[str, ...], Counter[str]] = defaultdict(Counter)
        for ticket in rest:
            for seen, following in questions(ticket):
                came[tuple(ticket.activities[:seen])][following] += 1
        figures |= asked(watch, came, times, node)
    return figures


def asked(watch: Watch, came: dict[tuple[str, ...], Counter[str]], times: int, node: str) -> dict[str, Any]:
    """What KATO expects after each beginning, against what came after it in all tickets."""
    from kato_tasks import append_events, predict
    from kato_tasks.cli.demo.answers import wait_for_answer
    from kato_tasks.cli.demo.helpdesk import TOP, expected_next

    first = top = 0.0
    began = time.monotonic()
    for start in range(0, times * len(came), AT_ONCE):
        chosen = list(islice(cycle(enumerate(came)), start, min(start + AT_ONCE, times * len(came))))
        waiting = []
        for number, (index, beginning) in enumerate(chosen, start):
            session = f"beginning {index}, {number}"
            append_events(
                {"session_id": session, "node_id": node, "observation": {"strings": [activity]}}
                for activity in beginning
            )
            waiting.append((came[beginning], predict.delay(session)))
        for following, result in waiting:
            expected = expected_next(wait_for_answer(watch, result)["predictions"])
            first += sum(following[one] for one in expected[:1])
            top += sum(following[one] for one in expected[:TOP])
    questions_in_all = sum(map(Counter.total, came.values()))
    return {
        "predictions": questions_in_all,
        "beginnings": len(came),
        "times": times,
        "seconds": round(time.monotonic() - began, 1),
        "accuracy": {
            "top_1": round(first / times / questions_in_all, 4),
            "top_3": round(top / times / questions_in_all, 4),
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kato-url", required=True)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--environment", nargs="*", default=[], metavar="NAME=VALUE", help="of KATO, for the report")
    parser.add_argument("--processes", type=int, help="how many server processes that KATO has, for the report")
    parser.add_argument("--times", type=int, default=3, help="that each beginning is asked (default %(default)s)")
    parser.add_argument("--learned", default="", metavar="NODE", help="ask this node and learn nothing")
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args()
    url = given.kato_url.rstrip("/")
    kato = kato_at(url) | ({"processes": given.processes} if given.processes else {})
    figures = measured(url, given.data, given.learned, given.times)
    # Folders of one machine have no business in the report.
    words = [Path(word).name if word in (str(given.data), str(given.out)) else word for word in sys.argv[1:]]
    command = f"python -m benchmarks.helpdesk {shlex.join(words)}"
    environment = dict(pair.split("=", 1) for pair in given.environment)
    run = {"kato": kato, "environment": environment, **figures, "command": command}
    found = json.loads(given.out.read_text()) if given.out.exists() else {"runs": []}
    report = {"kato_session_config": SESSION_CONFIG, "cpus": os.cpu_count(), "runs": [*found["runs"], run]}
    given.out.write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps(run))


if __name__ == "__main__":
    main()
