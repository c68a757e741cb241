"""The store's record of a source: which of its rows are events, in about 12 bytes each, kept as long as the store.

    kt:{import}:source:<digest>    hash   about the source, see ``About``
    kt:{import}:rows:<digest>      list   chunks of rows, in the order in which they were appended
    kt:{import}:pending:<digest>   hash   run -> chunk of rows that are about to be appended
    kt:{import}:begins:<content>   hash   digest of a source that begins with this content -> its name
    kt:{import}:adopted:<chain>    string the source that took over a checkpoint of the version before

A chunk is text: a letter for the kind of its rows, a mark that says whether a learn followed them, the number of the
import, a colon, their 64-bit numbers, a colon, and (packed) their 32-bit checks and line numbers. If several chunks
hold a row, the latest one counts.
"""

from __future__ import annotations

import zlib
from array import array
from base64 import b64decode, b64encode
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from struct import pack, unpack
from typing import Any, Literal, NamedTuple

import redis

from kato_tasks.errors import StoreUnavailable
from kato_tasks.importer.identity import EventIds, mended_key, source_digest
from kato_tasks.importer.keys import KeyTable

Kind = Literal["r", "i", "m", "g"]
"""The kinds of rows:

- ``r`` is identified by its content, and must be in the file when it is imported again,
- ``i`` has its own id,
- ``m`` came, mended, from a rejects file,
- ``g`` is gone from its file, as the user decided.
"""
PAGE_CHUNKS = 50
LEARNED, EXPECTED, MET = 1, 2, 4
_ROOT = "kt:{import}:"


class Row(NamedTuple):
    """One row of a record: its 64-bit number, its check, and the line on which it begins."""

    key: int
    check: int
    line: int


@dataclass(slots=True)
class About:
    """What is recorded of a source as a whole.

    - ``metadata``: the metadata columns of the first import, with which the checks were made.
    - ``first``, ``rows``, ``total``: the first content, the number of rows and the sum of their contents (mod 2**64)
      when the source was last read.
    - ``learned``: how many chunks are followed by a learn.
    - ``runs``: how many imports there were.
    - ``before``: the version before began the source, and this one has not read it to its end yet.
    """

    name: str
    metadata: str = ""
    first: int = 0
    rows: int = 0
    total: int = 0
    learned: int = 0
    runs: int = 0
    before: bool = False


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
    """The record of one source in the store. Its methods raise StoreUnavailable."""

    def __init__(self, client: redis.Redis, name: str, run: str) -> None:
        self.name = name
        self.digest = source_digest(name)
        self.event_id = EventIds(name)
        self.known = KnownRows()
        self.about = About(name)
        self.exists = False
        self._redis = client
        self._run = run
        self._left: list[str] = []
        self._intended: tuple[str, list[Row], str] = ("", [], "")

    def load(self) -> None:
        """Read what the store knows of the source."""
        try:
            fields = self._hash(self._key("source"))
            pending = self._hash(self._key("pending"))
            chunks = int(self._redis.llen(self._key("rows")))
            self.exists = bool(fields)
            self.about = _about(self.name, fields)
            self._left = list(pending)
            sizes = int(fields.get("kept", 0)) + sum(_size(text) for text in pending.values())
            self.known = KnownRows(sizes)
            # It is not certain that these are events; the store can tell, by their ids.
            waiting = KnownRows(sum(_size(text) for text in pending.values()))
            for index, text in enumerate(self._chunks(chunks)):
                kind, learned, run, rows = _read(text)
                for row in rows:
                    self.known.put(kind, row, learned=learned or index < self.about.learned, run=run)
            for text in pending.values():
                kind, _, run, rows = _read(text)
                for row in rows:
                    if self.known.find(row.key) < 0:
                        waiting.put(kind, row, learned=False, run=run)
            self.pending = waiting
        except redis.RedisError as exc:
            raise StoreUnavailable(f"Redis does not answer: {exc}") from exc

    pending: KnownRows = KnownRows()

    def begin(self, metadata: str, *, before: bool = False, counted: bool = True) -> None:
        """Record that an import of the source begins; an import of its rejects is not ``counted``."""
        fields: dict[str, Any] = {"name": self.name}
        if not self.exists:
            self.about.metadata = metadata
            fields["metadata"] = metadata
        if before:
            fields["before"] = 1
        self.exists = True

        def write(pipe: redis.client.Pipeline) -> None:
            for field, value in fields.items():
                pipe.hset(self._key("source"), field, value)
            pipe.hincrby(self._key("source"), "runs", int(counted))

        self.about.runs = int(self._write(write)[-1])

    def intend(self, kind: Kind, rows: Sequence[Row]) -> None:
        """Record that these rows are about to be appended."""
        text = _chunk(kind, rows, learned=False, run=self.about.runs)
        self._intended = (kind, list(rows), text)
        self._write(lambda pipe: pipe.hset(self._key("pending"), self._run, text))

    def keep(self, chunks: Sequence[tuple[Kind, Sequence[Row], bool]], read: tuple[int, int, int] | None) -> None:
        """Record that these rows are events, in chunks of (kind, rows, whether a learn followed).

        ``read`` holds ``first``, ``rows`` and ``total`` of ``About``.
        """

        def write(pipe: redis.client.Pipeline) -> None:
            kept = 0
            for kind, rows, learned in chunks:
                if rows:
                    kept += len(rows)
                    pipe.rpush(self._key("rows"), self._text(kind, rows, learned=learned))
            pipe.hdel(self._key("pending"), self._run)
            if kept:
                pipe.hincrby(self._key("source"), "kept", kept)
            if read is not None:
                first, count, total = read
                pipe.hset(self._key("source"), mapping={"first": f"{first:x}", "rows": count, "total": f"{total:x}"})
                pipe.hset(f"{_ROOT}begins:{first:016x}", self.digest, self.name)

        self._write(write)

    def _text(self, kind: Kind, rows: Sequence[Row], *, learned: bool) -> str:
        """Return a chunk; if all intended rows are kept, it is theirs."""
        if not learned and (kind, rows) == self._intended[:2]:
            return self._intended[2]
        return _chunk(kind, rows, learned=learned, run=self.about.runs)

    def end(self, *, learned: bool) -> None:
        """Record that the source was read to its end; ``learned`` says that each session with rows got its learn."""
        try:
            chunks = int(self._redis.llen(self._key("rows")))
        except redis.RedisError as exc:
            raise StoreUnavailable(f"Redis does not answer: {exc}") from exc

        def write(pipe: redis.client.Pipeline) -> None:
            pipe.hdel(self._key("source"), "before")
            if self._left:
                pipe.hdel(self._key("pending"), *self._left)
            if learned:
                pipe.hset(self._key("source"), "learned", chunks)

        self._write(write)

    def others_that_begin(self, first: int) -> list[About]:
        """Return the other imported sources that begin with this content."""
        try:
            names = self._hash(f"{_ROOT}begins:{first:016x}")
            found = []
            for digest, name in names.items():
                about = _about(name, self._hash(f"{_ROOT}source:{digest}"))
                if digest != self.digest and about.first == first:
                    found.append(about)
        except redis.RedisError as exc:
            raise StoreUnavailable(f"Redis does not answer: {exc}") from exc
        return found

    def adopter(self, chain: str) -> str | None:
        """Return the digest of the source that took over this checkpoint of the version before, or None."""
        try:
            found = self._redis.get(f"{_ROOT}adopted:{chain}")
            return str(found) if found is not None else None
        except redis.RedisError as exc:
            raise StoreUnavailable(f"Redis does not answer: {exc}") from exc

    def adopt(self, chain: str) -> None:
        """Record that this source takes over the checkpoint."""
        self._write(lambda pipe: pipe.set(f"{_ROOT}adopted:{chain}", self.digest))

    def _chunks(self, count: int) -> Iterator[str]:
        for start in range(0, count, PAGE_CHUNKS):
            yield from map(str, self._redis.lrange(self._key("rows"), start, min(count, start + PAGE_CHUNKS) - 1))

    def _hash(self, key: str) -> dict[str, str]:
        return {str(name): str(value) for name, value in self._redis.hgetall(key).items()}

    def _key(self, kind: str) -> str:
        return f"{_ROOT}{kind}:{self.digest}"

    def _write(self, write: Any) -> list[Any]:
        pipe = self._redis.pipeline(transaction=True)
        write(pipe)
        try:
            return list(pipe.execute())
        except redis.RedisError as exc:
            raise StoreUnavailable(f"Redis does not answer: {exc}") from exc


