"""Kills, restarts and faults under load, then the books are checked.

    python -m tests.chaos [--short | --long] [--seed N] [--broker redis|rabbitmq|both] [--report FILE] [--keep DIR]

Exit status 1 when anything was lost, duplicated, reordered or overlapped, or when a session's STM or a pattern's
frequency is not the oracle's. The same seed gives the same load, the same script and the same choice of faults.
"""

import argparse
import json
import signal
import subprocess
import sys
from pathlib import Path

from tests.chaos.outage import svg
from tests.chaos.run import run
from tests.chaos.scale import LONG, SHORT

RESULTS = Path(__file__).resolve().parents[2] / "benchmarks" / "results"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos")
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--short", action="store_true", help="about a minute and a half, for CI (default)")
    size.add_argument("--long", action="store_true", help="200,000 events and everything that the project promises")
    parser.add_argument(
        "--seed", type=int, default=1, help="what decides load, script and faults (default %(default)s)"
    )
    parser.add_argument("--broker", choices=("redis", "rabbitmq", "both"), default="redis")
    parser.add_argument("--report", type=Path, help="where the JSON goes (default: benchmarks/results/chaos-…)")
    parser.add_argument("--keep", type=Path, help="keep logs and data in this directory")
    given = parser.parse_args()
    # Ended from outside, it still stops what it started.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    if given.broker == "both":
        # A process has one Celery app and one set of settings: each broker gets a process of its own.
        return max([_alone(given, broker) for broker in ("redis", "rabbitmq")])
    scale = LONG if given.long else SHORT
    report = run(scale, given.seed, given.broker, given.keep)
    text = report.pop("text")
    print(text, flush=True)
    path = given.report or RESULTS / f"chaos-{given.seed}-{scale.name}-{given.broker}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n")
    path.with_suffix(".txt").write_text(text + "\n")
    if report["outage"]:
        path.with_suffix(".svg").write_text(svg(report["outage"]))
    print(f"report: {path}", file=sys.stderr)
    return 1 if report["violations"] else 0


def _alone(given: argparse.Namespace, broker: str) -> int:
    command = [sys.executable, "-m", "tests.chaos", "--seed", str(given.seed), "--broker", broker]
    command += ["--long"] if given.long else ["--short"]
    if given.keep:
        command += ["--keep", str(given.keep / broker)]
    if given.report:
        command += ["--report", str(given.report.with_name(f"{given.report.stem}-{broker}{given.report.suffix}"))]
    return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
