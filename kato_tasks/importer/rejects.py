"""The rejects file: line number, reason and raw text of each row that is not a valid event, and how to read it.

It holds JSON lines ``{"line", "reason", "raw", "was", "of"}``. Once ``raw`` is mended, the file can be imported: ``of``
says from which source the row is and how it is mapped, so that it counts as that row of that source from then on.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from kato_tasks.importer.errors import BadInput
from kato_tasks.importer.identity import raw_digest

RAW_CHARS = 20_000
FORM = 1


def as_text(raw: bytes) -> str:
    """Return a row's text in the form in which the rejects file holds it."""
    return raw.decode("utf-8", "backslashreplace")[:RAW_CHARS]


class Rejects:
    """Writes the rejects file, which is created with its first entry.

    Rows that an earlier import of the same file wrote stay, and are not written again. ``of`` is written with each row.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.written = 0
        self.of: Mapping[str, Any] = {}
        self._file: IO[str] | None = None
        self._there: set[tuple[int, str]] = set()

    def add(self, line: int, reason: str, raw: bytes, of: Mapping[str, Any] | None = None) -> None:
        """Write a row; raises BadInput when the file cannot be written."""
        text = as_text(raw)
        was = raw_digest(text)
        try:
            if self._file is None:
                self._open()
            if (line, was) in self._there or self._file is None:
                return
            self._there.add((line, was))
            row: dict[str, Any] = {"line": line, "reason": reason, "raw": text, "was": was, "of": of or self.of}
            if len(text) == RAW_CHARS:
                row["cut"] = True
            self._file.write(json.dumps(row, ensure_ascii=False) + "\n")
        except OSError as exc:
            raise BadInput(
                f"rejected rows cannot be written to {self.path} ({exc.strerror}); name another file with --rejects"
            ) from None
        self.written += 1

    def flush(self) -> None:
        """Write out what is buffered."""
        if self._file is not None:
            self._file.flush()

    def close(self) -> None:
        """Close the file if it was opened."""
        if self._file is not None:
            self._file.close()

    def _open(self) -> None:
        if self.path.exists():
            with self.path.open(encoding="utf-8", errors="replace") as there:
                for text in there:
                    try:
                        row = json.loads(text)
                        # A row that was mended in this file is still identified by its original text.
                        self._there.add((row["line"], row.get("was") or raw_digest(row["raw"])))
                    except (ValueError, KeyError, TypeError, AttributeError):
                        continue
        self._file = self.path.open("a", encoding="utf-8")


@dataclass(frozen=True, slots=True)
class RejectedRow:
    """A line of a rejects file, perhaps mended: ``number`` is its line here, ``line`` its line in the source."""

    number: int
    line: int
    raw: str
    was: str
    cut: bool
    of: Mapping[str, Any]


def is_rejects(path: Path) -> bool:
    """Return whether a file is a rejects file, judging by its first line."""
    try:
        with path.open("rb") as file:
            row = json.loads(file.readline(1_000_000))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(row, dict) and {"line", "reason", "raw", "of"} <= row.keys()


def rejected_rows(path: Path) -> Iterator[RejectedRow]:
    """Yield the rows of a rejects file; raises BadInput, naming the line, for a line that is not such a row."""
    with path.open(encoding="utf-8") as file:
        try:
            for number, text in enumerate(file, 1):
                if not text.strip():
                    continue
                row = _parsed(number, text)
                if row is None:
                    raise BadInput(
                        f"line {number} of {path} is not a line of a rejects file; change only the text in its raw and "
                        "keep the line as one JSON object"
                    )
                yield row
        except UnicodeDecodeError:
            raise BadInput(f"{path} is not UTF-8; save it as UTF-8 and try again") from None


def _parsed(number: int, text: str) -> RejectedRow | None:
    try:
        row = json.loads(text)
        line, raw, of = int(row["line"]), row["raw"], row["of"]
        was, cut = str(row.get("was", "")), bool(row.get("cut"))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    right = isinstance(raw, str) and isinstance(of, dict) and of.get("version") == FORM
    return RejectedRow(number, line, raw, was, cut, of) if right else None
