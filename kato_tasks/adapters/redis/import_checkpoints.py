"""The port ``Imports`` on Redis: about 12 bytes for each row, kept as long as the store lives.

    kt:{import}:source:<digest>    hash   about the source, see ``ports.imports.About``
    kt:{import}:rows:<digest>      list   chunks of rows, in the order in which they were appended
    kt:{import}:pending:<digest>   hash   import -> chunk of rows that are about to be appended
    kt:{import}:begins:<content>   hash   digest of a source that begins with this content -> its name
    kt:{import}:adopted:<chain>    string the source that took over a checkpoint of the version before
    kt:{import}:<chain after the block's first line>   hash   chain after a later line -> Checkpoint (JSON), by the
                                          version before

A chunk is text: a letter for the kind of its rows, a mark whether they were learned after, the number of the import,
a colon, their numbers of 64 bits, a colon, and packed: their checks of 32 bits and line numbers.
"""

from __future__ import annotations

import json
import secrets
import zlib
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from struct import pack, unpack
from typing import Any

import redis

from kato_tasks.adapters.redis.answers import answers_of, redis_errors
from kato_tasks.adapters.redis.keys import IMPORTS
from kato_tasks.ports.imports import About, Checkpoint, Chunk, Kept, Row

PAGE_CHUNKS = 50


class RedisImports:
    """Read and write what is remembered of imports."""

    def __init__(self, client: redis.Redis) -> None:
        self._redis = client

    def source(self, name: str, digest: str) -> RedisImportedSource:
        """See ``Imports.source``."""
        return RedisImportedSource(self._redis, name, digest)

    def others_that_begin(self, first: int, digest: str) -> list[About]:
        """See ``Imports.others_that_begin``."""
        found = []
        for other, name in _hash(self._redis, f"{IMPORTS}begins:{first:016x}").items():
            about = _about(name, _hash(self._redis, f"{IMPORTS}source:{other}"))
            if other != digest and about.first == first:
                found.append(about)
        return found

    def checkpoints(self, start: str) -> dict[tuple[int, str], Checkpoint]:
        """See ``Imports.checkpoints``."""
        rows = _hash(self._redis, f"{IMPORTS}{start}")
        found = {end: Checkpoint(**json.loads(text)) for end, text in rows.items()}
        return {(known.lines, end): known for end, known in found.items()}

    def adopter(self, chain: str) -> str | None:
        """See ``Imports.adopter``."""
        with redis_errors():
            found = self._redis.get(f"{IMPORTS}adopted:{chain}")
        return None if found is None else str(found)


