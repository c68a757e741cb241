"""The documentation as a test reads it: its blocks, what is said to be printed, its links.

Rules for those who write docs:

* ```` ```python ```` is a program of its own. A ```` ```text ```` block right after it (nothing but blank lines
  between) is what it prints.
* ```` ```console ```` holds commands after ``$ `` and what each prints below it. They run one after another in the
  checkout; a command that ends with another exit code than 0 says so in a line ``[exit code N]``.
* ```` ```sh ```` is not run (it never ends, or takes long); its commands are looked up.
* ``…`` in what is printed stands for any text within its line: ids, times, rates, ports.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
PAGES = [CHECKOUT / "README.md", *sorted((CHECKOUT / "docs").glob("*.md"))]
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block: ``prints`` is the text block that follows it; None: nothing is said about its output."""

    page: str
    line: int
    language: str
    text: str
    prints: str | None

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks(page: Path, language: str) -> list[Block]:
    """The blocks of one language on a page."""
    text = page.read_text(encoding="utf-8")
    found = list(_FENCE.finditer(text))
    out = []
    for index, match in enumerate(found):
        if match[1] != language:
            continue
        following = found[index + 1] if index + 1 < len(found) else None
        adjoining = following is not None and not text[match.end() : following.start()].strip()
        prints = following[2] if following is not None and adjoining and following[1] == "text" else None
        line = text.count("\n", 0, match.start()) + 1
        out.append(Block(str(page.relative_to(CHECKOUT)), line, language, match[2], prints))
    return out


@dataclass(frozen=True)
class Command:
    """A line of a console block and what it is said to print."""

    block: Block
    words: str
    prints: str
    exit_code: int

    def __str__(self) -> str:
        return f"{self.block}: {self.words}"


def commands(block: Block) -> list[Command]:
    """The commands of a console block, in order."""
    out = []
    for part in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
        words, _, prints = part.partition("\n")
        said = re.search(r"^\[exit code (\d+)\]\n?", prints, re.MULTILINE)
        code = int(said[1]) if said else 0
        out.append(Command(block, words, prints.replace(said[0], "") if said else prints, code))
    return out


def same(said: str, printed: str) -> bool:
    """Whether a program printed what the page says, with ``…`` for any text within a line."""
    wanted, got = said.strip().splitlines(), printed.strip().splitlines()
    return len(wanted) == len(got) and all(
        re.fullmatch(".*".join(re.escape(part) for part in line.rstrip().split("…")), text.rstrip())
        for line, text in zip(wanted, got, strict=True)
    )


def links(page: Path) -> list[str]:
    """Addresses that a page points to."""
    text = _FENCE.sub("", page.read_text(encoding="utf-8"))
    return re.findall(r"\]\(([^)\s]+)\)", text)


def anchors(page: Path) -> set[str]:
    """What a link may name on a page: its headings, as GitHub spells them."""
    text = _FENCE.sub("", page.read_text(encoding="utf-8"))
    found = set()
    for heading in re.findall(r"^#+ (.*)$", text, re.MULTILINE):
        found.add(re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-"))
    return found
