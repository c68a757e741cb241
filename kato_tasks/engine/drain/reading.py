"""A session's log, read in pieces: events may be large, and one answer of the store must not hold thousands of them."""

from __future__ import annotations

from collections.abc import Sequence

from kato_tasks.domain.log_entry import Logged
from kato_tasks.ports.effects import Step, ask
from kato_tasks.ports.lanes import Batch, Work
from kato_tasks.ports.log import ReadLog

FIRST_PIECE = 64
PIECE = 1_000
PIECE_BYTES = 4_000_000


def size_of(text: str) -> int:
    """Bytes of a text as it is stored and sent."""
    return len(text) if text.isascii() else len(text.encode())


def next_piece(read: Sequence[Logged], count: int) -> int:
    """How many entries to ask for after ``count`` brought these: what fits, never over 4 times as many.

    So one large event among many small ones is met by pieces that are still short.
    """
    largest = max((size_of(e.body) + size_of(e.head) for e in read), default=1)
    return max(1, min(count * 4, PIECE, PIECE_BYTES // max(1, largest)))


def ahead(work: Work, first: int, last: int, most_bytes: int) -> Step[list[Logged]]:
    """The entries from ``first`` on, up to ``last`` or until they hold so many bytes."""
    found: list[Logged] = []
    count, held = FIRST_PIECE, 0
    while first <= last and held < most_bytes:
        piece = yield from ask(ReadLog(work.lane, work.session, first, min(last, first + count - 1)))
        if not piece:
            break
        found += piece
        held += sum(size_of(e.body) for e in piece)
        first, count = piece[-1].position + 1, next_piece(piece, count)
    return found


def batches(bodies: Sequence[str], limit: Batch) -> list[Sequence[str]]:
    """Bodies in calls of so many events and bytes at most; one that is larger by itself goes alone."""
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
