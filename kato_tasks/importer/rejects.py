"""The rejects file: line number, reason and raw text of each row that is no event."""

from __future__ import annotations

import json
from pathlib import Path
from typing import IO

from kato_tasks.importer.errors import BadInput

RAW_CHARS = 20_000


class Rejects:
    """JSON lines ``{"line", "reason", "raw"}``. The file is made with its first entry.

    What an earlier import of the same file wrote stays, and is not written again.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.written = 0
        self._file: IO[str] | None = None
        self._there: set[tuple[int, int]] = set()

    def add(self, line: int, reason: str, raw: bytes) -> None:
        """Keep a row; raises BadInput when the file cannot be written."""
        text = raw.decode("utf-8", "backslashreplace")[:RAW_CHARS]
        try:
            if self._file is None:
                self._open()
            if (line, hash(text)) in self._there or self._file is None:
                return
            self._there.add((line, hash(text)))
            self._file.write(json.dumps({"line": line, "reason": reason, "raw": text}, ensure_ascii=False) + "\n")
        except OSError as exc:
            raise BadInput(
                f"rejected rows cannot be written to {self.path} ({exc.strerror}); name another file with --rejects"
            ) from None
        self.written += 1

    def flush(self) -> None:
        if self._file is not None:
            self._file.flush()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def _open(self) -> None:
        if self.path.exists():
            with self.path.open(encoding="utf-8", errors="replace") as there:
                for text in there:
                    try:
                        row = json.loads(text)
                        self._there.add((row["line"], hash(row["raw"])))
                    except (ValueError, KeyError, TypeError):
                        continue
        self._file = self.path.open("a", encoding="utf-8")
