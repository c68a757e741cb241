"""Remember imports: of each source, which of its rows are events.

Every method raises StoreUnavailable when the store does not answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

Kind = Literal["r", "i", "m", "g"]
"""How a row is known, or what became of it.

``r``: the row is known by its content. ``i``: it is known by an id of its own. ``m``: it was mended, and comes from a
rejects file. ``g``: it is no longer in its file, as was decided. Of the rows that are known by their content, those of
kind ``r`` must be in the file when it is imported again.
"""


class Row(NamedTuple):
    """One row of a record: its key (a number of 64 bits), its check, and the line on which it begins."""

    key: int
    check: int
    line: int


@dataclass(frozen=True, slots=True)
class Chunk:
    """Rows of one kind from one import.

    ``run`` is the number of that import. ``learned`` says whether the sessions of all
    these rows got a learn after them.
    """

    kind: Kind
    rows: Sequence[Row]
    learned: bool
    run: int


@dataclass(slots=True)
class About:
    """What is remembered about one source as a whole.

    ``metadata`` names the metadata columns of the first import, with which the checks were made. When the source was
    last read, it had ``rows`` rows; ``first`` was the content of the first one, and ``total`` the sum of all contents
    (mod 2**64). The sessions of the first ``learned`` chunks got a learn after them. ``runs`` counts the imports.
    ``before`` says that the version before began to import the source, and that this version has not yet read it to its
    end.
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

    ``exists`` says whether the source was imported before. ``count`` is roughly how many rows are kept. ``chunks``
    yields these rows in the order in which they came, and reads them as the iterator reaches them; if several chunks
    hold the same row, the last one counts. ``pending`` holds, by the name of each import, the rows that it was about to
    append when it ended: it is not certain whether these rows are events.
    """

    exists: bool
    about: About
    count: int
    chunks: Iterator[Chunk]
    pending: Mapping[str, Chunk]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint that an earlier version kept.

    The first ``lines`` lines of a block are ``rows`` rows, of which ``rejected`` were no events. ``learned`` says that
    every session that had rows up to there also got its learn.
    """

    lines: int
    rows: int
    rejected: int
    learned: bool = False


class ImportedSource(Protocol):
    """Reads and writes the record of one source, for one import."""

    def load(self) -> Kept:
        """Return what is kept of the source."""
        ...

    def begin(self, *, metadata: str | None, before: bool, counted: bool) -> int:
        """Write down that an import begins, and return the number of imports so far.

        That number includes this import if it is ``counted``. ``metadata`` names the metadata columns if this is the
        first import of the source, else it is None. ``before`` is described at ``About``.
        """
        ...

    def intend(self, chunk: Chunk) -> None:
        """Write down that these rows are about to be appended."""
        ...

    def keep(self, chunks: Sequence[Chunk], read: tuple[int, int, int] | None) -> None:
        """Write down that these rows are events, which decides what was intended. Either all of it is kept, or nothing.

        ``read`` is the content of the first row, the number of rows and the sum of their contents so far, as ``About``
        describes them.
        """
        ...

    def end(self, decided: Sequence[str], *, learned: bool) -> None:
        """Write down that the source was read to its end.

        ``decided`` names the pending imports whose rows were decided about. ``learned`` says that each session with
        rows got its learn, so that all chunks that there are now count as ``learned``.
        """
        ...

    def adopt(self, chain: str) -> None:
        """Take over the checkpoint with this ``chain``, which an earlier version made."""
        ...


class Imports(Protocol):
    """Reads and writes what is remembered of imports."""

    def source(self, name: str, digest: str) -> ImportedSource:
        """Return the record of the source with this name.

        ``digest`` is computed from the name, and stands for it in the store.
        """
        ...

    def others_that_begin(self, first: int, digest: str) -> list[About]:
        """List the sources that begin with a row of the content ``first``, except the one with this ``digest``."""
        ...

    def checkpoints(self, start: str) -> dict[tuple[int, str], Checkpoint]:
        """Return the checkpoints that an earlier version kept of blocks with the first line ``start``.

        The key of each is its number of lines and the chain after these lines.
        """
        ...

    def adopter(self, chain: str) -> str | None:
        """Return the digest of the source that took over an earlier version's checkpoint, or None if no source did."""
        ...
