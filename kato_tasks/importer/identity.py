"""Identifies a row by the content that KATO sees of it, and by its number among equal rows.

The content is the event's type, session, time and what is observed. Metadata, the node and unmapped columns are not
part of it, so a row with more columns is still the same row. Equal rows are told apart by their number: the second
``ann,home`` of a file is the second one wherever it stands, so a file may be sorted and rows may be inserted.
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
    """Return the hexadecimal digits by which a source's rows and keys are named."""
    return blake2b(name.encode("utf-8", "surrogatepass"), digest_size=SOURCE_DIGITS // 2).hexdigest()


def content_key(event: Mapping[str, Any]) -> int:
    """Return a 64-bit number, never 0, for the content of a standard event, which need not be valid.

    Texts are taken literally: ``12:00Z`` and ``12:00+00:00`` are different contents.
    """
    return _digest(_plain_text(event) or _json_text(event))


def _plain_text(event: Mapping[str, Any]) -> str | None:
    """Return the content of an ordinary row, quickly, or None for any other row."""
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
    """Return the content of any row."""
    whole = [event.get("event_type") or "observation", event.get("session_id"), event.get("timestamp")]
    return f"j{json.dumps([*whole, _without_metadata(event.get('observation'))], sort_keys=True, default=str)}"


def metadata_check(event: Mapping[str, Any]) -> int:
    """Return a 32-bit check of the row's metadata, never 0."""
    seen = event.get("observation")
    inner = seen.get("metadata") if isinstance(seen, Mapping) else None
    outer = event.get("metadata")
    if not inner and not outer:
        return 1
    return _check(json.dumps([inner or {}, outer or {}], sort_keys=True, default=str))


def content_check(key: int) -> int:
    """Return a 32-bit check of a content, never 0, which is kept for a row that has its own id."""
    return key >> 32 or 1


def id_key(session: object, event_id: str) -> int:
    """Return a 64-bit number, never 0, for a row that has its own id."""
    return _digest(f"{event_id}\n{session}")


def nth(key: int, number: int) -> int:
    """Return the key of the ``number``-th row (from 1) of its file with this content."""
    return key if number == 1 else _digest(f"{key:016x}\n{number}")


def mended_key(key: int, number: int) -> int:
    """Return the key of the ``number``-th row with this content that came, mended, from a rejects file."""
    return _digest(f"{key:016x}\nmended {number}")


def rejected_key(line: int, was: str) -> int:
    """Return the key of a mended row from a rejects file, by the rejected row's line and ``raw_digest``."""
    return _digest(f"{was}\nrejected {line}")


def raw_digest(raw: str) -> str:
    """Return digits of a rejected row's text, by which the row is recognised if the file still has it."""
    return blake2b(raw.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def changed(row: int, check: int) -> int:
    """Return the key of a row that came again with other metadata and is an event of its own."""
    return _digest(f"{row:016x}\nmetadata {check:08x}")


class EventIds:
    """Makes the event_id of each row of a source: 24 hexadecimal digits, like those of the version before."""

    __slots__ = ("_begin", "_mixed")

    def __init__(self, source: str) -> None:
        digest = source_digest(source)
        self._begin = digest[:8]
        self._mixed = int(digest[8:], 16)

    def __call__(self, row: int) -> str:
        """Return the event_id of the row with this key."""
        return f"{self._begin}{row ^ self._mixed:016x}"


class Occurrences:
    """Counts how often each content was met in a file so far, in 16 to 32 bytes for each different content."""

    def __init__(self) -> None:
        self._met = KeyTable()
        self._more: dict[int, int] = {}

    def number(self, key: int) -> int:
        """Count the row, and return its number among its equals, from 1."""
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
