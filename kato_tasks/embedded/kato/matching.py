"""Matching blocks of two symbol sequences, as Python's difflib finds them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

Block = tuple[int, int, int]
"""Where it starts in the pattern, where in the state, and how long it is."""

_NOWHERE: tuple[int, ...] = ()


def positions(state: Sequence[str]) -> dict[str, list[int]]:
    """Where each symbol of `state` stands, in rising order."""
    places: dict[str, list[int]] = {}
    for index, symbol in enumerate(state):
        places.setdefault(symbol, []).append(index)
    return places


def matching_blocks(pattern: Sequence[str], state: Sequence[str], places: Mapping[str, Sequence[int]]) -> list[Block]:
    """The longest common run of both, then the same on its left and right; in order, neighbours joined.

    `places` is `positions(state)`, made once for the many patterns one state is compared with. Ties go
    to the run that starts first in the pattern, then in the state.
    """
    length = len(state)
    if pattern[:length] == state:
        # The usual case, a state that begins a pattern: no run can be longer or start earlier.
        return [(0, 0, length)]
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
