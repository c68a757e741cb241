"""Throughput of kato_tasks on a KATO that is already running: what its user will see.

    python -m benchmarks.real --kato-url URL [--rows NAME …] [--rounds 3] [--share 1.0] [--processes N]
                              [--data FOLDER] [--against REVISION] [--out FILE]

A Redis of its own, two prefork children, default settings; every round has node names of its own, as KATO keeps what
it learned. Seconds are from the first call of the producer, which shares the machine, to the last event applied.
With ``--against`` each round is measured with an earlier revision's kato_tasks too, in turns, and ratios are shown.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.loads import HELP_DESK, LOADS
from benchmarks.stack import CHECKOUT

OUT = Path(__file__).with_name("results") / "real-kato.json"
DATA = CHECKOUT.parent / "shared" / "data"
NOW = "now"


def ask(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=20) as answer:  # noqa: S310  the address that was given
        return json.loads(answer.read())


def kato_at(url: str) -> dict[str, Any]:
    """What is known of the KATO at an address. Raises SystemExit, one sentence, when none answers there."""
    try:
        found = ask(f"{url}/sessions/nobody/exists")
        is_kato = isinstance(found, dict) and found.get("exists") is False and "expired" in found
    except (OSError, ValueError) as exc:
        raise SystemExit(f"No KATO answers at {url}: {str(exc).rstrip('.')}.") from None
    if not is_kato:
        raise SystemExit(f"What answers at {url} is no KATO: it does not know whether a session exists.")
    try:
        version = str(ask(f"{url}/")["version"])
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return {"version": version}


def measured(checkout: Path, given: argparse.Namespace, rows: Sequence[str], run: str) -> dict[str, dict[str, Any]]:
    """Every row once, with the kato_tasks of a checkout, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.loads", given.kato_url, run, str(given.share), str(given.data), *rows]
    paths = dict.fromkeys([str(checkout), str(CHECKOUT)])
    environment = dict(os.environ) | {"PYTHONPATH": os.pathsep.join(paths)}
    done = subprocess.run(command, cwd=checkout, env=environment, stdout=subprocess.PIPE, check=True)
    return dict(json.loads(done.stdout))


def unpack(revision: str, into: Path) -> Path:
    """The kato_tasks of a revision alone: the rows are this checkout's."""
    archive = subprocess.run(
        ["git", "archive", revision, "kato_tasks"], cwd=CHECKOUT, stdout=subprocess.PIPE, check=True
    )
    subprocess.run(["tar", "-x", "-C", str(into)], input=archive.stdout, check=True)
    return into


def summed(name: str, share: float, runs: list[dict[str, Any]], earlier: list[dict[str, Any]]) -> dict[str, Any]:
    """One row of the report: medians, and each round."""

    def rates(of: list[dict[str, Any]]) -> list[float]:
        return [round(run["events"] / run["seconds"], 1) for run in of]

    row = {
        "name": name,
        "what": LOADS[name].told(share),
        "events": runs[0]["events"],
        "seconds": round(statistics.median(run["seconds"] for run in runs), 3),
        "per_second": statistics.median(rates(runs)),
        "rounds": rates(runs),
        "counters": [run["counters"] for run in runs],
    }
    if earlier:
        before = statistics.median(rates(earlier))
        row |= {"before": before, "before_rounds": rates(earlier), "ratio": round(row["per_second"] / before, 2)}
    return row


def asked(given: argparse.Namespace) -> str:
    """The options that make a difference, for the report: no path of one machine."""
    parts = ["--kato-url", given.kato_url, "--rounds", str(given.rounds)]
    if given.rows != list(LOADS):
        parts += ["--rows", *given.rows]
    if given.share != 1.0:
        parts += ["--share", str(given.share)]
    return shlex.join(parts + (["--against", given.against] if given.against else []))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kato-url", required=True)
    parser.add_argument("--rows", nargs="+", choices=list(LOADS), default=list(LOADS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--share", type=float, default=1.0, help="of each row's sessions: a quicker, rougher look")
    parser.add_argument("--processes", type=int, help="how many server processes that KATO has, for the report")
    parser.add_argument("--data", type=Path, default=DATA, help="the folder with helpdesk.csv")
    parser.add_argument("--against", metavar="REVISION", help="measure that revision's kato_tasks too, in turns")
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args()
    given.kato_url = given.kato_url.rstrip("/")
    given.data = given.data.resolve()
    kato = kato_at(given.kato_url) | ({"processes": given.processes} if given.processes else {})
    rows = list(given.rows)
    if HELP_DESK in rows and not (given.data / "helpdesk.csv").exists():
        print(f"{HELP_DESK}: skipped, there is no {given.data / 'helpdesk.csv'}", file=sys.stderr)
        rows.remove(HELP_DESK)
    if not rows:
        raise SystemExit("No row is left to measure.")
    with tempfile.TemporaryDirectory(prefix="kato-bench-before-") as scratch:
        trees = {NOW: CHECKOUT}
        if given.against:
            trees[given.against] = unpack(given.against, Path(scratch))
        runs: dict[str, list[dict[str, dict[str, Any]]]] = {which: [] for which in trees}
        for number in range(given.rounds):
            for which in list(trees) if number % 2 else reversed(trees):
                done = measured(trees[which], given, rows, uuid.uuid4().hex[:6])
                runs[which].append(done)
                for name, run in done.items():
                    rate = run["events"] / run["seconds"]
                    print(f"{number + 1}/{given.rounds} {which} {name}: {rate:,.0f}/s {run['counters']}", flush=True)
    report = [
        summed(name, given.share, [run[name] for run in runs[NOW]], [run[name] for run in runs.get(given.against, [])])
        for name in rows
    ]
    for row in report:
        ratio = f"   before {row['before']:8,.0f}/s   ratio {row['ratio']:.2f}" if given.against else ""
        print(f"{row['name']:10} {row['what']:62} {row['per_second']:8,.0f}/s{ratio}")
    command = f"python -m benchmarks.real {asked(given)}"
    given.out.write_text(
        json.dumps(
            {"kato": kato | {"address kind": "loopback"}, "rows": report, "command": command}
            | ({"against": given.against} if given.against else {}),
            indent=1,
        )
        + "\n"
    )


if __name__ == "__main__":
    main()
