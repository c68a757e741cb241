"""`python -m tests.differential --histories 300 --seed 1`: a real KATO and an embedded one, answer by answer."""

import argparse
import math
import os
import re
import secrets
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from tests.differential.histories import KINDS, history
from tests.differential.running import Summary, TooSlowError, pair


def main() -> int:
    """Ask, compare, print; 1 if anything differed."""
    parser = argparse.ArgumentParser(prog="python -m tests.differential", description=__doc__)
    parser.add_argument("--url", default=os.environ.get("KATO_URL", "http://127.0.0.1:8000"), help="the real KATO")
    parser.add_argument("--other", default="", help="another KATO, or the same, in the embedded one's place")
    parser.add_argument("--histories", type=int, default=50)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**6))
    parser.add_argument("--first", type=int, default=0, help="the number of the first history")
    parser.add_argument("--seconds", type=float, default=math.inf, help="begin no history after so many seconds")
    parser.add_argument("--jobs", type=int, default=1, help="histories at a time, each on nodes of its own")
    parser.add_argument("--kinds", default="", help=f"only these, with commas: {', '.join(KINDS)}")
    parser.add_argument("--differences", type=int, default=5, help="stop after so many")
    parser.add_argument("--shrink", type=float, default=60, help="seconds spent on shortening each")
    parser.add_argument("--survey", action="store_true", help="go on after differences; count them by call and field")
    given = parser.parse_args()
    kinds = [kind for kind in given.kinds.split(",") if kind]
    if given.survey:
        return survey(given, kinds)
    summary, started = Summary(), time.monotonic()
    with pair(given.url, given.other) as both, ThreadPoolExecutor(given.jobs) as threads:

        def run(index: int) -> None:
            if summary.differing >= given.differences or time.monotonic() > started + given.seconds:
                return
            part = Summary(histories=1)
            found = both.run(history(given.seed, index, kinds), part)
            summary.add(part)
            if found is not None:
                summary.differing += 1
                if given.shrink:
                    found = both.shrink(found, given.shrink)
                print(f"--- history {index} of seed {given.seed} differs\n{found.shown()}", flush=True)

        list(threads.map(run, range(given.first, given.first + given.histories)))
    print(summary.shown(given.seed, time.monotonic() - started))
    return 1 if summary.differing else 0


def survey(given: argparse.Namespace, kinds: list[str]) -> int:
    """Every kind of difference with its number and one example; some follow from others."""
    numbers: Counter[tuple[str, str]] = Counter()
    examples: dict[tuple[str, str], str] = {}
    summary, started = Summary(), time.monotonic()
    with pair(given.url, given.other) as both:
        for index in range(given.first, given.first + given.histories):
            summary.histories += 1
            try:
                differing = list(both.all(history(given.seed, index, kinds), summary))
            except TooSlowError:
                summary.slow += 1
                continue
            for found in differing:
                summary.differing += 1
                for path, real, embedded in found.differences:
                    key = found.calls[-1].kind, re.sub(r"\d+", "#", path)
                    numbers[key] += 1
                    both_values = f"{path}: real {real!r:.300}, embedded {embedded!r:.300}"
                    examples.setdefault(key, f"history {index}: {found.calls[-1].shown()}\n    {both_values}")
    for key, number in numbers.most_common():
        print(f"{number:5} {' '.join(key)}\n    {examples[key]}")
    print(summary.shown(given.seed, time.monotonic() - started))
    return 1 if numbers else 0


sys.exit(main())
