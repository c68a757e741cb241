"""How well a KATO that is already running predicts the help-desk log: what `kato-tasks demo --data` shows, there.

    python -m benchmarks.helpdesk --kato-url URL [--data FILE] [--environment NAME=VALUE …]
                                  [--learned NODE] [--out FILE]

Each run adds its figures to the file. ``--environment`` says how that KATO was started, for the report: it ranks
predictions by its server's RANK_SORT_ALGO, and orders equal ones otherwise after each start. ``--learned`` asks a node
that an earlier run has taught (it prints the name): for another start of KATO on the same stores.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
import uuid
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks.real import kato_at
from benchmarks.stack import CHECKOUT, Stack, stack
from kato_tasks.embedded.tickets import SESSION_CONFIG, Followers, read_tickets, split

OUT = Path(__file__).with_name("results") / "helpdesk-real.json"
DATA = CHECKOUT.parent / "shared" / "data" / "helpdesk.csv"


class Watch:
    """The benchmark's workers, as the demo looks after its parts."""

    def __init__(self, bench: Stack) -> None:
        self._bench = bench

    def check(self) -> None:
        ended = [worker.pid for worker in self._bench.workers if worker.poll() is not None]
        if ended:
            raise SystemExit(f"a worker has ended: {ended}")


def measured(url: str, data: Path, learned: str) -> dict[str, Any]:
    """One run's figures."""
    tickets = read_tickets(data)
    first, rest = split(tickets)
    node = learned or f"helpdesk-{uuid.uuid4().hex[:8]}"
    with ExitStack() as exits:
        settings = {"KATO_TASKS_KATO_SESSION_CONFIG": json.dumps(SESSION_CONFIG)}
        bench = exits.enter_context(stack(kato_url=url, settings=settings))
        bench.worker(exits, "helpdesk", "kato_tasks", "-P", "prefork", "-c", "2")
        # Late: they take their settings from the environment.
        from kato_tasks.cli.forecast import ask_next, learn
        from kato_tasks.cli.screen import Screen

        screen, watch = Screen(quiet=True), Watch(bench)
        figures: dict[str, Any] = {"node": node, "tickets": len(tickets), "tickets_learned": len(first)}
        if not learned:
            figures |= learn(watch, screen, first, node)
        score, baseline, asked = ask_next(watch, screen, rest, Followers(first), node)
    return figures | asked | {"accuracy": score.shares(), "baseline": baseline.shares()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kato-url", required=True)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--environment", nargs="*", default=[], metavar="NAME=VALUE", help="of KATO, for the report")
    parser.add_argument("--processes", type=int, help="how many server processes that KATO has, for the report")
    parser.add_argument("--learned", default="", metavar="NODE", help="ask this node and learn nothing")
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args()
    url = given.kato_url.rstrip("/")
    kato = kato_at(url) | ({"processes": given.processes} if given.processes else {})
    figures = measured(url, given.data, given.learned)
    command = "python -m benchmarks.helpdesk " + shlex.join(sys.argv[1:])
    environment = dict(pair.split("=", 1) for pair in given.environment)
    run = {"kato": kato, "environment": environment, **figures, "command": command}
    found = json.loads(given.out.read_text()) if given.out.exists() else {"runs": []}
    report = {"kato_session_config": SESSION_CONFIG, "cpus": os.cpu_count(), "runs": [*found["runs"], run]}
    given.out.write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps(run))


if __name__ == "__main__":
    main()
