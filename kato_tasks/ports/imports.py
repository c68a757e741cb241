"""What is remembered of imports: of each source, which of its rows are events.

Every method raises StoreUnavailable when the store does not answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

Kind = Literal["r", "i", "m", "g"]
"""r a row by its content; i by an id of its own; m from a rejects file, mended; g no longer in its file, as decided.

Of those that are known by content, ``r`` must be in the file when it is imported again.
"""


class Row(NamedTuple):
    """One row of a record: its number of 64 bits, its check, the line on which it begins."""

    key: int
    check: int
    line: int


@dataclass(frozen=True, slots=True)
class Chunk:
    """Rows of one kind, all of one import (``run``, its number), and whether all were ``learned`` after."""

    kind: Kind
    rows: Sequence[Row]
    learned: bool
    run: int


@dataclass(slots=True)
class About:
    """``metadata`` names the metadata columns of the first import, with which the checks were made.

    ``rows`` rows had the contents whose sum is ``total`` (mod 2**64), the first one ``first``, when the source was
    last read. ``learned`` chunks are learned after. ``runs`` counts imports. ``before``: begun by the version before,
    and not yet read to its end by this one.
    """

    name: str
    metadata: str = ""
    first: int = 0
    rows: int = 0
    total: int = 0
    learned: int = 0
    runs: int = 0
    before: bool = False


@dataclass(frozen=True, slots=True)
class Kept:
    """What is kept of a source.

    ``exists``: it was imported before. ``count``: how many rows are kept, about. ``chunks``: these rows in the order in
    which they came, read as they are asked for; a later chunk's word about a row is the one that counts. ``pending``:
    the rows that imports were about to append when they ended, by the name of each: whether they are events is not
    sure.
    """

    exists: bool
    about: About
    count: int
    chunks: Iterator[Chunk]
    pending: Mapping[str, Chunk]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Of a version before: the first ``lines`` of a block are ``rows`` rows, of which ``rejected`` were no events.

    ``learned``: every session that had rows up to there got its learn too.
    """

    lines: int
    rows: int
    rejected: int
    learned: bool = False


class ImportedSource(Protocol):
    """The record of one source, as one import reads and writes it."""

    def load(self) -> Kept:
        """What is kept of the source."""
        ...

    def begin(self, *, metadata: str | None, before: bool, counted: bool) -> int:
        """Write down that an import begins; returns the number of imports so far, with this one if it is ``counted``.

        ``metadata``: names of the metadata columns, where this is the first import. ``before``: see ``About``.
        """
        ...

    def intend(self, chunk: Chunk) -> None:
        """Write down that these rows are about to be appended."""
        ...

    def keep(self, chunks: Sequence[Chunk], read: tuple[int, int, int] | None) -> None:
        """Write down that these rows are events, so that what was intended is decided. All of it, or nothing.

        ``read``: the first content, the number of rows and the sum of their contents so far; see ``About``.
        """
        ...

    def end(self, decided: Sequence[str], *, learned: bool) -> None:
        """Write down that the source was read to its end. ``decided``: the pending imports that it decided about.

        ``learned``: each session with rows got its learn, so all chunks of now are learned after.
        """
        ...

    def adopt(self, chain: str) -> None:
        """Take over a checkpoint that a version before made."""
        ...


class Imports(Protocol):
    """Reads and writes what is remembered of imports."""

    def source(self, name: str, digest: str) -> ImportedSource:
        """The record of the source with this name. ``digest`` is made of the name, and stands for it in the store."""
        ...

    def others_that_begin(self, first: int, digest: str) -> list[About]:
        """The sources, but for the one with this ``digest``, that begin with a row of the content ``first``."""
        ...

    def checkpoints(self, start: str) -> dict[tuple[int, str], Checkpoint]:
        """What a version before kept of blocks with this first line: lines and chain after them → checkpoint."""
        ...

    def adopter(self, chain: str) -> str | None:
        """The digest of the source that took over a checkpoint of a version before; None: none did."""
        ...
