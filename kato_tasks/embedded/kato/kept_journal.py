"""Keep a file to which records are added at its end, each with a checksum.

A process that is killed while it writes leaves half of its last record. That call was never answered, so the record is
left out. Damage anywhere else is reported, because those calls were answered.
"""

from __future__ import annotations

import marshal
import os
from pathlib import Path
from struct import Struct
from typing import Any
from zlib import crc32

HEAD = b"kato_tasks embedded KATO, journal 1\n"
_LENGTH = Struct("<I")
_BEFORE = Struct("<III")
"""The length of what follows, the checksum of that number, and the checksum of what follows."""
FORMAT = 4
"""The format of ``marshal`` that each Python since 3.4 reads. JSON would take several times as long, which is a fifth
of a short call."""


class Damaged(Exception):
    """Raised when the file differs from what was written here. The argument says how. The file is left as it is."""


class Journal:
    """Opens the file to add records. ``found`` holds the records that are in it. Raises Damaged and OSError."""

    def __init__(self, path: Path) -> None:
        self.found, self.size = _records(path)
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        if self.size:
            os.ftruncate(self._file, self.size)
        else:
            self.empty()

    def add(self, record: Any) -> None:
        """Add plain lists, tuples, dicts, texts and numbers, whole or not at all. Raises OSError.

        Afterwards the kernel has them, so they survive the end of the process.
        """
        body = marshal.dumps(record, FORMAT)
        length = len(body)
        data = _BEFORE.pack(length, crc32(_LENGTH.pack(length)), crc32(body)) + body
        try:
            written = os.write(self._file, data)
            while written < len(data):
                written += os.write(self._file, data[written:])
        except OSError:
            os.ftruncate(self._file, self.size)
            raise
        self.size += len(data)

    def empty(self) -> None:
        """Forget all records. Raises OSError."""
        os.ftruncate(self._file, 0)
        os.write(self._file, HEAD)
        self.size = len(HEAD)

    def close(self) -> None:
        """Close the file. Its records stay for the next start."""
        os.close(self._file)


def _records(path: Path) -> tuple[list[Any], int]:
    """Return a file's records, and its length up to the end of the last whole record (0 for a new file)."""
    content = path.read_bytes() if path.exists() else b""
    if HEAD.startswith(content):
        return [], 0
    if not content.startswith(HEAD):
        raise Damaged("it does not begin as the embedded KATO's journals do")
    found = []
    at = len(HEAD)
    while len(content) - at >= _BEFORE.size:
        length, of_length, of_body = _BEFORE.unpack_from(content, at)
        start = at + _BEFORE.size
        if not length or crc32(_LENGTH.pack(length)) != of_length:
            if not any(content[at:]):
                break  # A power cut can make a file system leave zeros at the end.
            raise Damaged(f"no record begins at byte {at}")
        if start + length > len(content):
            break
        body = content[start : start + length]
        if crc32(body) != of_body:
            if start + length == len(content):
                break
            raise Damaged(f"the record at byte {at} has another checksum")
        found.append(marshal.loads(body))  # noqa: S302  both checksums say that it was written here
        at = start + length
    return found, at
