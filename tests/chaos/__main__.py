"""Kills, restarts and faults under load, then the books are checked.

    python -m tests.chaos [--short | --long] [--seed N] [--broker redis|rabbitmq|both] [--report FILE] [--keep DIR]
    python -m tests.chaos --kato-url URL [--seconds 600] [--restart-kato COMMAND] [--stop-part NAME=PID …] …

With ``--kato-url`` a KATO that is already running takes the embedded one's place, behind a recorder of ours.
Exit status 1 when anything was lost, duplicated, reordered or overlapped, or when a session's STM or a pattern's
frequency is not the oracle's. The same seed gives the same load, the same script and the same choice of faults.
"""

import argparse
import json
import shlex
import signal
import subprocess
import sys
from pathlib import Path

from tests.chaos.outage import svg
from tests.chaos.recorder import SABOTAGE
from tests.chaos.rig import RealKato
from tests.chaos.run import run
from tests.chaos.scale import LONG, SHORT, real

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
    parser.add_argument("--kato-url", help="a real KATO that runs already, with nobody else at work on it")
    parser.add_argument("--seconds", type=float, default=600, help="of load, with --kato-url (default %(default)g)")
    parser.add_argument("--per-second", type=float, default=25, help="events, with --kato-url (default %(default)g)")
    parser.add_argument(
        "--restart-kato",
        default="",
        metavar="COMMAND",
        help="ends KATO alone and starts it again, its stores stay; TERM or KILL is put behind it",
    )
    parser.add_argument(
        "--stop-part",
        action="append",
        default=[],
        type=_part,
        metavar="NAME=PID",
        help="what KATO keeps its state in: stopped (SIGSTOP) for some seconds, and continued",
    )
    parser.add_argument(
        "--sabotage",
        nargs="+",
        default=[],
        choices=sorted(SABOTAGE),
        help="with --kato-url: spoil one call each, unseen by the workers; the judge must say so",
    )
    parser.add_argument("--report", type=Path, help="where the JSON goes (default: benchmarks/results/chaos-…)")
    parser.add_argument("--keep", type=Path, help="keep logs and data in this directory")
    given = parser.parse_args()
    # Ended from outside, it still stops what it started.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    if given.broker == "both":
        # A process has one Celery app and one set of settings: each broker gets a process of its own.
        return max([_alone(given, broker) for broker in ("redis", "rabbitmq")])
    scale, kato = LONG if given.long else SHORT, None
    if given.kato_url:
        kato = RealKato(given.kato_url.rstrip("/"), shlex.split(given.restart_kato), dict(given.stop_part))
        scale = real(given.seconds, given.per_second, restarts=bool(kato.restart), pauses=bool(kato.parts))
    report = run(scale, given.seed, given.broker, given.keep, kato, given.sabotage)
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


def _part(text: str) -> tuple[str, int]:
    name, _, pid = text.partition("=")
    return name, int(pid)


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
