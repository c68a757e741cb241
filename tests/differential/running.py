"""Asks two KATOs the same history, and finds the shortest one in which they still differ."""

import secrets
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from kato_tasks.embedded.kato.server import serve_in_thread
from tests.differential.asking import Answer, Side
from tests.differential.calls import Call
from tests.differential.comparing import Difference, differences, levelled
from tests.differential.following import Following

IN_TIME_SECONDS = 0.7
"""A history that waits for sessions to expire says nothing any more once one of its calls took longer."""


class TooSlowError(Exception):
    """A call took so long that one KATO may have seen a session expire and the other not."""


@dataclass
class Summary:
    """What was asked and compared; ``slow`` histories were given up, as a KATO took too long over an expiry."""

    histories: int = 0
    slow: int = 0
    calls: Counter[str] = field(default_factory=Counter)
    statuses: Counter[int] = field(default_factory=Counter)
    differing: int = 0

    def add(self, other: "Summary") -> None:
        self.histories += other.histories
        self.slow += other.slow
        self.calls += other.calls
        self.statuses += other.statuses

    def shown(self, seed: int, seconds: float) -> str:
        calls = sum(self.calls.values())
        kinds = ", ".join(f"{kind} {number}" for kind, number in self.calls.most_common())
        statuses = ", ".join(f"{status}: {number}" for status, number in sorted(self.statuses.items()))
        return (
            f"histories: {self.histories} (seed {seed}), calls: {calls}, answers compared: {calls}, "
            f"in {seconds:.0f} s\nby kind: {kinds}\nby status: {statuses}\n"
            f"given up for slowness: {self.slow}\ndifferences: {self.differing}"
        )


@dataclass
class Disagreement:
    """A history in which two KATOs differ at the last call."""

    calls: list[Call]
    real: Answer
    embedded: Answer
    differences: list[Difference]

    def shown(self) -> str:
        lines = [f"  {number:2} {call.shown()}" for number, call in enumerate(self.calls)]
        for path, real, embedded in self.differences[:8]:
            lines += [f"  {path}", f"      real:     {_cut(real)}", f"      embedded: {_cut(embedded)}"]
        lines += [
            "  the whole answers",
            f"      real:     {_whole(self.real)}",
            f"      embedded: {_whole(self.embedded)}",
        ]
        return "\n".join(lines)


def _cut(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 700 else f"{text[:700]}… ({len(text)} characters)"


def _whole(answer: Answer) -> str:
    return f"{answer.status} {answer.headers} {_cut(answer.body)}"


class Pair:
    """The real KATO and an embedded one, asked in turn."""

    def __init__(self, real: str, embedded: str) -> None:
        self._urls = real, embedded

    def run(self, calls: list[Call], summary: Summary | None = None) -> Disagreement | None:
        """Ask both a history from its start, on nodes that nobody has used, up to the first difference."""
        for _ in range(3):
            try:
                return next(self.all(calls, summary), None)
            except TooSlowError:
                continue
        if summary is not None:
            summary.slow += 1
        return None

    def all(self, calls: list[Call], summary: Summary | None = None) -> Iterator[Disagreement]:
        """Every call of a history at which they differ; after the first one the others may follow from it."""
        tag = f"dif{secrets.token_hex(4)}"
        real, embedded = (Side(url, tag) for url in self._urls)
        if len(set(self._urls)) == 1:
            # One KATO asked twice shows what it answers differently by itself.
            embedded = Side(self._urls[1], f"dif{secrets.token_hex(4)}")
        try:
            yield from self._all(calls, real, embedded, summary)
        finally:
            real.close()
            embedded.close()

    def _all(self, calls: list[Call], real: Side, embedded: Side, summary: Summary | None) -> Iterator[Disagreement]:
        following = Following()
        timed = _timed(calls)
        for number, call in enumerate(calls):
            if call.method == "WAIT":
                time.sleep(float(call.path))
                continue
            began = time.monotonic()
            one, other = real.ask(call), embedded.ask(call)
            if number in timed and time.monotonic() - began > IN_TIME_SECONDS:
                raise TooSlowError
            about = following.about(call, one)
            found = differences(levelled(one, about), levelled(other, about._replace(at=other.at)))
            if summary is not None:
                summary.calls[call.kind] += 1
                summary.statuses[one.status] += 1
            if found:
                yield Disagreement(calls[: number + 1], one, other, found)
            for pattern, node_id in following.learned(call, one, real):
                for side in (real, embedded):
                    side.wait_for(pattern, node_id)

    def shrink(self, found: Disagreement, seconds: float = 60) -> Disagreement:
        """The same difference after fewer calls: each is left out in turn, large pieces first."""
        end = time.monotonic() + seconds
        fields = {difference.path for difference in found.differences}
        size = max(len(found.calls) // 2, 1)
        while True:
            start = 0
            while start < len(found.calls) - 1:
                if time.monotonic() > end:
                    return found
                fewer = [*found.calls[:start], *found.calls[min(start + size, len(found.calls) - 1) :]]
                again = self.run(fewer)
                if (
                    again is not None
                    and len(again.calls) == len(fewer)
                    and fields & {difference.path for difference in again.differences}
                ):
                    found = again
                else:
                    start += size
            if size == 1:
                return found
            size //= 2


def _timed(calls: list[Call]) -> set[int]:
    """The calls about sessions that are to expire: two before each wait, and two after it."""
    waits = [number for number, call in enumerate(calls) if call.method == "WAIT"]
    return {wait + distance for wait in waits for distance in (-2, -1, 1, 2)}


@contextmanager
def pair(real: str, other: str = "") -> Iterator[Pair]:
    """The KATO at `real` beside the `other` one, or an embedded one of this process."""
    if other:
        yield Pair(real.rstrip("/"), other.rstrip("/"))
        return
    with serve_in_thread(visible_after=0.0) as embedded:
        yield Pair(real.rstrip("/"), embedded)
