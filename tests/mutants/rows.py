"""The rows of docs/invariants.md: a guard's file, its line, what stands there without it, and the tests that fall."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tests.acceptance.documents import CHECKOUT

PAGE = CHECKOUT / "docs" / "invariants.md"
_TEXT = r"`+ ?(.+?) ?`+"
_ROW = re.compile(rf"^\| `([\w./-]+)` \| {_TEXT}(?: → {_TEXT})? \| (.+?) \|$", re.MULTILINE)
_TABLE_LINE = re.compile(r"^\| `.*$", re.MULTILINE)
_TEST = re.compile(r"`(tests/[\w/]+\.py(?:::\w+)+)`")


@dataclass(frozen=True)
class Guard:
    """One row: `line` of `kato_tasks/<path>`; `without` is what the row says stands there when it is taken out."""

    path: str
    line: str
    without: str | None
    tests: tuple[str, ...]


def guards() -> list[Guard]:
    """Every row of the page, in its order. Raises ValueError for a row that is not written as the page says."""
    text = PAGE.read_text(encoding="utf-8")
    found = [
        Guard(path, line, without or None, tuple(_TEST.findall(tests)))
        for path, line, without, tests in _ROW.findall(text)
    ]
    written = _TABLE_LINE.findall(text)
    if unread := [row for row in written if not _ROW.fullmatch(row)]:
        raise ValueError(f"docs/invariants.md has a row in another form: {unread[0]}")
    if untested := [guard.line for guard in found if not guard.tests]:
        raise ValueError(f"docs/invariants.md names no test for: {untested[0]}")
    return found
