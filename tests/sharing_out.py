"""How the tests are shared out to the processes of a run: in pieces, those that take longest first.

A piece is what one process runs without a break. By default it is a file, so that what a module's tests share (a
system, a worker) is set up once. A file that takes long, and whose tests set up most of what they need themselves, is
cut into its tests; only those on RabbitMQ stay together, because its start costs more than such a test.

`python -m tests.sharing_out record junit.xml` writes down what each piece took in a run with `--junitxml=junit.xml`;
`python -m tests.sharing_out rings junit.xml` prints the sums that stand in tests/README.md.
"""

from __future__ import annotations

import json
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

BY_TEST = frozenset(
    f"tests/{name}.py"
    for name in (
        "acceptance/test_host_examples",
        "acceptance/test_stack",
        "integration/cli/test_import_command",
        "integration/cli/test_secrets",
        "integration/listening/test_kills",
        "integration/test_bounded",
        "integration/test_config_check",
        "integration/test_dead_workers",
        "integration/test_identity",
        "integration/test_installed_order",
        "integration/test_reconcile_model",
        "integration/test_services",
        "integration/test_slow_calls",
        "integration/test_stopping",
    )
)
"""Files whose tests are a piece each."""
RECORDED = Path(__file__).with_name("seconds.json")
WORTH_RECORDING = 3.0
"""Seconds. Pieces that take less come last, in the order of their names."""


def piece_of(nodeid: str) -> str:
    """The piece that a test belongs to."""
    file, _, test = nodeid.partition("::")
    if file not in BY_TEST:
        return file
    return f"{file}[rabbitmq]" if "[rabbitmq" in test else nodeid


def recorded() -> dict[str, float]:
    """What each piece took that took long, in seconds."""
    seconds: dict[str, float] = json.loads(RECORDED.read_text(encoding="utf-8"))
    return seconds


def longest_first(nodeids: Iterable[str]) -> list[str]:
    """The tests in the order in which they are to begin. Those of one piece stay together, and in their order."""
    pieces: dict[str, list[str]] = {}
    for nodeid in nodeids:
        pieces.setdefault(piece_of(nodeid), []).append(nodeid)
    seconds = recorded()
    return [test for piece in sorted(pieces, key=lambda p: (-seconds.get(p, 0.0), p)) for test in pieces[piece]]


def took(report: Path) -> Iterator[tuple[str, float]]:
    """Each test of a JUnit report, and its seconds with its fixtures."""
    for case in ET.parse(report).iter("testcase"):  # noqa: S314  a file that pytest has just written
        yield f"{case.get('file')}::{case.get('name')}", float(case.get("time") or 0)


def record(report: Path) -> None:
    seconds: dict[str, float] = {}
    for nodeid, took_seconds in took(report):
        seconds[piece_of(nodeid)] = seconds.get(piece_of(nodeid), 0.0) + took_seconds
    worth = {piece: round(took) for piece, took in sorted(seconds.items()) if took >= WORTH_RECORDING}
    RECORDED.write_text(json.dumps(worth, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def ring_of(nodeid: str) -> str:
    """The folder of a test: `tests/contract/store/test_lanes.py::…` is of the ring `contract`."""
    return nodeid.split("/")[1]


def print_rings(report: Path) -> None:
    sums: dict[str, list[float]] = {}
    for nodeid, took_seconds in took(report):
        sums.setdefault(ring_of(nodeid), []).append(took_seconds)
    whole = sum(map(sum, sums.values()))
    for ring, seconds in sorted(sums.items()):
        print(f"{ring:14} {len(seconds):5} tests {sum(seconds):7.0f} s {sum(seconds) / whole:7.1%}")


def main(arguments: Sequence[str]) -> int:
    match list(arguments):
        case ["record", report]:
            record(Path(report))
        case ["rings", report]:
            print_rings(Path(report))
        case _:
            print(__doc__, file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
