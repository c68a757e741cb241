"""What a row is known by: the content that KATO sees of it, and which of the equal rows it is.

Content is the event's type, session, time and what is observed. Metadata, the node and columns that are not mapped
are no part of it: the same row with more columns is the same row. Equal rows are told apart by their number: the
second ``ann,home`` of a file is the second wherever it stands, so a file may be sorted, and rows may be put between.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

from kato_tasks.importer.keys import KeyTable

SOURCE_DIGITS = 24
_BETWEEN = "\x1e"
_MISSING: Mapping[str, Any] = {}


def source_digest(name: str) -> str:
    """The digits by which a source's rows and keys are named."""
    return blake2b(name.encode("utf-8", "surrogatepass"), digest_size=SOURCE_DIGITS // 2).hexdigest()


def content_key(event: Mapping[str, Any]) -> int:
    """A number of 64 bits for the content of a standard event that need not be valid; never 0.

    Texts are taken as they stand: ``12:00Z`` and ``12:00+00:00`` are different contents.
    """
    return _digest(_plain_text(event) or _json_text(event))


def _plain_text(event: Mapping[str, Any]) -> str | None:
    """The content of an ordinary row, quickly; None when it is none."""
    get = event.get
    seen = get("observation") or _MISSING
    try:
        if seen.get("vectors"):
            return None
        strings, emotives = seen.get("strings") or (), seen.get("emotives")
        kind = get("event_type") or "observation"
        parts = ["p" + kind, event["session_id"], get("timestamp") or "", str(len(strings)), *strings]
        if emotives:
            parts += [f"{name}={float(value)!r}" for name, value in sorted(emotives.items())]
        text = _BETWEEN.join(parts)
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError):
        return None
    return text if text.count(_BETWEEN) == len(parts) - 1 else None


def _json_text(event: Mapping[str, Any]) -> str:
    """The content of any row."""
    whole = [event.get("event_type") or "observation", event.get("session_id"), event.get("timestamp")]
    return f"j{json.dumps([*whole, _without_metadata(event.get('observation'))], sort_keys=True, default=str)}"


def metadata_check(event: Mapping[str, Any]) -> int:
    """32 bits of the row's metadata, never 0."""
    seen = event.get("observation")
    inner = seen.get("metadata") if isinstance(seen, Mapping) else None
    outer = event.get("metadata")
    if not inner and not outer:
        return 1
    return _check(json.dumps([inner or {}, outer or {}], sort_keys=True, default=str))


def content_check(key: int) -> int:
    """32 bits of a content, never 0: what is remembered of a row that has an id of its own."""
    return key >> 32 or 1


def id_key(session: object, event_id: str) -> int:
    """A number of 64 bits for a row that has an id of its own; never 0."""
    return _digest(f"{event_id}\n{session}")


def nth(key: int, number: int) -> int:
    """The row that has this content as the ``number``-th of its file."""
    return key if number == 1 else _digest(f"{key:016x}\n{number}")


def mended_key(key: int, number: int) -> int:
    """The ``number``-th row with this content that came from a rejects file, mended."""
    return _digest(f"{key:016x}\nmended {number}")


def rejected_key(line: int, was: str) -> int:
    """A row that was rejected, by its line and ``raw_digest``, and came from the rejects file, mended."""
    return _digest(f"{was}\nrejected {line}")


def raw_digest(raw: str) -> str:
    """Digits of a rejected row's text, by which it is known when the file still has it."""
    return blake2b(raw.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def changed(row: int, check: int) -> int:
    """The row that came with other metadata, as an event of its own."""
    return _digest(f"{row:016x}\nmetadata {check:08x}")


class EventIds:
    """Makes the event_id of each row of a source: 24 digits, like those of the version before."""

    __slots__ = ("_begin", "_mixed")

    def __init__(self, source: str) -> None:
        digest = source_digest(source)
        self._begin = digest[:8]
        self._mixed = int(digest[8:], 16)

    def __call__(self, row: int) -> str:
        return f"{self._begin}{row ^ self._mixed:016x}"


class Occurrences:
    """How often each content was met so far in a file. 16 to 32 bytes for each different one."""

    def __init__(self) -> None:
        self._met = KeyTable()
        self._more: dict[int, int] = {}

    def number(self, key: int) -> int:
        """Which one of its equals this row is, from 1."""
        if self._met.add(key):
            return 1
        number = self._more.get(key, 1) + 1
        self._more[key] = number
        return number


def _without_metadata(seen: Any) -> Any:
    if not isinstance(seen, Mapping):
        return seen
    return {name: seen.get(name) for name in ("strings", "vectors", "emotives") if seen.get(name)}


def _check(text: str) -> int:
    return zlib.crc32(text.encode("utf-8", "surrogatepass")) or 1


def _digest(text: str) -> int:
    return int.from_bytes(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little") or 1
