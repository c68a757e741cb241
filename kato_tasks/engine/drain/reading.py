"""Read a session's log in pieces. Events may be large, so one answer of the store must not hold thousands of them."""

from __future__ import annotations

from collections.abc import Sequence

from kato_tasks.domain.log_entry import Logged
from kato_tasks.ports.effects import Program, perform
from kato_tasks.ports.lanes import Batch, Work
from kato_tasks.ports.log import ReadLog

FIRST_PIECE = 64
"""How many entries are asked for first, while their size is not known."""
PIECE = 1_000
PIECE_BYTES = 4_000_000
"""How many entries, and how many bytes, one answer of the store holds at most (one entry may be larger)."""


def size_of(text: str) -> int:
    """Return how many bytes a text takes where it is stored and sent."""
    return len(text) if text.isascii() else len(text.encode())


def next_piece_size(read: Sequence[Logged], count: int) -> int:
    """Return how many entries to ask for after ``count`` brought these: as many as fit, at most 4 times as many.

    So a large event among many small ones is met while the pieces are still short.
    """
    largest = max((size_of(e.body) + size_of(e.head) for e in read), default=1)
    return max(1, min(count * 4, PIECE, PIECE_BYTES // max(1, largest)))


def read_ahead(work: Work, first: int, last: int, most_bytes: int) -> Program[list[Logged]]:
    """Return the entries at positions ``first`` to ``last``, or those up to where they hold ``most_bytes``."""
    found: list[Logged] = []
    count, held = FIRST_PIECE, 0
    while first <= last and held < most_bytes:
        piece = yield from perform(ReadLog(work.lane, work.session, first, min(last, first + count - 1)))
        if not piece:
            break
        found += piece
        held += sum(size_of(e.body) for e in piece)
        first, count = piece[-1].position + 1, next_piece_size(piece, count)
    return found


def split_into_batches(bodies: Sequence[str], limit: Batch) -> list[Sequence[str]]:
    """Split bodies into calls of at most so many events and bytes. A body that is larger by itself goes alone."""
    out: list[Sequence[str]] = []
    start, held = 0, 0
    for at, body in enumerate(bodies):
        size = size_of(body)
        if at > start and (at - start >= limit.events or held + size > limit.bytes):
            out.append(bodies[start:at])
            start, held = at, 0
        held += size
    if start < len(bodies):
        out.append(bodies[start:])
    return out
