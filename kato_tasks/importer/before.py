"""Recognises rows that the version before imported, by a chain of hashes over all lines so far.

Each of its ids depends on every earlier line. They are computed again only to recognise such rows once; then the source
has its own record, and they are not needed any longer.
"""

from __future__ import annotations

from dataclasses import dataclass

from kato_tasks.importer.blocks import Block, Blocks
from kato_tasks.importer.errors import Undecided
from kato_tasks.importer.record import SourceRecord
from kato_tasks.ports.imports import Imports


def chain_id(block: Block, last: int) -> str:
    """Return the event_id that the version before gave to the row that ends on line ``last`` of the block."""
    return block.chains[last][:12].hex()


@dataclass(slots=True)
class Before:
    """Follows the earlier version's checkpoints through a file."""

    imports: Imports
    record: SourceRecord
    name: str
    named: bool
    """Whether --source named the source; then rows of other sources are not looked for."""
    adopted: bool = False

    def applies(self, block: Block) -> bool:
        """Return whether the first block begins like one that the version before imported with the same mapping."""
        if not self.imports.checkpoints(block.start):
            return False
        return self.record.adopter(block.start) in (None, self.record.digest)

    def known(self, blocks: Blocks, block: Block, natural: int) -> tuple[int, int]:
        """Return how many lines of this block are in the store, and how many of those were followed by a learn.

        Raises Undecided when a block with this beginning is known, but none is like this one.
        """
        candidates = self.imports.checkpoints(block.start)
        longest = max((lines for lines, _ in candidates), default=0)
        while len(block.lines) < longest and blocks.lengthen(block, natural):
            pass
        found = learned = 0
        for (lines, end), known in candidates.items():
            if lines <= len(block.lines) and block.chains[lines - 1].hex() == end:
                found = max(found, lines)
                if known.learned:
                    learned = max(learned, lines)
        # A block of another file with the same first line may have been longer.
        blocks.give_back(block, max(natural, found))
        if candidates and not found:
            if self.named and not self.adopted:
                return 0, 0
            raise Undecided(
                f"{self.name} has the same line {block.number} as a file that an earlier version of kato_tasks "
                "imported, and differs from it later; which of its rows that version imported cannot be told: if it "
                "is that file, import it once as it was then and mend it afterwards; if it is another file, import "
                "it with --source NAME, a name of its own; nothing was appended"
            )
        if found:
            self.adopted = True
            self.record.adopt(block.start)
        return found, learned