class RedisImportedSource:
    """The record of one source. What one import intends is kept under a name of its own."""

    def __init__(self, client: redis.Redis, name: str, digest: str) -> None:
        self._redis = client
        self._name = name
        self._digest = digest
        self._import = secrets.token_hex(8)
        self._intended: tuple[Chunk, str] | None = None

    def load(self) -> Kept:
        """See ``ImportedSource.load``."""
        fields = _hash(self._redis, self._key("source"))
        pending = {name: _read(text) for name, text in _hash(self._redis, self._key("pending")).items()}
        return Kept(
            exists=bool(fields),
            about=_about(self._name, fields),
            count=int(fields.get("kept", 0)) + sum(len(chunk.rows) for chunk in pending.values()),
            chunks=self._chunks(self._count_chunks()),
            pending=pending,
        )

    def begin(self, *, metadata: str | None, before: bool, counted: bool) -> int:
        """See ``ImportedSource.begin``."""
        fields: dict[str, Any] = {"name": self._name}
        if metadata is not None:
            fields["metadata"] = metadata
        if before:
            fields["before"] = 1

        def write(pipe: redis.client.Pipeline) -> None:
            for field, value in fields.items():
                pipe.hset(self._key("source"), field, value)
            pipe.hincrby(self._key("source"), "runs", int(counted))

        return int(self._write(write)[-1])

    def intend(self, chunk: Chunk) -> None:
        """See ``ImportedSource.intend``."""
        text = _text(chunk)
        self._intended = (chunk, text)
        self._write(lambda pipe: pipe.hset(self._key("pending"), self._import, text))

    def keep(self, chunks: Sequence[Chunk], read: tuple[int, int, int] | None) -> None:
        """See ``ImportedSource.keep``."""

        def write(pipe: redis.client.Pipeline) -> None:
            kept = 0
            for chunk in chunks:
                if chunk.rows:
                    kept += len(chunk.rows)
                    pipe.rpush(self._key("rows"), self._text(chunk))
            pipe.hdel(self._key("pending"), self._import)
            if kept:
                pipe.hincrby(self._key("source"), "kept", kept)
            if read is not None:
                first, count, total = read
                pipe.hset(self._key("source"), mapping={"first": f"{first:x}", "rows": count, "total": f"{total:x}"})
                pipe.hset(f"{IMPORTS}begins:{first:016x}", self._digest, self._name)

        self._write(write)

    def _text(self, chunk: Chunk) -> str:
        """Return a chunk's text, which is made already where all that was intended is kept."""
        intended = self._intended
        return intended[1] if intended is not None and chunk == intended[0] else _text(chunk)

    def end(self, decided: Sequence[str], *, learned: bool) -> None:
        """See ``ImportedSource.end``."""
        chunks = self._count_chunks()

        def write(pipe: redis.client.Pipeline) -> None:
            pipe.hdel(self._key("source"), "before")
            if decided:
                pipe.hdel(self._key("pending"), *decided)
            if learned:
                pipe.hset(self._key("source"), "learned", chunks)

        self._write(write)

    def adopt(self, chain: str) -> None:
        """See ``ImportedSource.adopt``."""
        self._write(lambda pipe: pipe.set(f"{IMPORTS}adopted:{chain}", self._digest))

    def _count_chunks(self) -> int:
        with redis_errors():
            return int(self._redis.llen(self._key("rows")))

    def _chunks(self, count: int) -> Iterator[Chunk]:
        for start in range(0, count, PAGE_CHUNKS):
            with redis_errors():
                texts = self._redis.lrange(self._key("rows"), start, min(count, start + PAGE_CHUNKS) - 1)
            yield from (_read(str(text)) for text in texts)

    def _key(self, kind: str) -> str:
        return f"{IMPORTS}{kind}:{self._digest}"

    def _write(self, write: Callable[[redis.client.Pipeline], Any]) -> list[Any]:
        pipe = self._redis.pipeline(transaction=True)
        write(pipe)
        return answers_of(pipe)


def _hash(client: redis.Redis, key: str) -> dict[str, str]:
    with redis_errors():
        return {str(name): str(value) for name, value in client.hgetall(key).items()}


def _about(name: str, fields: Mapping[str, str]) -> About:
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


def _text(chunk: Chunk) -> str:
    rows = chunk.rows
    keys = pack(f"<{len(rows)}Q", *(row.key for row in rows))
    rest = pack(f"<{len(rows)}I", *(row.check for row in rows))
    # Differences are stored, because they are mostly 1 and take almost no space when packed.
    line, steps = 0, []
    for row in rows:
        steps.append((row.line - line) & 0xFFFFFFFF)
        line = row.line
    packed = zlib.compress(rest + pack(f"<{len(rows)}I", *steps), 1)
    return f"{chunk.kind}{int(chunk.learned)}{chunk.run}:{b64encode(keys).decode()}:{b64encode(packed).decode()}"


def _read(text: str) -> Chunk:
    head, keys, packed = text.split(":")
    numbers = b64decode(keys)
    count = len(numbers) // 8
    rest = unpack(f"<{2 * count}I", zlib.decompress(b64decode(packed)))
    line, rows = 0, []
    for key, check, step in zip(unpack(f"<{count}Q", numbers), rest[:count], rest[count:], strict=True):
        line = (line + step) & 0xFFFFFFFF
        rows.append(Row(key, check, line))
    return Chunk(head[0], rows, head[1] == "1", int(head[2:] or 0))  # type: ignore[arg-type]
