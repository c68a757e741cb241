"""Compare two sequences: find their longest common subsequence, and the matching blocks that difflib finds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

Block = tuple[int, int, int]
"""Where the block starts in the pattern, where it starts in the state, and its length."""

_NOWHERE: tuple[int, ...] = ()


class Sought:
    """Holds a sequence that many others are compared with, together with what each comparison needs of it."""

    __slots__ = ("_all", "_bits", "_places", "symbols")

    def __init__(self, symbols: Sequence[str]) -> None:
        self.symbols = symbols
        self._bits: dict[str, int] = {}
        for index, symbol in enumerate(symbols):
            self._bits[symbol] = self._bits.get(symbol, 0) | 1 << index
        self._all = (1 << len(symbols)) - 1
        self._places: dict[str, list[int]] | None = None

    def common(self, other: Iterable[str]) -> int:
        """Return the length of the longest common subsequence, computed with a bit for each symbol (Hyyrö's way)."""
        bits, everything = self._bits, self._all
        free = everything
        for symbol in other:
            here = bits.get(symbol)
            if here:
                taken = free & here
                free = (free + taken | free - taken) & everything
        return len(self.symbols) - free.bit_count()

    def places(self) -> Mapping[str, Sequence[int]]:
        """Return the positions of each symbol, in rising order."""
        if self._places is None:
            self._places = {}
            for index, symbol in enumerate(self.symbols):
                self._places.setdefault(symbol, []).append(index)
        return self._places


def matching_blocks(pattern: Sequence[str], sought: Sought) -> list[Block]:
    """Return the matching blocks in order: the longest common run, and the blocks on its left and right, found alike.

    Of runs that are equally long, the one that starts first in the pattern is taken, and of these the one that starts
    first in what is sought. Neighbouring blocks are joined.
    """
    state = sought.symbols
    length = len(state)
    if pattern[:length] == state:
        # This is the usual case: the state begins the pattern, so no run can be longer or start earlier.
        return [(0, 0, length)]
    places = sought.places()
    found: list[Block] = []
    waiting = [(0, len(pattern), 0, length)]
    while waiting:
        low, high, state_low, state_high = waiting.pop()
        start, state_start, size = low, state_low, 0
        before: dict[int, int] = {}
        for index in range(low, high):
            now: dict[int, int] = {}
            for place in places.get(pattern[index], _NOWHERE):
                if place < state_low:
                    continue
                if place >= state_high:
                    break
                run = now[place] = before.get(place - 1, 0) + 1
                if run > size:
                    start, state_start, size = index - run + 1, place - run + 1, run
            before = now
        if size:
            found.append((start, state_start, size))
            if low < start and state_low < state_start:
                waiting.append((low, start, state_low, state_start))
            if start + size < high and state_start + size < state_high:
                waiting.append((start + size, high, state_start + size, state_high))
    if len(found) < 2:
        return found
    found.sort()
    joined = [found[0]]
    for start, state_start, size in found[1:]:
        last_start, last_state, last_size = joined[-1]
        if last_start + last_size == start and last_state + last_size == state_start:
            joined[-1] = (last_start, last_state, last_size + size)
        else:
            joined.append((start, state_start, size))
    return joined


def ratio(one: str, other: str) -> float:
    """Return how alike two texts are, character by character, from 0 to 1."""
    total = len(one) + len(other)
    return 2.0 * Sought(one).common(other) / total if total else 1.0
