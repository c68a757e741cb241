"""Cuts lines into blocks. With a seed, each line gets the chain of hashes by which the version before named rows."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from hashlib import sha256

from kato_tasks.importer.source import Source

BLOCK_LINES = 10_000
BLOCK_BYTES = 8_000_000
CONTINUED_LINES = 1_000
"""Most lines of one record (a quoted cell may hold line ends)."""
CONTINUED_BYTES = 1_000_000


@dataclass(slots=True)
class Block:
    """Consecutive lines. ``number`` is the first line's number in the file (from 1), ``offset`` that of its first byte.

    ``chains`` is empty unless the blocks were asked for them.
    """

    number: int
    offset: int
    lines: list[bytes] = field(default_factory=list)
    chains: list[bytes] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)

    @property
    def start(self) -> str:
        """The name of the place where the block begins: the chain after its first line."""
        return self.chains[0].hex()

    @property
    def end(self) -> str:
        """The chain after its last line."""
        return self.chains[-1].hex()

    def head(self, lines: int) -> Block:
        """Return its first ``lines`` lines as a block."""
        return Block(self.number, self.offset, self.lines[:lines], self.chains[:lines], self.sizes[:lines])

    def offset_of(self, index: int) -> int:
        """Return the offset in the file of a line of the block (from 0)."""
        return self.offset + sum(self.sizes[:index])


class Blocks:
    """Cuts a source into blocks. The same lines always give the same blocks, however many lines follow."""

    def __init__(self, source: Source, seed: bytes | None) -> None:
        self._source = source
        self._chain = sha256(seed).digest() if seed is not None else b""
        self._chained = seed is not None
        self._number = 1
        self._offset = 0
        self._ended = False
        self._again: deque[tuple[bytes, int]] = deque()

    def header(self) -> bytes | None:
        """Read the first line, which is part of the chain; returns None if there is none."""
        one = Block(self._number, self._offset)
        if not self._extend(one, header=True):
            return None
        self.close(one)
        return one.lines[0]

    def read(self) -> Block | None:
        """Return the next block, or None at the end."""
        block = Block(self._number, self._offset)
        size = 0
        while len(block.lines) < BLOCK_LINES and size < BLOCK_BYTES and self._extend(block):
            size += block.sizes[-1]
        return block if block.lines else None

    def lengthen(self, block: Block, natural: int) -> bool:
        """Add a line for a record that goes on after ``natural`` lines; returns False at the end or at the limit."""
        if len(block.lines) - natural >= CONTINUED_LINES or sum(block.sizes[natural:]) > CONTINUED_BYTES:
            return False
        return self._extend(block)

    def give_back(self, block: Block, lines: int) -> None:
        """Shorten a block to its first ``lines`` lines; the others are read again."""
        if lines >= len(block.lines):
            return
        self._again.extendleft(reversed(list(zip(block.lines[lines:], block.sizes[lines:], strict=True))))
        del block.lines[lines:], block.chains[lines:], block.sizes[lines:]
        if self._chained:
            self._chain = block.chains[-1]

    def stop_chain(self) -> None:
        """Compute no chains for the lines to come."""
        self._chained = False

    def close(self, block: Block) -> None:
        """Note that the block is complete: the next one begins after its last line."""
        self._number += len(block.lines)
        self._offset += sum(block.sizes)

    def _extend(self, block: Block, *, header: bool = False) -> bool:
        if self._again:
            read: tuple[bytes, int] | None = self._again.popleft()
        else:
            read = None if self._ended else self._source.next_line(header=header)
        if read is None:
            self._ended = True
            return False
        line, size = read
        block.lines.append(line)
        if self._chained:
            self._chain = sha256(self._chain + line).digest()
            block.chains.append(self._chain)
        block.sizes.append(size)
        return True
