"""Reads a file (plain or gzip) or standard input line by line, with a limit on a line's length."""

from __future__ import annotations

import gzip
import io
import shutil
import stat
import sys
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import IO

from kato_tasks.importer.errors import BadInput

MAX_LINE_BYTES = 4_000_000
BOM = b"\xef\xbb\xbf"
UTF16 = (b"\xff\xfe", b"\xfe\xff")


class Source:
    """Raw lines without their line ends. ``name`` is for messages, ``total`` the size in bytes if it is known.

    ``growing`` says that the file may still be written to, so that a last line without a line end is left for later.
    ``path`` is that of a file that can be read again; None means that the data comes once, and has no meaningful name.
    """

    def __init__(
        self,
        name: str,
        stream: IO[bytes],
        raw: IO[bytes] | None,
        total: int | None,
        growing: bool = False,
        path: Path | None = None,
    ) -> None:
        self.name = name
        self.path = path
        self.total = total
        self.left_for_later = False
        self._growing = growing
        self._stream = stream
        self._raw = raw
        self._kept: IO[bytes] | None = None
        self._read = 0

    @property
    def position(self) -> int:
        """How many of the ``total`` bytes were read (for a gzip file, compressed bytes)."""
        return self._raw.tell() if self._raw is not None else self._read

    def next_line(self, *, header: bool = False) -> tuple[bytes, int] | None:
        """Return a line and how many bytes it took up, or None at the end.

        The part of a line after MAX_LINE_BYTES is replaced by a digest, so the line stays longer than MAX_LINE_BYTES.
        Raises BadInput when the file cannot be read further.
        """
        try:
            line = self._stream.readline(MAX_LINE_BYTES)
            size, ended = len(line), line.endswith(b"\n")
            if size == MAX_LINE_BYTES and not ended:
                line, size, ended = self._shortened(line)
        except (EOFError, gzip.BadGzipFile, zlib.error) as exc:
            raise BadInput(f"{self.name} is a damaged gzip file ({exc}); create it again") from None
        except OSError as exc:
            raise BadInput(f"{self.name} cannot be read further: {exc.strerror or exc}") from None
        if not line:
            return None
        if self._read == 0:
            if line.startswith(UTF16):
                raise BadInput(f"{self.name} is not UTF-8 but UTF-16 (byte 0, line 1); save it as UTF-8 and try again")
            line = line.removeprefix(BOM)
        if self._growing and not ended and not header:
            self.left_for_later = True
            return None
        self._read += size
        return line.rstrip(b"\r\n"), size

    def keep(self) -> None:
        """Copy data that comes only once to a temporary file, so that it can be read twice; call it before reading."""
        if self.path is None:
            kept = tempfile.TemporaryFile()  # noqa: SIM115 - read until the import ends
            try:
                shutil.copyfileobj(self._stream, kept, 1 << 20)
            except OSError as exc:
                raise BadInput(f"{self.name} cannot be kept in a temporary file: {exc.strerror or exc}") from None
            self.total = kept.tell()
            kept.seek(0)
            self._stream, self._raw, self._kept = kept, None, kept

    def close(self) -> None:
        """Remove the temporary file of ``keep``."""
        if self._kept is not None:
            self._kept.close()

    @contextmanager
    def from_its_beginning(self) -> Iterator[Source]:
        """Read everything again, including a last line without a line end; afterwards reading goes on where it was."""
        at, read, left, growing = self._stream.tell(), self._read, self.left_for_later, self._growing
        self._stream.seek(0)
        self._read, self._growing = 0, False
        try:
            yield self
        finally:
            self._stream.seek(at)
            self._read, self.left_for_later, self._growing = read, left, growing

    def _shortened(self, line: bytes) -> tuple[bytes, int, bool]:
        digest, size, ended = sha256(), len(line), False
        while piece := self._stream.readline(MAX_LINE_BYTES):
            digest.update(piece.rstrip(b"\r\n"))
            size += len(piece)
            if ended := piece.endswith(b"\n"):
                break
        return line + digest.hexdigest().encode(), size, ended


@contextmanager
def open_source(file: str, *, complete: bool = False) -> Iterator[Source]:
    """Open a file, or standard input for ``-``; raises BadInput when it cannot be opened.

    A plain file may still be written to unless it is said to be ``complete``; other sources are complete when they end.
    """
    with _opened(file, complete) as source:
        try:
            yield source
        finally:
            source.close()


@contextmanager
def _opened(file: str, complete: bool) -> Iterator[Source]:
    if file == "-":
        yield Source("standard input", sys.stdin.buffer, None, None)
        return
    path = Path(file)
    try:
        raw = path.open("rb")
    except FileNotFoundError:
        raise BadInput(f"{file} does not exist; check the path") from None
    except IsADirectoryError:
        raise BadInput(f"{file} is a directory; give one file") from None
    except OSError as exc:
        raise BadInput(f"{file} cannot be opened: {exc.strerror}") from None
    with raw:
        about = path.stat()
        total = about.st_size or None
        regular = stat.S_ISREG(about.st_mode)
        packed = raw.peek(2)[:2] == b"\x1f\x8b"
        if packed:
            with gzip.GzipFile(fileobj=raw) as unpacked:
                yield Source(file, io.BufferedReader(unpacked, 1 << 20), raw, total, path=path if regular else None)
        elif regular:
            yield Source(file, raw, None, total, growing=not complete, path=path)
        else:
            yield Source(file, raw, None, total)