def _about(name: str, fields: dict[str, str]) -> About:
    return About(
        name=fields.get("name", name),
        metadata=fields.get("metadata", ""),
        first=int(fields.get("first", "0"), 16),
        rows=int(fields.get("rows", 0)),
        total=int(fields.get("total", "0"), 16),
        learned=int(fields.get("learned", 0)),
        runs=int(fields.get("runs", 0)),
        before="before" in fields,
    )


def _chunk(kind: Kind, rows: Sequence[Row], *, learned: bool, run: int) -> str:
    keys = pack(f"<{len(rows)}Q", *(row.key for row in rows))
    rest = pack(f"<{len(rows)}I", *(row.check for row in rows))
    # Store differences, because they are mostly 1 and take almost no space when packed.
    line, steps = 0, []
    for row in rows:
        steps.append((row.line - line) & 0xFFFFFFFF)
        line = row.line
    packed = zlib.compress(rest + pack(f"<{len(rows)}I", *steps), 1)
    return f"{kind}{int(learned)}{run}:{b64encode(keys).decode()}:{b64encode(packed).decode()}"


def _read(text: str) -> tuple[Kind, bool, int, Iterator[Row]]:
    head, keys, packed = text.split(":")
    numbers = b64decode(keys)
    count = len(numbers) // 8
    rest = unpack(f"<{2 * count}I", zlib.decompress(b64decode(packed)))

    def rows() -> Iterator[Row]:
        line = 0
        for key, check, step in zip(unpack(f"<{count}Q", numbers), rest[:count], rest[count:], strict=True):
            line = (line + step) & 0xFFFFFFFF
            yield Row(key, check, line)

    return head[0], head[1] == "1", int(head[2:] or 0), rows()  # type: ignore[return-value]


def _size(text: str) -> int:
    return len(text.split(":", 2)[1]) * 3 // 32 + 1
