"""Prove the tables of docs/invariants.md: take each guard line out, and see the test fall that is named for it.

Works in copies of the checkout, which itself is left alone. Each test is first run with nothing taken out: it must
pass. With --seconds the part is run that fits, and where it begins changes from day to day, so that all of it has its
turn; a run that has begun is not cut short. Exit status 1 when a test still passes without its line (SURVIVED), or
when a row can't be tried (broken).
"""

from __future__ import annotations

import argparse
import datetime as dt
import math
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from tests.mutants.rows import Guard, guards
from tests.mutants.running import Copy, Run

T = TypeVar("T")
WORDS = {"failed": "killed", "passed": "SURVIVED", "broken": "broken"}


@dataclass(frozen=True)
class Verdict:
    """What came of one row with one of its tests."""

    guard: Guard
    test: str
    word: str
    seconds: float
    said: str

    def __str__(self) -> str:
        words = f"{self.word:8} {self.seconds:6.1f} s  {self.guard.path}: {self.guard.line}  [{self.test}]"
        if self.word == "killed":
            return words
        return f"{words}\n" + "".join(f"    | {line}\n" for line in self.said.splitlines()[-25:])


def by_test(rows: list[Guard]) -> list[tuple[str, list[Guard]]]:
    """Each test with the lines whose loss it should notice, in the order of the page."""
    found: dict[str, list[Guard]] = {}
    for guard in rows:
        for test in guard.tests:
            found.setdefault(test, []).append(guard)
    return list(found.items())


def turned(items: list[T], day: dt.date) -> list[T]:
    """The items as a ring that begins at another place each day.

    The places of days that follow each other lie far apart (the golden section of the ring); and since the step has
    no divisor in common with the number of items, each is the first one within as many days as there are items.
    """
    if len(items) < 2:
        return list(items)
    step = next(n for n in range(round(len(items) * 0.618), 2 * len(items)) if math.gcd(n, len(items)) == 1)
    start = day.toordinal() * step % len(items)
    return items[start:] + items[:start]


class Trial:
    """The rows that are still to be tried, for several threads with a copy each."""

    def __init__(self, work: list[tuple[str, list[Guard]]], seconds: float | None) -> None:
        self._work = iter(work)
        self._ends = math.inf if seconds is None else time.monotonic() + seconds
        self._lock = threading.Lock()
        self.verdicts: list[Verdict] = []
        self.left_for_another_day = 0

    def in_a_copy(self) -> None:
        """Try tests with their rows until none is left."""
        with tempfile.TemporaryDirectory(prefix="kato-mutants-") as directory:
            copy = Copy(Path(directory))
            for test, rows in self._tests():
                self._try(copy, test, rows)

    def _tests(self) -> Iterator[tuple[str, list[Guard]]]:
        while True:
            with self._lock:
                following = next(self._work, None)
            if following is None:
                return
            yield following

    def _try(self, copy: Copy, test: str, rows: list[Guard]) -> None:
        if time.monotonic() >= self._ends:
            self._leave(len(rows))
            return
        whole = copy.run(test)
        if whole.outcome != "passed":
            for guard in rows:
                said = f"{whole.output}\nwith nothing taken out it does not pass"
                self._say(Verdict(guard, test, "broken", whole.seconds, said))
            return
        for index, guard in enumerate(rows):
            # A run without its line takes about as long as with it, or until some deadline in it is over.
            if time.monotonic() + whole.seconds > self._ends:
                self._leave(len(rows) - index)
                return
            self._judge(guard, test, copy.run_without(guard, test))

    def _judge(self, guard: Guard, test: str, run: Run) -> None:
        self._say(Verdict(guard, test, WORDS[run.outcome], run.seconds, run.output))

    def _say(self, verdict: Verdict) -> None:
        with self._lock:
            self.verdicts.append(verdict)
            print(verdict, flush=True)

    def _leave(self, rows: int) -> None:
        with self._lock:
            self.left_for_another_day += rows


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("--seconds", type=float, help="begin nothing that does not end within this time; default: all")
    parser.add_argument(
        "--date",
        type=dt.date.fromisoformat,
        default=dt.datetime.now(dt.UTC).date(),
        help="choose the part of this day (YYYY-MM-DD); default: today",
    )
    parser.add_argument("--only", default="", metavar="TEXT", help="rows whose path, line or test has this text")
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1), help="side by side; default: up to 2")
    arguments = parser.parse_args()

    rows = guards()
    work = [
        (test, chosen)
        for test, several in by_test(rows)
        if (chosen := [g for g in several if arguments.only in f"{g.path}: {g.line} → {g.without} [{test}]"])
    ]
    if not work:
        print(f"no row of docs/invariants.md has {arguments.only!r}", file=sys.stderr)
        return 2
    trial = Trial(turned(work, arguments.date) if arguments.seconds else work, arguments.seconds)
    started = time.monotonic()
    with ThreadPoolExecutor(arguments.jobs) as threads:
        for done in [threads.submit(trial.in_a_copy) for _ in range(arguments.jobs)]:
            done.result()
    words = [verdict.word for verdict in trial.verdicts]
    counts = ", ".join(f"{words.count(word)} {word}" for word in WORDS.values() if word in words or word == "killed")
    print(f"{counts}, {trial.left_for_another_day} left for another day, in {time.monotonic() - started:.0f} s")
    if not words:
        print("nothing fitted into that time", file=sys.stderr)
    return 0 if set(words) == {"killed"} else 1


if __name__ == "__main__":
    sys.exit(main())
