"""The record of a source, as an import knows it: which of its rows are events, and which of them it has met."""

from __future__ import annotations

from array import array
from collections.abc import Sequence

from kato_tasks.importer.identity import EventIds, mended_key, source_digest
from kato_tasks.importer.keys import KeyTable
from kato_tasks.ports.imports import About, Chunk, Imports, Kind, Row

LEARNED, EXPECTED, MET = 1, 2, 4


class KnownRows:
    """The rows of a record in memory, at 21 bytes for each place."""

    def __init__(self, expected: int = 0) -> None:
        self._table = KeyTable(expected)
        self._checks = array("I", bytes(4 * self._table.places))
        self._lines = array("I", bytes(4 * self._table.places))
        self._runs = array("I", bytes(4 * self._table.places))
        self._flags = bytearray(self._table.places)
        self.mended = False
        self.empty = True

    def put(self, kind: Kind, row: Row, *, learned: bool, run: int) -> None:
        """Add a row, or change what is known of it; kind ``g`` says that its file need not have it."""
        if kind == "g":
            if (place := self._table.find(row.key)) >= 0:
                self._flags[place] &= ~EXPECTED
            return
        self._table.add(row.key)
        self.empty = False
        place = self._table.find(row.key)
        flags = self._flags[place] & LEARNED
        self._checks[place], self._lines[place], self._runs[place] = row.check, row.line, run
        self.mended = self.mended or kind == "m"
        self._flags[place] = flags | (LEARNED if learned else 0) | (EXPECTED if kind == "r" else 0)

    def find(self, key: int) -> int:
        """Return the place of a row, or -1."""
        return self._table.find(key)

    def key(self, place: int) -> int:
        """Return the 64-bit number of the row at a place."""
        return self._table.key_at(place)

    def check(self, place: int) -> int:
        """Return the 32-bit check of the row at a place."""
        return self._checks[place]

    def line(self, place: int) -> int:
        """Return the line from which the row at a place was imported."""
        return self._lines[place]

    def run(self, place: int) -> int:
        """Return the number of the import by which the row came."""
        return self._runs[place]

    def mended_at(self, key: int, line: int) -> int:
        """Return the place of the row with this content that a rejects file gave for this line, or -1."""
        number = 1
        while (place := self.find(mended_key(key, number))) >= 0:
            if self._lines[place] == line:
                return place
            number += 1
        return -1

    def mended_left(self, key: int) -> bool:
        """Return whether a row with this content that came from a rejects file was not met yet."""
        number = 1
        while (place := self.find(mended_key(key, number))) >= 0:
            if not self._flags[place] & MET:
                return True
            number += 1
        return False

    def learned(self, place: int) -> bool:
        """Return whether a learn followed the row at a place."""
        return bool(self._flags[place] & LEARNED)

    def meet(self, place: int) -> None:
        """Note that the file has the row."""
        self._flags[place] |= MET

    def missing(self) -> list[Row]:
        """Return the rows that should be in the file and were not met, sorted by their lines."""
        rows = [
            Row(self._table.key_at(place), self._checks[place], self._lines[place])
            for place, flags in enumerate(self._flags)
            if flags & (EXPECTED | MET) == EXPECTED
        ]
        return sorted(rows, key=lambda row: row.line)

    @property
    def expected(self) -> int:
        """How many rows should be in the file."""
        return sum(1 for flags in self._flags if flags & EXPECTED)

    @property
    def any_unlearned(self) -> bool:
        """Whether any row that should be in the file was not followed by a learn."""
        return any(flags & EXPECTED and not flags & LEARNED for flags in self._flags)

    @property
    def any_learned(self) -> bool:
        """Whether a learn followed any row."""
        return any(flags & LEARNED for flags in self._flags)


class SourceRecord:
    """The record of one source, which is read when it is made. Raises StoreUnavailable."""

    def __init__(self, imports: Imports, name: str) -> None:
        self.name = name
        self.digest = source_digest(name)
        self.event_id = EventIds(name)
        self._imports = imports
        self._source = imports.source(name, self.digest)
        kept = self._source.load()
        self.exists = kept.exists
        self.about = kept.about
        self.known = KnownRows(kept.count)
        for index, chunk in enumerate(kept.chunks):
            for row in chunk.rows:
                self.known.put(chunk.kind, row, learned=chunk.learned or index < self.about.learned, run=chunk.run)
        self._left = list(kept.pending)
        self.pending = KnownRows(sum(len(chunk.rows) for chunk in kept.pending.values()))
        """It is not certain that these are events; the store can tell, by their ids."""
        for chunk in kept.pending.values():
            for row in chunk.rows:
                if self.known.find(row.key) < 0:
                    self.pending.put(chunk.kind, row, learned=False, run=chunk.run)

    def begin(self, metadata: str, *, before: bool = False, counted: bool = True) -> None:
        """Record that an import of the source begins; an import of its rejects is not ``counted``."""
        first = not self.exists
        if first:
            self.about.metadata = metadata
        self.exists = True
        self.about.runs = self._source.begin(metadata=metadata if first else None, before=before, counted=counted)

    def intend(self, kind: Kind, rows: Sequence[Row]) -> None:
        """Record that these rows are about to be appended."""
        self._source.intend(Chunk(kind, rows, learned=False, run=self.about.runs))

    def keep(self, chunks: Sequence[tuple[Kind, Sequence[Row], bool]], read: tuple[int, int, int] | None) -> None:
        """Record that these rows are events, in chunks of (kind, rows, whether a learn followed).

        ``read`` holds ``first``, ``rows`` and ``total`` of ``About``.
        """
        run = self.about.runs
        self._source.keep([Chunk(kind, rows, learned, run) for kind, rows, learned in chunks], read)

    def end(self, *, learned: bool) -> None:
        """Record that the source was read to its end; ``learned`` says that each session with rows got its learn."""
        self._source.end(self._left, learned=learned)

    def others_that_begin(self, first: int) -> list[About]:
        """Return the other imported sources that begin with this content."""
        return self._imports.others_that_begin(first, self.digest)

    def adopter(self, chain: str) -> str | None:
        """Return the digest of the source that took over this checkpoint of the version before, or None."""
        return self._imports.adopter(chain)

    def adopt(self, chain: str) -> None:
        """Record that this source takes over the checkpoint."""
        self._source.adopt(chain)
